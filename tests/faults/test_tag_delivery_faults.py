"""Tag delivery while SessionM, the tables or the worker fail: nothing lost, and no counter counted twice."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from clients.sessionm import Sessionm
from infra.local.simulators import (
    Fault,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetAfterEffect,
    ResetMidBody,
    SessionmSimulator,
    Status,
    Throttle,
    WrongShape,
)
from shared.deadline import Deadline
from shared.errors import InProgress
from shared.ledger import Ledger
from shared.outcomes import Outcome, State
from tag_import.delivery import TagSender, build
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws
from tests.integration.support.parcels import COUNTER, EXPIRING, parcel
from tests.integration.support.sockets import closed_port

LEDGER_ENTRY = "tag#once-1"


def built(aws: Aws, core_url: str) -> Invoked:
    return build(aws.settings(SESSIONM_CORE_URL=core_url, SESSIONM_CONNECT_URL=core_url))


@pytest.fixture
def handle(aws: Aws, sessionm: SessionmSimulator) -> Invoked:
    return built(aws, sessionm.url)


def stays(handle: Invoked, body: str) -> bool:
    return failures(handle(sqs_event([sqs_record(body)]), Context())) == ["message-1"]


def state_of(aws: Aws, entry_id: str = LEDGER_ENTRY) -> Any:
    item = aws.item("ledger", entry_id)
    return item and (item["state"], item.get("reason"))


NOT_NOW: list[Fault] = [Status(429), Throttle(7), Status(500), Status(503), Status(401), Status(403)]


@pytest.mark.parametrize("fault", NOT_NOW, ids=str)
def test_a_counter_that_was_turned_away_is_sent_later_once(
    aws: Aws, handle: Invoked, sessionm: SessionmSimulator, fault: Fault
) -> None:
    sessionm.faults.add("POST *", fault)
    assert stays(handle, parcel(COUNTER))
    assert state_of(aws) == ("queued", None)

    sessionm.faults.clear()
    assert not stays(handle, parcel(COUNTER))
    assert sessionm.tags_of("member-1")["visits"].count == 1
    assert aws.items("imports") == []


UNCLEAR: list[Fault] = [
    *(ResetAfterEffect(), HangAfterAccept(0.05), ResetMidBody(), Reset(), Garbage(), WrongShape()),
    *(WrongShape("types"), Status(408), Status(502), Status(504), Status(200, {"ok": True})),
]


@pytest.mark.parametrize("fault", UNCLEAR, ids=str)
def test_a_counter_tag_whose_answer_was_lost_ends_as_unknown_and_is_never_repeated(
    aws: Aws, handle: Invoked, sessionm: SessionmSimulator, fault: Fault
) -> None:
    sessionm.faults.add("POST *", fault, times=1)

    assert not stays(handle, parcel(COUNTER))
    assert not stays(handle, parcel(COUNTER))

    assert len(sessionm.requests()) == 1
    state, reason = state_of(aws)
    assert state == "unknown"
    assert reason in {"upstream_no_answer", "upstream_garbled"}
    [item] = aws.items("imports")
    assert (item["state"], item["reason"]) == (state, reason)


@pytest.mark.parametrize("fault", [*NOT_NOW, *UNCLEAR], ids=str)
def test_an_expiring_tag_is_repeated_until_sessionm_says_yes(
    aws: Aws, handle: Invoked, sessionm: SessionmSimulator, fault: Fault
) -> None:
    sessionm.faults.add("POST *", fault)
    assert stays(handle, parcel(EXPIRING))

    sessionm.faults.clear()
    assert not stays(handle, parcel(EXPIRING))
    assert set(sessionm.tags_of("member-1")) == {"gold"}
    assert aws.items("imports") == []


def test_a_blip_is_over_before_the_queue_hears_of_it(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST *", Status(503), times=1)

    assert not stays(handle, parcel(EXPIRING))
    assert len(sessionm.requests()) == 2


def test_a_throttled_sessionm_is_not_asked_again_at_once(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST *", Throttle(7))

    assert stays(handle, parcel(EXPIRING))
    assert len(sessionm.requests()) == 1


@pytest.mark.parametrize("row", [EXPIRING, COUNTER], ids=["expiring", "counter"])
def test_without_a_connection_rows_wait(aws: Aws, row: Any) -> None:
    assert stays(built(aws, f"http://127.0.0.1:{closed_port()}"), parcel(row))
    assert state_of(aws) in (None, ("queued", None))


def test_the_wait_of_a_message_is_set_by_how_often_it_came(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    waits: list[int] = []
    faulty_aws.answer("ChangeMessageVisibility", lambda body: waits.append(json.loads(body)["VisibilityTimeout"]))
    sessionm.faults.add("POST *", Status(503))
    handle = built(aws, sessionm.url)
    records = [sqs_record(parcel(EXPIRING), f"m{count}", receive_count=count) for count in (1, 2, 20)]

    handle(sqs_event(records), Context())

    assert [27 <= waits[0] <= 30, 54 <= waits[1] <= 60, 3240 <= waits[2] <= 3600] == [True] * 3


def test_throttled_rows_wait_as_long_as_the_longest_of_them_was_asked_to(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    waits: list[int] = []
    faulty_aws.answer("ChangeMessageVisibility", lambda body: waits.append(json.loads(body)["VisibilityTimeout"]))
    sessionm.faults.add("POST *", Throttle(60), times=1)
    sessionm.faults.add("POST *", Throttle(600), times=1)

    assert stays(built(aws, sessionm.url), parcel(EXPIRING, COUNTER))
    assert waits == [600]


def test_a_wait_that_cannot_be_set_stops_nothing(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty_aws.refuse("ChangeMessageVisibility")
    sessionm.faults.add("POST *", Status(503))

    assert stays(built(aws, sessionm.url), parcel(EXPIRING))
    assert '"message":"not postponed"' in capsys.readouterr().out


def test_a_counter_is_not_sent_while_the_ledger_is_out_of_reach(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    faulty_aws.refuse("UpdateItem")

    assert stays(built(aws, sessionm.url), parcel(COUNTER))
    assert sessionm.requests() == []


def test_a_counter_whose_outcome_could_not_be_written_is_not_sent_again(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    faulty_aws.refuse_after("UpdateItem", 1)
    handle = built(aws, sessionm.url)
    assert stays(handle, parcel(COUNTER))

    faulty_aws.heal()
    assert stays(handle, parcel(COUNTER)), "the lease still runs"
    assert sessionm.tags_of("member-1")["visits"].count == 1


def test_a_refusal_that_could_not_be_recorded_is_recorded_later(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    faulty_aws.refuse("PutItem")
    handle = built(aws, sessionm.url)
    sessionm.faults.add("POST *", Status(422))
    assert stays(handle, parcel(EXPIRING, COUNTER))

    faulty_aws.heal()
    assert not stays(handle, parcel(EXPIRING, COUNTER))
    assert {item["item"] for item in aws.items("imports")} == {f"row#{EXPIRING.ref}", f"row#{COUNTER.ref}"}


def test_an_expiring_row_waits_for_its_credentials(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    faulty_aws.refuse("GetSecretValue")

    assert stays(built(aws, sessionm.url), parcel(EXPIRING))


@pytest.mark.parametrize("missing", [True, False], ids=["no value", "out of reach"])
def test_a_counter_that_was_never_sent_for_want_of_credentials_can_be_claimed_again(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, missing: bool
) -> None:
    if missing:
        aws.leave_empty("sessionm")
    else:
        faulty_aws.refuse("GetSecretValue")

    assert stays(built(aws, sessionm.url), parcel(COUNTER))
    assert state_of(aws) == ("queued", None)


class NeverAsked(Sessionm):
    """A vendor that must not be reached."""

    def __init__(self) -> None:
        """Needs nothing."""

    def add_tags(self, *_: Any, **__: Any) -> None:
        raise AssertionError("a claimed counter was sent again")


def test_a_worker_that_died_mid_call_leaves_its_counter_in_progress_and_then_unknown(aws: Aws) -> None:
    now = time.time()
    ledger = Ledger(aws.dynamodb, aws.table("ledger"), lambda: now)
    ledger.claim(LEDGER_ENTRY, 180)  # and then its worker was gone
    sender = TagSender(NeverAsked(), ledger)

    with pytest.raises(InProgress):
        sender.send(COUNTER, Deadline(60))

    now += 181
    outcome = sender.send(COUNTER, Deadline(60))
    assert (outcome.state, outcome.reason) == (State.UNKNOWN, "worker_died")
    assert ledger.find(LEDGER_ENTRY) == Outcome(State.UNKNOWN, "worker_died", outcome.detail)
