"""The wallet while SessionM fails: an answer inside the budget, with the reason, whatever happens behind it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from infra.local.simulators import (
    EndlessBody,
    ErrorInside200,
    Fault,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetMidBody,
    SessionmSimulator,
    Slow,
    SlowBody,
    Status,
    Throttle,
    WrongShape,
)
from tests.integration.support.aws import Aws
from tests.integration.support.events import JSON, Answered, Invoked, call, http_event, post
from tests.integration.support.faulty_aws import FaultyAws
from tests.integration.support.sockets import closed_port, not_accepting
from wallet_proxy.endpoint import build

VENDOR = "POST /offers/api/2.0/offers/get_user_offers"
BUDGET_MS = 1500
HURRIED_MS = 600
SLACK_SECONDS = 0.5  # a busy machine; a real Connected Content call gives up at 2 s

LATE: list[Fault] = [Slow(5), SlowBody(5), EndlessBody(), HangAfterAccept(5)]
AT_ONCE: list[tuple[Fault, str]] = [
    (Reset(), "upstream_no_answer"),
    (ResetMidBody(), "upstream_no_answer"),
    (Garbage(), "upstream_garbled"),
    (WrongShape(), "upstream_garbled"),
    (WrongShape("types"), "upstream_garbled"),
    (Status(200, {"status": "ok"}), "upstream_garbled"),
    (Status(200, {"status": "ok", "payload": {"user_offers": {}}}), "upstream_garbled"),
    (ErrorInside200(), "upstream_unavailable"),
    (ErrorInside200("invalid_api_key"), "upstream_unauthorized"),
    (ErrorInside200("requires_registered_user"), "requires_registered_user"),
    (Status(302), "upstream_unavailable"),
    (Status(401), "upstream_unauthorized"),
    (Status(403), "upstream_unauthorized"),
    (Status(404), "not_found"),
    (Status(422, "<html>"), "upstream_unavailable"),
    (Status(422, {"status": "error"}), "status_422"),
    (Throttle(30), "upstream_throttled"),
    (Status(500), "upstream_unavailable"),
    (Status(503), "upstream_unavailable"),
]


FINAL = {"requires_registered_user", "not_found", "status_422"}


def built(aws: Aws, url: str, budget_ms: int = BUDGET_MS) -> Invoked:
    return build(
        aws.settings(
            SESSIONM_CORE_URL=url,
            SESSIONM_CONNECT_URL=url,
            READ_BUDGET_MILLISECONDS=str(budget_ms),
            READ_COLD_BUDGET_MILLISECONDS=str(budget_ms),
        )
    )


@pytest.fixture
def handle(aws: Aws, sessionm: SessionmSimulator) -> Invoked:
    return built(aws, sessionm.url)


@pytest.fixture
def hurried(aws: Aws, sessionm: SessionmSimulator) -> Invoked:
    """A handler with little time, and warm, as most environments are."""
    handle = built(aws, sessionm.url, HURRIED_MS)
    for _ in range(5):
        if post(handle, "POST /wallet", {"user_id": "member-1", "cache": "no"}).body["ok"]:
            sessionm.forget()
            return handle
    raise AssertionError("never warm")


def rows_of_the_page() -> dict[str, list[str]]:
    """The table in docs/wallet.md: what SessionM does, and the cells of our answer."""
    page = Path(__file__).resolve().parents[2] / "docs" / "wallet.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    start = lines.index("| SessionM | `reason` | with `on_error=retry` |") + 2
    table = [line.strip("| ").split(" | ") for line in lines[start : lines.index("", start)]]
    return {cells[0]: cells[1:] for cells in table}


# What is in the page's table, in its words; the three without a fault are tested by themselves below.
FAULTS: dict[str, Fault | None] = {
    "does not answer": Slow(5),
    "answers, but byte by byte": SlowBody(5),
    "answers without end": EndlessBody(),
    "takes the request and says nothing": HangAfterAccept(5),
    "drops the connection": Reset(),
    "drops it in the middle of the answer": ResetMidBody(),
    "cannot be reached": None,
    "answers with something else than JSON": Garbage(),
    "answers with a list": WrongShape(),
    "answers with text where a number should be": WrongShape("types"),
    "answers 200 and says inside that it failed": ErrorInside200(),
    "answers 200 and says inside that our key is wrong": ErrorInside200("invalid_api_key"),
    "answers 200 and refuses the member": ErrorInside200("requires_registered_user"),
    "redirects": Status(302),
    "answers 401": Status(401),
    "answers 404 in its own words": Status(404),
    "answers 422 in another's words": Status(422, "<html>"),
    "answers 429": Throttle(30),
    "answers 500": Status(500),
    "answers 502": Status(502),
    "answers 503": Status(503),
    "has failed five times in a row, or said to wait": None,
    "has SessionmMaxConcurrentCalls under way": None,
}


def test_the_table_on_the_page_lists_what_is_tested() -> None:
    assert list(rows_of_the_page()) == list(FAULTS)


@pytest.mark.parametrize("row", [row for row, fault in FAULTS.items() if fault is not None])
def test_the_table_on_the_page_is_true(aws: Aws, sessionm: SessionmSimulator, row: str) -> None:
    handle, fault = built(aws, sessionm.url), FAULTS[row]
    assert fault is not None
    reasons, status = rows_of_the_page()[row]
    in_time(handle, user_id="another")  # has its connections
    sessionm.faults.add("POST /offers/*", fault)

    answered = in_time(handle, on_error="retry")

    assert f"`{answered.body['reason']}`" in reasons.split(" or ")
    assert (answered.status, answered.body["ok"]) == (int(status), False)


def in_time(handle: Invoked, budget_ms: int = BUDGET_MS, **body: Any) -> Answered:
    started = time.perf_counter()
    answered = post(handle, "POST /wallet", {"user_id": "member-1"} | body)
    assert time.perf_counter() - started < budget_ms / 1000 + SLACK_SECONDS
    return answered


def check_nothing_known(answered: Answered, reason: str) -> None:
    assert answered.status == 200
    assert {**answered.body, "as_of": ""} == {
        "ok": False,
        "stale": False,
        "reason": reason,
        "as_of": "",
        "user_id": "member-1",
        "culture": "en-US",
        "available_points": None,
        "available_points_text": "",
        "total_points": None,
        "total_points_text": "",
        "offer_count": 0,
        "truncated": False,
        "offers": [],
    }


@pytest.mark.parametrize("fault", LATE, ids=str)
def test_a_sessionm_that_takes_too_long_is_data_in_time(
    hurried: Invoked, sessionm: SessionmSimulator, fault: Fault
) -> None:
    sessionm.faults.add("POST /offers/*", fault)

    check_nothing_known(in_time(hurried, HURRIED_MS), "deadline_exceeded")


@pytest.mark.parametrize(("fault", "reason"), AT_ONCE, ids=str)
def test_a_failing_sessionm_is_data_with_its_reason(
    handle: Invoked, sessionm: SessionmSimulator, fault: Fault, reason: str
) -> None:
    sessionm.faults.add("POST /offers/*", fault)

    check_nothing_known(in_time(handle), reason)


@pytest.mark.parametrize(
    "more", [{"available_points": "lots"}, {"total_points": []}, {"total_records": 10**9}], ids=str
)
def test_text_where_points_should_be_and_a_count_past_belief_are_garbled(
    handle: Invoked, sessionm: SessionmSimulator, more: dict[str, Any]
) -> None:
    payload = {"user_offers": [], "available_points": 5, "total_points": 7, "total_records": 0, **more}
    sessionm.faults.add("POST /offers/*", Status(200, {"status": "ok", "payload": payload}))

    check_nothing_known(in_time(handle), "upstream_garbled")
    assert len(sessionm.requests()) == 2, "asked again at once"


def test_a_template_that_retries_gets_a_503_when_time_is_up(hurried: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /offers/*", Slow(5))

    assert in_time(hurried, HURRIED_MS, on_error="retry").status == 503


@pytest.mark.parametrize(("fault", "reason"), AT_ONCE, ids=str)
def test_a_template_that_retries_gets_a_503_where_asking_again_may_help(
    handle: Invoked, sessionm: SessionmSimulator, fault: Fault, reason: str
) -> None:
    sessionm.faults.add("POST /offers/*", fault)

    answered = in_time(handle, on_error="retry")

    assert answered.status == (200 if reason in FINAL else 503)
    assert answered.body["reason"] == reason
    assert answered.headers.get("Retry-After") == (None if reason in FINAL else "5")


@pytest.mark.parametrize("code", ["argument_error", "missing_data", "no_active_campaign_found"])
def test_every_refusal_of_sessionms_is_final(handle: Invoked, sessionm: SessionmSimulator, code: str) -> None:
    sessionm.faults.add("POST /offers/*", ErrorInside200(code))

    assert in_time(handle, on_error="retry").status == 200


def check_error_of_sessionms_shape(answered: Answered, reason: str) -> None:
    assert (answered.status, answered.body) == (
        200,
        {"status": "error", "errors": {"code": reason}, "payload": {"user_offers": [], "total_records": 0}},
    )


@pytest.mark.parametrize(("fault", "reason"), AT_ONCE, ids=str)
def test_the_vendor_dialect_answers_in_sessionms_shape_whatever_happens(
    handle: Invoked, sessionm: SessionmSimulator, fault: Fault, reason: str
) -> None:
    sessionm.faults.add("POST /offers/*", fault)

    check_error_of_sessionms_shape(post(handle, VENDOR, {"user_id": "member-1"}), reason)


@pytest.mark.parametrize("fault", [SlowBody(5), HangAfterAccept(5)], ids=str)
def test_the_vendor_dialect_answers_in_time_too(hurried: Invoked, sessionm: SessionmSimulator, fault: Fault) -> None:
    sessionm.faults.add("POST /offers/*", fault)

    started = time.perf_counter()
    answered = post(hurried, VENDOR, {"user_id": "member-1"})

    assert time.perf_counter() - started < HURRIED_MS / 1000 + SLACK_SECONDS
    check_error_of_sessionms_shape(answered, "deadline_exceeded")


@pytest.mark.parametrize("body", [{"hello": 1}, {"status": 7}, {}, {"status": "ok", "payload": []}], ids=str)
def test_an_object_that_is_no_answer_of_sessionms_is_garbled_in_the_vendor_dialect(
    handle: Invoked, sessionm: SessionmSimulator, body: dict[str, Any]
) -> None:
    sessionm.faults.add("POST /offers/*", Status(200, body))

    check_error_of_sessionms_shape(post(handle, VENDOR, {"user_id": "member-1"}), "upstream_garbled")


@pytest.mark.parametrize(
    "fault", [ErrorInside200(), ErrorInside200("invalid_api_key"), Status(200, {"hello": 1})], ids=str
)
def test_the_vendor_dialect_forgets_a_failure_at_once(
    handle: Invoked, sessionm: SessionmSimulator, fault: Fault
) -> None:
    sessionm.faults.add("POST /offers/*", fault)
    assert post(handle, VENDOR, {"user_id": "member-1"}).body["status"] == "error"
    sessionm.faults.clear()
    time.sleep(0.6)

    assert post(handle, VENDOR, {"user_id": "member-1"}).body["status"] == "ok"


def test_failures_inside_200s_of_the_vendor_dialect_count_as_failures(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    sessionm.faults.add("POST /offers/*", ErrorInside200())
    codes = [
        post(handle, VENDOR, {"user_id": "member-1"}, cache_control="no-cache").body["errors"]["code"] for _ in range(6)
    ]

    assert codes == ["upstream_unavailable"] * 5 + ["circuit_open"]


@pytest.mark.parametrize("fault", [Reset(), Status(503), Garbage(), ResetMidBody()], ids=str)
def test_a_blip_is_not_seen(handle: Invoked, sessionm: SessionmSimulator, fault: Fault) -> None:
    sessionm.faults.add("POST /offers/*", fault, times=1)

    assert in_time(handle).body["ok"] is True
    assert len(sessionm.requests()) == 2


@pytest.mark.parametrize("fault", [Throttle(1), Status(404), Status(401)], ids=str)
def test_what_will_not_change_is_asked_once(handle: Invoked, sessionm: SessionmSimulator, fault: Fault) -> None:
    sessionm.faults.add("POST /offers/*", fault)

    in_time(handle)

    assert len(sessionm.requests()) == 1


def built_small(aws: Aws, url: str, **changed: str) -> Invoked:
    return build(aws.settings(SESSIONM_CORE_URL=url, SESSIONM_CONNECT_URL=url, **changed))


def test_a_sessionm_that_goes_on_failing_is_left_alone_for_a_while(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    sessionm.faults.add("POST /offers/*", Status(503))
    reasons = [in_time(handle, cache="no").body["reason"] for _ in range(6)]

    assert reasons == ["upstream_unavailable"] * 5 + ["circuit_open"]
    assert len(sessionm.requests()) == 10


def test_a_read_beyond_the_ceiling_is_answered_and_not_sent(aws: Aws, sessionm: SessionmSimulator) -> None:
    one, other = (built_small(aws, sessionm.url, SESSIONM_MAX_CONCURRENT_CALLS="1") for _ in range(2))
    assert in_time(one).body["ok"] is True  # and keeps its place for some seconds

    beyond = in_time(other, cache="no")
    assert (beyond.status, beyond.body["ok"], beyond.body["reason"]) == (200, False, "upstream_busy")
    assert in_time(other).body["ok"] is True  # what the first has fetched
    assert len(sessionm.requests()) == 1


def test_only_so_many_answers_a_minute_ask_braze_to_come_back(aws: Aws, sessionm: SessionmSimulator) -> None:
    handle = built_small(aws, sessionm.url, RETRY_ANSWERS_PER_MINUTE="3")
    sessionm.faults.add("POST /offers/*", Status(503))
    wait_for_a_window(60)

    answered = [in_time(handle, on_error="retry", cache="no") for _ in range(5)]

    assert [answer.status for answer in answered] == [503] * 3 + [200] * 2
    assert {answer.body["ok"] for answer in answered} == {False}


def wait_for_a_window(seconds: int) -> None:
    """Waits for the next window when this one is about to end."""
    left = seconds - time.time() % seconds
    if left < 5:
        time.sleep(left)


def test_without_the_table_there_is_a_wallet_all_the_same(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    for operation in ("GetItem", "UpdateItem", "BatchGetItem"):
        faulty_aws.refuse(operation)
    handle = built_small(aws, sessionm.url)

    assert [in_time(handle).body["ok"] for _ in range(2)] == [True, True]
    assert len(sessionm.requests()) == 2
    sessionm.faults.add("POST /offers/*", Status(503))
    assert in_time(handle, on_error="retry").status == 200  # nobody can say how many 503s there were


def test_a_table_that_hangs_does_not_make_the_answer_late(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    for operation in ("GetItem", "UpdateItem", "BatchGetItem"):
        faulty_aws.hang(operation, 3)

    assert in_time(built_small(aws, sessionm.url)).body["ok"] is True


def test_without_a_connection_the_answer_says_so(aws: Aws) -> None:
    assert in_time(built(aws, f"http://127.0.0.1:{closed_port()}")).body["reason"] == "upstream_unreachable"


def test_a_connection_that_is_never_accepted_does_not_use_up_the_budget_twice(aws: Aws) -> None:
    with not_accepting() as url:
        assert in_time(built(aws, url)).body["reason"] in {"upstream_unreachable", "deadline_exceeded"}


@pytest.mark.parametrize("waited", [0.2, 10.0])
def test_the_budget_counts_from_arrival(hurried: Invoked, sessionm: SessionmSimulator, waited: float) -> None:
    sessionm.faults.add("POST /offers/*", Slow(5))
    event = http_event("POST /wallet", headers=JSON, body='{"user_id": "member-1"}', arrived_at=time.time() - waited)

    started = time.perf_counter()
    answered = call(hurried, event)

    assert answered.body["reason"] == "deadline_exceeded"
    assert time.perf_counter() - started < max(0.0, HURRIED_MS / 1000 - waited) + 0.15
    assert bool(sessionm.requests()) is (waited < 1)


def test_many_hung_calls_do_not_keep_the_next_one_waiting(hurried: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /offers/*", HangAfterAccept(3))
    for _ in range(3):
        assert in_time(hurried, HURRIED_MS).body["ok"] is False
    sessionm.faults.clear()

    assert in_time(hurried, HURRIED_MS).body["ok"] is True


@pytest.mark.parametrize(
    ("secret", "reason"), [("{}", "misconfigured"), ("not JSON", "misconfigured"), (None, "store_unavailable")]
)
def test_credentials_that_are_not_to_be_had_are_data_too(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, secret: str | None, reason: str
) -> None:
    if secret is None:
        faulty_aws.refuse("GetSecretValue")
    else:
        aws.put_secret("sessionm", secret)

    assert in_time(built(aws, sessionm.url)).body["reason"] == reason
    assert sessionm.requests() == []


def test_a_secret_store_that_hangs_does_not_make_the_answer_late(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    faulty_aws.hang("GetSecretValue", 0.8)

    handle = built(aws, sessionm.url, HURRIED_MS)

    assert in_time(handle, HURRIED_MS).body["reason"] == "deadline_exceeded"
