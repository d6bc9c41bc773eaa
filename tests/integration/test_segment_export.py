"""A segment export is asked for once, waited for, and copied whole, or says why it was not."""

from __future__ import annotations

import gzip
import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import structs

import wiring
from bulk.jobs import Export, Job, Jobs, JobState, Later, Options, Outdated, Source
from infra.local.simulators import (
    BrazeSimulator,
    Garbage,
    Reset,
    ResetAfterEffect,
    ResetMidBody,
    Status,
    SteppedClock,
    Throttle,
)
from infra.local.simulators.braze_exports import Export as SimulatedExport
from infra.local.simulators.faults import Fault
from member_lists.callback import Told, after_callback
from member_lists.leavers import LastRuns
from member_lists.scheduled import scheduled_job
from member_lists.segment_export import Exporter, digest_of
from shared.aws import dynamodb, s3
from shared.errors import InvalidInput, StoreUnavailable
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import FaultyAws
from tests.integration.support.sockets import answer, closed_port, read_request, serving

NOW = 1_795_350_600.0
DAY = 86_400
EXPORT = "POST /users/export/segment"
DOWNLOAD = "GET /exports/*"
USERS = [f"member-{number}" for number in range(12_000)]

JOB = Job(
    import_id="segment-1",
    state=JobState.REQUESTED,
    created_at=NOW,
    options=Options(tags=("gold",), ttl_seconds=600),
    export=Export("segment-1"),
)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(NOW)


@pytest.fixture
def braze(clock: SteppedClock) -> Iterator[BrazeSimulator]:
    """Braze with a segment whose export takes ten minutes, and nobody to call back."""
    with BrazeSimulator(latency_scale=0.001, clock=clock) as simulator:
        simulator.add_segment("segment-1")
        simulator.set_segment_users("segment-1", [*USERS, None])
        simulator.exports.seconds = 600_000
        simulator.exports.callbacks = "never"
        yield simulator


def jobs_of(aws: Aws, clock: SteppedClock) -> Jobs:
    return Jobs(dynamodb(), aws.table("imports"), 30, clock)


def last_runs_of(aws: Aws, jobs: Jobs) -> LastRuns:
    return LastRuns(dynamodb(), aws.table("imports"), 30, jobs.clock)


def exporter_of(aws: Aws, jobs: Jobs, braze_url: str, token: str = "token", **changed: str) -> Exporter:
    settings = aws.settings(BRAZE_REST_URL=braze_url, CALLBACK_BASE_URL="https://intake.example", **changed)
    return Exporter(wiring.braze(settings, connections=1), s3(), jobs, last_runs_of(aws, jobs), settings, lambda: token)


def wait_for(export: SimulatedExport, clock: SteppedClock) -> None:
    """Lets the time pass that the export takes."""
    clock.advance(601)
    while export.state == "running":
        time.sleep(0.002)


def read(aws: Aws, source: Source) -> bytes:
    return aws.s3.get_object(Bucket=source.bucket, Key=source.key)["Body"].read()


def users_in(archive: bytes) -> list[Any]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [json.loads(line) for name in opened.namelist() for line in opened.read(name).splitlines()]


# --- asking ---------------------------------------------------------------------------------------------------------


def test_braze_is_asked_for_external_ids_alone_and_told_where_to_call(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    jobs = jobs_of(aws, clock)

    begun = exporter_of(aws, jobs, braze.url).start(jobs.save(JOB))

    [request] = braze.requests()
    assert request.json() == {
        "segment_id": "segment-1",
        "callback_endpoint": "https://intake.example/segment-exports/segment-1/callback/token",
        "fields_to_export": ["external_id"],
        "output_format": "zip",
    }
    [export] = braze.exports.all
    assert begun.state is JobState.EXPORTING
    assert begun.export == Export(
        "segment-1",
        callback_digests=(digest_of("token"),),
        url=f"{braze.url}/exports/{export.object_prefix}.zip",
        object_prefix=export.object_prefix,
        requested_at=NOW,
    )
    assert jobs.find("segment-1") == begun
    assert "token" not in str(aws.items("imports")).replace("object_prefix", "")


def test_every_request_has_a_token_of_its_own(aws: Aws, braze: BrazeSimulator, clock: SteppedClock) -> None:
    jobs, settings = jobs_of(aws, clock), aws.settings(BRAZE_REST_URL=braze.url)
    exporter = Exporter(wiring.braze(settings, connections=1), s3(), jobs, last_runs_of(aws, jobs), settings)
    for segment_id in ("first", "second"):
        braze.add_segment(segment_id)
        exporter.start(jobs.save(structs.replace(JOB, import_id=segment_id, export=Export(segment_id))))

    tokens = {request.json()["callback_endpoint"].rpartition("/")[2] for request in braze.requests()}
    assert len(tokens) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)


