"""A job is written by one worker at a time, and by none that looked at it too long ago."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from bulk.jobs import Export, Job, Jobs, JobState, Options, Outdated, ReadBack, Reading, Source
from shared.aws import dynamodb, dynamodb_for_requests
from shared.errors import InProgress, StoreUnavailable
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import LOST, Answer, FaultyAws

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NOW = 1_800_000_000.0

JOB = Job(
    import_id="csv-1",
    state=JobState.READING,
    created_at=NOW,
    options=Options(tags=("gold",), ttl_seconds=600, member_kind="external_id", encoding="latin-1"),
    source=Source("bucket", "imports/members.csv", "v1"),
    reading=Reading(offset=512, line=9, rows_read=7, rows_queued=5, rows_failed=2),
    export=Export("segment-1", lists_leavers=True),
    read_back=ReadBack(2, 1, 1, 0),
)


def jobs_of(aws: Aws, now: float = NOW) -> Jobs:
    return Jobs(dynamodb(), aws.table("imports"), 30, lambda: now)


def test_a_job_is_found_as_it_was_saved(aws: Aws) -> None:
    saved = jobs_of(aws).save(JOB)

    assert saved == structs.replace(JOB, version=1)
    assert jobs_of(aws).find("csv-1") == saved
    assert jobs_of(aws).find("csv-2") is None
    [item] = aws.items("imports")
    assert item["expires_at"] == str(int(NOW) + 30 * 86_400)


def test_a_job_is_made_once(aws: Aws) -> None:
    jobs_of(aws).save(JOB)
    with pytest.raises(Outdated):
        jobs_of(aws).save(JOB)


def test_who_looked_before_another_wrote_may_not_write(aws: Aws) -> None:
    jobs = jobs_of(aws)
    seen = jobs.save(JOB)
    jobs.save(structs.replace(seen, state=JobState.DELIVERING))

    with pytest.raises(Outdated):
        jobs.save(structs.replace(seen, state=JobState.FAILED))
    assert jobs.find("csv-1") == structs.replace(seen, state=JobState.DELIVERING, version=2)


def test_a_leased_job_is_left_alone_until_the_lease_ends(aws: Aws) -> None:
    leased = jobs_of(aws).lease(jobs_of(aws).save(JOB), 120, "message-1")

    with pytest.raises(InProgress):
        jobs_of(aws, NOW + 20).lease(leased, 120, "message-2")
    assert jobs_of(aws, NOW + 121).lease(leased, 60, "message-2").lease_until == NOW + 181


def test_of_two_workers_that_reach_for_a_lease_one_gets_it(aws: Aws) -> None:
    job = jobs_of(aws).save(JOB)
    jobs_of(aws).lease(job, 120, "message-1")
    with pytest.raises(Outdated):
        jobs_of(aws).lease(job, 120, "message-2")


def test_a_message_that_came_back_takes_the_lease_of_its_dead_worker(aws: Aws) -> None:
    leased = jobs_of(aws).lease(jobs_of(aws).save(JOB), 120, "message-1")
    assert jobs_of(aws, NOW + 5).lease(leased, 120, "message-1").lease_until == NOW + 125


def answer_lost_once(faulty_aws: FaultyAws, meanwhile: Callable[[], object] = lambda: None) -> None:
    """The first write is made and its answer lost; `meanwhile` comes before the client writes again."""
    calls: list[bytes] = []

    def rule(body: bytes) -> Answer | None:
        calls.append(body)
        if len(calls) == 2:
            meanwhile()
        return LOST if len(calls) == 1 else None

    faulty_aws.answer("PutItem", rule)


@pytest.mark.parametrize("client", [dynamodb, dynamodb_for_requests])
def test_a_write_whose_answer_was_lost_is_no_conflict_with_itself(
    aws: Aws, faulty_aws: FaultyAws, client: Callable[[], DynamoDBClient]
) -> None:
    jobs = Jobs(client(), aws.table("imports"), 30, lambda: NOW)
    answer_lost_once(faulty_aws)
    made = jobs.save(JOB)
    answer_lost_once(faulty_aws)
    went_on = jobs.save(structs.replace(made, state=JobState.DELIVERING))

    assert faulty_aws.calls.count("PutItem") == 4
    assert jobs.find("csv-1") == went_on == structs.replace(JOB, state=JobState.DELIVERING, version=2)


def test_a_write_whose_answer_was_lost_gives_way_to_who_went_on_meanwhile(aws: Aws, faulty_aws: FaultyAws) -> None:
    jobs, others = jobs_of(aws), Jobs(aws.dynamodb, aws.table("imports"), 30, lambda: NOW)
    ours = structs.replace(jobs.save(JOB), state=JobState.DELIVERING)
    theirs = structs.replace(ours, state=JobState.FAILED, version=2)
    answer_lost_once(faulty_aws, lambda: others.save(theirs))

    with pytest.raises(Outdated):
        jobs.save(ours)
    assert jobs.find("csv-1") == structs.replace(theirs, version=3)


def test_a_table_that_cannot_be_asked_is_said_so(aws: Aws, faulty_aws: FaultyAws) -> None:
    jobs = jobs_of(aws)
    faulty_aws.refuse("GetItem")
    faulty_aws.refuse("PutItem")
    with pytest.raises(StoreUnavailable):
        jobs.find("csv-1")
    with pytest.raises(StoreUnavailable):
        jobs.save(JOB)
