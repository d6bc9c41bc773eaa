"""Who left a segment since its last run is listed, all of them and nobody else."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from msgspec import structs

import wiring
from bulk.jobs import Export, Job, Jobs, JobState, Options, Reading, Source
from bulk.verdicts import Verdicts
from member_lists.finish import Finisher
from member_lists.leavers import LastRuns, leavers_of, list_leavers
from shared.aws import dynamodb, events, s3
from shared.errors import StoreUnavailable
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import FaultyAws

NOW = 1_795_350_600.0

JOB = Job(
    import_id="segment-2",
    state=JobState.DELIVERING,
    created_at=NOW,
    options=Options(tags=("gold", "vip"), ttl_seconds=600),
    export=Export("segment-1", lists_leavers=True, previous_import_id="segment-1"),
)


def jobs_of(aws: Aws) -> Jobs:
    return Jobs(dynamodb(), aws.table("imports"), 30, lambda: NOW)


def exported(aws: Aws, import_id: str, *files: Iterable[Any]) -> Source:
    """A zip with these files; what is no user's id is a line as it is."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, users in enumerate(files):
            lines = [user if isinstance(user, bytes) else json.dumps({"external_id": user}).encode() for user in users]
            archive.writestr(f"{number}.json", b"\n".join(lines))
    key = f"exports/{import_id}.zip"
    aws.s3.put_object(Bucket=aws.bucket(), Key=key, Body=packed.getvalue())
    return Source(aws.bucket(), key)


def listed(aws: Aws, key: str) -> list[str]:
    text = aws.s3.get_object(Bucket=aws.bucket(), Key=key)["Body"].read().decode()
    [[column], *rows] = csv.reader(io.StringIO(text, newline=""))
    assert column == "user_id"
    return [row[0] for row in rows]


@pytest.mark.parametrize("round_ids", [1_000_000, 700, 300])
def test_leavers_are_those_of_the_former_export_that_are_not_in_the_new_one(aws: Aws, round_ids: int) -> None:
    chance = Random(1)
    before = [f"member-{number}" for number in range(2_000)]
    now = [*chance.sample(before, 1_500), *(f"new-{number}" for number in range(300))]
    previous = exported(aws, "segment-1", before[:700], before[700:])
    job = structs.replace(JOB, source=exported(aws, "segment-2", now))

    key = list_leavers(s3(), job, previous, round_ids=round_ids)

    assert key == "exports/segment-2.left.csv"
    left = listed(aws, key)
    assert len(left) == len(set(left))
    assert set(left) == set(before) - set(now)


def test_when_nobody_left_the_list_says_so(aws: Aws) -> None:
    previous = exported(aws, "segment-1", ["a", "b"])
    job = structs.replace(JOB, source=exported(aws, "segment-2", ["b", "c", "a"]))
    assert listed(aws, list_leavers(s3(), job, previous)) == []


def test_when_everybody_left_all_are_listed(aws: Aws) -> None:
    previous = exported(aws, "segment-1", ["a", "b, or not b"])
    job = structs.replace(JOB, source=exported(aws, "segment-2"))
    assert listed(aws, list_leavers(s3(), job, previous)) == ["a", "b, or not b"]


def test_after_an_empty_run_nobody_can_have_left(aws: Aws) -> None:
    job = structs.replace(JOB, source=exported(aws, "segment-2"))
    assert listed(aws, list_leavers(s3(), job, exported(aws, "segment-1"))) == []


def test_lines_that_are_no_users_are_passed_over(aws: Aws) -> None:
    strange = [
        b"{}",
        b"no JSON",
        b'{"external_id": null}',
        b"[1]",
        b"\xff",
        b"",
        b'{"external_id": 7}',
        b'{"external_id": " c "}',
    ]
    previous = exported(aws, "segment-1", ["a", *strange, "b"])
    job = structs.replace(JOB, source=exported(aws, "segment-2", ["b"]))
    assert listed(aws, list_leavers(s3(), job, previous)) == ["a", "7", "c"]


def test_an_export_longer_than_what_is_looked_at_at_a_time_loses_nobody(aws: Aws) -> None:
    before = [f"a-rather-long-external-id-of-some-member-{number:09d}" for number in range(60_000)]
    previous = exported(aws, "segment-1", before)
    job = structs.replace(JOB, source=exported(aws, "segment-2", before[:-1]))
    assert listed(aws, list_leavers(s3(), job, previous)) == before[-1:]


