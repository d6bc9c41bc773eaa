"""From TriggerQueue to Braze, each trigger once."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from infra.local.simulators import BrazeSimulator, Status
from shared.ledger import Ledger
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record
from trigger_relay.delivery import build
from trigger_relay.triggers import Recipient, Trigger

KEPT = ("payload", "unresolved")  # with an unknown trigger, for an operator
OFFER = {"offer_title": "Free coffee"}


def trigger(
    target_id: str = "campaign-1",
    kind: Any = "campaign",
    trigger_id: str = "trg-1",
    to: Any = "member-1",
    properties: Any = OFFER,
    **more: Any,
) -> Trigger:
    addresses = [{"external_user_id": each} if isinstance(each, str) else each for each in ([to] if to else [])]
    recipients = [Recipient(address) for address in addresses]
    return Trigger(trigger_id, kind, target_id, recipients, msgspec.Raw(msgspec.json.encode(properties)), **more)


def triggers(number: int, target_id: str = "campaign-1", first: int = 0, **more: Any) -> list[Trigger]:
    """As many triggers for as many members."""
    return [
        trigger(target_id, trigger_id=f"trg-{at}", to=f"member-{at}", accepted_at=at, **more)
        for at in range(first, first + number)
    ]


def body(sent: Trigger) -> str:
    return msgspec.json.encode(sent).decode()


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=braze.url, BROADCAST_ALLOWED_IDS="campaign-1"))


def run(handle: Invoked, *bodies: str, remaining_ms: int = 120_000) -> list[str]:
    records = [sqs_record(text, f"message-{position}") for position, text in enumerate(bodies)]
    return failures(handle(sqs_event(records), Context(remaining_ms)))


def entry(aws: Aws, trigger_id: str = "trg-1") -> dict[str, Any]:
    found = aws.item("ledger", trigger_id)
    assert found is not None
    return {name: value for name, value in found.items() if name not in ("id", "expires_at", "entered_at", *KEPT)}


def test_a_campaign_is_sent_with_its_properties(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    assert run(handle, body(trigger())) == []

    [sent] = braze.sends
    assert (sent.kind, sent.target_id, sent.recipient, sent.properties) == ("campaign", "campaign-1", "member-1", OFFER)
    assert entry(aws) == {"state": "sent", "dispatch_id": sent.dispatch_id}


def test_a_canvas_is_sent_with_its_context(handle: Invoked, braze: BrazeSimulator) -> None:
    assert run(handle, body(trigger("canvas-1", "canvas"))) == []

    [request] = braze.requests()
    assert request.path == "/canvas/trigger/send"
    assert request.json() == {
        "canvas_id": "canvas-1",
        "recipients": [{"external_user_id": "member-1", "context": OFFER}],
    }


def test_a_member_known_by_email_only_is_reached(handle: Invoked, braze: BrazeSimulator) -> None:
    address = {"email": "ann@example.com", "prioritization": ["identified", "most_recently_updated"]}

    assert run(handle, body(trigger(to=address))) == []
    assert [(sent.recipient_type, sent.recipient) for sent in braze.sends] == [("email", "ann@example.com")]


def test_a_broadcast_is_sent_as_one(handle: Invoked, braze: BrazeSimulator) -> None:
    assert run(handle, body(trigger(broadcast=True, to=None))) == []
    assert [sent.recipient_type for sent in braze.sends] == ["broadcast"]


@pytest.mark.parametrize("target_id", ["campaign-2", "canvas-1"])
def test_a_broadcast_that_is_not_allowed_any_longer_fails_with_a_reason_and_takes_no_place(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, target_id: str
) -> None:
    kind = target_id.partition("-")[0]
    queued = [body(trigger(target_id, kind, f"trg-{number}", broadcast=True, to=None)) for number in range(1, 12)]
    allowed = body(trigger(trigger_id="trg-12", broadcast=True, to=None))

    assert run(handle, *queued, allowed) == []

    assert [request.json()["campaign_id"] for request in braze.requests()] == ["campaign-1"]
    assert entry(aws) == {
        "state": "failed",
        "reason": "broadcast_not_allowed",
        "detail": "its id is not in the parameter BroadcastAllowedIds",
    }
    assert [item["id"] for item in aws.items("cache") if target_id in item["id"]] == [], "it counts for no minute"


def test_members_of_a_campaign_that_may_not_be_broadcast_get_their_messages(
    handle: Invoked, braze: BrazeSimulator
) -> None:
    assert run(handle, body(trigger("canvas-1", "canvas"))) == []
    assert len(braze.sends) == 1


def test_a_trigger_delivered_twice_is_sent_once(handle: Invoked, braze: BrazeSimulator) -> None:
    assert run(handle, body(trigger()), body(trigger())) == []
    assert run(handle, body(trigger())) == []

    assert len(braze.sends) == 1


def test_a_canvas_that_is_paused_is_sent_with_brazes_notice(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(handle, body(trigger("canvas-paused", "canvas"))) == []

    found = entry(aws)
    assert found["state"] == "sent"
    assert found["notice"].startswith("The Canvas is paused")
    assert braze.sends == []
    assert "CanvasNotices" in capsys.readouterr().out


def test_what_braze_skipped_is_counted_in_the_outcome(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    answer = {"dispatch_id": "d-1", "message": "success", "errors": [{"type": "BAD"}, {"type": "WORSE"}]}
    braze.faults.add("POST *", Status(201, answer))

    assert run(handle, body(trigger())) == []
    assert entry(aws) == {
        "state": "sent",
        "dispatch_id": "d-1",
        "detail": "Braze skipped 2 recipients or fields",
    }


@pytest.mark.parametrize(
    ("status", "answer", "reason", "words"),
    [
        (400, {"message": "Invalid Campaign ID"}, "status_400", "Invalid Campaign ID"),
        (400, {"message": "No Recipients", "errors": []}, "status_400", "No Recipients"),
        (422, {"message": "Unprocessable"}, "status_422", "Unprocessable"),
        (413, {"message": "x" * 500}, "status_413", "x" * 200),
        (413, "<html>Request Entity Too Large</html>", "status_413", None),
        (201, {"message": "The campaign is archived"}, "no_success", "The campaign is archived"),
    ],
)
def test_a_refusal_of_brazes_is_final_and_kept_in_its_own_words(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, status: int, answer: Any, reason: str, words: str | None
) -> None:
    braze.faults.add("POST *", Status(status, answer))

    assert run(handle, body(trigger())) == []
    assert run(handle, body(trigger())) == []

    assert len(braze.requests()) == 1
    assert entry(aws) == {"state": "failed", "reason": reason} | ({"detail": words} if words else {})


@pytest.mark.parametrize("answer", ["<html>no such host</html>", {"message": ["odd"]}, {"error": "not found"}])
def test_a_4xx_that_is_not_in_brazes_words_is_no_outcome(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, answer: Any
) -> None:
    braze.faults.add("POST *", Status(404, answer))

    assert run(handle, body(trigger())) == ["message-0"]
    assert entry(aws) == {"state": "queued"}


@pytest.mark.parametrize(
    "answer",
    [
        {"message": "success"},
        {"message": "success", "dispatch_id": 7},
        {"message": "Success", "dispatch_id": "d-1"},
        {"dispatch_id": "d-1"},
        {},
        [],
        "<html>",
    ],
)
def test_a_success_that_braze_does_not_document_is_unknown(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, answer: Any
) -> None:
    braze.faults.add("POST *", Status(201, answer))

    assert run(handle, body(trigger())) == []
    assert entry(aws) == {
        "state": "unknown",
        "reason": "upstream_garbled",
        "detail": "Braze may or may not have sent this message",
    }


@pytest.mark.parametrize(
    "poison",
    [
        *("not JSON", "{}", '{"trigger_id": "t", "kind": "sms"}', '{"more": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        body(trigger(trigger_id="")),
        body(trigger(trigger_id="t" * 3000)),
        body(trigger(first=1, entered_at=7)).replace('_at":7', f'_at":{"7" * 3000}'),
    ],
    ids=lambda poison: poison[:40],
)
def test_a_message_nobody_can_read_stays_and_stops_no_other(
    handle: Invoked, braze: BrazeSimulator, poison: str
) -> None:
    assert run(handle, poison, body(trigger())) == ["message-0"]
    assert len(braze.sends) == 1


def test_triggers_that_time_does_not_reach_are_left_to_the_queue(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    assert run(handle, body(trigger()), remaining_ms=60_000) == ["message-0"]
    assert braze.requests() == []
    assert aws.items("ledger") == []


def test_triggers_of_one_campaign_go_out_together_in_the_order_they_were_accepted(
    handle: Invoked, braze: BrazeSimulator
) -> None:
    sent = triggers(60)

    assert run(handle, *map(body, reversed(sent))) == []
    assert [len(request.json()["recipients"]) for request in braze.requests()] == [50, 10]
    assert [one.recipient for one in braze.sends] == [f"member-{number}" for number in range(60)]


def test_each_outcome_is_counted(handle: Invoked, braze: BrazeSimulator, capsys: pytest.CaptureFixture[str]) -> None:
    braze.faults.add("POST /canvas/*", Status(200, "<html>"))
    run(
        handle,
        body(trigger()),
        body(trigger("unheard-of", trigger_id="trg-2")),
        body(trigger("canvas-1", "canvas", trigger_id="trg-3")),
    )

    [metrics] = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"TriggersSent"' in line]
    assert [metrics[name] for name in ("TriggersSent", "TriggersFailed", "TriggersUnknown")] == [[1.0]] * 3


def test_a_worker_that_died_mid_send_leaves_its_trigger_in_progress_and_then_unknown(
    aws: Aws, braze: BrazeSimulator
) -> None:
    now = time.time()
    handle = build(aws.settings(BRAZE_REST_URL=braze.url), lambda: now)
    Ledger(aws.dynamodb, aws.table("ledger"), lambda: now).claim("trg-1", 180)  # and then its worker was gone

    assert run(handle, body(trigger())) == ["message-0"]

    now += 181
    assert run(handle, body(trigger())) == []
    found = aws.items("ledger")[0]
    assert (found["state"], found["reason"]) == ("unknown", "worker_died")
    assert msgspec.json.decode(found["payload"], type=Trigger).trigger_id == "trg-1"
    assert braze.requests() == []
