"""From the tag queues to SessionM: every row ends as one verdict or stays in its queue."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bulk.jobs import Job, Jobs, JobState, Reading
from bulk.verdicts import Tally, UnsentRow, Verdicts
from infra.local.simulators import ErrorInside200, SessionmSimulator, Status
from shared.outcomes import Outcome, State
from tag_import.delivery import build
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record
from tests.integration.support.parcels import COUNTER, EXPIRING, Wanted, parcel, parcel_of

NOT_A_MEMBER = Wanted(7, "nobody", ("gold", "silver"))


@pytest.fixture
def handle(aws: Aws, sessionm: SessionmSimulator) -> Invoked:
    return build(aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url))


@pytest.fixture
def verdicts(aws: Aws) -> Verdicts:
    return Verdicts(aws.dynamodb, aws.table("imports"), 30)


def deliver(handle: Invoked, *bodies: str) -> list[str]:
    """The ids of the messages that stay: message-0, message-1 ..."""
    records = [sqs_record(body, f"message-{position}") for position, body in enumerate(bodies)]
    return failures(handle(sqs_event(records), Context()))


def unsent(verdicts: Verdicts, import_id: str = "import-1") -> list[UnsentRow]:
    return list(verdicts.unsent(import_id))


def sent_tags(sessionm: SessionmSimulator) -> list[list[str]]:
    return [request.json()["tags"] for request in sessionm.requests()]


# --- what SessionM is sent ------------------------------------------------------------------------------------------


def test_a_row_becomes_tags_that_expire(handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts) -> None:
    before = time.time()

    assert deliver(handle, parcel(EXPIRING)) == []

    [(name, tag)] = sessionm.tags_of("member-1").items()
    assert (name, tag.count) == ("gold", None)
    assert tag.expires_at == pytest.approx(before + 600, abs=10)
    assert verdicts.tally("import-1") == Tally(sent=1)


def test_a_member_is_found_by_external_id(handle: Invoked, sessionm: SessionmSimulator) -> None:
    assert deliver(handle, parcel(Wanted(1, "loyal-1", kind="external_id"))) == []
    assert set(sessionm.tags_of("member-1")) == {"gold"}


def test_an_id_that_means_something_in_an_address_stays_in_its_place(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    sessionm.add_member("member-2", "ann+1@example.com|(x)")

    assert deliver(handle, parcel(Wanted(1, "ann+1@example.com|(x)", kind="external_id"))) == []
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
    assert deliver(handle, parcel(COUNTER)) == [], "another parcel, the same effect"

    assert sessionm.tags_of("member-1")["visits"].count == 1
    assert "ttl" not in sessionm.requests()[0].json()


def test_two_counters_count_twice(handle: Invoked, sessionm: SessionmSimulator) -> None:
    assert deliver(handle, parcel(COUNTER, Wanted(4, tags=("visits",), ttl_seconds=None))) == []
    assert sessionm.tags_of("member-1")["visits"].count == 2


def test_rows_of_one_member_that_expire_alike_are_one_call_and_a_verdict_each(
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts
) -> None:
    sessionm.add_member("member-2")
    rows = [
        Wanted(1, tags=("a", "b")),
        Wanted(2, "member-2", ("z",)),
        Wanted(3, tags=("b", "c")),
        Wanted(4, tags=("a",), ttl_seconds=60),
        Wanted(5, "loyal-1", ("d",), kind="external_id"),
        Wanted(6, tags=("n",), ttl_seconds=None),
        Wanted(7, tags=("d",)),
    ]

    assert deliver(handle, parcel(*rows)) == []

    assert sorted(sent_tags(sessionm)) == [["a"], ["a", "b", "c", "d"], ["d"], ["n"], ["z"]]
    assert verdicts.tally("import-1") == Tally(sent=7)


def test_a_call_carries_no_more_than_a_hundred_tags(
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts
) -> None:
    rows = [Wanted(line, tags=[f"tag-{line}-{number}" for number in range(60)]) for line in (1, 2)]
    rows += [Wanted(3, tags=("tag-1-0", "tag-2-0"))]

    assert deliver(handle, parcel(*rows)) == []

    assert sorted(map(len, sent_tags(sessionm))) == [60, 61]
    assert verdicts.tally("import-1") == Tally(sent=3)


def test_a_call_for_several_rows_that_is_refused_is_made_again_row_by_row(
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts
) -> None:
    sessionm.faults.add("POST *", Status(422, {"status": "error", "errors": {"code": "validation"}}), times=2)

    assert deliver(handle, parcel(*(Wanted(line, tags=(f"tag-{line}",)) for line in (1, 2, 3)))) == []

    assert len(sessionm.requests()) == 4
    assert verdicts.tally("import-1") == Tally(sent=2, failed=1)
    assert [row.code for row in unsent(verdicts)] == ["validation"]


def test_an_unknown_member_is_asked_for_once_whatever_the_number_of_its_rows(
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts
) -> None:
    assert deliver(handle, parcel(NOT_A_MEMBER, Wanted(8, "nobody", ("bronze",)))) == []

    assert len(sessionm.requests()) == 1
    assert [row.line for row in unsent(verdicts)] == [7, 8]


# --- verdicts -------------------------------------------------------------------------------------------------------


def test_an_unknown_member_is_a_failure_to_look_at_and_not_a_reason_to_try_again(
    handle: Invoked, verdicts: Verdicts
) -> None:
    assert deliver(handle, parcel(NOT_A_MEMBER, import_id="import-9")) == []

    [row] = unsent(verdicts, "import-9")
    assert (row.line, row.kind, row.member_id, row.tags) == (7, "user_id", "nobody", ("gold", "silver"))
    assert (row.ttl_seconds, row.state, row.code) == (600, State.FAILED, "user_not_found")
    assert row.reason.startswith("SessionM has no such member")


def test_a_refused_counter_stays_refused(handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts) -> None:
    row = Wanted(3, "nobody", ("visits",), ttl_seconds=None)

    assert deliver(handle, parcel(row)) == []
    assert deliver(handle, parcel(row)) == []

    assert len(sessionm.requests()) == 1
    first, second = unsent(verdicts)
    assert (first.state, first.code, first.ttl_seconds) == ("failed", "user_not_found", None)
    assert first == second


def test_rows_that_have_their_verdict_are_not_sent_again(
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts
) -> None:
    whole = parcel_of(EXPIRING, Wanted(5, "member-2"))
    [settling] = verdicts.open([whole])
    settling.settle(0, Outcome(State.FAILED, "validation"))
    verdicts.record([settling])
    sessionm.add_member("member-2")

    for _ in range(2):
        assert deliver(handle, parcel(EXPIRING, Wanted(5, "member-2"), parcel_id=whole.id)) == []

    assert [request.path.split("/")[-2] for request in sessionm.requests()] == ["member-2"]
    assert verdicts.tally("import-1") == Tally(sent=1, failed=1)


def test_a_parcel_that_came_in_two_messages_is_sent_once(
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts
) -> None:
    body = parcel(EXPIRING)

    assert deliver(handle, body, body) == []
    assert (len(sessionm.requests()), verdicts.tally("import-1").total) == (1, 1)


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
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts, row: Wanted, code: str, stays: bool
) -> None:
    sessionm.faults.add("POST *", ErrorInside200(code))

    assert deliver(handle, parcel(row)) == (["message-0"] if stays else [])
    assert [(each.code, bool(each.reason)) for each in unsent(verdicts)] == ([] if stays else [(code.lower(), True)])


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
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts, status: int, body: Any, reason: str
) -> None:
    sessionm.faults.add("POST *", Status(status, body))

    assert deliver(handle, parcel(EXPIRING)) == []
    assert [row.code for row in unsent(verdicts)] == [reason]


@pytest.mark.parametrize("body", ["<html>no such host</html>", {"message": "not found"}, ["not found"]])
def test_a_4xx_that_is_not_in_sessionms_words_is_no_verdict_on_the_row(
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts, body: Any
) -> None:
    sessionm.faults.add("POST *", Status(404, body))

    assert deliver(handle, parcel(EXPIRING)) == ["message-0"]
    assert deliver(handle, parcel(COUNTER)) == ["message-0"]
    assert verdicts.tally("import-1") == Tally()


# --- what stays, and what comes again -------------------------------------------------------------------------------


def test_of_a_batch_only_the_messages_with_unfinished_rows_stay(
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts
) -> None:
    sessionm.add_member("member-2")
    sessionm.faults.add("POST */member-2/tags", Status(503))
    mixed = parcel(Wanted(9, "member-2"), NOT_A_MEMBER)

    assert deliver(handle, parcel(EXPIRING), mixed, parcel(EXPIRING)) == ["message-1"]
    assert verdicts.tally("import-1") == Tally(sent=2, failed=1), "what was decided is written down at once"


@pytest.mark.parametrize(
    "poison",
    [
        *("not JSON", "[]", "{}", '{"import_id": "i", "id": "p", "labels": [], "rows": [[1, 2]]}'),
        '{"import_id": "i", "id": "p", "labels": [], "rows": [[1, "member-1", 0]]}',
        '{"import_id": "i", "id": "p", "labels": [["user_id", ["gold"], 60]], "rows": [[1, "member-1", -1]]}',
        '{"import_id": "", "id": "p", "labels": [["user_id", ["gold"], 60]], "rows": [[1, "member-1", 0]]}',
        '{"more": ' + "[" * 100_000 + "]" * 100_000 + "}",
        *(
            json.dumps(
                {
                    "import_id": import_id,
                    "id": parcel_id,
                    "labels": [["user_id", ["gold"], 60]],
                    "rows": [[1, "member-1", 0]],
                }
            )
            for import_id, parcel_id in (("i", "\N{OLD ITALIC LETTER A}" * 255), ("\N{OLD ITALIC LETTER A}" * 64, "p"))
        ),
    ],
)
def test_a_message_nobody_can_read_stays_and_stops_no_other(
    handle: Invoked, sessionm: SessionmSimulator, poison: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deliver(handle, poison, parcel(EXPIRING)) == ["message-0"]
    assert set(sessionm.tags_of("member-1")) == {"gold"}
    assert '"message":"unreadable message"' in capsys.readouterr().out


def test_what_time_does_not_reach_is_put_back_as_a_fresh_message_into_its_own_queue(
    aws: Aws, handle: Invoked, sessionm: SessionmSimulator
) -> None:
    bulk, single = parcel(EXPIRING, COUNTER), parcel(EXPIRING)
    bulk_arn = aws.settings().text("BULK_TAG_QUEUE_ARN")

    for record in (sqs_record(bulk, "bulk") | {"eventSourceARN": bulk_arn}, sqs_record(single, "single")):
        assert failures(handle(sqs_event([record]), Context(remaining_ms=30_000))) == []

    assert sessionm.requests() == []
    assert aws.queued("bulk-tags") == [json.loads(bulk)]
    assert aws.queued("tags") == [json.loads(single)]


def test_what_the_rate_does_not_allow_in_time_is_put_back(
    aws: Aws, sessionm: SessionmSimulator, verdicts: Verdicts
) -> None:
    settings = aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url, TAG_RATE_PER_SECOND="10")
    bodies = [parcel(*(Wanted(line, tags=(f"tag-{part}",)) for line in range(3))) for part in range(30)]
    rows = [parcel(*(Wanted(line, ttl_seconds=line + 1) for line in range(4))) for _ in range(10)]
    records = [sqs_record(body, f"message-{position}") for position, body in enumerate([*rows, *bodies])]

    assert failures(build(settings)(sqs_event(records), Context(remaining_ms=31_000))) == []

    assert 5 <= len(sessionm.requests()) <= 11
    put_back = aws.queued("tags")
    assert len(put_back) >= 27
    assert verdicts.tally("import-1").total >= len(sessionm.requests())


def test_many_rows_are_sent_and_counted(
    handle: Invoked, sessionm: SessionmSimulator, verdicts: Verdicts, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(25):
        sessionm.add_member(f"m-{number}")
    bodies = [parcel(*(Wanted(number, f"m-{number}") for number in range(25))) for _ in range(25)]

    assert deliver(handle, *bodies) == []

    assert len(sessionm.requests()) == 625
    assert verdicts.tally("import-1") == Tally(sent=625)
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"TagsSent"' in line]
    assert [(metric["TagsSent"], metric["TagsPostponed"], metric["TagCallsThrottled"]) for metric in metrics] == [
        ([625.0], [0.0], [0.0])
    ]


# --- imports that are complete --------------------------------------------------------------------------------------


def job(aws: Aws, state: JobState, rows_queued: int, import_id: str = "import-1") -> None:
    reading = Reading(rows_read=rows_queued, rows_queued=rows_queued)
    Jobs(aws.dynamodb, aws.table("imports"), 30).save(
        Job(import_id=import_id, state=state, created_at=0, reading=reading)
    )


def test_the_last_verdict_of_an_import_wakes_its_job(aws: Aws, handle: Invoked) -> None:
    job(aws, JobState.DELIVERING, rows_queued=2)
    last = parcel(NOT_A_MEMBER)

    deliver(handle, parcel(EXPIRING))
    assert aws.queued("imports") == []

    deliver(handle, last)
    assert aws.queued("imports") == [{"import_id": "import-1"}]

    deliver(handle, last)
    assert aws.queued("imports") == [{"import_id": "import-1"}], "a worker may have died after the last verdict"


def test_so_does_that_of_an_import_whose_file_broke_off(aws: Aws, handle: Invoked) -> None:
    job(aws, JobState.FAILED, rows_queued=1)

    deliver(handle, parcel(EXPIRING))
    assert aws.queued("imports") == [{"import_id": "import-1"}]


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.DELIVERING, JobState.FAILED}))
def test_an_import_that_is_not_read_to_its_end_or_long_over_is_not_woken(
    aws: Aws, handle: Invoked, state: JobState
) -> None:
    job(aws, state, rows_queued=1)

    assert deliver(handle, parcel(EXPIRING)) == []
    assert aws.queued("imports") == []


def test_what_came_by_http_has_no_job_to_wake(aws: Aws, handle: Invoked) -> None:
    job(aws, JobState.DELIVERING, rows_queued=1, import_id="webhook-2026-11-22")

    assert deliver(handle, parcel(EXPIRING, import_id="webhook-2026-11-22")) == []
    assert aws.queued("imports") == []