def test_a_line_without_end_is_passed_over(aws: Aws) -> None:
    previous = exported(aws, "segment-1", ["a", b"x" * 3_000_000, "b"])
    job = structs.replace(JOB, source=exported(aws, "segment-2", ["c"]))
    assert listed(aws, list_leavers(s3(), job, previous)) == ["a", "b"]


def test_a_former_export_that_is_gone_makes_no_list_and_no_error(aws: Aws) -> None:
    job = structs.replace(JOB, source=exported(aws, "segment-2", ["a"]))
    assert list_leavers(s3(), job, Source(aws.bucket(), "exports/gone.zip")) == ""


def test_a_bucket_that_cannot_be_asked_is_said_so(aws: Aws, faulty_aws: FaultyAws) -> None:
    previous, source = exported(aws, "segment-1", ["a"]), exported(aws, "segment-2", ["b"])
    faulty_aws.refuse(f"PUT /{aws.bucket()}/exports/segment-2.left.csv")
    with pytest.raises(StoreUnavailable):
        list_leavers(s3(), structs.replace(JOB, source=source), previous)


# --- from run to run ------------------------------------------------------------------------------------------------


def test_the_last_run_is_that_of_the_same_segment_and_tags(aws: Aws) -> None:
    runs = LastRuns(dynamodb(), aws.table("imports"), 30, lambda: NOW)
    assert runs.previous(JOB) == ""
    runs.remember(structs.replace(JOB, import_id="segment-1"))

    assert runs.previous(JOB) == "segment-1"
    assert runs.previous(structs.replace(JOB, options=Options(tags=("vip", "gold")))) == "segment-1"
    assert runs.previous(structs.replace(JOB, options=Options(tags=("gold",)))) == ""
    assert runs.previous(structs.replace(JOB, export=Export("segment-9"))) == ""
    later = LastRuns(dynamodb(), aws.table("imports"), 30, lambda: NOW + 30 * 86_400)
    assert later.previous(JOB) == ""  # its export has been deleted


def test_only_a_job_that_asks_for_leavers_and_has_a_run_before_it_lists_them(aws: Aws) -> None:
    jobs = jobs_of(aws)
    job = structs.replace(JOB, source=exported(aws, "segment-2", ["b"]))
    for other in (
        structs.replace(job, export=None),
        structs.replace(job, export=Export("segment-1", previous_import_id="segment-1")),
        structs.replace(job, export=Export("segment-1", lists_leavers=True)),
        job,  # whose former job nobody knows any more
    ):
        assert leavers_of(s3(), jobs, other) == ""
    jobs.save(structs.replace(JOB, import_id="segment-1"))  # which has never come to a source
    assert leavers_of(s3(), jobs, job) == ""


def test_the_end_of_an_import_lists_the_leavers_and_is_remembered_for_the_next(aws: Aws) -> None:
    settings, jobs = (
        aws.settings(SESSIONM_CORE_URL="http://127.0.0.1:9", SESSIONM_CONNECT_URL="http://127.0.0.1:9"),
        jobs_of(aws),
    )
    verdicts = Verdicts(dynamodb(), aws.table("imports"), 30, lambda: NOW)
    last_runs = LastRuns(dynamodb(), aws.table("imports"), 30, jobs.clock)
    sessionm = wiring.sessionm(settings, connections=1)
    finisher = Finisher(s3(), jobs, verdicts, last_runs, sessionm, events(), settings)
    read = Reading(fraction=1.0)
    first = structs.replace(
        JOB,
        import_id="segment-1",
        reading=read,
        export=Export("segment-1"),
        source=exported(aws, "segment-1", ["a", "b"]),
    )
    finished = finisher.finish(jobs.save(first))
    assert (finished.state, finished.leavers_file) == (JobState.FINISHED, "")
    previous = LastRuns(dynamodb(), aws.table("imports"), 30, lambda: NOW).previous(JOB)
    second = jobs.save(
        structs.replace(
            JOB,
            reading=read,
            source=exported(aws, "segment-2", ["b"]),
            export=Export("segment-1", lists_leavers=True, previous_import_id=previous),
        )
    )

    for _time in range(2):  # the second after a worker that died before it saved
        finished = finisher.finish(structs.replace(second, version=(jobs.find("segment-2") or second).version))
        assert listed(aws, finished.leavers_file) == ["a"]
