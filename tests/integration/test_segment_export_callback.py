"""A callback is believed once, if it knows the token, and is not lost when others write the job at that moment."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import structs

from bulk.jobs import Export, Job, Jobs, JobState
from member_lists.callback import build
from member_lists.segment_export import digest_of
from shared.aws import dynamodb
from shared.http import Handler
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, call, http_event
from tests.integration.support.faulty_aws import FaultyAws

NOW = 1_795_350_600.0
ROUTE = "POST /segment-exports/{import_id}/callback/{token}"
URL = "https://files.example/export.zip"

JOB = Job(
    import_id="segment-1",
    state=JobState.EXPORTING,
    created_at=NOW,
    export=Export("segment-1", callback_digests=(digest_of("token"),), object_prefix="prefix", requested_at=NOW),
)


def handler_of(aws: Aws) -> Handler:
    return build(aws.settings(), lambda: NOW + 60)


def jobs_of(aws: Aws) -> Jobs:
    return Jobs(aws.dynamodb, aws.table("imports"), 30, lambda: NOW)


def calls_back(aws: Aws, body: Any, token: str = "token", import_id: str = "segment-1") -> Answered:
    """As Braze does, whose content type is not documented."""
    text = body if isinstance(body, str) else json.dumps(body)
    return call(handler_of(aws), http_event(ROUTE, path={"import_id": import_id, "token": token}, body=text))


def saved(aws: Aws, job: Job = JOB) -> Job:
    return Jobs(dynamodb(), aws.table("imports"), 30, lambda: NOW).save(job)


def found(aws: Aws) -> Job:
    job = jobs_of(aws).find("segment-1")
    assert job is not None
    return job


def export_of(job: Job) -> Export:
    assert job.export is not None
    return job.export


def test_a_callback_wakes_the_import_up(aws: Aws) -> None:
    saved(aws)

    answered = calls_back(aws, {"success": True, "url": URL})

    assert (answered.status, answered.body) == (200, {"ok": True})
    assert export_of(found(aws)) == structs.replace(export_of(JOB), callback_digests=(), url=URL)
    assert aws.queued("imports") == [{"import_id": "segment-1"}]


def test_a_token_is_good_once(aws: Aws) -> None:
    saved(aws)
    calls_back(aws, {"success": True, "url": URL})
    again = calls_back(aws, {"success": True, "url": "https://elsewhere.example/export.zip"})

    assert again.status == 404
    assert export_of(found(aws)).url == URL
    assert len(aws.queued("imports")) == 1


def test_whatever_is_wrong_with_an_address_it_gets_the_same_answer(aws: Aws) -> None:
    saved(aws)
    body = {"success": True, "url": URL}
    answers = [
        calls_back(aws, body, token="another"),
        calls_back(aws, body, token="\ud800"),
        calls_back(aws, body, import_id="segment-2"),
        calls_back(aws, body, import_id="segment-" + "0" * 3_000),
        calls_back(aws, "no JSON", token="another"),
    ]
    saved(aws, structs.replace(JOB, import_id="csv-1", export=None))
    answers.append(calls_back(aws, body, import_id="csv-1"))
    saved(aws, structs.replace(JOB, import_id="segment-e", state=JobState.FAILED))
    answers.append(calls_back(aws, body, import_id="segment-e"))

    assert {(answered.status, answered.text) for answered in answers} == {(404, answers[0].text)}
    assert export_of(found(aws)) == export_of(JOB)
    assert aws.queued("imports") == []


@pytest.mark.parametrize("body", ["", "no JSON", "[]", {"url": URL}, {"success": "yes"}, {"success": True, "url": 7}])
def test_a_callback_that_says_nothing_does_not_use_the_token_up(aws: Aws, body: Any) -> None:
    saved(aws)
    assert calls_back(aws, body).status == 400
    assert calls_back(aws, {"success": True, "url": URL, "more": 1}).status == 200


def test_the_address_of_brazes_own_answer_is_kept(aws: Aws) -> None:
    saved(aws, structs.replace(JOB, export=structs.replace(export_of(JOB), url="https://answer.example/export.zip")))
    assert calls_back(aws, {"success": True, "url": URL}).status == 200
    assert export_of(found(aws)).url == "https://answer.example/export.zip"


def test_a_failure_ends_the_job(aws: Aws) -> None:
    saved(aws)
    assert calls_back(aws, {"success": False}).status == 200

    failed = found(aws)
    assert (failed.state, failed.reason_code) == (JobState.FAILED, "export_failed")
    assert export_of(failed).callback_digests == ()
    assert aws.queued("imports") == [{"import_id": "segment-1"}]


def test_a_callback_for_a_request_whose_answer_was_lost_takes_the_job_on(aws: Aws) -> None:
    digests = (digest_of("token"), digest_of("later"))
    saved(
        aws,
        structs.replace(
            JOB,
            state=JobState.REQUESTED,
            export=Export("segment-1", callback_digests=digests),
            reason_code="upstream_no_answer",
            reason="Braze has not answered",
        ),
    )
    assert calls_back(aws, {"success": True, "url": URL}).status == 200

    job = found(aws)
    assert (job.state, job.reason_code, job.reason) == (JobState.EXPORTING, "", "")
    assert export_of(job) == Export("segment-1", url=URL, requested_at=NOW + 60)


def test_without_an_address_only_the_answer_can_tell_where_the_export_is(aws: Aws) -> None:
    digests = (digest_of("token"), digest_of("later"))
    requested = structs.replace(JOB, state=JobState.REQUESTED, export=Export("segment-1", callback_digests=digests))
    saved(aws, requested)
    assert calls_back(aws, {"success": True}).status == 200
    assert found(aws).state is JobState.REQUESTED
    assert export_of(found(aws)).callback_digests == (digest_of("later"),)


def test_a_callback_that_meets_a_worker_is_written_onto_what_the_worker_wrote(aws: Aws, faulty_aws: FaultyAws) -> None:
    saved(aws)
    meetings = 3

    def worker_writes(_: bytes) -> None:
        nonlocal meetings
        if meetings:
            meetings -= 1
            job = found(aws)
            jobs_of(aws).save(structs.replace(job, lease_until=job.lease_until + 1))

    faulty_aws.answer("PutItem", worker_writes)
    assert calls_back(aws, {"success": True, "url": URL}).status == 200

    assert found(aws).lease_until == 3
    assert export_of(found(aws)).url == URL


def test_a_callback_that_cannot_be_written_is_to_come_again(aws: Aws, faulty_aws: FaultyAws) -> None:
    saved(aws)

    def worker_writes(_: bytes) -> None:
        jobs_of(aws).save(found(aws))

    faulty_aws.answer("PutItem", worker_writes)
    assert calls_back(aws, {"success": True, "url": URL}).status == 503
    faulty_aws.refuse("PutItem")
    assert calls_back(aws, {"success": True, "url": URL}).status == 503
    faulty_aws.heal()
    assert calls_back(aws, {"success": True, "url": URL}).status == 200


def test_what_a_callback_brought_stays_although_the_worker_cannot_be_woken(aws: Aws, faulty_aws: FaultyAws) -> None:
    saved(aws)
    faulty_aws.refuse("SendMessageBatch")
    assert calls_back(aws, {"success": True, "url": URL}).status == 503
    assert export_of(found(aws)).url == URL


def test_neither_token_nor_address_is_logged(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    saved(aws)
    calls_back(aws, {"success": True, "url": URL}, token="wrong-token")
    calls_back(aws, {"success": True, "url": URL})

    said = capsys.readouterr().out
    assert "segment export called back" in said
    for secret in ("wrong-token", digest_of("token"), URL, '"token"'):
        assert secret not in said
