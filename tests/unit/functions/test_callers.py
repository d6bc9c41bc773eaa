"""Credentials and the callers that hold them."""

from __future__ import annotations

from base64 import b64encode

import pytest

from authorizer.callers import MAX_HEADER_LENGTH, Caller, Callers, Credential, authenticate, credential_of

KEY, OLD_KEY, OTHER_KEY = "k" * 32, "o" * 32, "x" * 32


def basic(pair: str | bytes) -> str:
    return "Basic " + b64encode(pair.encode() if isinstance(pair, str) else pair).decode()


def callers(**keys: str) -> Callers:
    return Callers({name: Caller(key, ["POST /tags"]) for name, key in keys.items()})


@pytest.mark.parametrize(
    ("header", "credential"),
    [
        (f"Bearer {KEY}", Credential("", KEY.encode())),
        (f"bearer   {KEY}  ", Credential("", KEY.encode())),
        (basic(f"braze:{KEY}"), Credential("braze", KEY.encode())),
        (basic(f"braze:{KEY}").replace("Basic", "BASIC"), Credential("braze", KEY.encode())),
        (basic("braze:with:colons:inside"), Credential("braze", b"with:colons:inside")),
        (basic("braze:schlüssel"), Credential("braze", "schlüssel".encode())),
        (basic(b"\xff:\xfe"), Credential("�", b"\xfe")),
        ("Bearer schlüssel", Credential("", "schlüssel".encode())),
    ],
)
def test_basic_and_bearer_are_read_whatever_their_case(header: str, credential: Credential) -> None:
    assert credential_of(header) == credential


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Basic",
        "Basic ",
        "Bearer",
        "Bearer    ",
        KEY,
        f"Digest {KEY}",
        f"Token {KEY}",
        f"Basic{basic('braze:key')[6:]}",
        "Basic not-base64!",
        "Basic YnJhemU",  # padding cut off
        "Basic é",
        basic("no colon"),
        basic(":key without a name"),
        basic("name without a key:"),
        basic(":"),
        "Bearer " + "k" * (MAX_HEADER_LENGTH - len("Bearer ") + 1),
        basic("braze:" + "k" * MAX_HEADER_LENGTH),
    ],
)
def test_anything_else_is_no_credential(header: str) -> None:
    assert credential_of(header) is None


def test_the_longest_header_is_still_read() -> None:
    key = "k" * (MAX_HEADER_LENGTH - len("Bearer "))

    assert credential_of(f"Bearer {key}") == Credential("", key.encode())


@pytest.mark.parametrize(
    ("credential", "name"),
    [
        (Credential("braze", KEY.encode()), "braze"),
        (Credential("", KEY.encode()), "braze"),
        (Credential("", OTHER_KEY.encode()), "sessionm"),
        (Credential("sessionm", KEY.encode()), None),
        (Credential("Braze", KEY.encode()), None),
        (Credential("braze", KEY[:-1].encode()), None),
        (Credential("braze", f"{KEY}k".encode()), None),
        (Credential("", KEY.upper().encode()), None),
        (Credential("braze", b""), None),
        (Credential("braze", "ключ".encode()), None),
        (Credential("", b"\xff\xfe"), None),
    ],
)
def test_a_key_belongs_to_its_caller_to_the_letter(credential: Credential, name: str | None) -> None:
    assert authenticate(credential, callers(braze=KEY, sessionm=OTHER_KEY), None) == name


@pytest.mark.parametrize("position", range(5))
def test_a_caller_is_found_wherever_it_stands_in_the_list(position: int) -> None:
    keys = {f"caller{number}": str(number) * 32 for number in range(5)}

    assert (
        authenticate(Credential("", keys[f"caller{position}"].encode()), callers(**keys), None) == f"caller{position}"
    )


def test_the_previous_key_passes_beside_the_new_one() -> None:
    current, previous = callers(braze=KEY), callers(braze=OLD_KEY)

    for key in (KEY, OLD_KEY):
        assert authenticate(Credential("braze", key.encode()), current, previous) == "braze"


def test_a_removed_caller_is_out_at_once_though_its_key_is_in_the_previous_version() -> None:
    assert authenticate(Credential("", OLD_KEY.encode()), callers(braze=KEY), callers(gone=OLD_KEY)) is None


def test_a_caller_that_is_new_has_no_previous_key() -> None:
    current, previous = callers(braze=KEY, new=OTHER_KEY), callers(braze=OLD_KEY)

    assert authenticate(Credential("new", OLD_KEY.encode()), current, previous) is None
    assert authenticate(Credential("new", OTHER_KEY.encode()), current, previous) == "new"


@pytest.mark.parametrize(
    ("pattern", "route", "allowed"),
    [
        ("POST /tags", "POST /tags", True),
        ("POST /tags", "POST /tags/", False),
        ("POST /tags", "POST /tags-imports", False),
        ("POST /tags", "GET /tags", False),
        ("post /tags", "POST /tags", False),
        ("GET /wallet/*", "GET /wallet/{user_id}", True),
        ("GET /wallet/*", "GET /wallets", False),
        ("POST /triggers*", "POST /triggers", True),
        ("*", "POST /anything", True),
        ("GET /*/size", "GET /segments/size", False),
        ("POST /tags", "", False),
    ],
)
def test_a_pattern_is_a_route_or_the_beginning_of_one(pattern: str, route: str, allowed: bool) -> None:
    assert Caller(KEY, [pattern]).may_use(route) is allowed


def test_one_pattern_that_fits_is_enough() -> None:
    assert Caller(KEY, ["GET /wallet/*", "POST /tags"]).may_use("POST /tags")
