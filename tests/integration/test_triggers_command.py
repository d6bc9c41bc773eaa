"""`make triggers` and `make resend` on emulated AWS: nothing unknown is forgotten, and nothing is sent twice."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import pytest
from rich.console import Console

from infra import triggers
from infra.local.simulators import BrazeSimulator, ResetAfterEffect
from infra.local.template import TEMPLATE_PATH, parse
from shared.ledger import Ledger
from shared.outcomes import Outcome, State
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws
from trigger_relay.delivery import build
from trigger_relay.triggers import Recipient, Trigger


@pytest.fixture
def stack(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """A stack, named in STACK, with the ledger and the queue of template.yaml."""
    resources = {name: parse(TEMPLATE_PATH)["Resources"][name] for name in ("LedgerTable", "TriggerQueue")}
    resources["LedgerTable"]["Properties"]["TableName"] = f"{aws.name}-ledger"
    resources["TriggerQueue"]["Properties"] = {"QueueName": f"{aws.name}-triggers"}
    aws.made.update({f"{aws.name}-ledger", f"queue {aws.name}-triggers", f"{aws.name}-triggers"})
    cloudformation = boto3.client("cloudformation", endpoint_url=aws.url)
    cloudformation.create_stack(StackName=aws.name, TemplateBody=json.dumps({"Resources": resources}))
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
