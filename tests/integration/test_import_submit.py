"""POST /tag-imports and POST /segment-exports: what is written down before anybody is told yes."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from bulk.jobs import UNDER_WAY, Export, Job, Jobs, JobState, Options, Source
from tag_import.submit import EXPORT_TTL_SECONDS, build
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Invoked, post
from tests.integration.support.faulty_aws import DROPPED, Answer, FaultyAws

NOW = 1_795_333_300.5


@pytest.fixture
def handle(aws: Aws) -> Invoked:
    return build(aws.settings(), clock=lambda: NOW)


def saved(aws: Aws, answered: Answered) -> Job:
    job = Jobs(aws.dynamodb, aws.table("imports"), 30).find(answered.body["import_id"])
    assert job is not None
    return job


def submit(handle: Invoked, **fields: Any) -> Answered:
    return post(handle, "POST /tag-imports", fields)


def export(handle: Invoked, **fields: Any) -> Answered:
    return post(handle, "POST /segment-exports", {"segment_id": "segment-1", "tags": ["gold"]} | fields)


# --- a file -----------------------------------------------------------------------------------------------------------


def test_a_file_arrives_where_its_job_says_by_nothing_but_the_address(aws: Aws, handle: Invoked) -> None:
    answered = submit(handle, file_name="members of spring.csv.gz")

    upload = answered.body["upload"]
    sent = requests.request(upload["method"], upload["url"], data=b"id\n1\n", headers=upload["headers"], timeout=10)
    job = saved(aws, answered)

    assert (answered.status, sent.status_code) == (201, 200)
    assert job.source == Source(aws.bucket(), f"imports/uploads/{job.import_id}/members_of_spring.csv.gz")
    assert aws.s3.get_object(Bucket=job.source.bucket, Key=job.source.key)["Body"].read() == b"id\n1\n"


def test_the_address_ends_after_an_hour_and_says_so(handle: Invoked) -> None:
    upload = submit(handle).body["upload"]

    assert parse_qs(urlsplit(upload["url"]).query)["X-Amz-Expires"] == ["3600"]
    assert upload["expires_at"] == "2026-11-22T08:41:40Z"


def test_the_answer_says_where_to_look(aws: Aws, handle: Invoked) -> None:
    answered = submit(handle)
    import_id = answered.body["import_id"]

    assert {name: value for name, value in answered.body.items() if name != "upload"} == {
        "ok": True,
        "import_id": import_id,
        "state": "awaiting_upload",
        "status_path": f"/tag-imports/{import_id}",
    }
    assert import_id.startswith("csv-")
    assert saved(aws, answered).created_at == NOW


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, Options()),
        ({"tags": ["gold", "spring"], "ttl": "30d"}, Options(("gold", "spring"), 2_592_000)),
        ({"tags": ["gold"], "ttl": 60, "id": "external_id"}, Options(("gold",), 60, member_kind="external_id")),
        ({"tags": ["visits"], "counter": True}, Options(("visits",), counter=True)),
        ({"encoding": "Latin-1", "delimiter": "\t"}, Options(encoding="iso8859-1", delimiter="\t")),
    ],
)
def test_what_holds_for_all_lines_is_kept_with_the_job(
    aws: Aws, handle: Invoked, fields: dict[str, Any], options: Options
) -> None:
    assert saved(aws, submit(handle, **fields)).options == options


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"ttl": "soon"}, "invalid_field", "ttl"),
        ({"ttl": "0d"}, "invalid_field", "ttl"),
        ({"ttl": "11000d"}, "invalid_field", "ttl"),
        ({"ttl": 0}, "invalid_field", "ttl"),
        ({"ttl": "30d", "counter": True}, "invalid_field", "counter"),
        ({"encoding": "klingon"}, "invalid_field", "encoding"),
        ({"encoding": "rot13"}, "invalid_field", "encoding"),
        ({"encoding": "undefined"}, "invalid_field", "encoding"),
        ({"delimiter": "|"}, "invalid_field", "delimiter"),
        ({"id": "email"}, "invalid_field", "id"),
        ({"file_name": "a/b.csv"}, "invalid_field", "file_name"),
        ({"tag": "gold"}, "unknown_field", "tag"),
    ],
)
def test_an_import_that_could_not_be_read_is_refused_before_the_upload(
    aws: Aws, handle: Invoked, fields: dict[str, Any], code: str, field: str
) -> None:
    answered = submit(handle, **fields)

    assert (answered.status, answered.body["code"], answered.body["field"]) == (400, code, field)
    assert answered.body["hint"]
    assert not aws.items("imports")


@pytest.mark.parametrize(
    ("name", "kept"), [("..", "upload.csv"), (".hidden.csv", "hidden.csv"), ("täg&s.CSV", "t_g_s.CSV")]
)
def test_a_file_name_cannot_leave_its_folder_or_break_its_address(
    aws: Aws, handle: Invoked, name: str, kept: str
) -> None:
    job = saved(aws, submit(handle, file_name=name))

    assert job.source is not None
    assert job.source.key == f"imports/uploads/{job.import_id}/{kept}"


def test_the_address_is_not_logged(handle: Invoked, capsys: pytest.CaptureFixture[str]) -> None:
    upload = submit(handle).body["upload"]

    assert parse_qs(urlsplit(upload["url"]).query)["X-Amz-Signature"][0] not in capsys.readouterr().out


def test_without_its_table_no_address_is_handed_out(aws: Aws, faulty_aws: FaultyAws) -> None:
    faulty_aws.refuse("PutItem")

    answered = submit(build(aws.settings()))

    assert (answered.status, answered.body["code"]) == (503, "store_unavailable")
    assert "upload" not in answered.body


# --- a segment --------------------------------------------------------------------------------------------------------


def test_an_export_is_written_down_and_then_announced(aws: Aws, handle: Invoked) -> None:
    answered = export(handle, ttl="2w", id="external_id", leavers=True)
    job = saved(aws, answered)

    assert answered.status == 202
    assert answered.body == {
        "ok": True,
        "import_id": job.import_id,
        "state": "requested",
        "status_path": f"/tag-imports/{job.import_id}",
    }
    assert aws.queued("imports") == [{"import_id": job.import_id}]
    assert job.import_id.startswith("segment-")
    assert job.state is JobState.REQUESTED
    assert job.options == Options(("gold",), 14 * 86_400, member_kind="external_id")
    assert job.export == Export("segment-1", lists_leavers=True)


def test_a_tag_of_an_export_outlasts_a_week_unless_told_otherwise(aws: Aws, handle: Invoked) -> None:
    assert saved(aws, export(handle)).options.ttl_seconds == EXPORT_TTL_SECONDS
    assert EXPORT_TTL_SECONDS > 7 * 86_400


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"counter": True}, "unknown_field", "counter"),
        ({"segment_id": "a/b"}, "invalid_field", "segment_id"),
        ({"tags": []}, "invalid_field", "tags"),
    ],
)
def test_an_export_that_cannot_be_made_is_refused(
    aws: Aws, handle: Invoked, fields: dict[str, Any], code: str, field: str
) -> None:
    answered = export(handle, **fields)

    assert (answered.status, answered.body["code"], answered.body["field"]) == (400, code, field)
    assert not aws.queued("imports")


def test_an_export_nobody_can_be_told_of_is_not_acknowledged(aws: Aws, faulty_aws: FaultyAws) -> None:
    faulty_aws.refuse("SendMessageBatch")

    assert export(build(aws.settings())).status == 503


def test_an_export_nobody_can_be_told_of_is_not_under_way(aws: Aws, faulty_aws: FaultyAws) -> None:
    faulty_aws.refuse("SendMessageBatch")
    export(build(aws.settings(), clock=lambda: NOW))

    [item] = aws.items("imports")
    job = Jobs(aws.dynamodb, aws.table("imports"), 30).find(item["import_id"])
    assert UNDER_WAY not in item
    assert job is not None
    assert (job.state, job.reason_code, job.finished_at) == (JobState.FAILED, "store_unavailable", NOW)


def test_an_export_that_a_worker_has_in_hand_goes_on_though_its_announcement_got_no_answer(
    aws: Aws, faulty_aws: FaultyAws
) -> None:
    jobs = Jobs(aws.dynamodb, aws.table("imports"), 30)

    def taken_without_an_answer(_: bytes) -> Answer:
        job = jobs.find(aws.items("imports")[0]["import_id"])
        assert job is not None
        if not job.lease_until:
            jobs.lease(job, 600, "message-1")
        return DROPPED

    faulty_aws.answer("SendMessageBatch", taken_without_an_answer)

    assert export(build(aws.settings())).status == 503
    [item] = aws.items("imports")
    assert item["state"] == "requested"
    assert UNDER_WAY in item
