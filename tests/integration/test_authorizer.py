"""The caller check over a real secret: who passes, and that nobody does when the secret cannot be trusted."""

from __future__ import annotations

import time
from base64 import b64encode
from typing import Any

import pytest

from authorizer.endpoint import build
from shared.errors import ConfigurationError, StoreUnavailable
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked
from tests.integration.support.faulty_aws import FaultyAws

KEY, OLD_KEY, OTHER_KEY = "k" * 40, "o" * 40, "x" * 40
ROUTE = "POST /tags"
DENIED = {"isAuthorized": False, "context": {"caller": ""}}
MARKED = "marked-as-a-secret"


def allowed(name: str) -> dict[str, Any]:
    return {"isAuthorized": True, "context": {"caller": name}}


def basic(name: str, key: str) -> str:
    return "Basic " + b64encode(f"{name}:{key}".encode()).decode()


def ask(
    handle: Invoked, authorization: str | None, route: str = ROUTE, header: str = "authorization"
) -> dict[str, Any]:
    headers = {} if authorization is None else {header: authorization}
    return handle({"routeKey": route, "headers": headers}, Context())


def secret(*names: str, key: str = KEY, allows: tuple[str, ...] = (ROUTE,)) -> dict[str, Any]:
    return {"callers": {name: {"key": key, "allows": list(allows)} for name in names}}


@pytest.fixture
def handle(aws: Aws) -> Invoked:
    aws.put_secret(
        "callers",
        {
            "callers": {
                "braze": {"key": KEY, "allows": [ROUTE, "GET /wallet/*"]},
                "sessionm": {"key": OTHER_KEY, "allows": ["POST /triggers"]},
            }
        },
    )
    return build(aws.settings())


@pytest.mark.parametrize("header", ["authorization", "Authorization", "AUTHORIZATION"])
def test_basic_and_bearer_pass_whatever_the_case_of_the_header(handle: Invoked, header: str) -> None:
    assert ask(handle, basic("braze", KEY), header=header) == allowed("braze")
    assert ask(handle, f"Bearer {KEY}", header=header) == allowed("braze")


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "", "Basic", f"Digest {KEY}", f"Bearer {KEY[:-1]}", f"Bearer {KEY}x", "Bearer " + "k" * 5_000),
        *(basic("braze", OTHER_KEY), basic("nobody", KEY), basic("braze", KEY)[:-4], "Bearer ключ"),
    ],
)
def test_any_other_credential_is_denied(handle: Invoked, authorization: str | None) -> None:
    assert ask(handle, authorization) == DENIED


def test_a_request_without_headers_is_denied(handle: Invoked) -> None:
    assert handle({"routeKey": ROUTE}, Context()) == DENIED


@pytest.mark.parametrize(
    ("key", "route", "answer"),
    [
        (KEY, ROUTE, allowed("braze")),
        (KEY, "GET /wallet/{user_id}", allowed("braze")),
        (KEY, "POST /triggers", DENIED),
        (OTHER_KEY, "POST /triggers", allowed("sessionm")),
        (OTHER_KEY, ROUTE, DENIED),
        (KEY, "", DENIED),
    ],
)
def test_a_caller_passes_on_its_own_routes_only(handle: Invoked, key: str, route: str, answer: dict[str, Any]) -> None:
    assert ask(handle, f"Bearer {key}", route) == answer


def test_both_keys_pass_during_a_rotation(aws: Aws) -> None:
    aws.put_secret("callers", secret("braze", key=OLD_KEY))
    aws.put_secret("callers", secret("braze", key=KEY))
    handle = build(aws.settings(CALLER_ROTATION_SECONDS="600"))

    assert ask(handle, basic("braze", KEY)) == allowed("braze")
    assert ask(handle, basic("braze", OLD_KEY)) == allowed("braze")


def test_the_previous_key_is_out_once_the_rotation_is_over(aws: Aws) -> None:
    aws.put_secret("callers", secret("braze", key=OLD_KEY))
    aws.put_secret("callers", secret("braze", key=KEY))
    handle = build(aws.settings(CALLER_ROTATION_SECONDS="600"), clock=lambda: time.time() + 602)

    assert ask(handle, basic("braze", OLD_KEY)) == DENIED
    assert ask(handle, basic("braze", KEY)) == allowed("braze")


def test_a_caller_removed_in_a_rotation_is_out_at_once(aws: Aws) -> None:
    aws.put_secret("callers", secret("braze", "gone", key=OLD_KEY))
    aws.put_secret("callers", secret("braze", key=KEY))
    handle = build(aws.settings())

    assert ask(handle, basic("gone", OLD_KEY)) == DENIED