def test_a_second_export_of_a_segment_waits_until_the_first_has_ended(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    jobs = jobs_of(aws, clock)
    exporter = exporter_of(aws, jobs, braze.url)
    exporter.start(jobs.save(JOB))
    second = jobs.save(structs.replace(JOB, import_id="segment-2"))

    with pytest.raises(Later) as caught:
        exporter.start(second)
    assert caught.value.retry_after_seconds > 0
    waiting = jobs.find("segment-2")
    assert waiting is not None
    assert (waiting.state, waiting.reason_code) == (JobState.REQUESTED, "upstream_throttled")
    assert waiting.export == Export("segment-1")  # nobody will call with that token

    wait_for(braze.exports.all[0], clock)
    begun = exporter.start(waiting)
    assert (begun.state, begun.reason_code, begun.reason) == (JobState.EXPORTING, "", "")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Throttle(90), "upstream_throttled"),
        (Status(503), "upstream_unavailable"),
        (Status(401), "upstream_unauthorized"),
        (Status(502), "upstream_no_answer"),
        (Garbage(), "upstream_garbled"),
    ],
)
def test_while_braze_takes_nothing_on_the_job_says_why_and_after_a_day_it_has_failed(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock, fault: Fault, code: str
) -> None:
    jobs = jobs_of(aws, clock)
    exporter = exporter_of(aws, jobs, braze.url)
    braze.faults.add(EXPORT, fault)

    with pytest.raises(Later) as caught:
        exporter.start(jobs.save(JOB))
    assert caught.value.retry_after_seconds == (90 if code == "upstream_throttled" else 30)
    waiting = jobs.find("segment-1")
    assert waiting is not None
    assert (waiting.state, waiting.reason_code) == (JobState.REQUESTED, code)
    assert waiting.reason

    clock.advance(DAY + 1)
    failed = exporter.start(waiting)
    assert (failed.state, failed.reason_code, failed.reason) == (JobState.FAILED, code, waiting.reason)


def test_an_unknown_segment_is_failed_at_once_in_brazes_words(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    jobs = jobs_of(aws, clock)
    job = jobs.save(structs.replace(JOB, export=Export("nobody-knows")))

    failed = exporter_of(aws, jobs, braze.url).start(job)

    assert (failed.state, failed.reason_code) == (JobState.FAILED, "segment_not_found")
    assert "Invalid Segment ID" in failed.reason


def test_what_braze_refuses_for_another_reason_is_no_unknown_segment(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    jobs = jobs_of(aws, clock)
    braze.faults.add(EXPORT, Status(400, {"message": "Feature not enabled"}))

    failed = exporter_of(aws, jobs, braze.url).start(jobs.save(JOB))

    assert (failed.state, failed.reason_code) == (JobState.FAILED, "upstream_refused")


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"message": "No export for you"}, JobState.FAILED),
        ({"message": "success"}, JobState.REQUESTED),
        ({"message": "success", "url": 7, "object_prefix": "x"}, JobState.REQUESTED),
        ({"url": None, "object_prefix": ["x"]}, JobState.REQUESTED),
    ],
)
def test_an_answer_that_does_not_say_where_the_export_will_be_begins_nothing(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock, body: Any, state: JobState
) -> None:
    jobs = jobs_of(aws, clock)
    braze.faults.add(EXPORT, Status(200, body))
    try:
        job = exporter_of(aws, jobs, braze.url).start(jobs.save(JOB))
    except Later:
        job = jobs.find("segment-1") or JOB
    assert job.state is state


