"""Trigger delivery while Braze or the tables fail: never sent twice, never lost without a word."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from infra.local.simulators import (
    BrazeSimulator,
    ErrorInside200,
    Fault,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetAfterEffect,
    ResetMidBody,
    Status,
    Throttle,
    WrongShape,
)
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws
from tests.integration.support.sockets import closed_port
from trigger_relay.delivery import build
from trigger_relay.triggers import Trigger

BODY = msgspec.json.encode(
    Trigger("trg-1", "campaign", "campaign-1", [{"external_user_id": "member-1"}], {"offer_title": "Free coffee"})
).decode()


def built(aws: Aws, url: str) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=url))


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator) -> Invoked:
    return built(aws, braze.url)


def stays(handle: Invoked) -> bool:
    return failures(handle(sqs_event([sqs_record(BODY)]), Context())) == ["message-1"]


def state(aws: Aws) -> Any:
    item = aws.item("ledger", "trg-1")
    return item and (item["state"], item.get("reason"))


@pytest.mark.parametrize(
    "fault",
    [
        *(Status(401), Status(403), Status(500), Status(503)),
        *(
            Throttle(9),
            Throttle(9, "x-ratelimit-retry-after"),
            Throttle(9, "reset-epoch"),
            Throttle(9, "reset-delta"),
        ),
    ],
    ids=str,
)
def test_a_trigger_that_was_turned_away_is_sent_later_once(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, fault: Fault
) -> None:
    braze.faults.add("POST *", fault)
    assert stays(handle)
    assert state(aws) == ("queued", None)

    braze.faults.clear()
    assert not stays(handle)
    assert len(braze.sends) == 1
    assert state(aws) == ("sent", None)


@pytest.mark.parametrize(
    "fault",
    [
        *(ResetAfterEffect(), HangAfterAccept(0.05), ResetMidBody(), Reset(), Garbage(), WrongShape()),
        *(Status(408), Status(502), Status(504), Status(529)),
    ],
    ids=str,
)
def test_a_trigger_whose_answer_was_lost_ends_as_unknown_and_is_never_repeated(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, fault: Fault
) -> None:
    braze.faults.add("POST *", fault, times=1)

    assert not stays(handle)
    assert not stays(handle)

    assert len(braze.requests()) == 1
    assert state(aws) in (("unknown", "upstream_no_answer"), ("unknown", "upstream_garbled"))


def test_a_2xx_that_says_why_it_did_nothing_is_a_failure(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", ErrorInside200("Out of order"))

    assert not stays(handle)
    assert state(aws) == ("failed", "no_success")


def test_a_2xx_of_another_shape_is_unknown(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", WrongShape("types"))

    assert not stays(handle)
    assert state(aws) == ("unknown", "upstream_garbled")


def test_a_blip_is_over_before_the_queue_hears_of_it(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", Status(503), times=1)

    assert not stays(handle)
    assert (len(braze.requests()), len(braze.sends)) == (2, 1)


def test_a_throttled_braze_is_not_asked_again_at_once(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", Throttle(9))

    assert stays(handle)
    assert len(braze.requests()) == 1


def test_without_a_connection_a_trigger_waits(aws: Aws) -> None:
    assert stays(built(aws, f"http://127.0.0.1:{closed_port()}"))
    assert state(aws) == ("queued", None)


def test_a_trigger_is_not_sent_while_the_ledger_is_out_of_reach(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator
) -> None:
    faulty_aws.refuse("UpdateItem")

    assert stays(built(aws, braze.url))
    assert braze.requests() == []


def test_a_trigger_whose_outcome_could_not_be_written_is_not_sent_again(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator
) -> None:
    faulty_aws.refuse_after("UpdateItem", 1)
    handle = built(aws, braze.url)
    assert stays(handle)

    faulty_aws.heal()
    assert stays(handle), "the lease still runs"
    assert len(braze.sends) == 1


@pytest.mark.parametrize("missing", [True, False], ids=["no value", "out of reach"])
def test_a_trigger_that_was_never_sent_for_want_of_a_key_can_be_claimed_again(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, missing: bool
) -> None:
    if missing:
        aws.leave_empty("braze")
    else:
        faulty_aws.refuse("GetSecretValue")

    assert stays(built(aws, braze.url))
    assert state(aws) == ("queued", None)


@pytest.mark.parametrize("form", ["retry-after", "x-ratelimit-retry-after", "reset-epoch", "reset-delta"])
def test_a_throttled_trigger_waits_as_long_as_braze_asked(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, form: Any
) -> None:
    waits: list[int] = []
    faulty_aws.answer("ChangeMessageVisibility", lambda body: waits.append(json.loads(body)["VisibilityTimeout"]))
    braze.faults.add("POST *", Throttle(600, form))

    assert stays(built(aws, braze.url))
    assert waits[0] >= 600
