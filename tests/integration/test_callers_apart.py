"""What one caller sent answers for nobody else: keys and event ids count for the caller that gave them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.local.simulators import SessionmSimulator
from tag_import.webhook import build as build_webhook
from tests.integration.support.aws import Aws
from tests.integration.support.events import JSON, Answered, Invoked, call, http_event
from trigger_relay.events import build as build_events
from trigger_relay.intake import build as build_intake
from wallet_proxy.endpoint import build as build_wallet

KEY = "dispatch-1.member-1"
TRIGGER = {"braze_campaign_id": "campaign-1", "user_id": "member-1"}
EVENT = {"event name": "points_awarded", "customer identifier": "member-1", "point award amount": "250"}


def post_as(caller: str | None, handle: Invoked, route: str, body: Any, key: str = "", **path: str) -> Answered:
    """Posts as API Gateway hands it on: with the caller check's word, or with none for a function without a caller."""
    event = http_event(
        route, path=path, headers={**JSON, **({"idempotency-key": key} if key else {})}, body=json.dumps(body)
    )
    if caller is not None:
        event["requestContext"]["authorizer"] = {"lambda": {"caller": caller}}
    return call(handle, event)


def triggers(aws: Aws) -> tuple[Invoked, str, Any, str]:
    return build_intake(aws.settings()), "POST /triggers", TRIGGER, "trigger_id"


def events(aws: Aws) -> tuple[Invoked, str, Any, str]:
    return build_events(aws.settings(TRACKED_EVENTS="points_awarded")), "POST /events", EVENT, "event_id"


@pytest.mark.parametrize("kind", [triggers, events])
@pytest.mark.parametrize(("key", "more"), [(KEY, {}), ("", {"event_id": 17})], ids=["a key", "an event id"])
def test_one_callers_key_or_event_id_does_not_answer_for_anothers(
    aws: Aws, kind: Callable[[Aws], tuple[Invoked, str, Any, str]], key: str, more: dict[str, Any]
) -> None:
    handle, route, body, name = kind(aws)
    answers = [
        post_as(caller, handle, route, {**body, **more, "n": n}, key).body
        for n, caller in enumerate(["one", "two", None, "one", "two", None])
    ]

    assert [answer["repeated"] for answer in answers] == [False] * 3 + [True] * 3
    assert len({answer[name] for answer in answers}) == 3


def test_the_same_content_is_the_same_trigger_whoever_sends_it(aws: Aws) -> None:
    handle, route, body, _ = triggers(aws)

    assert [post_as(caller, handle, route, body).body["repeated"] for caller in ("one", "two")] == [False, True]


def test_counters_of_two_callers_with_one_key_are_two_effects(aws: Aws) -> None:
    handle = build_webhook(aws.settings())
    body = {"user_id": "member-1", "tags": ["visits"], "counter": True}
    for caller in ("one", "two", "one"):
        assert post_as(caller, handle, "POST /tags", body, KEY).status == 202

    effects = [parcel["once"] for parcel in aws.queued("tags")]

    assert sorted(effects) == [f"one {KEY}", f"one {KEY}", f"two {KEY}"]


def test_writes_of_two_callers_with_one_key_are_both_made(aws: Aws, sessionm: SessionmSimulator) -> None:
    settings = aws.settings(
        SESSIONM_CORE_URL=sessionm.url,
        SESSIONM_CONNECT_URL=sessionm.url,
        CONNECT_OPERATIONS="/offers/api/2.0/offers/acquisition/issue",
    )
    handle = build_wallet(settings)
    body = {"user_id": "member-1", "offer_id": "offer-9", "quantity": 1}
    for caller in ("one", "two", "one"):
        answered = post_as(
            caller, handle, "POST /offers/{operation+}", body, KEY, operation="api/2.0/offers/acquisition/issue"
        )
        assert answered.body["status"] == "ok"

    assert len(sessionm.offers_of("member-1")) == 2


def test_a_caller_cannot_spell_anothers_key(aws: Aws) -> None:
    handle, route, body, name = triggers(aws)
    first = post_as("one", handle, route, {**body, "n": 1}, KEY).body

    spelled = post_as(None, handle, route, {**body, "n": 2}, f"one {KEY}").body
    other = post_as("two", handle, route, {**body, "n": 3}, f"one {KEY}").body

    # Only a request that passed no caller check could, and API Gateway lets none through to these routes.
    assert spelled[name] == first[name]
    assert other[name] != first[name]


@pytest.mark.parametrize("said", [None, {}, {"lambda": None}, {"lambda": {}}, {"lambda": {"caller": None}}])
def test_a_request_without_a_word_of_the_caller_check_has_no_caller(aws: Aws, said: Any) -> None:
    handle, route, body, name = triggers(aws)
    event = http_event(route, headers={**JSON, "idempotency-key": KEY}, body=json.dumps(body))
    event["requestContext"]["authorizer"] = said

    assert call(handle, event).body[name] == post_as(None, handle, route, body, KEY).body[name]