def test_a_request_whose_answer_was_lost_may_still_be_called_back_for(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    jobs = jobs_of(aws, clock)
    braze.faults.add(EXPORT, ResetAfterEffect(), times=1)
    with pytest.raises(Later):
        exporter_of(aws, jobs, braze.url, "lost").start(jobs.save(JOB))
    unknown = jobs.find("segment-1")
    assert unknown is not None

    with pytest.raises(Later):  # the lost one is running: 429
        exporter_of(aws, jobs, braze.url, "refused").start(unknown)
    waiting = jobs.find("segment-1")
    assert waiting is not None
    assert waiting.export is not None
    assert waiting.export.callback_digests == (digest_of("lost"),)

    wait_for(braze.exports.all[0], clock)
    begun = exporter_of(aws, jobs, braze.url, "second").start(waiting)
    assert begun.export is not None
    assert begun.export.callback_digests == (digest_of("second"),)
    assert len(braze.exports.all) == 2


def called_back_on(saves: int, aws: Aws, faulty_aws: FaultyAws, clock: SteppedClock, told: Told) -> None:
    """Has Braze call back just before so many saves more."""
    calls = 0

    def rule(_: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == saves:
            jobs = Jobs(aws.dynamodb, aws.table("imports"), 30, clock)
            job = jobs.find("segment-1")
            assert job is not None
            assert job.export is not None
            jobs.save(after_callback(job, told, digest_of("token"), clock()))

    faulty_aws.answer("PutItem", rule)


def test_a_callback_that_overtakes_the_answer_is_not_lost(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    jobs = jobs_of(aws, clock)
    job = jobs.save(JOB)
    called_back_on(2, aws, faulty_aws, clock, Told(True, "https://files.example/export.zip"))

    begun = exporter_of(aws, jobs, braze.url).start(job)

    assert begun.state is JobState.EXPORTING
    assert begun.export is not None
    assert (begun.export.url, begun.export.callback_digests) == ("https://files.example/export.zip", ())
    assert jobs.find("segment-1") == begun


def test_a_callback_without_an_address_leaves_it_to_the_answer(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    jobs = jobs_of(aws, clock)
    job = jobs.save(JOB)
    called_back_on(2, aws, faulty_aws, clock, Told(True))

    begun = exporter_of(aws, jobs, braze.url).start(job)

    assert begun.state is JobState.EXPORTING
    assert begun.export is not None
    assert begun.export.callback_digests == ()
    assert begun.export.object_prefix == braze.exports.all[0].object_prefix


def test_what_an_earlier_request_brought_meanwhile_is_gone_on_with(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    jobs = jobs_of(aws, clock)
    seen = jobs.save(JOB)
    taken_on = jobs.save(structs.replace(seen, state=JobState.EXPORTING, export=Export("segment-1", url="https://x.y")))

    assert exporter_of(aws, jobs, braze.url).start(seen) == taken_on
    assert braze.requests() == []


def test_a_callback_while_braze_refuses_is_gone_on_with(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    jobs = jobs_of(aws, clock)
    braze.faults.add(EXPORT, Throttle(1))
    job = jobs.save(JOB)
    called_back_on(2, aws, faulty_aws, clock, Told(True, "https://files.example/export.zip"))

    assert exporter_of(aws, jobs, braze.url).start(job).state is JobState.EXPORTING


def test_another_workers_job_is_not_written(aws: Aws, braze: BrazeSimulator, clock: SteppedClock) -> None:
    jobs = jobs_of(aws, clock)
    ours = jobs.lease(jobs.save(JOB), 1, "message-1")
    clock.advance(2)
    jobs.lease(ours, 60, "message-2")

    with pytest.raises(Outdated):
        exporter_of(aws, jobs, braze.url).start(ours)
    assert braze.requests() == []


def test_a_job_that_others_write_all_the_time_is_left_to_them(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    jobs = jobs_of(aws, clock)
    job = jobs.save(JOB)

    def rule(_: bytes) -> None:
        others = Jobs(aws.dynamodb, aws.table("imports"), 30, clock)
        others.save(others.find("segment-1") or JOB)

    faulty_aws.answer("PutItem", rule)
    with pytest.raises(Outdated):
        exporter_of(aws, jobs, braze.url).start(job)


# --- fetching -------------------------------------------------------------------------------------------------------


def exporting(aws: Aws, braze: BrazeSimulator, clock: SteppedClock, **changed: str) -> tuple[Exporter, Jobs, Job]:
    jobs = jobs_of(aws, clock)
    exporter = exporter_of(aws, jobs, braze.url, **changed)
    return exporter, jobs, exporter.start(jobs.save(JOB))


def test_an_export_is_copied_whole_once_it_is_there(aws: Aws, braze: BrazeSimulator, clock: SteppedClock) -> None:
    exporter, jobs, job = exporting(aws, braze, clock)

    with pytest.raises(Later) as caught:  # 403 so far
        exporter.fetch(job)
    assert caught.value.retry_after_seconds == 30
    assert jobs.find("segment-1") == job

    wait_for(braze.exports.all[0], clock)
    fetched = exporter.fetch(job)

    assert fetched.state is JobState.READING
    assert fetched.started_at == clock()
    assert fetched.source is not None
    assert fetched.source.key == "exports/segment-1.zip"
    archive = read(aws, fetched.source)
    assert len(archive) == fetched.source.size_bytes
    assert users_in(archive) == [*({"external_id": each} for each in USERS), {}]
    assert fetched.export is not None
    assert (fetched.export.url, fetched.export.callback_digests) == ("", ())
    assert jobs.find("segment-1") == fetched


def test_a_download_that_breaks_off_leaves_nothing_and_is_begun_again(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    exporter, _, job = exporting(aws, braze, clock)
    wait_for(braze.exports.all[0], clock)
    braze.faults.add(DOWNLOAD, ResetMidBody(), times=1)
    braze.faults.add(DOWNLOAD, Reset(), times=1)

    for _attempt in range(2):
        with pytest.raises(Later):
            exporter.fetch(job)
        assert "Contents" not in aws.s3.list_objects_v2(Bucket=aws.bucket())
    assert exporter.fetch(job).state is JobState.READING


def test_a_redirect_is_not_followed(aws: Aws, braze: BrazeSimulator, clock: SteppedClock) -> None:
    exporter, _, job = exporting(aws, braze, clock)
    wait_for(braze.exports.all[0], clock)
    came: list[Any] = []
    with serving(came.append) as elsewhere:
        braze.faults.add(DOWNLOAD, Status(302, headers={"Location": f"{elsewhere}/latest/meta-data"}))
        with pytest.raises(Later):
            exporter.fetch(job)
    assert came == []


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/x",
        "https://localhost/x",
        "https://name:word@files.example/x",
        "http://files.example/x",
        "ftp://files.example/x",
        "file:///etc/passwd",
        "https://[broken/x",
        "no address",
    ],
)
def test_an_address_that_leads_elsewhere_is_not_followed(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock, url: str
) -> None:
    exporter, _, job = exporting(aws, braze, clock)
    assert job.export is not None

    failed = exporter.fetch(structs.replace(job, export=structs.replace(job.export, url=url)))

    assert (failed.state, failed.reason_code) == (JobState.FAILED, "export_address_refused")


def test_an_address_by_https_is_followed_wherever_it_leads(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    exporter, _, job = exporting(aws, braze, clock)
    assert job.export is not None
    url = f"https://nowhere.invalid:{closed_port()}/export.zip?signature=x"

    with pytest.raises(Later):
        exporter.fetch(structs.replace(job, export=structs.replace(job.export, url=url)))


def test_no_credential_goes_with_a_download(aws: Aws, clock: SteppedClock) -> None:
    seen: list[bytes] = []

    def script(connection: Any) -> None:
        seen.append(read_request(connection))
        connection.sendall(answer(b"PK\x05\x06" + bytes(18)))

    jobs = jobs_of(aws, clock)
    with serving(script) as url:
        exporter = exporter_of(aws, jobs, url)
        job = structs.replace(
            JOB,
            state=JobState.EXPORTING,
            export=Export("segment-1", url=f"{url}/a%2Fb.zip?x=1&y=%2B", requested_at=NOW),
        )
        assert exporter.fetch(jobs.save(job)).state is JobState.READING
    assert seen[0].startswith(b"GET /a%2Fb.zip?x=1&y=%2B HTTP/1.1\r\n")
    assert b"authorization" not in seen[0].lower()


def test_an_export_that_does_not_come_within_a_day_has_failed(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    braze.exports.fails = True
    exporter, _, job = exporting(aws, braze, clock)
    clock.advance(DAY)
    with pytest.raises(Later):
        exporter.fetch(job)
    clock.advance(1)

    failed = exporter.fetch(job)

    assert (failed.state, failed.reason_code) == (JobState.FAILED, "export_expired")


def test_an_export_beyond_all_measure_is_refused(aws: Aws, braze: BrazeSimulator, clock: SteppedClock) -> None:
    _, jobs, job = exporting(aws, braze, clock)
    wait_for(braze.exports.all[0], clock)
    settings = aws.settings(BRAZE_REST_URL=braze.url)
    exporter = Exporter(
        wiring.braze(settings, connections=1), s3(), jobs, last_runs_of(aws, jobs), settings, most_bytes=1000
    )

    failed = exporter.fetch(job)

    assert (failed.state, failed.reason_code) == (JobState.FAILED, "export_too_large")
    assert "Contents" not in aws.s3.list_objects_v2(Bucket=aws.bucket())


def test_a_download_that_takes_too_long_is_begun_again(aws: Aws, braze: BrazeSimulator, clock: SteppedClock) -> None:
    _, jobs, job = exporting(aws, braze, clock)
    wait_for(braze.exports.all[0], clock)
    settings = aws.settings(BRAZE_REST_URL=braze.url)
    with pytest.raises(Later):
        Exporter(
            wiring.braze(settings, connections=1), s3(), jobs, last_runs_of(aws, jobs), settings, copy_seconds=0
        ).fetch(job)


def test_the_run_before_is_noted_for_the_list_of_leavers(aws: Aws, braze: BrazeSimulator, clock: SteppedClock) -> None:
    exporter, _, job = exporting(aws, braze, clock)
    LastRuns(dynamodb(), aws.table("imports"), 30, clock).remember(structs.replace(JOB, import_id="segment-0"))
    wait_for(braze.exports.all[0], clock)

    fetched = exporter.fetch(job)

    assert fetched.export is not None
    assert fetched.export.previous_import_id == "segment-0"


def test_a_bucket_that_takes_nothing_is_said_so(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, clock: SteppedClock
) -> None:
    exporter, _, job = exporting(aws, braze, clock)
    wait_for(braze.exports.all[0], clock)
    faulty_aws.refuse(f"PUT /{aws.bucket()}/exports/segment-1.zip")
    with pytest.raises(StoreUnavailable):
        exporter.fetch(job)


# --- a bucket of the brand's own ------------------------------------------------------------------------------------


@pytest.fixture
def own_bucket(aws: Aws, braze: BrazeSimulator) -> str:
    name = f"{aws.name}-braze"
    aws.s3.create_bucket(Bucket=name)
    braze.exports.to_bucket = (aws.s3, name)
    return name


def test_the_objects_of_an_own_bucket_become_one_file_when_braze_has_called_back(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock, own_bucket: str
) -> None:
    exporter, jobs, job = exporting(aws, braze, clock, BRAZE_EXPORT_BUCKET=own_bucket)
    assert job.export is not None
    aws.s3.put_object(Bucket=own_bucket, Key="segment-export/segment-1/2026-11-22/another-export/x.zip", Body=b"no")
    with pytest.raises(Later):
        exporter.fetch(job)
    wait_for(braze.exports.all[0], clock)
    told = jobs.save(after_callback(job, Told(True), digest_of("token"), clock()))

    fetched = exporter.fetch(told)

    assert fetched.source is not None
    assert fetched.source.key == "exports/segment-1.ndjson"
    lines = [json.loads(line) for line in read(aws, fetched.source).splitlines() if line]
    assert sorted(str(line) for line in lines) == sorted([*(str({"external_id": each}) for each in USERS), "{}"])


def test_without_a_callback_an_own_bucket_is_read_when_nothing_was_added_for_five_minutes(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock, own_bucket: str
) -> None:
    exporter, jobs, _ = exporting(aws, braze, clock, BRAZE_EXPORT_BUCKET=own_bucket)
    wait_for(braze.exports.all[0], clock)

    def look() -> Job | None:
        found = jobs.find("segment-1")
        assert found is not None
        try:
            return exporter.fetch(found)
        except Later:
            return None

    assert look() is None
    clock.advance(299)
    assert look() is None
    [first, *_] = aws.s3.list_objects_v2(Bucket=own_bucket)["Contents"]
    aws.s3.copy_object(
        Bucket=own_bucket, Key=first["Key"].replace(".zip", "z.zip"), CopySource=f"{own_bucket}/{first['Key']}"
    )
    clock.advance(2)
    assert look() is None  # one more, so the clock starts anew
    clock.advance(299)
    assert look() is None
    clock.advance(1)
    fetched = look()
    assert fetched is not None
    assert fetched.state is JobState.READING


@pytest.mark.usefixtures("own_bucket")
def test_an_own_bucket_that_nobody_named_is_asked_for(aws: Aws, braze: BrazeSimulator, clock: SteppedClock) -> None:
    exporter, _, job = exporting(aws, braze, clock)
    failed = exporter.fetch(job)
    assert (failed.state, failed.reason_code) == (JobState.FAILED, "export_bucket_unknown")
    assert "BrazeExportBucket" in failed.reason


def packed(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("users.json", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"no zip", "export_broken"),
        (packed(b"x" * 5000)[:-30], "export_broken"),
        (packed(b"x" * 5000)[:-6] + bytes.fromhex("ffffffff0000"), "export_broken"),
        (packed(bytes(67_108_865)), "export_too_large"),
        (gzip.compress(b"{}", 0) + bytes(67_108_865), "export_too_large"),
    ],
    ids=["no-zip", "cut-off", "made-up", "unpacks-to-much", "much"],
)
def test_an_object_that_cannot_be_read_fails_the_export(
    aws: Aws, braze: BrazeSimulator, clock: SteppedClock, own_bucket: str, content: bytes, code: str
) -> None:
    exporter, jobs, job = exporting(aws, braze, clock, BRAZE_EXPORT_BUCKET=own_bucket)
    assert job.export is not None
    key = f"segment-export/segment-1/2026-11-22/{job.export.object_prefix}/0.zip"
    aws.s3.put_object(Bucket=own_bucket, Key=key, Body=content)
    told = jobs.save(after_callback(job, Told(True), digest_of("token"), clock()))

    failed = exporter.fetch(told)

    assert (failed.state, failed.reason_code) == (JobState.FAILED, code)


# --- schedules ------------------------------------------------------------------------------------------------------

BODY = {
    "segment_id": "segment-1",
    "tags": ["gold"],
    "ttl": 172_800,
    "schedule": "gold-daily",
    "scheduled_time": "2026-11-22T04:00:00Z",
}


def test_a_schedules_message_is_the_same_job_however_often_it_comes() -> None:
    job = scheduled_job({**BODY, "member_kind": "external_id", "leavers": True}, NOW)
    assert re.fullmatch(r"segment-[0-9a-f]{24}", job.import_id)
    assert job == Job(
        import_id=job.import_id,
        state=JobState.REQUESTED,
        created_at=NOW,
        options=Options(tags=("gold",), ttl_seconds=172_800, member_kind="external_id"),
        export=Export("segment-1", schedule="gold-daily", lists_leavers=True),
    )
    assert scheduled_job(BODY, NOW + 60).import_id == job.import_id
    assert scheduled_job({**BODY, "scheduled_time": "2026-11-23T04:00:00Z"}, NOW).import_id != job.import_id
    assert scheduled_job({**BODY, "schedule": "silver"}, NOW).import_id != job.import_id


@pytest.mark.parametrize(
    "changed", [{"ttl": None}, {"ttl": 0}, {"tags": []}, {"segment_id": "a b"}, {"schedule": ""}, {"counter": True}]
)
def test_a_schedules_message_that_makes_no_job_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        scheduled_job({**BODY, **changed}, NOW)
