"""Credentials and the callers that hold them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
import pytest

from authorizer.callers import (
    MAX_HEADER_LENGTH,
    Caller,
    Callers,
    Credential,
    FormerKey,
    authenticate,
    credential_of,
    digest_of,
)

KEY, OLD_KEY, OTHER_KEY = "k" * 32, "o" * 32, "x" * 32


def basic(pair: str | bytes) -> str:
    return "Basic " + b64encode(pair.encode() if isinstance(pair, str) else pair).decode()


def callers(**keys: str) -> Callers:
    return Callers({name: Caller(key=key, allows=["POST /tags"]) for name, key in keys.items()})


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
        f"Bearer {KEY}, Basic {KEY}".replace(" ", "\t"),
        f"\u00a0Bearer {KEY}",
        "Basic " + basic("braze:key1")[6:].replace("=", "%3D"),
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
        (Credential("", f"{KEY},Bearer {KEY}".encode()), None),  # a header sent twice, as API Gateway joins them
        (Credential("", KEY.replace("k", "\u212a").encode()), None),  # a Kelvin sign, whose lower case is a k
        (Credential("braze", digest_of(KEY.encode()).encode()), None),
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
    assert Caller(key=KEY, allows=[pattern]).may_use(route) is allowed


def test_one_pattern_that_fits_is_enough() -> None:
    assert Caller(key=KEY, allows=["GET /wallet/*", "POST /tags"]).may_use("POST /tags")


# --- digests and former keys ------------------------------------------------------------------------------------------

NOW, DAY = 1_795_350_600.0, 86_400.0


def hashed(**keys: str) -> Callers:
    return Callers(
        {name: Caller(key_sha256=digest_of(key.encode()), allows=["POST /tags"]) for name, key in keys.items()}
    )


def rotated(*ages: float) -> Callers:
    """`braze` with KEY, and as former keys "0000...", "1111..." and so on, replaced so many seconds ago."""
    former = [
        FormerKey(key_sha256=digest_of((str(number) * 32).encode()), replaced_at=NOW - age)
        for number, age in enumerate(ages)
    ]
    return Callers({"braze": Caller(key=KEY, allows=["POST /tags"], former=former)})


def passes(key: str, current: Callers, previous: Callers | None = None) -> bool:
    return authenticate(Credential("braze", key.encode()), current, previous, NOW, DAY) == "braze"


def test_a_key_that_is_kept_as_its_digest_passes_and_the_digest_does_not() -> None:
    current = hashed(braze=KEY, sessionm=OTHER_KEY)

    assert authenticate(Credential("", KEY.encode()), current, None) == "braze"
    assert authenticate(Credential("sessionm", OTHER_KEY.encode()), current, None) == "sessionm"
    assert authenticate(Credential("sessionm", KEY.encode()), current, None) is None
    assert authenticate(Credential("", digest_of(KEY.encode()).encode()), current, None) is None


def test_plain_keys_and_digests_stand_side_by_side_through_a_rotation() -> None:
    assert passes(OLD_KEY, hashed(braze=KEY), callers(braze=OLD_KEY))
    assert passes(OLD_KEY, callers(braze=KEY), hashed(braze=OLD_KEY))


def test_former_keys_pass_until_their_rotation_is_over_and_each_has_its_own() -> None:
    current = rotated(DAY, DAY + 1, 60)

    assert [passes(key * 32, current) for key in "012"] == [True, False, True]
    assert passes(KEY, current)


def test_a_caller_with_a_list_of_former_keys_has_no_others() -> None:
    assert not passes(OLD_KEY, rotated(), callers(braze=OLD_KEY))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"key": KEY, "key_sha256": "0" * 64},
        {"key_sha256": "0" * 63},
        {"key_sha256": "A" * 64},
        {"key_sha256": KEY},
        {"key": KEY, "former": ["0" * 64]},
        {"key": KEY, "former": [{"key_sha256": "0" * 64}]},
        {"key": KEY, "former": [{"key_sha256": "0" * 64, "replaced_at": -1}]},
        {"key": KEY, "former": [{"key_sha256": "0" * 64, "replaced_at": 1}] * 11},
        {"key": KEY, "sources": []},
        {"key": KEY, "sources": ["not an address"]},
        {"key": KEY, "sources": "203.0.113.0/24"},
    ],
)
def test_a_caller_that_is_not_of_the_documented_shape_is_refused_without_being_quoted(fields: dict[str, Any]) -> None:
    text = msgspec.json.encode({"callers": {"braze": {"allows": ["*"], **fields}}})

    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.json.decode(text, type=Callers)
    assert KEY not in str(error.value)
    assert "0" * 32 not in str(error.value)