def test_a_route_taken_from_a_caller_is_closed_to_its_previous_key_too(aws: Aws) -> None:
    aws.put_secret("callers", secret("braze", key=OLD_KEY, allows=("*",)))
    aws.put_secret("callers", secret("braze", key=KEY, allows=("GET /wallet/*",)))
    handle = build(aws.settings())

    assert ask(handle, basic("braze", OLD_KEY)) == DENIED


def test_the_first_version_has_no_previous_one_and_that_is_no_fault(aws: Aws) -> None:
    aws.put_secret("callers", secret("braze"))
    handle = build(aws.settings())

    assert ask(handle, basic("braze", KEY)) == allowed("braze")
    assert ask(handle, basic("braze", OLD_KEY)) == DENIED


@pytest.mark.parametrize(
    "value",
    [
        None,
        MARKED,
        "{}",
        f'{{"callers": ["{MARKED}"]}}',
        '{"callers": {}}',
        f'{{"callers": {{"braze": "{MARKED}"}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}"}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}", "allows": ["*"]}}}}}}',  # too short
        f'{{"callers": {{"braze": {{"key": "{MARKED} {KEY}", "allows": ["*"]}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED * 30}", "allows": ["*"]}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}{KEY}", "allows": []}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}{KEY}", "allows": "*"}}}}}}',
        f'{{"callers": {{"br aze": {{"key": "{MARKED}{KEY}", "allows": ["*"]}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}{KEY}", "allows": ["*"], "admin": true}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}{KEY}", "allows": ["*"]}}}}, "extra": 1}}',
    ],
)
def test_a_secret_that_is_missing_or_malformed_lets_nobody_in_and_is_never_quoted(
    aws: Aws, value: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if value is not None:
        aws.put_secret("callers", value)
    handle = build(aws.settings())

    with pytest.raises(ConfigurationError) as error:
        ask(handle, f"Bearer {MARKED}{KEY}")
    assert MARKED not in str(error.value)
    assert MARKED not in capsys.readouterr().out


def test_a_secret_out_of_reach_lets_nobody_in(aws: Aws, faulty_aws: FaultyAws) -> None:
    aws.put_secret("callers", secret("braze"))
    faulty_aws.refuse("GetSecretValue")
    handle = build(aws.settings())

    with pytest.raises(StoreUnavailable, match=r"^Secrets Manager: AccessDeniedException$"):
        ask(handle, basic("braze", KEY))


def test_a_previous_version_out_of_reach_is_not_taken_for_none(aws: Aws, faulty_aws: FaultyAws) -> None:
    aws.put_secret("callers", secret("braze", key=OLD_KEY))
    aws.put_secret("callers", secret("braze", key=KEY))
    faulty_aws.refuse_after("GetSecretValue", 1)
    handle = build(aws.settings())

    with pytest.raises(StoreUnavailable):
        ask(handle, basic("braze", OLD_KEY))


def test_a_secret_is_read_once_for_many_requests(aws: Aws, faulty_aws: FaultyAws) -> None:
    aws.put_secret("callers", secret("braze", key=OLD_KEY))
    aws.put_secret("callers", secret("braze", key=KEY))
    handle = build(aws.settings())

    for _ in range(5):
        assert ask(handle, basic("braze", KEY)) == allowed("braze")
    assert faulty_aws.calls == ["GetSecretValue"] * 2  # the current version and the previous one


def test_a_denial_is_logged_without_what_was_presented(handle: Invoked, capsys: pytest.CaptureFixture[str]) -> None:
    ask(handle, f"Bearer {MARKED}")
    ask(handle, basic(MARKED, MARKED))
    ask(handle, basic("braze", KEY), "POST /triggers")

    logged = capsys.readouterr().out
    assert logged.count('"message":"denied"') == 3
    assert '"caller":"braze"' in logged
    assert MARKED not in logged
    assert KEY not in logged
    assert "CallersDenied" in logged


def test_a_key_passes_right_after_the_rotation_that_retired_it(aws: Aws) -> None:
    now = time.time()
    aws.put_secret("callers", secret("braze", key="1" * 40))
    handle = build(aws.settings(), lambda: now)
    assert ask(handle, f"Bearer {'1' * 40}") == allowed("braze")  # reads also that there is none before it

    for old, new in (("1", "2"), ("2", "3")):
        aws.put_secret("callers", secret("braze", key=new * 40))
        now += 301
        assert ask(handle, f"Bearer {new * 40}") == allowed("braze")
        assert ask(handle, f"Bearer {old * 40}") == allowed("braze")
