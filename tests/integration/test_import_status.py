"""GET /tag-imports/{import_id}: counts that add up at any moment, and links that open."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from bulk.jobs import Export, Job, Jobs, JobState, ReadBack, Reading, Source
from bulk.parcels import Label, Parcel, Row
from bulk.verdicts import Verdicts
from shared.outcomes import Outcome, State
from tag_import.status import Status, build
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Invoked, get
from tests.integration.support.faulty_aws import FaultyAws

CREATED = 1_795_333_200.0
NOW = CREATED + 110
SENT, UNKNOWN = Outcome(State.SENT), Outcome(State.UNKNOWN, "upstream_no_answer")
FAILED, SKIPPED = Outcome(State.FAILED, "user_not_found"), Outcome(State.SKIPPED, "no_external_id")


@pytest.fixture
def handle(aws: Aws) -> Invoked:
    return build(aws.settings(), clock=lambda: NOW)


def ask(handle: Invoked, import_id: str = "csv-1") -> Answered:
    return get(handle, "GET /tag-imports/{import_id}", path={"import_id": import_id})


def put(aws: Aws, **fields: Any) -> None:
    known: dict[str, Any] = {"import_id": "csv-1", "state": JobState.DELIVERING, "created_at": CREATED}
    Jobs(aws.dynamodb, aws.table("imports"), 30).save(Job(**known | fields))


def settle(aws: Aws, *outcomes: Outcome, import_id: str = "csv-1") -> None:
    rows = [Row(line, f"member-{line}", 0) for line in range(len(outcomes))]
    verdicts = Verdicts(aws.dynamodb, aws.table("imports"), 30)
    (settling,) = verdicts.open([Parcel(import_id, "1", [Label("user_id", ("gold",), 60)], rows)])
    for position, outcome in enumerate(outcomes):
        settling.settle(position, outcome)
    verdicts.record([settling])


def test_every_row_read_is_counted_once(aws: Aws, handle: Invoked) -> None:
    put(aws, reading=Reading(rows_read=12, rows_queued=7, rows_failed=3, rows_skipped=2))
    settle(aws, SENT, SENT, FAILED, UNKNOWN, SKIPPED)

    told = ask(handle).body

    counts = {name: told[name] for name in ("sent", "failed", "skipped", "unknown", "waiting")}
    assert counts == {"sent": 2, "failed": 4, "skipped": 3, "unknown": 1, "waiting": 2}
    assert sum(counts.values()) == told["rows_read"] == 12


def test_a_tally_younger_than_the_job_leaves_nothing_below_zero(aws: Aws, handle: Invoked) -> None:
    put(aws, state=JobState.READING, reading=Reading(rows_read=1, rows_queued=1))
    settle(aws, SENT, SENT, SENT)

    told = ask(handle).body

    assert (told["rows_read"], told["sent"], told["waiting"]) == (3, 3, 0)


def test_time_left_is_what_waits_at_the_rate_so_far(aws: Aws, handle: Invoked) -> None:
    put(aws, started_at=CREATED + 100, reading=Reading(rows_read=24, rows_queued=24))
    settle(aws, *[SENT] * 4)

    told = ask(handle).body

    assert (told["rate_per_second"], told["seconds_left"]) == (0.4, 50)


def test_time_left_while_reading_counts_on_the_rest_of_the_file(aws: Aws, handle: Invoked) -> None:
    reading = Reading(rows_read=8, rows_queued=8, fraction=0.25)
    put(aws, state=JobState.READING, started_at=CREATED + 100, reading=reading)
    settle(aws, *[SENT] * 4)

    assert ask(handle).body["seconds_left"] == 70  # 4 wait, 24 more are to be read, at 0.4 a second


@pytest.mark.parametrize(
    ("job", "seconds"),
    [
        ({"state": JobState.READING, "started_at": CREATED}, None),  # nobody can say how much there is
        ({"state": JobState.DELIVERING}, None),
        ({"state": JobState.EXPORTING, "started_at": CREATED}, None),
        ({"state": JobState.FINISHED, "started_at": CREATED, "finished_at": NOW}, 0),
        ({"state": JobState.FAILED, "started_at": CREATED, "finished_at": NOW}, 0),
    ],
)
def test_time_left_is_not_made_up(aws: Aws, handle: Invoked, job: dict[str, Any], seconds: int | None) -> None:
    put(aws, reading=Reading(rows_read=8, rows_queued=8), **job)
    settle(aws, SENT)

    assert ask(handle).body["seconds_left"] == seconds


def test_an_import_before_its_first_verdict_has_no_rate(aws: Aws, handle: Invoked) -> None:
    put(aws, started_at=CREATED, reading=Reading(rows_read=8, rows_queued=8))

    told = ask(handle).body

    assert (told["rate_per_second"], told["seconds_left"], told["waiting"]) == (None, None, 8)


def test_an_ended_import_tells_all_there_is_to_know(aws: Aws, handle: Invoked) -> None:
    aws.s3.put_object(Bucket=aws.bucket(), Key="failures/csv-1/failures.csv", Body=b"the failures")
    put(
        aws,
        state=JobState.FINISHED,
        source=Source(aws.bucket(), "imports/spring/members.csv"),
        started_at=CREATED + 1,
        read_at=CREATED + 2,
        finished_at=CREATED + 3,
        failure_file="failures/csv-1/failures.csv",
        read_back=ReadBack(3, 2, 1, 0),
        correlation_id="the-upload",
    )

    told = ask(handle).body

    assert requests.get(told.pop("failure_file_url"), timeout=10).content == b"the failures"
    assert told == {
        "ok": True,
        "import_id": "csv-1",
        "state": "finished",
        "reason": None,
        "message": None,
        "file_name": "members.csv",
        "segment_id": None,
        "rows_read": 0,
        "sent": 0,
        "failed": 0,
        "skipped": 0,
        "unknown": 0,
        "waiting": 0,
        "rate_per_second": None,
        "seconds_left": 0,
        "leavers_file_url": None,
        "read_back": {"asked": 3, "found": 2, "missing": 1, "unreadable": 0},
        "created_at": "2026-11-22T07:40:00Z",
        "started_at": "2026-11-22T07:40:01Z",
        "read_at": "2026-11-22T07:40:02Z",
        "finished_at": "2026-11-22T07:40:03Z",
        "correlation_id": "the-upload",
    }


def test_an_export_names_its_segment_and_links_to_those_who_left(aws: Aws, handle: Invoked) -> None:
    aws.s3.put_object(Bucket=aws.bucket(), Key="exports/left.csv", Body=b"left")
    put(
        aws,
        export=Export("segment-1", callback_digests=("digest",), url="https://secret"),
        leavers_file="exports/left.csv",
    )

    answered = ask(handle)

    assert answered.body["segment_id"] == "segment-1"
    assert requests.get(answered.body["leavers_file_url"], timeout=10).content == b"left"
    assert "digest" not in answered.text
    assert "https://secret" not in answered.text


def test_a_failed_import_says_why(aws: Aws, handle: Invoked) -> None:
    put(aws, state=JobState.FAILED, reason_code="unreadable_file", reason="the file is empty")

    told = ask(handle).body

    assert (told["state"], told["reason"], told["message"]) == ("failed", "unreadable_file", "the file is empty")


def test_what_came_by_http_on_one_day_is_an_import_that_stays_open(aws: Aws, handle: Invoked) -> None:
    settle(aws, SENT, FAILED, import_id="webhook-2026-11-22")

    told = ask(handle, "webhook-2026-11-22").body

    assert (told["state"], told["rows_read"], told["sent"], told["failed"], told["waiting"]) == ("open", 2, 1, 1, 0)
    assert told.keys() == set(Status.__struct_fields__)


@pytest.mark.parametrize("import_id", ["csv-2", "webhook-2026-13-01", "webhook-2026-1-1", "webhook-", "", "é" * 300])
def test_an_import_nobody_made_is_not_found(handle: Invoked, import_id: str) -> None:
    answered = ask(handle, import_id)

    assert (answered.status, answered.body["code"]) == (404, "not_found")


@pytest.mark.parametrize("operation", ["GetItem", "BatchGetItem"])
def test_a_slow_table_is_answered_with_come_again(aws: Aws, faulty_aws: FaultyAws, operation: str) -> None:
    put(aws)
    faulty_aws.hang(operation, 3)

    answered = ask(build(aws.settings()))

    assert (answered.status, answered.headers["Retry-After"]) == (503, "5")
