"""POST /triggers and its status: recorded, queued, and only then acknowledged."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from infra.local.simulators import BrazeSimulator
from shared.ledger import Ledger
from shared.outcomes import Outcome, State
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Context, Invoked, failures, get, post, sqs_event
from tests.integration.support.faulty_aws import FaultyAws
from trigger_relay.delivery import build as build_delivery
from trigger_relay.intake import build
from trigger_relay.status import build as build_status

SENT = {"braze_campaign_id": "campaign-1", "customer identifier": "member-1", "Offer Title": "Free coffee"}


@pytest.fixture
def handle(aws: Aws) -> Invoked:
    return build(aws.settings(BROADCAST_ALLOWED_IDS="campaign-1,canvas-1"))


def send(handle: Invoked, body: Any = SENT, *, idempotency_key: str = "") -> Answered:
    return post(handle, "POST /triggers", body, idempotency_key=idempotency_key)


def status(aws: Aws, trigger_id: str) -> Answered:
    return get(build_status(aws.settings()), "GET /triggers/{trigger_id}", path={"trigger_id": trigger_id})


def test_a_trigger_is_acknowledged_with_its_id_once_it_is_queued(aws: Aws, handle: Invoked) -> None:
    answered = send(handle)

    trigger_id = answered.body["trigger_id"]
    assert answered.status == 202
    assert answered.body == {"ok": True, "trigger_id": trigger_id, "state": "queued", "repeated": False}
    assert re.fullmatch("trg-[0-9a-f]{32}", trigger_id)
    [queued] = aws.queued("triggers")
    assert abs(queued.pop("accepted_at") - time.time()) < 60
    assert queued == {
        "trigger_id": trigger_id,
        "kind": "campaign",
        "target_id": "campaign-1",
        "recipients": [{"address": {"external_user_id": "member-1"}}],
        "properties": {"offer_title": "Free coffee"},
        "correlation_id": "request-1",
    }


def test_the_trailing_comma_of_sessionms_own_sample_is_let_pass(aws: Aws, handle: Invoked) -> None:
    text = '{"braze_campaign_id":"campaign-1","braze_canvas_id":"{{CANVAS ID}}","user_id":"member-1",}'

    assert send(handle, text).status == 202
    assert len(aws.queued("triggers")) == 1


def test_a_broadcast_is_queued_for_an_allowed_id_only(aws: Aws, handle: Invoked) -> None:
    assert send(handle, SENT | {"broadcast": "true"}).status == 202
    refused = send(handle, SENT | {"broadcast": "true", "braze_campaign_id": "campaign-2"})

    assert (refused.status, refused.body["code"], refused.body["field"]) == (403, "broadcast_not_allowed", "broadcast")
    [queued] = aws.queued("triggers")
    assert (queued["broadcast"], queued["recipients"]) == (True, [])


def test_nothing_may_be_broadcast_unless_it_is_listed(aws: Aws) -> None:
    handle = build(aws.settings(BROADCAST_ALLOWED_IDS=""))

    assert send(handle, SENT | {"broadcast": True}).status == 403


def test_a_repeat_is_known_and_goes_to_the_queue_again_while_it_is_not_sent(aws: Aws, handle: Invoked) -> None:
    first, second = send(handle), send(handle)

    assert (second.body["repeated"], second.body["trigger_id"]) == (True, first.body["trigger_id"])
    # The first request may have died between ledger and queue, so both are queued; delivery sends once.
    assert len(aws.queued("triggers")) == 2


@pytest.mark.parametrize("state", [State.SENT, State.FAILED, State.UNKNOWN])
def test_a_repeat_of_what_is_done_is_not_queued(aws: Aws, handle: Invoked, state: State) -> None:
    trigger_id = send(handle).body["trigger_id"]
    aws.queued("triggers")
    ledger = Ledger(aws.dynamodb, aws.table("ledger"))
    ledger.claim(trigger_id, 180)
    ledger.settle(trigger_id, Outcome(state, "reason"))

    answered = send(handle)

    assert (answered.status, answered.body["state"], answered.body["repeated"]) == (202, state.value, True)
    assert aws.queued("triggers") == []


def test_a_repeat_of_what_is_under_way_is_told_as_queued(aws: Aws, handle: Invoked) -> None:
    trigger_id = send(handle).body["trigger_id"]
    Ledger(aws.dynamodb, aws.table("ledger")).claim(trigger_id, 180)

    assert send(handle).body == {"ok": True, "trigger_id": trigger_id, "state": "queued", "repeated": True}


def test_the_callers_key_tells_a_repeat_from_a_new_event(handle: Invoked) -> None:
    ids = [send(handle, SENT | {"at": at}, idempotency_key=key).body for at, key in ((1, "a"), (2, "a"), (1, "b"))]

    assert [answer["repeated"] for answer in ids] == [False, True, False]


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ("", 400, "invalid_json", "body"),
        ("offer=1", 400, "invalid_json", "body"),
        ("[]", 400, "not_an_object", "body"),
        ("[" * 100_000, 400, "invalid_json", "body"),
        ("{}", 400, "missing_field", "braze_campaign_id"),
        (SENT | {"offer_title": "twice"}, 400, "invalid_field", "offer_title"),
        (SENT | {"offer": {"title": "twice"}, "offer_title": ""}, 400, "invalid_field", "offer_title"),
        (SENT | {"offer": {"title": "twice"}}, 400, "invalid_field", "offer.title"),
        (json.dumps(SENT)[:-1] + ', "offer title": "twice"}', 400, "invalid_field", "offer_title"),
        (SENT | {"braze_canvas_id": "canvas-1"}, 400, "invalid_field", "braze_canvas_id"),
        ({"braze_campaign_id": "campaign-1"}, 400, "no_recipients", "recipients"),
        (SENT | {"text": "x" * 51_200}, 413, "too_large", "trigger_properties"),
        (SENT | {"text": "x" * 1_048_576}, 413, "too_large", "body"),
    ],
)
def test_a_payload_that_cannot_be_sent_is_refused_and_leaves_nothing(
    aws: Aws, handle: Invoked, body: Any, status: int, code: str, field: str
) -> None:
    answered = send(handle, body)

    assert (answered.status, answered.body["code"], answered.body["field"]) == (status, code, field)
    assert answered.body["hint"]
    assert aws.queued("triggers") == []
    assert aws.items("ledger") == []


@pytest.mark.parametrize("depth", [31, 2_000, 5_000])
def test_a_payload_nested_beyond_reason_is_refused_and_does_not_crash(handle: Invoked, depth: int) -> None:
    start, end = ('{"a":', "}") if depth % 2 else ("[", "]")
    text = json.dumps(SENT)[:-1] + ', "deep": ' + start * depth + "1" + end * depth + "}"

    answered = send(handle, text)

    assert (answered.status, answered.body["field"]) == (400, "body")


@pytest.mark.parametrize(("start", "end"), [('{"a":', "}"), ("[", "]")])
def test_a_payload_nested_30_deep_is_taken(handle: Invoked, start: str, end: str) -> None:
    assert send(handle, json.dumps(SENT)[:-1] + ', "deep": ' + start * 30 + "1" + end * 30 + "}").status == 202


def test_a_text_sqs_itself_would_refuse_travels_escaped(aws: Aws, handle: Invoked) -> None:
    assert send(handle, SENT | {"text": "\uffff"}).status == 202

    [record] = aws.received("triggers")
    assert "\uffff" not in record["body"]
    assert json.loads(record["body"])["properties"]["text"] == "\uffff"


def test_without_a_queue_nothing_is_acknowledged_and_a_repeat_mends_it(aws: Aws, faulty_aws: FaultyAws) -> None:
    faulty_aws.refuse("SendMessageBatch")
    handle = build(aws.settings())
    refused = send(handle)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")

    faulty_aws.heal()
    assert send(handle).body["repeated"] is True
    assert len(aws.queued("triggers")) == 1


def test_without_a_ledger_nothing_is_queued(aws: Aws, faulty_aws: FaultyAws) -> None:
    faulty_aws.refuse("PutItem")

    assert send(build(aws.settings())).status == 503
    assert aws.queued("triggers") == []


@pytest.mark.parametrize(
    ("outcome", "state", "facts"),
    [
        (None, "queued", {}),
        (Outcome(State.SENDING), "queued", {}),
        (Outcome(State.SENT, dispatch_id="d-1"), "sent", {"dispatch_id": "d-1"}),
        (Outcome(State.SENT, dispatch_id="d-1", notice="paused"), "sent", {"dispatch_id": "d-1", "notice": "paused"}),
        (
            Outcome(State.FAILED, "status_400", "Invalid Campaign ID"),
            "failed",
            {"reason": "status_400", "detail": "Invalid Campaign ID"},
        ),
        (Outcome(State.UNKNOWN, "upstream_no_answer"), "unknown", {"reason": "upstream_no_answer"}),
    ],
)
def test_the_status_of_a_trigger_says_what_became_of_it(
    aws: Aws, handle: Invoked, outcome: Outcome | None, state: str, facts: dict[str, str]
) -> None:
    trigger_id = send(handle).body["trigger_id"]
    ledger = Ledger(aws.dynamodb, aws.table("ledger"))
    if outcome is not None:
        ledger.claim(trigger_id, 180)
        if outcome.state is not State.SENDING:
            ledger.settle(trigger_id, outcome)

    answered = status(aws, trigger_id)

    blank = {"dispatch_id": None, "notice": None, "reason": None, "detail": None, "recipients": None}
    assert (answered.status, answered.body) == (
        200,
        {"ok": True, "trigger_id": trigger_id, "state": state, "correlation_id": "request-1", **blank, **facts},
    )


def test_a_trigger_keeps_the_correlation_id_of_the_request_that_made_it(
    aws: Aws, handle: Invoked, deliver: Callable[[], None]
) -> None:
    made = post(handle, "POST /triggers", SENT, x_correlation_id="the-first-request")
    repeated = post(handle, "POST /triggers", SENT, x_correlation_id="a-repeat-of-it")
    trigger_id = made.body["trigger_id"]
    assert (repeated.body["trigger_id"], repeated.body["repeated"]) == (trigger_id, True)
    assert status(aws, trigger_id).body["correlation_id"] == "the-first-request"
    deliver()

    after = status(aws, trigger_id).body
    assert (after["state"], after["correlation_id"]) == ("sent", "the-first-request")


def test_a_trigger_of_before_correlation_ids_were_kept_is_shown_without_one(aws: Aws) -> None:
    trigger_id = f"trg-{'0' * 32}"
    Ledger(aws.dynamodb, aws.table("ledger")).enter(trigger_id)

    assert "correlation_id" not in (aws.item("ledger", trigger_id) or {})
    answered = status(aws, trigger_id)
    assert (answered.status, answered.body["state"], answered.body["correlation_id"]) == (200, "queued", None)


@pytest.mark.parametrize("trigger_id", ["trg-unknown", "tag#once-1", "", "../x"])
def test_an_id_nobody_was_given_is_404_and_no_window_on_other_entries(aws: Aws, trigger_id: str) -> None:
    Ledger(aws.dynamodb, aws.table("ledger")).enter("tag#once-1")

    answered = status(aws, trigger_id)

    assert (answered.status, answered.body["field"]) == (404, "trigger_id")


# --- several recipients -----------------------------------------------------------------------------------------------

SEVERAL = {
    "braze_campaign_id": "campaign-1",
    "schedule id": "sch-1",
    "offer title": "Free coffee",
    "recipients": [{"customer identifier": "m-1", "points": 5}, "m-2", {"email address": "ada@example.com"}],
}


@pytest.fixture
def deliver(aws: Aws, braze: BrazeSimulator) -> Callable[[], None]:
    """Works off what is in the queue."""
    handle = build_delivery(aws.settings(BRAZE_REST_URL=braze.url))

    def work() -> None:
        while records := aws.received("triggers"):
            assert failures(handle(sqs_event(records), Context())) == []

    return work


def test_a_trigger_for_several_members_is_one_message_and_a_send_for_each(
    aws: Aws, handle: Invoked, deliver: Callable[[], None], braze: BrazeSimulator
) -> None:
    trigger_id = send(handle, SEVERAL).body["trigger_id"]
    assert status(aws, trigger_id).body["recipients"] == {
        **{"count": 3, "queued": 3, "unknown": 0, "failed": 0, "sent": 0},
        "each": [{"state": "queued", "dispatch_id": None, "notice": None, "reason": None, "detail": None}] * 3,
    }
    deliver()

    assert [(sent.recipient, sent.properties) for sent in braze.sends] == [
        ("m-1", {"offer_title": "Free coffee", "schedule_id": "sch-1", "points": 5}),
        ("m-2", {"offer_title": "Free coffee", "schedule_id": "sch-1"}),
        ("ada@example.com", {"offer_title": "Free coffee", "schedule_id": "sch-1"}),
    ]
    answered = status(aws, trigger_id).body
    assert (answered["state"], answered["recipients"]["sent"], answered["dispatch_id"]) == ("sent", 3, None)
    assert [each["dispatch_id"] for each in answered["recipients"]["each"]] == [braze.sends[0].dispatch_id] * 3
    assert not {"m-1", "m-2", "ada@example.com"} & set(json.dumps(answered).split('"')), "never who they are"


def test_the_same_request_for_several_members_is_the_same_trigger_with_its_state(
    handle: Invoked, deliver: Callable[[], None], braze: BrazeSimulator
) -> None:
    first, second = send(handle, SEVERAL), send(handle, SEVERAL)
    assert (second.body["repeated"], second.body["state"]) == (True, "queued")
    deliver()
    third = send(handle, SEVERAL)

    assert third.body == {**first.body, "state": "sent", "repeated": True}
    assert len(braze.sends) == 3


@pytest.mark.parametrize(
    ("states", "together"),
    [
        (["sent", "failed", "sent"], "failed"),
        (["sent", "failed", "unknown"], "unknown"),
        (["failed", "unknown", None], "queued"),
        (["sent", "sent", "sending"], "queued"),
    ],
)
def test_the_state_of_several_is_the_first_anybody_must_know_of(
    aws: Aws, handle: Invoked, states: list[str | None], together: str
) -> None:
    trigger_id = send(handle, SEVERAL).body["trigger_id"]
    ledger = Ledger(aws.dynamodb, aws.table("ledger"))
    entry = ledger.find(trigger_id)
    assert entry is not None
    for number, state in enumerate(states, 1):
        if state is not None:
            ledger.claim(f"{trigger_id}.{entry.entered_at}.{number}", 180)
        if state not in (None, "sending"):
            ledger.settle(f"{trigger_id}.{entry.entered_at}.{number}", Outcome(State(state), "reason"))

    assert status(aws, trigger_id).body["state"] == together


def test_the_same_event_of_another_week_is_sent_again_to_everybody(
    aws: Aws, braze: BrazeSimulator, deliver: Callable[[], None]
) -> None:
    now = time.time()
    handle = build(aws.settings(BROADCAST_ALLOWED_IDS=""), lambda: now)
    send(handle, SEVERAL)
    deliver()
    now += 7 * 86_400
    assert send(handle, SEVERAL).body["repeated"] is False
    deliver()

    assert len(braze.sends) == 6


@pytest.mark.parametrize("flag", [True, "true", 1])
def test_an_urgent_trigger_has_a_queue_of_its_own(aws: Aws, handle: Invoked, flag: Any) -> None:
    assert send(handle, SENT | {"urgent": flag}).status == 202

    assert aws.queued("triggers") == []
    [queued] = aws.queued("urgent-triggers")
    assert queued["properties"] == {"offer_title": "Free coffee"}


def test_names_and_kinds_of_identifiers_are_configuration(aws: Aws) -> None:
    settings = aws.settings(TRIGGER_FIELDS="loyalty card=customer_identifier", TRIGGER_CUSTOMER_IDENTIFIER="alias:card")
    answered = send(build(settings), {"braze_campaign_id": "campaign-1", "Loyalty Card": "LC-1"})

    assert answered.status == 202
    [queued] = aws.queued("triggers")
    assert queued["recipients"] == [{"address": {"user_alias": {"alias_name": "LC-1", "alias_label": "card"}}}]
