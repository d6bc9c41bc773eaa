"""Braze's own trigger endpoints: checked, the key added, and Braze's own answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.local.simulators import (
    BrazeSimulator,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetAfterEffect,
    Status,
    Throttle,
    WrongShape,
)
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Invoked, post
from tests.integration.support.sockets import closed_port
from trigger_relay.passthrough import build

CAMPAIGN, CANVAS = "POST /campaigns/trigger/send", "POST /canvas/trigger/send"
MEMBER = {"external_user_id": "member-1"}
SENT = {"campaign_id": "campaign-1", "recipients": [MEMBER]}


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=braze.url, BROADCAST_ALLOWED_IDS="campaign-1"))


def test_the_request_braze_documents_is_sent_and_its_answer_returned(handle: Invoked, braze: BrazeSimulator) -> None:
    body = {
        "campaign_id": "campaign-1",
        "send_id": "send-1",
        "trigger_properties": {"offer": {"title": "Tea"}},
        "recipients": [MEMBER | {"trigger_properties": {"name": "Ann"}}],
    }

    answered = post(handle, CAMPAIGN, body)

    [sent] = braze.sends
    assert answered.status == 201
    assert answered.body == {"dispatch_id": sent.dispatch_id, "message": "success"}
    assert answered.headers["x-ratelimit-limit"] == "250000"
    assert answered.headers["x-ratelimit-remaining"]
    assert answered.headers["x-ratelimit-reset"]
    assert braze.requests()[0].json() == body
    assert braze.requests()[0].headers["Authorization"] == braze.authorization


def test_a_canvas_is_relayed_with_its_notice(handle: Invoked) -> None:
    answered = post(handle, CANVAS, {"canvas_id": "canvas-paused", "context": {"a": 1}, "recipients": [MEMBER]})

    assert (answered.status, answered.body["message"]) == (201, "success")
    assert answered.body["notice"].startswith("The Canvas is paused")


def test_the_older_name_of_a_canvas_context_is_let_through_for_braze_to_judge(
    handle: Invoked, braze: BrazeSimulator
) -> None:
    body = {"canvas_id": "canvas-1", "canvas_entry_properties": {"a": 1}, "recipients": [MEMBER]}

    answered = post(handle, CANVAS, body)

    assert braze.requests()[0].json() == body
    assert answered.status == 400
    assert answered.body == {"message": "Unknown field: canvas_entry_properties"}


def test_a_broadcast_passes_for_an_allowed_id_only(handle: Invoked, braze: BrazeSimulator) -> None:
    assert post(handle, CAMPAIGN, {"campaign_id": "campaign-1", "broadcast": True}).status == 201
    refused = post(handle, CAMPAIGN, {"campaign_id": "campaign-2", "broadcast": True})
    canvas = post(handle, CANVAS, {"canvas_id": "canvas-1", "broadcast": True})

    for answered in (refused, canvas):
        assert (answered.status, answered.body["code"]) == (403, "broadcast_not_allowed")
    assert len(braze.requests()) == 1


@pytest.mark.parametrize(
    ("route", "body", "status", "code", "field"),
    [
        (CAMPAIGN, {}, 400, "missing_field", "campaign_id"),
        (CANVAS, SENT, 400, "unknown_field", "campaign_id"),
        (CAMPAIGN, SENT | {"segment_id": "s"}, 400, "unknown_field", "segment_id"),
        (CAMPAIGN, SENT | {"broadcast": "true"}, 400, "invalid_field", "broadcast"),
        (CAMPAIGN, SENT | {"recipients": "member-1"}, 400, "invalid_field", "recipients"),
        (CAMPAIGN, SENT | {"recipients": ["member-1"]}, 400, "invalid_field", "recipients[0]"),
        (CAMPAIGN, SENT | {"recipients": []}, 400, "no_recipients", "recipients"),
        (CAMPAIGN, {"campaign_id": "campaign-1"}, 400, "no_recipients", "recipients"),
        (CAMPAIGN, SENT | {"recipients": [MEMBER] * 51}, 400, "invalid_field", "recipients"),
        (CAMPAIGN, SENT | {"broadcast": True}, 400, "invalid_field", "recipients"),
        (CAMPAIGN, SENT | {"trigger_properties": {"x": "x" * 51_200}}, 413, "too_large", "trigger_properties"),
        (
            CAMPAIGN,
            SENT | {"recipients": [MEMBER, MEMBER | {"trigger_properties": {"x": "x" * 51_200}}]},
            413,
            "too_large",
            "recipients[1].trigger_properties",
        ),
        (
            CANVAS,
            {"canvas_id": "canvas-1", "recipients": [MEMBER | {"context": {"x": "x" * 51_200}}]},
            413,
            "too_large",
            "recipients[0].context",
        ),
        (CAMPAIGN, '{"campaign_id": "campaign-1",}', 400, "invalid_json", "body"),
        (CAMPAIGN, "[]", 400, "not_an_object", "body"),
    ],
)
def test_what_braze_would_refuse_or_worse_do_is_refused_here(
    handle: Invoked, braze: BrazeSimulator, route: str, body: Any, status: int, code: str, field: str
) -> None:
    answered = post(handle, route, body)

    assert (answered.status, answered.body["code"], answered.body["field"]) == (status, code, field)
    assert answered.body["hint"]
    assert braze.requests() == []


def test_a_field_given_twice_reaches_braze_as_the_one_that_was_checked(handle: Invoked, braze: BrazeSimulator) -> None:
    post(
        handle,
        CANVAS,
        '{"canvas_id": "canvas-1", "broadcast": true, "broadcast": false, "recipients": [{"email": "a@b"}]}',
    )

    assert b"true" not in b"".join(request.body for request in braze.requests())


def relayed(handle: Invoked) -> Answered:
    return post(handle, CAMPAIGN, SENT)


@pytest.mark.parametrize("status", [400, 404, 413, 500, 503])
def test_brazes_own_error_is_the_answer(handle: Invoked, braze: BrazeSimulator, status: int) -> None:
    braze.faults.add("POST *", Status(status, {"message": "in Braze's words"}))

    answered = relayed(handle)

    assert (answered.status, answered.body) == (status, {"message": "in Braze's words"})
    assert len(braze.requests()) == 1


@pytest.mark.parametrize(
    ("throttle", "header", "value"),
    [
        (Throttle(9), "retry-after", "9"),
        (Throttle(9, "x-ratelimit-retry-after"), "x-ratelimit-retry-after", "9"),
        (Throttle(9, "reset-delta"), "x-ratelimit-reset", "9"),
    ],
)
def test_a_throttled_answer_keeps_the_wait_braze_asked_for(
    handle: Invoked, braze: BrazeSimulator, throttle: Throttle, header: str, value: str
) -> None:
    braze.faults.add("POST *", throttle)

    answered = relayed(handle)

    assert (answered.status, answered.headers[header]) == (429, value)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Status(401), 502, "upstream_unauthorized"),
        (Status(403), 502, "upstream_unauthorized"),
        (Status(302), 503, "upstream_unavailable"),
        (Status(404, "<html>"), 503, "upstream_unavailable"),
        (Status(503, "<html>"), 503, "upstream_unavailable"),
        (Status(502, "<html>"), 409, "upstream_no_answer"),
        (Status(504, {"message": "timed out"}), 409, "upstream_no_answer"),
        (Garbage(), 409, "upstream_no_answer"),
        (WrongShape(), 409, "upstream_no_answer"),
        (Reset(), 409, "upstream_no_answer"),
        (ResetAfterEffect(), 409, "upstream_no_answer"),
        (HangAfterAccept(0.05), 409, "upstream_no_answer"),
    ],
    ids=str,
)
def test_what_is_no_answer_of_brazes_is_an_error_of_ours_and_not_repeated(
    handle: Invoked, braze: BrazeSimulator, fault: Any, status: int, code: str
) -> None:
    braze.faults.add("POST *", fault)

    answered = relayed(handle)

    assert (answered.status, answered.body["code"]) == (status, code)
    assert "member-1" not in answered.text
    assert len(braze.requests()) == 1


def test_without_a_connection_the_caller_may_send_it_again(aws: Aws) -> None:
    answered = relayed(build(aws.settings(BRAZE_REST_URL=f"http://127.0.0.1:{closed_port()}")))

    assert (answered.status, answered.body["code"]) == (503, "upstream_unreachable")
    assert json.loads(answered.text)["message"] == "nothing was done"


def test_without_a_key_nothing_is_sent(aws: Aws, braze: BrazeSimulator) -> None:
    aws.leave_empty("braze")

    answered = relayed(build(aws.settings(BRAZE_REST_URL=braze.url)))

    assert (answered.status, answered.body["code"]) == (500, "misconfigured")
    assert braze.requests() == []
