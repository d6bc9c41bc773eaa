"""Tags by HTTP: acknowledged once they are in the queue, in both dialects."""

from __future__ import annotations

import base64
import json
import time

import msgspec
import pytest

from bulk.parcels import Parcel, webhook_import_id
from tag_import.webhook import build
from tests.integration.support.aws import Aws
from tests.integration.support.events import JSON, Invoked, call, http_event, post
from tests.integration.support.faulty_aws import FaultyAws, refusal

BY_USER = "POST /priv/v1/apps/{app_key}/users/{user_id}/tags"
BY_EXTERNAL = "POST /priv/v1/apps/{app_key}/external/users/{external_id}/tags"
SHORT = "POST /tags"


@pytest.fixture
def handle(aws: Aws) -> Invoked:
    return build(aws.settings())


def parcels(aws: Aws) -> list[Parcel]:
    return [msgspec.convert(body, Parcel) for body in aws.queued("tags")]


def rows(aws: Aws) -> list[tuple[str, str, list[str], int | None]]:
    """The rows in the queue: how the member is named, its id, tags, ttl."""
    found = [(parcel.label(row), row) for parcel in parcels(aws) for row in parcel.rows]
    return [(label.kind, row.member_id, list(label.tags), label.ttl_seconds) for label, row in found]


def effects(aws: Aws) -> list[str]:
    return [parcel.effect(row) for parcel in parcels(aws) for row in parcel.rows]


def test_the_request_braze_documents_is_queued_as_it_stands(aws: Aws, handle: Invoked) -> None:
    answered = post(
        handle, BY_USER, {"tags": ["braze_test"], "ttl": 2592000}, path={"app_key": "any", "user_id": "member-1"}
    )

    assert (answered.status, answered.body["status"], answered.body["queued"]) == (202, "ok", 1)
    assert answered.body["import_id"] == webhook_import_id(time.time())
    assert rows(aws) == [("user_id", "member-1", ["braze_test"], 2592000)]


@pytest.mark.parametrize("external_id", ["loyal-1", "ann@example.com", "a.b", "+49~1", "~" * 255])
def test_a_member_may_be_named_by_external_id(aws: Aws, handle: Invoked, external_id: str) -> None:
    answered = post(
        handle, BY_EXTERNAL, {"tags": ["gold", "☕"], "ttl": 60}, path={"app_key": "any", "external_id": external_id}
    )

    assert answered.status == 202
    assert rows(aws) == [("external_id", external_id, ["gold", "☕"], 60)]


@pytest.mark.parametrize(("kind", "member_id"), [("user_id", "member-1"), ("external_id", "loyal-1")])
def test_the_short_dialect_takes_one_member(aws: Aws, handle: Invoked, kind: str, member_id: str) -> None:
    assert post(handle, SHORT, {kind: member_id, "tags": ["gold"], "ttl": 60}).status == 202
    assert rows(aws) == [(kind, member_id, ["gold"], 60)]


def test_the_short_dialect_takes_many_rows_and_loses_none(aws: Aws, handle: Invoked) -> None:
    sent = [{"user_id": f"member-{number}", "tags": ["gold"], "ttl": 60} for number in range(1_000)]

    answered = post(handle, SHORT, {"rows": sent})

    assert (answered.status, answered.body["queued"]) == (202, 1_000)
    assert sorted(member_id for _, member_id, _, _ in rows(aws)) == sorted(str(row["user_id"]) for row in sent)


def test_every_row_can_be_told_from_every_other_of_its_day(aws: Aws, handle: Invoked) -> None:
    for _ in range(2):
        post(handle, SHORT, {"rows": [{"user_id": "member-1", "tags": ["gold"], "ttl": 60}] * 600})

    named = [(parcel.import_id, parcel.id, row.line) for parcel in parcels(aws) for row in parcel.rows]
    assert len(set(named)) == len(named) == 1_200


def test_a_counter_asked_for_twice_with_one_key_is_one_effect(aws: Aws, handle: Invoked) -> None:
    for key in ("key-1", "key-1", "key-2"):
        body = {"user_id": "member-1", "tags": ["visits"], "counter": True}
        assert post(handle, SHORT, body, idempotency_key=key).status == 202

    assert len(set(effects(aws))) == 2


def test_both_dialects_know_a_counter_by_the_same_effect(aws: Aws, handle: Invoked) -> None:
    fields = {"tags": ["visits"], "counter": True}
    post(handle, SHORT, fields | {"user_id": "member-1"}, idempotency_key="key-1")
    post(handle, BY_USER, fields, path={"app_key": "any", "user_id": "member-1"}, Idempotency_Key="key-1")

    assert len(set(effects(aws))) == 1


def test_two_counter_rows_of_one_request_count_twice(aws: Aws, handle: Invoked) -> None:
    row = {"user_id": "member-1", "tags": ["visits"], "counter": True}
    post(handle, SHORT, {"rows": [row, row]}, idempotency_key="key-1")

    assert len(set(effects(aws))) == 2


def test_a_base64_body_is_as_good_as_a_plain_one(aws: Aws, handle: Invoked) -> None:
    body = base64.b64encode(json.dumps({"user_id": "member-1", "tags": ["gold"], "ttl": 60}).encode()).decode()

    assert call(handle, http_event(SHORT, headers=JSON, body=body, base64=True)).status == 202
    assert len(rows(aws)) == 1


def test_without_a_queue_nothing_is_acknowledged(aws: Aws, faulty_aws: FaultyAws) -> None:
    faulty_aws.refuse("SendMessageBatch")

    answered = post(build(aws.settings()), SHORT, {"user_id": "member-1", "tags": ["gold"], "ttl": 60})

    assert (answered.status, answered.headers["Retry-After"]) == (503, "5")
    assert answered.body["code"] == "store_unavailable"
    assert "member-1" not in answered.text
    assert rows(aws) == []


def test_what_the_queue_keeps_refusing_is_not_acknowledged(aws: Aws, faulty_aws: FaultyAws) -> None:
    refused = {"Id": "0", "SenderFault": False, "Code": "InternalError"}
    faulty_aws.answer(
        "SendMessageBatch",
        lambda _: (200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps({"Failed": [refused]}).encode()),
    )

    answered = post(build(aws.settings()), SHORT, {"user_id": "member-1", "tags": ["gold"], "ttl": 60})

    assert answered.status == 503
    assert faulty_aws.calls == ["SendMessageBatch"] * 3


def test_a_queue_that_fails_for_a_moment_is_asked_again(aws: Aws, faulty_aws: FaultyAws) -> None:
    failures = [refusal("InternalFailure")]
    faulty_aws.answer("SendMessageBatch", lambda _: (500, *failures.pop()[1:]) if failures else None)

    assert post(build(aws.settings()), SHORT, {"user_id": "member-1", "tags": ["gold"], "ttl": 60}).status == 202
    assert len(rows(aws)) == 1


def test_an_unreachable_queue_is_a_503_and_never_a_202(monkeypatch: pytest.MonkeyPatch, aws: Aws) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    answered = post(build(aws.settings()), SHORT, {"user_id": "member-1", "tags": ["gold"], "ttl": 60})

    assert (answered.status, answered.body["code"]) == (503, "store_unavailable")
