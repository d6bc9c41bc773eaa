"""The end of an import: a failure file in the order of lines, one event, one line; and what SessionM is asked then."""

from __future__ import annotations

import codecs
import csv
import io
import json
import random
import zipfile
from collections.abc import Sequence
from typing import Any

import boto3
import pytest
from msgspec import structs

import wiring
from bulk.jobs import Export, Job, Jobs, JobState, ReadBack, Reading, Source
from bulk.parcels import Label, Parcel, Row
from bulk.verdicts import Verdicts
from infra.local.simulators import Garbage, SessionmSimulator, Status
from member_lists.failures import COLUMNS, cells_of_refused, part_key
from member_lists.finish import EVENT_NAME, EVENT_SOURCE, Finisher, csv_pieces
from member_lists.leavers import LastRuns
from shared.aws import events
from shared.errors import StoreUnavailable
from shared.outcomes import Outcome, State
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import Answer, FaultyAws

NOW = 1_795_333_300.0
SENT = Outcome(State.SENT)
REFUSED = Outcome(State.FAILED, "user_not_found", "SessionM knows no such member.")


class Import:
    """One import in this test's corner of AWS, with a queue that hears its event."""

    def __init__(self, aws: Aws, sessionm_url: str, url: str | None = None, **settings: str) -> None:
        self._aws = aws
        dynamodb = boto3.client("dynamodb", endpoint_url=url or aws.url)
        self.jobs = Jobs(dynamodb, aws.table("imports"), 30, clock=lambda: NOW)
        self.verdicts = Verdicts(aws.dynamodb, aws.table("imports"), 30)
        self.id = f"csv-{aws.name}"
        given = aws.settings(SESSIONM_CORE_URL=sessionm_url, SESSIONM_CONNECT_URL=sessionm_url, **settings)
        sessionm = wiring.sessionm(given, connections=8)
        last_runs = LastRuns(dynamodb, aws.table("imports"), 30, self.jobs.clock)
        self.finisher = Finisher(
            aws.s3, self.jobs, self.verdicts, last_runs, sessionm, events(), given, random.Random(1)
        )
        self._hear()

    def _hear(self) -> None:
        url = self._aws.queue_url("events")
        arn = self._aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events = boto3.client("events", endpoint_url=self._aws.url)
        pattern = {"source": [EVENT_SOURCE], "detail": {"import_id": [self.id]}}
        events.put_rule(Name=self._aws.name, EventPattern=json.dumps(pattern))
        events.put_targets(Rule=self._aws.name, Targets=[{"Id": "queue", "Arn": arn}])

    def job(self, **fields: Any) -> Job:
        known: dict[str, Any] = {"state": JobState.DELIVERING, "created_at": NOW - 60, "started_at": NOW - 50}
        return self.jobs.save(Job(import_id=self.id, lease_until=NOW + 900, **known | fields))

    def settle(self, first_line: int, *outcomes: Outcome) -> None:
        rows = [Row(first_line + at, f"member-{first_line + at}", 0) for at in range(len(outcomes))]
        parcel = Parcel(self.id, f"{first_line:012d}", [Label("user_id", ("gold", "spring"), 60)], rows)
        (settling,) = self.verdicts.open([parcel])
        for position, outcome in enumerate(outcomes):
            settling.settle(position, outcome)
        self.verdicts.record([settling])

    def refuse(self, number: int, *lines: int) -> None:
        cells = [
            cells_of_refused(line, {"user_id": 'a "b"\nc'}, State.FAILED, "invalid_field", "user_id: not allowed")
            for line in lines
        ]
        body = b"".join(csv_pieces(cells))
        self._aws.s3.put_object(Bucket=self._aws.bucket(), Key=part_key(self.id, number), Body=body)

    def failure_file(self, job: Job) -> list[list[str]]:
        stored = self._aws.s3.get_object(Bucket=self._aws.bucket(), Key=job.failure_file)
        content = stored["Body"].read()
        assert content.startswith(codecs.BOM_UTF8), "a spreadsheet is told that it is UTF-8"
        return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))

    def events(self) -> Sequence[Any]:
        return self._aws.queued("events")


@pytest.fixture
def one(aws: Aws, sessionm: SessionmSimulator) -> Import:
    return Import(aws, sessionm.url)


