"""An import from its message to its end: each step once, and no message lost that something is still to come of."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import msgspec
import pytest
from msgspec import structs

from bulk.jobs import Export, Job, Jobs, JobState, Options, Source
from bulk.parcels import Parcel
from bulk.verdicts import Verdicts
from infra.local.simulators import BrazeSimulator, SessionmSimulator
from member_lists.worker import build, import_id_of
from shared.aws import dynamodb
from shared.outcomes import Outcome, State
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws, refusal

FILE = "user_id,tags,ttl\nmember-1,gold,600\nmember-1,,600\n"
KEY = "imports/members.csv"


@pytest.fixture
def handle(aws: Aws, sessionm: SessionmSimulator, braze: BrazeSimulator) -> Invoked:
    return build(
        aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url, BRAZE_REST_URL=braze.url)
    )


@pytest.fixture
def jobs(aws: Aws) -> Jobs:
    return Jobs(dynamodb(), aws.table("imports"), 30)


def work(
    handle: Invoked, body: Any, message_id: str = "message-1", remaining_ms: int = 900_000, receive_count: int = 1
) -> bool:
    """Whether the message stays in its queue."""
    text = body if isinstance(body, str) else json.dumps(body)
    return bool(failures(handle(sqs_event([sqs_record(text, message_id, receive_count)]), Context(remaining_ms))))


def dropped(aws: Aws, content: str = FILE, key: str = KEY, sequencer: str = "1", **metadata: str) -> dict[str, Any]:
    """The announcement of a file that is there."""
    aws.s3.put_object(Bucket=aws.bucket(), Key=key, Body=content.encode(), Metadata=metadata)
    return {
        "detail": {"bucket": {"name": aws.bucket()}, "object": {"key": key, "sequencer": sequencer, "etag": "e"}},
    }


def job_of(jobs: Jobs, announced: dict[str, Any]) -> Job:
    detail = announced["detail"]
    job = jobs.find(import_id_of(detail["bucket"]["name"], detail["object"]))
    assert job is not None
    return job


def deliver(aws: Aws, import_id: str) -> None:
    """Every queued row of an import is sent, as far as its verdicts go."""
    verdicts = Verdicts(dynamodb(), aws.table("imports"), 30)
    parcels = [msgspec.convert(body, Parcel) for body in aws.queued("bulk-tags")]
    settlings = verdicts.open([parcel for parcel in parcels if parcel.import_id == import_id])
    for settling in settlings:
        for position in settling.waiting():
            settling.settle(position, Outcome(State.SENT))
    verdicts.record(settlings)


def test_a_dropped_file_is_read_then_waits_for_its_verdicts_then_ends(aws: Aws, handle: Invoked, jobs: Jobs) -> None:
    announced = dropped(aws)
    assert not work(handle, announced)

    job = job_of(jobs, announced)
    assert (job.state, job.reading.rows_queued, job.reading.rows_failed) == (JobState.DELIVERING, 1, 1)
    assert job.lease_until == 0

    deliver(aws, job.import_id)
    assert not work(handle, {"import_id": job.import_id})
    job = job_of(jobs, announced)
    assert (job.state, job.finished_at > 0, bool(job.failure_file)) == (JobState.FINISHED, True, True)


def test_an_announcement_that_comes_again_does_nothing(aws: Aws, handle: Invoked, jobs: Jobs) -> None:
    announced = dropped(aws)
    work(handle, announced)
    before = job_of(jobs, announced)

    assert not work(handle, announced, "message-2")
    assert job_of(jobs, announced).reading == before.reading
    assert len(aws.queued("bulk-tags")) == 1


def test_the_same_file_dropped_again_is_a_new_import(aws: Aws, handle: Invoked, jobs: Jobs) -> None:
    first, second = dropped(aws), dropped(aws, sequencer="2")
    work(handle, first)
    work(handle, second)

    assert job_of(jobs, first).import_id != job_of(jobs, second).import_id
    assert len(aws.queued("bulk-tags")) == 2


def test_options_of_a_dropped_file_are_its_metadata(aws: Aws, handle: Invoked, jobs: Jobs) -> None:
    announced = dropped(aws, "member-1\n", tags="gold|spring", ttl="30d")
    work(handle, announced)

    assert job_of(jobs, announced).options.tags == ("gold", "spring")
    assert job_of(jobs, announced).options.ttl_seconds == 2_592_000
    assert job_of(jobs, announced).reading.rows_queued == 1


def test_metadata_that_means_nothing_ends_the_import_and_says_so(aws: Aws, handle: Invoked, jobs: Jobs) -> None:
    announced = dropped(aws, ttl="for ever")
    assert not work(handle, announced)

    job = job_of(jobs, announced)
    assert (job.state, bool(job.finished_at)) == (JobState.FAILED, True)
    assert "ttl" in job.reason


def test_a_file_that_is_gone_ends_the_import_and_says_so(aws: Aws, handle: Invoked, jobs: Jobs) -> None:
    announced = dropped(aws)
    aws.s3.delete_object(Bucket=aws.bucket(), Key=KEY)
    assert not work(handle, announced)

    assert (job_of(jobs, announced).state, job_of(jobs, announced).reason_code) == (JobState.FAILED, "file_gone")


def awaiting(aws: Aws, jobs: Jobs, import_id: str = "csv-0123456789abcdef01234567") -> Job:
    return jobs.save(
        Job(
            import_id=import_id,
            state=JobState.AWAITING_UPLOAD,
            created_at=1.0,
            options=Options(tags=("uploaded",), ttl_seconds=60),
            source=Source(aws.bucket(), f"imports/uploads/{import_id}/ids.csv"),
        )
    )


def test_an_upload_is_the_import_that_waited_for_it(aws: Aws, handle: Invoked, jobs: Jobs) -> None:
    waiting = awaiting(aws, jobs)
    assert waiting.source is not None
    announced = dropped(aws, "member-1\n", waiting.source.key)
    assert not work(handle, announced)
    assert not work(handle, announced, "message-2")

    job = jobs.find(waiting.import_id)
    assert job is not None
    assert (job.state, job.reading.rows_queued) == (JobState.DELIVERING, 1)
    assert len(aws.queued("bulk-tags")) == 1


def test_a_second_upload_to_one_address_is_an_import_of_its_own(aws: Aws, handle: Invoked, jobs: Jobs) -> None:
    waiting = awaiting(aws, jobs)
    assert waiting.source is not None
    work(handle, dropped(aws, "member-1\n", waiting.source.key))
    again = dropped(aws, "member-1\nmember-2\n", waiting.source.key, sequencer="2")
    again["detail"]["object"]["etag"] = "another"
    assert not work(handle, again)

    assert job_of(jobs, again).options == waiting.options
    assert job_of(jobs, again).reading.rows_queued == 2


def test_an_upload_nobody_waits_for_is_read_like_any_file(aws: Aws, handle: Invoked, jobs: Jobs) -> None:
    announced = dropped(aws, key="imports/uploads/csv-00/members.csv")
    assert not work(handle, announced)
    assert job_of(jobs, announced).state is JobState.DELIVERING


def test_time_that_runs_out_is_no_failure_the_import_goes_on_with_a_fresh_message(
    aws: Aws, handle: Invoked, jobs: Jobs
) -> None:
    lines = "".join(f"member-1,{'t' * 200},600\n" for _ in range(25_000))
    announced = dropped(aws, f"user_id,tags,ttl\n{lines}")
    assert not work(handle, announced, remaining_ms=0)

    job = job_of(jobs, announced)
    assert (job.state, job.lease_until) == (JobState.READING, 0)
    assert 0 < job.reading.rows_read < 25_000
    [again] = aws.queued("imports")
    for _ in range(5):
        assert not work(handle, again)
        job = job_of(jobs, announced)
    assert (job.state, job.reading.rows_read) == (JobState.DELIVERING, 25_000)


def test_a_segment_is_asked_for_and_looked_at_again_until_it_is_there(
    aws: Aws, handle: Invoked, jobs: Jobs, braze: BrazeSimulator
) -> None:
    braze.set_segment_users("segment-1", ["member-1", None])
    due = {
        "segment_export": {
            "segment_id": "segment-1",
            "tags": ["gold"],
            "ttl": 691_200,
            "schedule": "gold-daily",
            "scheduled_time": "2026-11-22T04:00:00Z",
        }
    }
    for _ in range(50):
        if not work(handle, due):
            break
        time.sleep(0.05)

    [item] = [item for item in aws.items("imports") if item["item"] == "job"]
    job = jobs.find(item["import_id"])
    assert job is not None
    assert (job.state, job.reading.rows_queued, job.reading.rows_skipped) == (JobState.DELIVERING, 1, 1)


def test_an_export_braze_long_refused_is_waited_for_with_a_fresh_message(
    aws: Aws, handle: Invoked, jobs: Jobs, braze: BrazeSimulator
) -> None:
    braze.set_segment_users("segment-1", ["member-1"])
    export, options = Export("segment-1"), Options(tags=("gold",), ttl_seconds=600)
    jobs.save(
        Job(import_id="segment-1", state=JobState.REQUESTED, created_at=time.time(), options=options, export=export)
    )

    assert not work(handle, {"import_id": "segment-1"}, receive_count=30)

    found = jobs.find("segment-1")
    assert found is not None
    assert (found.state, found.lease_until) == (JobState.EXPORTING, 0)
    assert aws.queued("imports") == [{"import_id": "segment-1"}]


def test_an_import_in_another_workers_hands_is_left_to_it(handle: Invoked, jobs: Jobs) -> None:
    job = jobs.save(Job(import_id="csv-1", state=JobState.DELIVERING, created_at=1.0))
    jobs.lease(job, 600, "another message")

    assert work(handle, {"import_id": "csv-1"})
    found = jobs.find("csv-1")
    assert found is not None
    assert found.state is JobState.DELIVERING


def test_a_message_nobody_can_read_stays_for_the_dead_letter_queue(handle: Invoked) -> None:
    for body in ("{", "[]", "7", "[" * 100_000, '{"detail":{}}', '{"segment_export":{"segment_id":""}}'):
        assert work(handle, body), body[:80]


@pytest.mark.parametrize("wrong", [{"size": "1"}, {"etag": 5}, {"version-id": {"a": 1}}, {"key": 5}])
def test_a_file_of_which_nonsense_is_told_becomes_no_import(aws: Aws, handle: Invoked, wrong: dict[str, Any]) -> None:
    announced = dropped(aws)
    announced["detail"]["object"] |= wrong

    assert work(handle, announced), "for the dead-letter queue"
    assert not aws.dynamodb.scan(TableName=aws.table("imports"))["Items"], "nobody could read such a job"


def test_a_message_about_no_import_is_done_with(handle: Invoked) -> None:
    assert not work(handle, {"import_id": "csv-unheard-of"})


@pytest.mark.parametrize("operation", ["GetItem", "PutItem", "BatchGetItem", "SendMessageBatch"])
def test_a_store_that_gives_out_loses_nothing(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, braze: BrazeSimulator, operation: str
) -> None:
    handle = build(
        aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url, BRAZE_REST_URL=braze.url)
    )
    announced = dropped(aws)
    faulty_aws.refuse(operation)
    assert work(handle, announced)

    faulty_aws.heal()
    assert not work(handle, announced)
    assert job_of(Jobs(dynamodb(), aws.table("imports"), 30), announced).reading.rows_read == 2


def test_time_that_runs_out_while_the_queue_is_down_leaves_the_message(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, braze: BrazeSimulator
) -> None:
    handle = build(
        aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url, BRAZE_REST_URL=braze.url)
    )
    lines = "".join(f"member-1,{'t' * 200},600\n" for _ in range(25_000))
    refused = refusal("AccessDeniedException")
    faulty_aws.answer("SendMessageBatch", lambda body: refused if b"-imports" in body else None)

    assert work(handle, dropped(aws, f"user_id,tags,ttl\n{lines}"), remaining_ms=0)
    assert not aws.queued("imports")


def test_a_job_that_another_worker_has_made_is_gone_on_with(aws: Aws, handle: Invoked, jobs: Jobs) -> None:
    announced = dropped(aws)
    made = Job(
        import_id=import_id_of(aws.bucket(), announced["detail"]["object"]),
        state=JobState.READING,
        created_at=1.0,
        source=Source(aws.bucket(), KEY),
    )
    jobs.save(made)
    assert not work(handle, announced)
    assert job_of(jobs, announced).created_at == 1.0


def test_an_export_that_failed_is_told_once(handle: Invoked, jobs: Jobs) -> None:
    failed = Job(
        import_id="segment-1", state=JobState.FAILED, created_at=1.0, export=Export("segment-1"), reason_code="expired"
    )
    jobs.save(failed)
    assert not work(handle, {"import_id": "segment-1"})
    told = jobs.find("segment-1")
    assert told is not None
    assert told.finished_at > 0
    assert not work(handle, {"import_id": "segment-1"})
    again = jobs.find("segment-1")
    assert again is not None
    assert structs.replace(again, version=0, lease_until=0, lease_holder="") == structs.replace(
        told, version=0, lease_until=0, lease_holder=""
    )


def test_a_file_that_breaks_midway_is_told_when_its_rows_have_their_verdicts(
    aws: Aws, handle: Invoked, jobs: Jobs
) -> None:
    whole = gzip.compress(("user_id,tags,ttl\n" + "member-1,gold,600\n" * 200_000).encode(), 0)
    announced = dropped(aws)
    aws.s3.put_object(Bucket=aws.bucket(), Key="imports/broken.csv.gz", Body=whole[: len(whole) // 2])
    announced["detail"]["object"]["key"] = "imports/broken.csv.gz"
    assert not work(handle, announced)
    job = job_of(jobs, announced)
    assert (job.state, job.finished_at, job.reading.rows_queued > 0) == (JobState.FAILED, 0, True)

    deliver(aws, job.import_id)
    assert not work(handle, {"import_id": job.import_id})
    assert job_of(jobs, announced).finished_at > 0
