"""A segment's size while Braze or the cache fail: an answer inside the budget."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.simulators import (
    BrazeSimulator,
    EndlessBody,
    ErrorInside200,
    Fault,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetMidBody,
    Slow,
    SlowBody,
    Status,
    Throttle,
    WrongShape,
)
from segment_size.endpoint import build
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Invoked, get
from tests.integration.support.faulty_aws import FaultyAws
from tests.integration.support.sockets import closed_port

BUDGET_MS = 1500
HURRIED_MS = 400
SLACK_SECONDS = 0.5


def built(aws: Aws, url: str, budget_ms: int = BUDGET_MS) -> Invoked:
    budgets = {"READ_BUDGET_MILLISECONDS": str(budget_ms), "READ_COLD_BUDGET_MILLISECONDS": str(budget_ms)}
    return build(aws.settings(BRAZE_REST_URL=url, **budgets))


SIZE: dict[str, Any] = {"route": "GET /segments/{segment_id}/size", "path": {"segment_id": "segment-1"}}
OTHERS: list[dict[str, Any]] = [
    {"route": "GET /segments/sizes", "query": {"ids": "segment-1,segment-2"}},
    {"route": "GET /segments/data_series", "query": {"segment_id": "segment-1", "length": "200"}},
    {"route": "GET /events/{event}/count", "path": {"event": "joined"}},
    {"route": "GET /products/{product}/sold", "path": {"product": "latte"}},
]


def in_time(handle: Invoked, budget_ms: int = BUDGET_MS, asked: dict[str, Any] = SIZE) -> Answered:
    started = time.perf_counter()
    answered = get(handle, **asked)
    assert time.perf_counter() - started < budget_ms / 1000 + SLACK_SECONDS
    assert answered.status == 200
    return answered


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Reset(), "upstream_no_answer"),
        (ResetMidBody(), "upstream_no_answer"),
        (Garbage(), "upstream_garbled"),
        (WrongShape(), "upstream_garbled"),
        (WrongShape("types"), "upstream_garbled"),
        (ErrorInside200(), "upstream_garbled"),
        (Status(200, {"data": [{"time": "2026-11-22"}]}), "upstream_garbled"),
        (Status(200, {"data": [{"time": 7, "size": 1}]}), "upstream_garbled"),
        (Status(200, {"data": [{"time": "2026-11-22", "size": "many"}]}), "upstream_garbled"),
        (Status(200, {"data": [7]}), "upstream_garbled"),
        (Status(302), "upstream_unavailable"),
        (Status(401), "upstream_unauthorized"),
        (Status(403), "upstream_unauthorized"),
        (Throttle(60, "reset-epoch"), "upstream_throttled"),
        (Status(500), "upstream_unavailable"),
    ],
    ids=str,
)
def test_a_failing_braze_is_data_with_its_reason(aws: Aws, braze: BrazeSimulator, fault: Fault, reason: str) -> None:
    braze.faults.add("GET *", fault)

    body = in_time(built(aws, braze.url)).body

    assert (body["ok"], body["size"]) == (False, None)
    assert body["reason"] == reason


@pytest.mark.parametrize("fault", [Slow(5), SlowBody(5), EndlessBody(), HangAfterAccept(5)], ids=str)
def test_a_braze_that_takes_too_long_is_data_in_time(aws: Aws, braze: BrazeSimulator, fault: Fault) -> None:
    braze.faults.add("GET *", fault)

    body = in_time(built(aws, braze.url, HURRIED_MS), HURRIED_MS).body

    assert (body["ok"], body["reason"]) == (False, "deadline_exceeded")


@pytest.mark.parametrize("asked", OTHERS, ids=lambda asked: asked["route"])
@pytest.mark.parametrize("fault", [Reset(), Garbage(), WrongShape("types"), Status(503), SlowBody(5)], ids=str)
def test_no_route_is_late_or_fails_when_braze_does(
    aws: Aws, braze: BrazeSimulator, fault: Fault, asked: dict[str, Any]
) -> None:
    braze.faults.add("GET *", fault)

    body = in_time(built(aws, braze.url, HURRIED_MS), HURRIED_MS, asked).body

    assert body.get("ok") is not True
    assert body.get("data", []) == []
    assert body.get("reason", body.get("message")) != "success"


def test_a_banner_gets_its_answer_sooner(aws: Aws, braze: BrazeSimulator) -> None:
    braze.faults.add("GET *", Slow(5))

    body = in_time(built(aws, braze.url), 250, {**SIZE, "query": {"budget_ms": "250"}}).body

    assert (body["ok"], body["reason"]) == (False, "deadline_exceeded")


def test_times_of_mixed_types_are_garbled_too(aws: Aws, braze: BrazeSimulator) -> None:
    data = [{"time": ["2026-11-22"], "size": 1}, {"time": "2026-11-21", "size": 2}]
    braze.faults.add("GET *", Status(200, {"data": data}))

    assert in_time(built(aws, braze.url)).body["reason"] == "upstream_garbled"


def test_a_blip_is_not_seen(aws: Aws, braze: BrazeSimulator) -> None:
    braze.faults.add("GET *", Reset(), times=1)

    assert in_time(built(aws, braze.url)).body["ok"] is True


def test_without_a_connection_the_answer_says_so(aws: Aws) -> None:
    assert in_time(built(aws, f"http://127.0.0.1:{closed_port()}")).body["reason"] == "upstream_unreachable"


@pytest.mark.parametrize("missing", [True, False], ids=["no value", "out of reach"])
def test_a_key_that_is_not_to_be_had_is_data_too(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, missing: bool
) -> None:
    if missing:
        aws.leave_empty("braze")
    else:
        faulty_aws.refuse("GetSecretValue")

    body = in_time(built(aws, braze.url)).body

    assert body["reason"] == ("misconfigured" if missing else "store_unavailable")


@pytest.mark.parametrize("operation", ["GetItem", "PutItem"])
def test_a_cache_that_hangs_does_not_make_the_answer_late(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, operation: Any
) -> None:
    faulty_aws.hang(operation, 0.7)

    assert in_time(built(aws, braze.url, HURRIED_MS), HURRIED_MS).status == 200


# --- a long list of segments ------------------------------------------------------------------------------------------

PAGES = 20


def listings(braze: BrazeSimulator) -> int:
    return sum("list" in request.path for request in braze.requests())


@pytest.fixture
def crowd() -> Iterator[BrazeSimulator]:
    """Braze with twenty pages of segments, `segment-0` to `segment-1999`, none of which it counts; 100 ms a page."""
    with BrazeSimulator(latency_scale=0) as simulator:
        for number in range(100 * PAGES):
            simulator.add_segment(f"segment-{number}", analytics=False)
        simulator.faults.add("GET /segments/list", Slow(0.1))
        yield simulator


def read(handle: Invoked, number: int) -> Any:
    return in_time(handle, asked={**SIZE, "path": {"segment_id": f"segment-{1980 + number}"}}).body


def test_an_empty_series_is_kept_though_its_reason_takes_too_long(aws: Aws, crowd: BrazeSimulator) -> None:
    handle = built(aws, crowd.url)

    first = read(handle, 0)
    asked = len(crowd.requests())
    later = [read(handle, 0) for _ in range(5)]

    assert first["reason"] == "no_data"
    assert [body["as_of"] for body in later] == [first["as_of"]] * 5
    assert asked <= 1 + PAGES // 2
    assert len(crowd.requests()) == asked


def test_a_long_list_of_segments_is_read_once_for_all_who_need_it(aws: Aws, crowd: BrazeSimulator) -> None:
    handles = [built(aws, crowd.url) for _ in range(2)]

    reasons = [read(handles[number % 2], number)["reason"] for number in range(20)]

    assert reasons[0] == "no_data"
    assert reasons[-5:] == ["analytics_off"] * 5
    assert listings(crowd) <= 2 * PAGES  # a page that had not come when time was up is asked for again


def test_many_who_need_the_list_at_once_read_it_together(aws: Aws, crowd: BrazeSimulator) -> None:
    handle = built(aws, crowd.url)
    ids = ",".join(f"segment-{1990 + number}" for number in range(10))

    for _ in range(3):
        in_time(handle, asked={"route": "GET /segments/sizes", "query": {"ids": ids}})

    assert listings(crowd) <= 2 * PAGES