def test_rows_refused_in_reading_and_by_sessionm_are_listed_together_in_the_order_of_lines(one: Import) -> None:
    one.refuse(0, 2, 5)
    one.refuse(1, 1_000, 1_003)
    one.settle(3, REFUSED, REFUSED)
    one.settle(999, REFUSED)
    one.settle(1_001, SENT, REFUSED)

    header, *rows = one.failure_file(one.finisher.finish(one.job(reading=Reading(parts=2))))

    assert header == list(COLUMNS)
    assert [row[COLUMNS.index("line")] for row in rows] == ["2", "3", "4", "5", "999", "1000", "1002", "1003"]
    assert rows[0] == ['a "b"\nc', "", "", "", "", "2", "failed", "invalid_field", "user_id: not allowed", ""]
    assert rows[1] == [
        *("member-3", "", "gold|spring", "60", ""),
        *("3", "failed", "user_not_found", "SessionM knows no such member.", ""),
    ]


def test_an_import_without_a_refusal_has_no_failure_file(one: Import) -> None:
    one.settle(1, SENT, SENT)

    assert one.finisher.finish(one.job()).failure_file == ""


def test_a_line_of_a_hundred_kilobytes_is_listed_whole(one: Import, aws: Aws) -> None:
    before = csv.field_size_limit()
    text = "x" * 200_000
    cells = cells_of_refused(2, {"text": text}, State.FAILED, "invalid_csv", "no end")
    body = b"".join(csv_pieces([cells]))
    aws.s3.put_object(Bucket=aws.bucket(), Key=part_key(one.id, 0), Body=body)

    job = one.finisher.finish(one.job(reading=Reading(parts=1)))

    stored = aws.s3.get_object(Bucket=aws.bucket(), Key=job.failure_file)["Body"].read()
    assert text.encode() in stored
    assert csv.field_size_limit() == before


def test_the_job_ends_with_its_time_and_without_its_lease(one: Import) -> None:
    job = one.finisher.finish(one.job())

    assert (job.state, job.finished_at, job.lease_until) == (JobState.FINISHED, NOW, 0.0)
    assert one.jobs.find(one.id) == job


