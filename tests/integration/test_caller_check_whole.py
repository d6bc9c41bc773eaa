"""The caller check as a request meets it: template.yaml's APIs, API Gateway's rules and memory, the real authorizer."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from authorizer.endpoint import build
from authorizer.roster import MAX_AGE_SECONDS
from infra.local.environment import FunctionError
from infra.local.gateway import Gateway
from infra.local.http_events import HttpRequest
from infra.local.template import Template
from infra.local.views import Api, apis
from shared.errors import BundleError
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context
from tests.integration.support.faulty_aws import FaultyAws

KEY, OTHER_KEY, NEW_KEY = "k" * 43, "x" * 43, "n" * 43
CALLERS = {
    "braze": {"key": KEY, "allows": ["POST /wallet", "GET /wallet/*"], "sources": ["203.0.113.0/24"]},
    "sessionm": {"key": OTHER_KEY, "allows": ["POST /wallet"]},
}
INSIDE, OUTSIDE = "203.0.113.10", "198.51.100.10"


@cache
def content_api() -> Api:
    (api,) = (api for api in apis(Template.load()).values() if api.name == "content")
    return api


class Door:
    """The Content API with functions that answer 200, and how often the authorizer was asked."""

    def __init__(self, authorizer: Callable[[Any, Any], Any], remembers: bool = True) -> None:
        self.asked = 0
        self._authorizer = authorizer
        self._gateway = Gateway(content_api(), self._invoke, authorizer_ttl_seconds=300 if remembers else 0)

    def _invoke(self, function: str, event: Any) -> Any:
        if function != "AuthorizerFunction":
            return {"statusCode": 200, "body": json.dumps(event["requestContext"]["authorizer"]["lambda"])}
        self.asked += 1
        try:
            return self._authorizer(json.loads(json.dumps(event)), Context())
        except BundleError as error:
            raise FunctionError(type(error).__name__, str(error)) from None

    def status(self, *headers: tuple[str, str], target: str = "/wallet", address: str = INSIDE) -> int:
        method = "POST" if target == "/wallet" else "GET"
        return self._gateway.handle(HttpRequest(method, target, list(headers), b"{}", address)).status


@pytest.fixture
def door(aws: Aws) -> Door:
    aws.put_secret("callers", {"callers": CALLERS})
    return Door(build(aws.settings()), remembers=False)


def basic(pair: str) -> str:
    return "Basic " + b64encode(pair.encode()).decode()


@pytest.mark.parametrize("name", ["authorization", "Authorization", "AUTHORIZATION"])
@pytest.mark.parametrize("value", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER   {KEY} ", basic(f"braze:{KEY}")])
def test_a_right_credential_is_let_in(door: Door, name: str, value: str) -> None:
    assert door.status((name, value)) == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param([], 401, id="missing"),
        pytest.param([("authorization", "")], 401, id="empty"),
        pytest.param([("x-authorization", f"Bearer {KEY}")], 401, id="in another header"),
        pytest.param([("authorization", KEY)], 403, id="without a scheme"),
        pytest.param([("authorization", f"Token {KEY}")], 403, id="another scheme"),
        pytest.param([("authorization", f"Bearer{KEY}")], 403, id="malformed"),
        pytest.param([("authorization", "Basic !!!")], 403, id="not Base64"),
        pytest.param([("authorization", basic("braze" + KEY))], 403, id="Basic without a colon"),
        pytest.param([("authorization", basic(f":{KEY}"))], 403, id="Basic without a name"),
        pytest.param([("authorization", basic("braze:"))], 403, id="Basic without a key"),
        pytest.param([("authorization", basic(f"braze:{KEY}:"))], 403, id="Basic with a colon too many"),
        pytest.param([("authorization", basic(f"braze:{KEY}")[:-2])], 403, id="Basic truncated"),
        pytest.param([("authorization", f"Bearer {KEY[:-1]}")], 403, id="Bearer truncated"),
        pytest.param([("authorization", f"Bearer {KEY}k")], 403, id="Bearer with a letter too many"),
        pytest.param([("authorization", f"Bearer {OTHER_KEY[:-1]}y")], 403, id="wrong"),
        pytest.param([("authorization", basic(f"sessionm:{KEY}"))], 403, id="another caller's name"),
        pytest.param([("authorization", basic(f"BRAZE:{KEY}"))], 403, id="a name in other case"),
        pytest.param([("authorization", f"Bearer {KEY.upper()}")], 403, id="a key in other case"),
        pytest.param([("authorization", "Bearer " + "k" * 2_000)], 403, id="oversized"),
        pytest.param([("authorization", "Bearer " + "k" * 20_000)], 431, id="beyond API Gateway"),
        pytest.param([("authorization", f"Bearer {KEY}")] * 2, 403, id="twice the same"),
        pytest.param(
            [("authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {OTHER_KEY}")], 403, id="two credentials"
        ),
        pytest.param([("authorization", "Bearer schlüssel")], 403, id="unicode"),
        pytest.param([("authorization", f"Bearer {KEY}\u200b")], 403, id="an invisible letter"),
        pytest.param([("authorization", "Bearer " + KEY.replace("k", "\uff4b"))], 403, id="letters that look alike"),
        pytest.param([("authorization", basic(f"br\u0430ze:{KEY}"))], 403, id="a name that looks alike"),
    ],
)
def test_any_other_is_not(door: Door, headers: list[tuple[str, str]], status: int) -> None:
    assert door.status(*headers) == status


def test_a_caller_is_kept_to_its_routes_though_its_credential_is_remembered(aws: Aws) -> None:
    aws.put_secret("callers", {"callers": CALLERS})
    door = Door(build(aws.settings()))
    header = ("authorization", f"Bearer {OTHER_KEY}")

    assert [door.status(header), door.status(header, target="/wallet/member-1"), door.status(header)] == [200, 403, 200]
    assert door.asked == 2


def test_a_decision_made_for_one_address_lets_nobody_in_from_another(aws: Aws) -> None:
    aws.put_secret("callers", {"callers": CALLERS})
    door = Door(build(aws.settings()))
    header = ("authorization", f"Bearer {KEY}")

    answers = [door.status(header, address=address) for address in (INSIDE, OUTSIDE, INSIDE, OUTSIDE)]

    assert answers == [200, 403, 200, 403]
    assert door.asked == 2, "and each is remembered"


def test_a_forwarded_address_is_nobodys_word_but_the_senders(door: Door) -> None:
    forged = [(name, INSIDE) for name in ("x-forwarded-for", "x-real-ip", "forwarded", "cf-connecting-ip")]

    assert door.status(("authorization", f"Bearer {KEY}"), *forged, address=OUTSIDE) == 403


def test_a_rotation_lets_both_keys_in_and_ends(aws: Aws) -> None:
    now = time.time()
    aws.put_secret("callers", {"callers": CALLERS})
    door = Door(build(aws.settings(CALLER_ROTATION_SECONDS="600"), lambda: now), remembers=False)
    old, new = (("authorization", f"Bearer {key}") for key in (KEY, NEW_KEY))
    assert (door.status(old), door.status(new)) == (200, 403)

    former = [{"key_sha256": "6" * 64, "replaced_at": now}]
    aws.put_secret("callers", {"callers": CALLERS | {"braze": CALLERS["braze"] | {"key": NEW_KEY, "former": former}}})
    now += MAX_AGE_SECONDS
    assert (door.status(old), door.status(new)) == (403, 200), "its list of former keys is the whole of them"

    aws.put_secret("callers", {"callers": CALLERS})
    aws.put_secret("callers", {"callers": CALLERS | {"braze": CALLERS["braze"] | {"key": NEW_KEY}}})
    now = aws.secretsmanager.describe_secret(SecretId=f"{aws.name}-callers")["LastChangedDate"].timestamp() + 590
    assert (door.status(old), door.status(new)) == (200, 200)
    now += 20
    assert (door.status(old), door.status(new)) == (403, 200)


@pytest.mark.parametrize("value", [None, "", " ", "not JSON", "[]", "{}", '{"callers": {}}', '{"callers": null}'])
def test_a_secret_that_is_missing_or_broken_is_a_500_for_everybody_which_nobody_remembers(
    aws: Aws, value: str | None
) -> None:
    if value:
        aws.put_secret("callers", value)
    elif value is not None:
        aws.leave_empty("callers")
    now = 1_795_350_600.0
    door = Door(build(aws.settings(), lambda: now))
    headers = [("authorization", f"Bearer {KEY}"), ("authorization", "Bearer nonsense")]

    assert [door.status(header) for header in headers * 2] == [500] * 4
    assert door.asked == 4

    if value:
        aws.put_secret("callers", {"callers": CALLERS})
        now += 11
        assert [door.status(header) for header in headers] == [200, 403]


def test_a_secret_that_is_denied_is_a_500_until_it_is_not(aws: Aws, faulty_aws: FaultyAws) -> None:
    aws.put_secret("callers", {"callers": CALLERS})
    faulty_aws.refuse("GetSecretValue")
    now = 1_795_350_600.0
    door = Door(build(aws.settings(), lambda: now))
    header = ("authorization", f"Bearer {KEY}")
    assert door.status(header) == 500

    faulty_aws.heal()
    now += 6
    assert door.status(header) == 200
