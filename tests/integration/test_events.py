"""POST /events, and triggers that are tracked as well: recorded, queued, and only then acknowledged."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from shared.ledger import REPEAT_SECONDS, Ledger
from shared.outcomes import Outcome, State
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Invoked, get, post
from tests.integration.support.faulty_aws import FaultyAws
from trigger_relay.events import build
from trigger_relay.intake import build as build_intake

ON = {"TRACKED_EVENTS": "points_awarded,tier_changed"}
AWARD = {"event name": "points_awarded", "customer identifier": "member-1", "point award amount": "250"}


@pytest.fixture
def handle(aws: Aws) -> Invoked:
    return build(aws.settings(**ON))


def send(handle: Invoked, body: Any = AWARD, *, idempotency_key: str = "") -> Answered:
    return post(handle, "POST /events", body, idempotency_key=idempotency_key)


def status(handle: Invoked, event_id: str) -> Answered:
    return get(handle, "GET /events/{event_id}", path={"event_id": event_id})


def test_an_event_is_acknowledged_with_its_id_once_it_is_queued(aws: Aws, handle: Invoked) -> None:
    answered = send(handle)

    event_id = answered.body["event_id"]
    assert answered.status == 202
    assert answered.body == {"ok": True, "event_id": event_id, "state": "queued", "repeated": False}
    assert re.fullmatch("evt-[0-9a-f]{32}", event_id)
    [queued] = aws.queued("tracks")
    assert queued["id"] == event_id
    assert queued["event"]["name"] == "loyalty_points_awarded"
    assert queued["event"]["properties"] == {"point_award_amount": 250}
    assert queued["attributes"]["loyalty_last_award_amount"] == 250


def test_a_repeat_has_the_id_and_the_state_of_the_first(aws: Aws, handle: Invoked) -> None:
    first, again = (send(handle).body for _ in range(2))
    Ledger(aws.dynamodb, aws.table("ledger")).settle(first["event_id"], Outcome(State.SENT))
    later = send(handle).body

    assert again == first | {"repeated": True}
    assert later == first | {"repeated": True, "state": "sent"}
    assert len(aws.queued("tracks")) == 2  # the second for the case that the first request died


def test_an_equal_event_after_two_days_is_another(aws: Aws) -> None:
    now = 1_795_350_600.0
    first = send(build(aws.settings(**ON), lambda: now)).body
    Ledger(aws.dynamodb, aws.table("ledger"), lambda: now).settle(first["event_id"], Outcome(State.SENT))

    later = send(build(aws.settings(**ON), lambda: now + REPEAT_SECONDS + 1)).body

    assert (later["event_id"], later["repeated"], later["state"]) == (first["event_id"], False, "queued")


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"event id": "e1"}, ""),
        ({"event id": "e2"}, ""),
        ({"event id": "e1", "customer identifier": "member-2"}, ""),
        ({"point award amount": 251}, ""),
        ({}, "key-1"),
    ],
)
def test_what_makes_an_event_another(handle: Invoked, changed: dict[str, Any], key: str) -> None:
    assert send(handle, AWARD | changed, idempotency_key=key).body["event_id"] != send(handle).body["event_id"]


def test_the_same_event_id_is_the_same_event_whatever_else_it_says(handle: Invoked) -> None:
    first, again = (send(handle, AWARD | {"event id": "e1", "point award amount": n}).body for n in (1, 2))

    assert again["event_id"] == first["event_id"]
    assert again["repeated"]


def test_an_event_of_several_members_is_a_track_for_each(aws: Aws, handle: Invoked) -> None:
    body = {"event_name": "tier_changed", "tier_name": "Gold", "recipients": ["a", {"customer identifier": "b"}]}

    event_id = send(handle, body).body["event_id"]

    queued = aws.queued("tracks")
    assert sorted(each["event"]["external_id"] for each in queued) == ["a", "b"]
    ledger = Ledger(aws.dynamodb, aws.table("ledger"))
    ledger.settle(queued[0]["id"], Outcome(State.SENT))
    answered = status(handle, event_id).body
    assert (answered["state"], answered["members"]) == ("queued", {"queued": 1, "unknown": 0, "failed": 0, "sent": 1})


def test_an_event_without_a_rule_is_skipped(aws: Aws, handle: Invoked) -> None:
    answered = send(handle, AWARD | {"event name": "offer_issued"})

    assert (answered.status, answered.body) == (
        202,
        {"ok": True, "event_id": None, "state": "skipped", "repeated": False},
    )
    assert aws.queued("tracks") == []
    assert send(build(aws.settings())).body["state"] == "skipped"


def test_what_addresses_a_send_is_no_part_of_an_event(aws: Aws, handle: Invoked) -> None:
    target = {"braze_campaign_id": "c", "braze_canvas_id": "{{CANVAS ID}}", "broadcast flag": "true", "urgent": True}

    assert send(handle, AWARD | target).status == 202
    [queued] = aws.queued("tracks")
    assert queued["event"]["properties"] == {"point_award_amount": 250}


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"customer identifier": "m"}, 400, "missing_field", "event_name"),
        ({"event_name": "points_awarded"}, 400, "no_recipients", "customer_identifier"),
        ({"event_name": "points_awarded", "email": "nobody"}, 400, "invalid_field", "email"),
        (AWARD | {"note": "x" * 51_200}, 413, "too_large", "trigger_properties"),
        ("{", 400, "invalid_json", "body"),
    ],
)
def test_an_event_that_makes_no_sense_is_refused(
    aws: Aws, handle: Invoked, body: Any, status: int, code: str, field: str
) -> None:
    answered = send(handle, body)

    assert (answered.status, answered.body["code"], answered.body["field"]) == (status, code, field)
    assert aws.queued("tracks") == []


def test_nothing_is_acknowledged_that_is_not_in_the_queue(faulty_aws: FaultyAws, aws: Aws) -> None:
    handle = build(aws.settings(**ON))
    faulty_aws.refuse("SendMessageBatch")
    assert send(handle).status == 503
    faulty_aws.heal()
    assert send(handle).body["repeated"]
    assert len(aws.queued("tracks")) == 1


def test_the_outcome_can_be_asked_for(aws: Aws, handle: Invoked) -> None:
    event_id = send(handle).body["event_id"]
    outcome = Outcome(State.FAILED, "object_skipped", "Braze left out its events: a reason")
    Ledger(aws.dynamodb, aws.table("ledger")).settle(event_id, outcome)

    answered = status(handle, event_id)

    assert answered.status == 200
    assert answered.body == {
        "ok": True,
        "event_id": event_id,
        "state": "failed",
        "reason": "object_skipped",
        "detail": "Braze left out its events: a reason",
        "members": None,
        "correlation_id": "request-1",
    }


def test_an_event_keeps_the_correlation_id_of_the_request_that_made_it(handle: Invoked) -> None:
    made = post(handle, "POST /events", AWARD, x_correlation_id="the-first-request")
    post(handle, "POST /events", AWARD, x_correlation_id="a-repeat-of-it")

    assert status(handle, made.body["event_id"]).body["correlation_id"] == "the-first-request"


@pytest.mark.parametrize("event_id", ["evt-" + "0" * 32, "trg-" + "0" * 32, "x"])
def test_an_event_nobody_sent_is_not_found(handle: Invoked, event_id: str) -> None:
    answered = status(handle, event_id)

    assert (answered.status, answered.body["code"]) == (404, "not_found")


# --- beside a trigger -------------------------------------------------------------------------------------------------


def trigger(handle: Invoked, body: dict[str, Any]) -> Answered:
    return post(handle, "POST /triggers", body)


def test_a_trigger_that_is_an_event_is_tracked_as_well(aws: Aws) -> None:
    handle = build_intake(aws.settings(**ON))

    first = trigger(handle, AWARD | {"braze_campaign_id": "campaign-1"})
    trigger(handle, AWARD | {"braze_campaign_id": "campaign-1"})

    tracks = aws.queued("tracks")
    assert first.status == 202
    assert len(aws.queued("triggers")) == 2
    assert {each["event"]["name"] for each in tracks} == {"loyalty_points_awarded"}
    assert len({each["id"] for each in tracks}) == 1
    assert tracks[0]["id"].startswith(first.body["trigger_id"] + ".")


def test_a_trigger_without_a_rule_is_a_trigger_and_nothing_else(aws: Aws) -> None:
    body = {"braze_campaign_id": "campaign-1", "customer identifier": "member-1"}

    trigger(build_intake(aws.settings(**ON)), body)
    trigger(build_intake(aws.settings()), body | {"event name": "points_awarded"})

    assert len(aws.queued("triggers")) == 2
    assert aws.queued("tracks") == []


def test_a_trigger_is_not_acknowledged_before_its_track_is_in_the_queue(aws: Aws, faulty_aws: FaultyAws) -> None:
    handle = build_intake(aws.settings(**ON))
    faulty_aws.refuse("SendMessageBatch")
    assert trigger(handle, AWARD | {"braze_campaign_id": "campaign-1"}).status == 503
    faulty_aws.heal()

    answered = trigger(handle, AWARD | {"braze_campaign_id": "campaign-1"})

    assert (answered.status, answered.body["repeated"]) == (202, True)
    assert len(aws.queued("tracks")) == len(aws.queued("triggers")) == 1
    assert json.loads(answered.text)["state"] == "queued"