def test_a_finished_import_is_announced_once_with_its_counts(
    one: Import, aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    one.settle(1, SENT, REFUSED, Outcome(State.UNKNOWN, "upstream_no_answer"))
    reading = Reading(rows_read=6, rows_queued=3, rows_failed=1, rows_skipped=2)

    job = one.finisher.finish(one.job(reading=reading))

    counts = {"rows_read": 6, "sent": 1, "failed": 2, "skipped": 2, "unknown": 1, "waiting": 0}
    (event,) = one.events()
    assert (event["source"], event["detail-type"]) == (EVENT_SOURCE, EVENT_NAME)
    assert event["detail"] == {
        "import_id": one.id,
        "state": "finished",
        "reason": None,
        "counts": counts,
        "bucket": aws.bucket(),
        "failure_file": job.failure_file,
        "leavers_file": None,
        "read_back": None,
        "seconds": 50,
    }
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (line,) = [line for line in lines if line.get("message") == "tag import finished"]
    assert {name: line[name] for name in counts} == counts
    assert "member-" not in str(line)


def test_a_failed_import_is_announced_and_keeps_its_reason(one: Import) -> None:
    one.refuse(0, 2)
    one.settle(3, SENT)
    failed = one.job(state=JobState.FAILED, reason_code="unreadable_file", reason="broken", reading=Reading(parts=1))

    job = one.finisher.tell(failed)

    (event,) = one.events()
    assert (event["detail"]["state"], event["detail"]["reason"]) == ("failed", "unreadable_file")
    assert (job.state, job.finished_at, len(one.failure_file(job))) == (JobState.FAILED, NOW, 2)


@pytest.mark.parametrize("operation", ["PutEvents", "PutItem"])
def test_what_a_worker_left_undone_the_next_one_does(
    aws: Aws, sessionm: SessionmSimulator, faulty_aws: FaultyAws, operation: str
) -> None:
    one = Import(aws, sessionm.url, faulty_aws.url)
    one.settle(1, REFUSED)
    job = one.job()
    faulty_aws.refuse(operation)

    with pytest.raises(StoreUnavailable):
        one.finisher.finish(job)
    faulty_aws.heal()
    ended = one.finisher.finish(job)

    assert ended.state is JobState.FINISHED
    assert 1 <= len(one.events()) <= 2
    assert len(one.failure_file(ended)) == 2


def test_an_event_the_bus_does_not_take_is_not_passed_over(
    aws: Aws, sessionm: SessionmSimulator, faulty_aws: FaultyAws
) -> None:
    def reject(_: bytes) -> Answer:
        body = json.dumps({"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]})
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, body.encode()

    one = Import(aws, sessionm.url)
    faulty_aws.answer("PutEvents", reject)

    with pytest.raises(StoreUnavailable, match="ThrottlingException"):
        one.finisher.finish(one.job())


# --- who left the segment ---------------------------------------------------------------------------------------------


def exported(aws: Aws, name: str, *external_ids: str) -> Source:
    """An export of Braze's as it lies in our bucket."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("users.txt", "".join(f'{{"external_id":"{each}"}}\n' for each in external_ids))
    aws.s3.put_object(Bucket=aws.bucket(), Key=f"exports/{name}.zip", Body=packed.getvalue())
    return Source(aws.bucket(), f"exports/{name}.zip")


@pytest.mark.parametrize(
    ("export", "left"),
    [
        (Export("segment-1", lists_leavers=True, previous_import_id="segment-0"), ["user_id", "ann", "cem"]),
        (Export("segment-1", lists_leavers=True, previous_import_id="segment-9"), None),
        (Export("segment-1", lists_leavers=True), None),
        (Export("segment-1", previous_import_id="segment-0"), None),
    ],
)
def test_who_left_the_segment_is_listed_if_asked_for_and_known(
    aws: Aws, one: Import, export: Export, left: list[str] | None
) -> None:
    before = exported(aws, "before", "ann", "bob", "cem")
    one.jobs.save(Job(import_id="segment-0", state=JobState.FINISHED, created_at=NOW, source=before))

    job = one.finisher.finish(one.job(export=export, source=exported(aws, "now", "bob", "dee")))

    if left is None:
        assert job.leavers_file == ""
    else:
        stored = aws.s3.get_object(Bucket=aws.bucket(), Key=job.leavers_file)["Body"].read()
        assert stored.decode().split() == left
    (event,) = one.events()
    assert event["detail"]["leavers_file"] == (job.leavers_file or None)


# --- reading back -----------------------------------------------------------------------------------------------------


def read_back(aws: Aws, sessionm: SessionmSimulator, sample: int, rows: int) -> ReadBack | None:
    one = Import(aws, sessionm.url, TAG_READ_BACK_SAMPLE=str(sample))
    for line in range(1, rows + 1):
        one.settle(line, SENT)
    return one.finisher.finish(one.job()).read_back


def tagged(sessionm: SessionmSimulator, *lines: int, tags: Sequence[str] = ("gold", "spring", "other")) -> None:
    for line in lines:
        sessionm.add_member(f"member-{line}").tag(list(tags), 60, sessionm.clock())


def test_a_sample_is_read_back_from_sessionm(aws: Aws, sessionm: SessionmSimulator) -> None:
    tagged(sessionm, 1, 2)
    tagged(sessionm, 3, tags=["gold"])

    assert read_back(aws, sessionm, 10, 4) == ReadBack(asked=4, found=2, missing=1, unreadable=1)


def test_no_more_are_read_back_than_wanted(aws: Aws, sessionm: SessionmSimulator) -> None:
    tagged(sessionm, *range(1, 9))

    assert read_back(aws, sessionm, 3, 8) == ReadBack(asked=3, found=3, missing=0, unreadable=0)
    assert len(sessionm.requests()) == 3


def test_nothing_is_read_back_unless_asked_for(aws: Aws, sessionm: SessionmSimulator) -> None:
    assert read_back(aws, sessionm, 0, 2) is None
    assert not sessionm.requests()


@pytest.mark.parametrize("fault", [Status(500), Status(401), Garbage()], ids=str)
def test_what_cannot_be_read_back_does_not_stop_the_end(aws: Aws, sessionm: SessionmSimulator, fault: Any) -> None:
    sessionm.faults.add("* *", fault)

    assert read_back(aws, sessionm, 5, 2) == ReadBack(asked=2, found=0, missing=0, unreadable=2)


@pytest.mark.parametrize(
    ("answer", "found", "unreadable"),
    [
        ({"status": "ok", "tags": ["gold", "spring"]}, 1, 0),
        ({"status": "ok", "payload": {"tags": [{"name": "gold"}, {"name": "spring", "count": 2}, {"id": 1}, 7]}}, 1, 0),
        ({"status": "ok", "tags": []}, 0, 0),
        ({"status": "ok", "user": {"tags": "gold"}}, 0, 1),
        ({"status": "ok"}, 0, 1),
    ],
)
def test_tags_are_read_in_any_likely_shape(
    aws: Aws, sessionm: SessionmSimulator, answer: dict[str, Any], found: int, unreadable: int
) -> None:
    sessionm.faults.add("GET *", Status(200, answer))

    back = read_back(aws, sessionm, 1, 1)

    assert back == ReadBack(asked=1, found=found, missing=1 - found - unreadable, unreadable=unreadable)
    assert structs.asdict(back)
