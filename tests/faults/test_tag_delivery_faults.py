"""Tag delivery while SessionM, the tables or the worker fail: nothing lost, and no counter counted twice."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bulk.jobs import Job, Jobs, JobState, Reading
from bulk.verdicts import Settling, Tally, Verdicts
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
from shared.errors import InProgress
from shared.ledger import Ledger
from shared.outcomes import Outcome, State
from tag_import.delivery import build
from tag_import.sender import Sender, calls_of
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws, refusal
from tests.integration.support.parcels import COUNTER, EXPIRING, Wanted, parcel, parcel_of
from tests.integration.support.sockets import closed_port


def entry_of(row: Wanted, import_id: str = "import-1") -> str:
    whole = parcel_of(row, import_id=import_id)
    return "tag#" + whole.effect(whole.rows[0])


LEDGER_ENTRY = entry_of(COUNTER)


def built(aws: Aws, core_url: str) -> Invoked:
    return build(aws.settings(SESSIONM_CORE_URL=core_url, SESSIONM_CONNECT_URL=core_url))


@pytest.fixture
def handle(aws: Aws, sessionm: SessionmSimulator) -> Invoked:
    return built(aws, sessionm.url)


@pytest.fixture
def verdicts(aws: Aws) -> Verdicts:
    return Verdicts(aws.dynamodb, aws.table("imports"), 30)


def stays(handle: Invoked, body: str, remaining_ms: int = 120_000) -> bool:
    return failures(handle(sqs_event([sqs_record(body)]), Context(remaining_ms))) == ["message-1"]


def state_of(aws: Aws, entry_id: str = LEDGER_ENTRY) -> Any:
    item = aws.item("ledger", entry_id)
    return item and (item["state"], item.get("reason"))


def unsent(verdicts: Verdicts) -> list[tuple[State, str]]:
    return [(row.state, row.code) for row in verdicts.unsent("import-1")]


def waits_in(body: bytes) -> list[int]:
    return [entry["VisibilityTimeout"] for entry in json.loads(body)["Entries"]]


NOT_NOW: list[Fault] = [Status(429), Throttle(7), Status(500), Status(503), Status(401), Status(403)]


@pytest.mark.parametrize("fault", NOT_NOW, ids=str)
def test_a_counter_that_was_turned_away_is_sent_later_once(
    aws: Aws, sessionm: SessionmSimulator, verdicts: Verdicts, fault: Fault
) -> None:
    sessionm.faults.add("POST *", fault)
    assert stays(built(aws, sessionm.url), parcel(COUNTER))
    assert state_of(aws) == ("queued", None)

    sessionm.faults.clear()
    assert not stays(built(aws, sessionm.url), parcel(COUNTER)), "a worker that has not been told to wait"
    assert sessionm.tags_of("member-1")["visits"].count == 1
    assert verdicts.tally("import-1") == Tally(sent=1)


UNCLEAR: list[Fault] = [
    *(ResetAfterEffect(), HangAfterAccept(0.05), ResetMidBody(), Reset(), Garbage(), WrongShape()),
    *(WrongShape("types"), Status(408), Status(502), Status(504), Status(200, {"ok": True})),
]


@pytest.mark.parametrize("fault", UNCLEAR, ids=str)
def test_a_counter_tag_whose_answer_was_lost_ends_as_unknown_and_is_never_repeated(
    aws: Aws, handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts, fault: Fault
) -> None:
    sessionm.faults.add("POST *", fault, times=1)

    body = parcel(COUNTER)
    assert not stays(handle, body)
    assert not stays(handle, body)
    assert not stays(handle, parcel(COUNTER, import_id="import-1")), "nor by another parcel"

    assert len(sessionm.requests()) == 1
    state, reason = state_of(aws)
    assert state == "unknown"
    assert reason in {"upstream_no_answer", "upstream_garbled"}
    assert unsent(verdicts) == [(state, reason)] * 2


@pytest.mark.parametrize("fault", [*NOT_NOW, *UNCLEAR], ids=str)
def test_an_expiring_tag_is_repeated_until_sessionm_says_yes(
    aws: Aws, sessionm: SessionmSimulator, verdicts: Verdicts, fault: Fault
) -> None:
    sessionm.faults.add("POST *", fault)
    body = parcel(EXPIRING)
    assert stays(built(aws, sessionm.url), body)
    assert verdicts.tally("import-1") == Tally()

    sessionm.faults.clear()
    assert not stays(built(aws, sessionm.url), body)
    assert set(sessionm.tags_of("member-1")) == {"gold"}
    assert verdicts.tally("import-1") == Tally(sent=1)


def test_a_blip_is_over_before_the_queue_hears_of_it(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST *", Status(503), times=1)

    assert not stays(handle, parcel(EXPIRING))
    assert len(sessionm.requests()) == 2


def test_a_throttled_sessionm_is_not_asked_again_before_its_time(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST *", Throttle(7))

    assert stays(handle, parcel(EXPIRING))
    assert stays(handle, parcel(EXPIRING)), "nor by the next batch of this worker"
    assert len(sessionm.requests()) == 1


def test_a_short_wait_is_sat_out(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST *", Throttle(1), times=1)
    started = time.monotonic()

    assert not stays(handle, parcel(EXPIRING))
    assert time.monotonic() - started >= 1
    assert len(sessionm.requests()) == 2


def test_an_outage_is_noticed_before_every_row_has_met_it(
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts, capsys: pytest.CaptureFixture[str]
) -> None:
    sessionm.faults.add("POST *", Status(503))
    rows = [Wanted(line, f"member-{line}") for line in range(400)]

    assert stays(handle, parcel(*rows))

    assert len(sessionm.requests()) < 60
    [line] = [line for line in capsys.readouterr().out.splitlines() if '"tags delivered"' in line]
    assert json.loads(line)["postponed"] == {"upstream_unavailable": 400}
    assert verdicts.tally("import-1") == Tally()


def test_a_rotated_credential_costs_a_row_one_more_call(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST *", Status(401), times=1)

    assert not stays(handle, parcel(EXPIRING))
    assert len(sessionm.requests()) == 2


@pytest.mark.parametrize("row", [EXPIRING, COUNTER], ids=["expiring", "counter"])
def test_without_a_connection_rows_wait(aws: Aws, row: Any) -> None:
    assert stays(built(aws, f"http://127.0.0.1:{closed_port()}"), parcel(row))
    assert state_of(aws) in (None, ("queued", None))


def test_the_wait_of_a_message_is_set_by_how_often_it_came(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    waits: list[int] = []
    faulty_aws.answer("ChangeMessageVisibilityBatch", lambda body: waits.extend(waits_in(body)))
    sessionm.faults.add("POST *", Status(503))
    handle = built(aws, sessionm.url)
    records = [sqs_record(parcel(EXPIRING), f"m{count}", receive_count=count) for count in (1, 2, 20)]

    handle(sqs_event(records), Context())

    assert [27 <= waits[0] <= 30, 54 <= waits[1] <= 60, 3240 <= waits[2] <= 3600] == [True] * 3


def test_throttled_rows_wait_as_long_as_the_longest_of_them_was_asked_to(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    waits: list[int] = []
    faulty_aws.answer("ChangeMessageVisibilityBatch", lambda body: waits.extend(waits_in(body)))
    sessionm.faults.add("POST *", Throttle(60), times=1)
    sessionm.faults.add("POST *", Throttle(600), times=1)

    assert stays(built(aws, sessionm.url), parcel(EXPIRING, COUNTER))
    assert waits == [600]


def test_a_wait_that_cannot_be_set_stops_nothing(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty_aws.refuse("ChangeMessageVisibilityBatch")
    sessionm.faults.add("POST *", Status(503))

    assert stays(built(aws, sessionm.url), parcel(EXPIRING))
    assert '"message":"not hidden"' in capsys.readouterr().out


def ledger_only(operation_body: bytes) -> Any:
    return refusal("AccessDeniedException") if b"-ledger" in operation_body else None


def test_a_counter_is_not_sent_while_the_ledger_is_out_of_reach(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    faulty_aws.answer("UpdateItem", ledger_only)

    assert stays(built(aws, sessionm.url), parcel(COUNTER))
    assert sessionm.requests() == []


def test_a_counter_whose_outcome_could_not_be_written_is_not_sent_again(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    claimed = threading.Event()

    def all_but_the_first(body: bytes) -> Any:
        if b"-ledger" not in body or not claimed.is_set():
            claimed.set() if b"-ledger" in body else None
            return None
        return ledger_only(body)

    faulty_aws.answer("UpdateItem", all_but_the_first)
    handle = built(aws, sessionm.url)
    assert stays(handle, parcel(COUNTER))

    faulty_aws.heal()
    assert stays(handle, parcel(COUNTER)), "the lease still runs"
    assert sessionm.tags_of("member-1")["visits"].count == 1


@pytest.mark.parametrize("operation", ["TransactWriteItems", "BatchGetItem"])
def test_verdicts_that_could_not_be_written_or_read_are_written_later(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, verdicts: Verdicts, operation: str
) -> None:
    faulty_aws.refuse(operation)
    handle, body = built(aws, sessionm.url), parcel(EXPIRING, COUNTER, Wanted(9, "nobody"))
    assert stays(handle, body)

    faulty_aws.heal()
    assert not stays(handle, body)
    assert verdicts.tally("import-1") == Tally(sent=2, failed=1)
    assert sessionm.tags_of("member-1")["visits"].count == 1


def test_without_permits_nothing_is_sent(aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator) -> None:
    faulty_aws.refuse("UpdateItem")

    assert stays(built(aws, sessionm.url), parcel(EXPIRING))
    assert sessionm.requests() == []


def test_what_cannot_be_put_back_stays(aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator) -> None:
    faulty_aws.refuse("SendMessageBatch")

    assert stays(built(aws, sessionm.url), parcel(EXPIRING), remaining_ms=30_000)
    assert sessionm.requests() == []


@pytest.mark.parametrize("operation", ["GetItem", "SendMessageBatch"])
def test_a_message_stays_until_its_import_has_been_told_that_it_is_complete(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, operation: str
) -> None:
    reading = Reading(rows_read=1, rows_queued=1)
    job = Job(import_id="import-1", state=JobState.DELIVERING, created_at=0, reading=reading)
    Jobs(aws.dynamodb, aws.table("imports"), 30).save(job)
    faulty_aws.refuse(operation)
    handle, body = built(aws, sessionm.url), parcel(EXPIRING)
    assert stays(handle, body)

    faulty_aws.heal()
    assert not stays(handle, body)
    assert aws.queued("imports") == [{"import_id": "import-1"}]
    assert len(sessionm.requests()) == 1, "what was sent had its verdict"


def test_two_workers_on_one_parcel_give_each_row_one_verdict(
    aws: Aws, sessionm: SessionmSimulator, verdicts: Verdicts
) -> None:
    sessionm.faults.add("POST *", Status(422), share=0.3)
    rows = [Wanted(line, tags=(f"tag-{line}",), ttl_seconds=line + 1) for line in range(40)]
    counters = [Wanted(100 + line, tags=("visits",), ttl_seconds=None) for line in range(10)]
    body = parcel(*rows, *counters)

    with ThreadPoolExecutor(2) as threads:
        workers = [threads.submit(stays, built(aws, sessionm.url), body) for _ in range(2)]
        open_still = [worker.result() for worker in workers]
    if any(open_still):  # a counter was in the other worker's hands
        assert not stays(built(aws, sessionm.url), body)

    tally = verdicts.tally("import-1")
    assert tally.total == 50
    assert len(unsent(verdicts)) == tally.failed
    counted = sessionm.tags_of("member-1").get("visits")
    refused = sum(row.line >= 100 for row in verdicts.unsent("import-1"))
    assert (counted.count if counted else 0) == 10 - refused


def test_a_worker_killed_between_call_and_verdict_leaves_its_rows_to_the_next(
    aws: Aws, sessionm: SessionmSimulator, verdicts: Verdicts
) -> None:
    ledger = Ledger(aws.dynamodb, aws.table("ledger"))
    whole = parcel_of(EXPIRING, COUNTER)
    handle = built(aws, sessionm.url)
    ledger.claim(LEDGER_ENTRY, 180)
    ledger.settle(LEDGER_ENTRY, Outcome(State.SENT))  # it was sent, and the worker gone before it wrote the verdict

    assert not stays(handle, parcel(EXPIRING, COUNTER, parcel_id=whole.id))

    assert [request.json()["tags"] for request in sessionm.requests()] == [["gold"]]
    assert verdicts.tally("import-1") == Tally(sent=2)


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
    sender = Sender(NeverAsked(), ledger)
    [call] = calls_of(Settling(parcel_of(COUNTER), "."))

    with pytest.raises(InProgress):
        sender.send(call)

    now += 181
    outcome, _ = sender.send(call)
    assert (outcome.state, outcome.reason) == (State.UNKNOWN, "worker_died")
    assert state_of(aws) == ("unknown", "worker_died")
