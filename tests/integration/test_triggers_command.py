"""`make triggers` and `make resend` on emulated AWS: nothing unknown is forgotten, and nothing is sent twice."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import pytest
from rich.console import Console

from infra.commands import triggers
from infra.local.simulators import BrazeSimulator, ResetAfterEffect
from infra.template import TEMPLATE_PATH, parse
from shared.ledger import Ledger
from shared.outcomes import Outcome, State
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, post, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws
from trigger_relay.delivery import build
from trigger_relay.intake import build as build_intake
from trigger_relay.track_delivery import build as build_tracks
from trigger_relay.triggers import Recipient, Trigger

TIME = "2026-11-22T12:30:00+00:00"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return parse(TEMPLATE_PATH)


@pytest.fixture
def stack(aws: Aws, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """A stack, named in STACK, with the ledger and the queues of template.yaml."""
    ledger = document["Resources"]["LedgerTable"]
    resources = {
        "LedgerTable": ledger | {"Properties": ledger["Properties"] | {"TableName": f"{aws.name}-ledger"}},
        "TriggerQueue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": f"{aws.name}-triggers"}},
        "TrackQueue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": f"{aws.name}-tracks"}},
    }
    aws.made.update({f"{aws.name}-ledger", f"queue {aws.name}-triggers", f"queue {aws.name}-tracks"})
    template = {name: document[name] for name in ("Parameters", "Conditions")} | {"Resources": resources}
    cloudformation = boto3.client("cloudformation", endpoint_url=aws.url)
    cloudformation.create_stack(StackName=aws.name, TemplateBody=json.dumps(template))
    monkeypatch.setenv("STACK", aws.name)
    yield aws
    cloudformation.delete_stack(StackName=aws.name)


@pytest.fixture
def handle(stack: Aws, braze: BrazeSimulator) -> Invoked:
    """A worker whose call for members 1, 2 and 3 broke off after Braze had it."""
    handle = build(stack.settings(BRAZE_REST_URL=braze.url))
    braze.faults.add("POST *", ResetAfterEffect(), times=1)
    several = Trigger(
        "trg-b", "campaign", "campaign-1", [Recipient({"external_user_id": f"m-{n}"}) for n in (2, 3)], first=1
    )
    single = Trigger("trg-a", "campaign", "campaign-1", [Recipient({"external_user_id": "m-1"})])
    records = [sqs_record(msgspec.json.encode(each).decode(), each.trigger_id) for each in (single, several)]
    assert failures(handle(sqs_event(records), Context())) == []
    braze.forget()
    return handle


def said(command: str, **environment: str) -> tuple[int, str]:
    out = io.StringIO()
    code = triggers.run(command, {**os.environ, **environment}, Console(file=out, width=200))
    return code, out.getvalue()


def states(aws: Aws) -> dict[str, Any]:
    return {item["id"]: (item["state"], "unresolved" in item) for item in aws.items("ledger")}


def worked_off(aws: Aws, handle: Invoked) -> None:
    while records := aws.received("triggers"):
        assert failures(handle(sqs_event(records), Context())) == []


@pytest.mark.usefixtures("handle")
def test_unknown_triggers_are_listed() -> None:
    code, text = said("list")

    assert code == 0
    assert all(each in text for each in ("trg-a ", "trg-b.0.1 ", "trg-b.0.2 ", "upstream_no_answer", "3 triggers"))


@pytest.mark.usefixtures("handle", "unknown_events")
def test_what_one_was_to_say_is_shown_when_it_is_asked_for() -> None:
    code, text = said("list", TRIGGER="trg-b")

    assert code == 0
    assert [line.split()[0] for line in text.splitlines() if line.startswith("trg-")] == ["trg-b.0.1", "trg-b.0.2"]
    for line in ("  campaign campaign-1", '  to {"external_user_id": "m-2"}', '  to {"external_user_id": "m-3"}'):
        assert line in text.splitlines()
    assert "m-1" not in text
    assert '  event {"external_id": "m-1", "name": "seen"' in said("list", TRIGGER="evt-a")[1]
    assert "m-2" not in said("list")[1], "nobody is named unasked"


def test_an_unknown_broadcast_is_shown_as_one(stack: Aws, braze: BrazeSimulator) -> None:
    handle = build(stack.settings(BRAZE_REST_URL=braze.url, BROADCAST_ALLOWED_IDS="campaign-1"))
    braze.faults.add("POST *", ResetAfterEffect(), times=1)
    properties = msgspec.Raw(b'{"offer_title":"[bold] coffee"}')
    everybody = Trigger("trg-c", "campaign", "campaign-1", [], properties, broadcast=True)
    handle(sqs_event([sqs_record(msgspec.json.encode(everybody).decode())]), Context())

    text = said("list", TRIGGER="trg-c")[1]

    assert '  to "its whole segment"\n  with {"offer_title": "[bold] coffee"}' in text


def test_one_that_is_sent_again_is_sent_once_and_leaves_the_list(
    stack: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    assert said("resend", TRIGGER="trg-a")[0] == 0
    assert "sent again, no outcome yet" in said("list")[1]
    assert said("resend", TRIGGER="trg-a")[0] == 0, "nobody knows whether the first message reached the queue"

    worked_off(stack, handle)

    assert [sent.recipient for sent in braze.sends] == ["m-1"]
    assert states(stack) == {"trg-a": ("sent", False), "trg-b.0.1": ("unknown", True), "trg-b.0.2": ("unknown", True)}
    found = stack.item("ledger", "trg-a")
    assert found is not None
    assert "reason" not in found, "what was said of the first attempt"
    assert said("resend", TRIGGER="trg-a")[0] == 2


def test_of_several_recipients_all_or_one_can_be_sent_again(stack: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    assert "2 messages" in said("resend", TRIGGER="trg-b")[1]
    worked_off(stack, handle)

    assert sorted(sent.recipient for sent in braze.sends) == ["m-2", "m-3"]


@pytest.mark.usefixtures("handle")
def test_one_that_is_dropped_stays_unknown_and_leaves_the_list(stack: Aws) -> None:
    assert said("resend", DROP="trg-a") == (0, "1 messages are off the list\n")

    assert states(stack)["trg-a"] == ("unknown", False)
    assert stack.queued("triggers") == []


@pytest.mark.usefixtures("handle")
def test_one_that_is_under_way_again_is_left_alone(stack: Aws) -> None:
    said("resend", TRIGGER="trg-a")
    Ledger(stack.dynamodb, stack.table("ledger")).claim("trg-a", 180)

    assert said("resend", TRIGGER="trg-a")[0] == 1
    code, text = said("resend", DROP="trg-a")
    assert (code, "was left alone" in text) == (1, True)


def test_more_than_a_page_is_listed(stack: Aws) -> None:
    ledger = Ledger(stack.dynamodb, stack.table("ledger"))
    ids = [f"trg-{number}" for number in range(30)]
    ledger.claim_all(ids, 180)
    ledger.settle_all(dict.fromkeys(ids, Outcome(State.UNKNOWN, "worker_died")), lambda _: "x" * 50_000)

    assert "30 triggers" in said("list")[1]


# --- however late -----------------------------------------------------------------------------------------------------

ONE = {"braze_campaign_id": "campaign-1", "customer identifier": "m-1", "event id": "e-1"}
SEVERAL = {"braze_campaign_id": "campaign-1", "recipients": ["m-1", "m-2"], "event id": "e-1"}
DAY_SECONDS = 86_400


class Relay:
    """Intake and delivery of one stack, at a time that a test says."""

    def __init__(self, aws: Aws, braze: BrazeSimulator) -> None:
        self.now = time.time()
        self._aws = aws
        self._intake = build_intake(aws.settings(), lambda: self.now)
        self._delivery = build(aws.settings(BRAZE_REST_URL=braze.url), lambda: self.now)

    def post(self, body: Any) -> Any:
        return post(self._intake, "POST /triggers", body).body

    def deliver(self) -> None:
        worked_off(self._aws, self._delivery)


@pytest.fixture
def relay(stack: Aws, braze: BrazeSimulator) -> Relay:
    return Relay(stack, braze)


@pytest.mark.parametrize("body", [ONE, SEVERAL], ids=["one", "several"])
@pytest.mark.parametrize("days", [3, 45])
def test_an_unknown_trigger_stays_on_the_list_and_answers_for_its_repeats_until_an_operator_speaks(
    relay: Relay, braze: BrazeSimulator, body: Any, days: int
) -> None:
    braze.faults.add("POST *", ResetAfterEffect(), times=1)
    trigger_id = relay.post(body)["trigger_id"]
    relay.deliver()
    listed = said("list")[1]
    braze.forget()

    relay.now += days * DAY_SECONDS
    repeat = relay.post(body)
    relay.deliver()

    assert repeat == {"ok": True, "trigger_id": trigger_id, "state": "unknown", "repeated": True}
    assert said("list")[1] == listed
    assert braze.requests() == []

    assert said("resend", DROP=trigger_id)[0] == 0
    relay.now += DAY_SECONDS
    assert relay.post(body)["repeated"] is False, "an event of another week"
    relay.deliver()
    assert sorted(sent.recipient for sent in braze.sends) == (["m-1"] if body is ONE else ["m-1", "m-2"])


def test_of_several_members_those_that_are_not_unknown_get_nothing_twice_however_late(
    stack: Aws, relay: Relay, braze: BrazeSimulator
) -> None:
    trigger_id = relay.post(SEVERAL)["trigger_id"]
    [queued] = stack.queued("triggers")
    ledger = Ledger(stack.dynamodb, stack.table("ledger"), lambda: relay.now)
    sent, unknown = (f"{trigger_id}.{queued['entered_at']}.{number}" for number in (1, 2))
    ledger.claim_all([sent, unknown], 180)
    outcomes = {sent: Outcome(State.SENT), unknown: Outcome(State.UNKNOWN, "upstream_no_answer")}
    ledger.settle_all(outcomes, lambda _: json.dumps(queued))
    relay.now += 45 * DAY_SECONDS
    stack.dynamodb.delete_item(TableName=stack.table("ledger"), Key={"id": {"S": sent}})  # it has expired

    assert relay.post(SEVERAL)["state"] == "unknown"
    relay.deliver()
    assert braze.requests() == []


@pytest.mark.parametrize("command", ["TRIGGER", "DROP"])
def test_a_trigger_of_several_expires_once_none_of_them_waits(stack: Aws, relay: Relay, command: str) -> None:
    trigger_id = relay.post(SEVERAL)["trigger_id"]
    [queued] = stack.queued("triggers")
    ids = [f"{trigger_id}.{queued['entered_at']}.{number}" for number in (1, 2)]
    ledger = Ledger(stack.dynamodb, stack.table("ledger"))
    ledger.claim_all(ids, 180)
    ledger.settle_all(dict.fromkeys(ids, Outcome(State.UNKNOWN, "worker_died")), lambda _: json.dumps(queued))

    def expires() -> bool:
        item = stack.item("ledger", trigger_id)
        assert item is not None
        return "expires_at" in item

    kept = [expires(), said("resend", **{command: ids[0]})[0], expires(), said("resend", **{command: ids[1]})[0]]

    assert kept == [False, 0, False, 0]
    assert expires()


def test_one_that_is_dropped_expires_in_a_month(stack: Aws, relay: Relay, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", ResetAfterEffect(), times=1)
    trigger_id = relay.post(ONE)["trigger_id"]
    relay.deliver()
    said("resend", DROP=trigger_id)

    item = stack.item("ledger", trigger_id)
    assert item is not None
    assert 29 * DAY_SECONDS < float(item["expires_at"]) - time.time() < 31 * DAY_SECONDS


# --- events -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unknown_events(stack: Aws, braze: BrazeSimulator) -> Invoked:
    """A worker whose call for an event alone, and one beside a trigger, broke off after Braze had it."""
    handle = build_tracks(stack.settings(BRAZE_REST_URL=braze.url))
    braze.faults.add("POST *", ResetAfterEffect(), times=1)
    records = [
        sqs_record(json.dumps({"id": each, "event": {"external_id": "m-1", "name": "seen", "time": TIME}}), each)
        for each in ("evt-a", "trg-b.0.t1")
    ]
    assert failures(handle(sqs_event(records), Context())) == []
    braze.forget()
    return handle


def tracked(aws: Aws, handle: Invoked) -> None:
    while records := aws.received("tracks"):
        assert failures(handle(sqs_event(records), Context())) == []


@pytest.mark.usefixtures("handle", "unknown_events")
def test_unknown_events_are_listed_beside_the_triggers() -> None:
    text = said("list")[1]

    assert "3 triggers and 2 events are unknown" in text
    assert [line.split()[2] for line in text.splitlines() if "(event)" in line] == ["evt-a", "trg-b.0.t1"]


def test_an_event_that_is_sent_again_is_stored_once_and_leaves_the_list(
    stack: Aws, unknown_events: Invoked, braze: BrazeSimulator
) -> None:
    assert [said("resend", TRIGGER="evt-a")[0] for _ in range(2)] == [0, 0]
    tracked(stack, unknown_events)

    assert stack.queued("triggers") == []
    assert [each.member for each in braze.tracked] == ["external_id:m-1"]
    assert states(stack) == {"evt-a": ("sent", False), "trg-b.0.t1": ("unknown", True)}


@pytest.mark.usefixtures("handle", "unknown_events")
def test_a_message_that_is_sent_again_takes_the_event_beside_it_not_along(stack: Aws) -> None:
    assert "2 messages" in said("resend", TRIGGER="trg-b")[1]
    assert stack.queued("tracks") == []
    assert "1 messages" in said("resend", TRIGGER="trg-b.0.t1")[1]
    assert len(stack.queued("tracks")) == 1


@pytest.mark.usefixtures("unknown_events")
def test_an_event_that_is_dropped_leaves_the_list(stack: Aws) -> None:
    assert said("resend", DROP="evt-a")[0] == 0

    assert states(stack) == {"evt-a": ("unknown", False), "trg-b.0.t1": ("unknown", True)}
    assert stack.queued("tracks") == []


# --- what cannot be done ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("handle")
@pytest.mark.parametrize("environment", [{}, {"TRIGGER": "a", "DROP": "b"}, {"TRIGGER": "trg-unheard-of"}])
def test_what_cannot_be_done_is_said(environment: dict[str, str]) -> None:
    code, text = said("resend", **environment)

    assert code == 2
    assert "trg-" in text


@pytest.mark.usefixtures("stack")
def test_an_aws_that_refuses_is_said_so(faulty_aws: FaultyAws) -> None:
    faulty_aws.refuse("Query")

    code, text = said("list", AWS_ENDPOINT_URL=faulty_aws.url)

    assert (code, "AWS refuses" in text) == (2, True)
