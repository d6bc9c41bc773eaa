"""From TagQueue to SessionM: every row ends as one outcome or stays in the queue."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from infra.local.simulators import ErrorInside200, SessionmSimulator, Status
from tag_import.delivery import build
from tag_import.rows import Row
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record
from tests.integration.support.parcels import COUNTER, EXPIRING, parcel

NOT_A_MEMBER = Row("user_id", "nobody", ["gold", "silver"], "000000000007", ttl_seconds=600)


@pytest.fixture
def handle(aws: Aws, sessionm: SessionmSimulator) -> Invoked:
    return build(aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url))


def deliver(handle: Invoked, *bodies: str) -> list[str]:
    """The ids of the messages that stay: message-0, message-1 ..."""
    records = [sqs_record(body, f"message-{position}") for position, body in enumerate(bodies)]
    return failures(handle(sqs_event(records), Context()))


def test_a_row_becomes_tags_that_expire(handle: Invoked, sessionm: SessionmSimulator) -> None:
    before = time.time()

    assert deliver(handle, parcel(EXPIRING)) == []

    [(name, tag)] = sessionm.tags_of("member-1").items()
    assert (name, tag.count) == ("gold", None)
    assert tag.expires_at == pytest.approx(before + 600, abs=10)


def test_a_member_is_found_by_external_id(handle: Invoked, sessionm: SessionmSimulator) -> None:
    assert deliver(handle, parcel(Row("external_id", "loyal-1", ["gold"], "1", ttl_seconds=60))) == []
    assert set(sessionm.tags_of("member-1")) == {"gold"}


def test_an_id_that_means_something_in_an_address_stays_in_its_place(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    sessionm.add_member("member-2", "ann+1@example.com|(x)")

    assert deliver(handle, parcel(Row("external_id", "ann+1@example.com|(x)", ["gold"], "1", ttl_seconds=60))) == []
    assert set(sessionm.tags_of("member-2")) == {"gold"}


def test_what_sessionm_is_sent_is_what_its_documentation_prints(handle: Invoked, sessionm: SessionmSimulator) -> None:
    deliver(handle, parcel(EXPIRING))

    [request] = sessionm.requests()
    assert (request.method, request.path) == ("POST", "/priv/v1/apps/local-core-key/users/member-1/tags")
    assert request.json() == {"tags": ["gold"], "ttl": 600}
    assert request.headers["Authorization"] == sessionm.core_authorization


def test_a_counter_counts_once_although_its_message_is_delivered_twice(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    assert deliver(handle, parcel(COUNTER)) == []
    assert deliver(handle, parcel(COUNTER)) == []

    assert sessionm.tags_of("member-1")["visits"].count == 1
    assert "ttl" not in sessionm.requests()[0].json()


def test_two_counters_count_twice(handle: Invoked, sessionm: SessionmSimulator) -> None:
    second = Row("user_id", "member-1", ["visits"], "4", once="once-2")

    assert deliver(handle, parcel(COUNTER, second)) == []
    assert sessionm.tags_of("member-1")["visits"].count == 2


def test_an_unknown_member_is_a_failure_to_look_at_and_not_a_reason_to_try_again(aws: Aws, handle: Invoked) -> None:
    assert deliver(handle, parcel(NOT_A_MEMBER, import_id="import-9")) == []

    [item] = aws.items("imports")
    assert float(item.pop("expires_at")) == pytest.approx(time.time() + 30 * 86_400, abs=60)
    assert item == {
        "import_id": "import-9",
        "item": "row#000000000007",
        "state": "failed",
        "reason": "user_not_found",
        "member_kind": "user_id",
        "member_id": "nobody",
        "tags": "gold|silver",
        "ttl": "600",
    }


def test_a_refused_counter_stays_refused(aws: Aws, handle: Invoked, sessionm: SessionmSimulator) -> None:
    row = Row("user_id", "nobody", ["visits"], "3", once="once-3")

    assert deliver(handle, parcel(row)) == []
    assert deliver(handle, parcel(row)) == []

    assert len(sessionm.requests()) == 1
    [item] = aws.items("imports")
    assert (item["state"], item["reason"], "ttl" in item) == ("failed", "user_not_found", False)


@pytest.mark.parametrize(
    ("code", "stays"),
    [
        ("user_not_found", False),
        ("requires_registered_user", False),
        ("missing_data", False),
        ("validation", False),
        ("VALIDATION", False),
        ("argument_error", False),
        ("not_found", False),
        ("no_active_campaign_found", False),
        ("internal_server_error", True),
        ("not_available", True),
        ("invalid_auth_token", True),
        ("invalid_api_key", True),
        ("access_denied", True),
    ],
)
@pytest.mark.parametrize("row", [EXPIRING, COUNTER], ids=["expiring", "counter"])
def test_each_code_of_sessionms_is_a_refusal_or_a_reason_to_try_again(
    aws: Aws, handle: Invoked, sessionm: SessionmSimulator, row: Row, code: str, stays: bool
) -> None:
    sessionm.faults.add("POST *", ErrorInside200(code))

    assert deliver(handle, parcel(row)) == (["message-0"] if stays else [])
    assert [item["reason"] for item in aws.items("imports")] == ([] if stays else [code.lower()])


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (422, {"status": "error", "errors": {"code": "validation"}}, "validation"),
        (422, {"status": "error", "errors": ["validation"]}, "status_422"),
        (200, {"status": "error"}, "unspecified"),
        (200, {"status": "error", "errors": {"code": 7}}, "unspecified"),
        (200, {"status": "error", "errors": {"code": "x" * 65}}, "unspecified"),
        (200, {"status": "error", "errors": {"code": "member-1 is gone"}}, "unspecified"),
    ],
)
def test_a_refusal_is_recorded_with_sessionms_code_or_the_status(
    aws: Aws, handle: Invoked, sessionm: SessionmSimulator, status: int, body: Any, reason: str
) -> None:
    sessionm.faults.add("POST *", Status(status, body))

    assert deliver(handle, parcel(EXPIRING)) == []
    assert [item["reason"] for item in aws.items("imports")] == [reason]


@pytest.mark.parametrize("body", ["<html>no such host</html>", {"message": "not found"}, ["not found"]])
def test_a_4xx_that_is_not_in_sessionms_words_is_no_verdict_on_the_row(
    aws: Aws, handle: Invoked, sessionm: SessionmSimulator, body: Any
) -> None:
    sessionm.faults.add("POST *", Status(404, body))

    assert deliver(handle, parcel(EXPIRING)) == ["message-0"]
    assert deliver(handle, parcel(COUNTER)) == ["message-0"]
    assert aws.items("imports") == []


def test_of_a_batch_only_the_messages_with_unfinished_rows_stay(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.add_member("member-2")
    sessionm.faults.add("POST */member-2/tags", Status(503))
    other = Row("user_id", "member-2", ["gold"], "9", ttl_seconds=60)

    assert deliver(handle, parcel(EXPIRING), parcel(other, NOT_A_MEMBER), parcel(EXPIRING)) == ["message-1"]


@pytest.mark.parametrize("poison", ["not JSON", "[]", "{}", '{"import_id": "i", "rows": [{"kind": "cat"}]}'])
def test_a_message_nobody_can_read_stays_and_stops_no_other(
    handle: Invoked, sessionm: SessionmSimulator, poison: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deliver(handle, poison, parcel(EXPIRING)) == ["message-0"]
    assert set(sessionm.tags_of("member-1")) == {"gold"}
    assert '"message":"unreadable message"' in capsys.readouterr().out


def test_rows_that_time_does_not_reach_are_left_to_the_queue(handle: Invoked, sessionm: SessionmSimulator) -> None:
    record = sqs_record(parcel(EXPIRING, COUNTER))

    assert failures(handle(sqs_event([record]), Context(remaining_ms=30_000))) == ["message-1"]
    assert sessionm.requests() == []


def test_many_rows_are_sent_and_counted(
    handle: Invoked, sessionm: SessionmSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row("user_id", "member-1", [f"tag-{number}"], str(number), ttl_seconds=60) for number in range(25)]

    assert deliver(handle, *[parcel(*rows)] * 10) == []

    assert len(sessionm.requests()) == 250
    assert len(sessionm.tags_of("member-1")) == 25
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "TagsSent" in line]
    assert [metric["TagsSent"] for metric in metrics] == [[250.0]]
