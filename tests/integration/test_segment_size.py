"""A segment's size: from the cache while fresh, from Braze when not, from the cache again when Braze fails."""

from __future__ import annotations

import time
from datetime import date, timedelta

import pytest

from clients.braze import SegmentSize
from infra.local.simulators import BrazeSimulator, Status
from segment_size.endpoint import build
from shared.cache import Cache
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Invoked, get
from tests.integration.support.faulty_aws import FaultyAws

TODAY = date(2026, 11, 22)
NOTHING = {
    "as_of": None,
    "size": None,
    "size_text": "",
    "date": None,
    "previous_size": None,
    "change": None,
    "change_percent": None,
    "meets_min": False,
}


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=braze.url))


def short(handle: Invoked, segment_id: str = "segment-1", **query: str) -> Answered:
    return get(handle, "GET /segments/{segment_id}/size", path={"segment_id": segment_id}, query=query)


def vendor(handle: Invoked, **query: str) -> Answered:
    return get(handle, "GET /segments/data_series", query={"segment_id": "segment-1", "length": "3"} | query)


def sized(braze: BrazeSimulator, *points: int, segment_id: str = "segment-1") -> None:
    """The series Braze gives: the last point is today's."""
    days = [date.today() - timedelta(days=back) for back in range(len(points) - 1, -1, -1)]
    braze.set_segment_sizes(segment_id, dict(zip(days, points, strict=True)))


def remember(aws: Aws, *points: int, age: float, length: int = 2) -> None:
    """Puts sizes into the cache as they were `age` seconds ago."""
    cache = Cache(aws.dynamodb, aws.table("cache"), list[SegmentSize], 604_800, lambda: time.time() - age)
    cache.put(
        f"segment#segment-1#{length}#",
        [SegmentSize((TODAY + timedelta(days=at)).isoformat(), size) for at, size in enumerate(points)],
    )


def test_a_size_is_printed_with_its_change(handle: Invoked, braze: BrazeSimulator) -> None:
    sized(braze, 12_000, 12_345)

    answered = short(handle)

    assert answered.status == 200
    assert {**answered.body, "as_of": "", "date": ""} == {
        "ok": True,
        "stale": False,
        "reason": None,
        "as_of": "",
        "segment_id": "segment-1",
        "size": 12_345,
        "size_text": "12,345",
        "date": "",
        "previous_size": 12_000,
        "change": 345,
        "change_percent": 2.9,
        "meets_min": True,
    }
    assert len(answered.body["date"]) == 10


@pytest.mark.parametrize(
    ("points", "change", "percent"),
    [((7,), None, None), ((0, 5), 5, None), ((200, 100), -100, -50.0), ((3, 3), 0, 0.0)],
)
def test_a_change_is_told_where_there_is_one(
    handle: Invoked, braze: BrazeSimulator, points: tuple[int, ...], change: int | None, percent: float | None
) -> None:
    sized(braze, *points)

    body = short(handle).body

    assert (body["change"], body["change_percent"]) == (change, percent)


@pytest.mark.parametrize(("least", "meets"), [("0", True), ("100", True), ("101", False)])
def test_a_template_may_ask_whether_a_size_is_worth_showing(
    handle: Invoked, braze: BrazeSimulator, least: str, meets: bool
) -> None:
    sized(braze, 90, 100)

    assert short(handle, min=least, v="1", cache_id="x").body["meets_min"] is meets


def test_a_fresh_size_is_served_without_asking_braze(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    remember(aws, 10, 11, age=3_000)

    body = short(handle).body

    assert (body["ok"], body["stale"], body["size"]) == (True, False, 11)
    assert braze.requests() == []


def test_an_old_size_is_asked_for_anew_and_then_kept(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    remember(aws, 10, 11, age=4_000)
    sized(braze, 20, 21)

    assert [short(handle).body["size"] for _ in range(3)] == [21, 21, 21]
    assert len(braze.requests()) == 1


def test_an_old_size_is_served_as_stale_with_the_reason_when_braze_fails(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    remember(aws, 10, 11, age=4_000)
    braze.faults.add("GET *", Status(503))

    body = short(handle).body

    assert (body["ok"], body["stale"], body["reason"], body["size"]) == (True, True, "upstream_unavailable", 11)


def test_a_size_too_old_even_for_that_is_not_served(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    remember(aws, 10, 11, age=604_900)
    braze.faults.add("GET *", Status(503))

    assert short(handle).body["ok"] is False


@pytest.mark.parametrize(
    ("segment_id", "on_error", "status", "reason"),
    [("segment-1", "data", 200, "upstream_unavailable"), ("segment-1", "retry", 503, "upstream_unavailable")],
)
def test_without_a_size_the_answer_has_every_key_and_the_reason(
    handle: Invoked, braze: BrazeSimulator, segment_id: str, on_error: str, status: int, reason: str
) -> None:
    braze.faults.add("GET *", Status(500))

    answered = short(handle, segment_id, on_error=on_error)

    assert (answered.status, answered.headers.get("Retry-After")) == (status, "5" if status == 503 else None)
    assert answered.body == {"ok": False, "stale": False, "reason": reason, "segment_id": segment_id, **NOTHING}


@pytest.mark.parametrize("on_error", ["data", "retry"])
def test_an_unknown_segment_is_final(handle: Invoked, on_error: str) -> None:
    answered = short(handle, "nobody-knows", on_error=on_error)

    assert (answered.status, answered.body["ok"], answered.body["reason"]) == (200, False, "segment_not_found")


def test_a_segment_without_analytics_has_no_data(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.add_segment("segment-silent", analytics=False)

    answered = short(handle, "segment-silent")

    assert (answered.status, answered.body["ok"], answered.body["reason"]) == (200, False, "no_data")


@pytest.mark.parametrize(
    ("segment_id", "query", "field"),
    [
        ("a b", {}, "segment_id"),
        ("segment-1?length=100", {}, "segment_id"),
        ("a/b", {}, "segment_id"),
        ("s" * 65, {}, "segment_id"),
        ("segment-1", {"min": "-1"}, "min"),
        ("segment-1", {"min": "many"}, "min"),
        ("segment-1", {"on_error": "x"}, "on_error"),
        ("segment-1", {"size": "1"}, "size"),
    ],
)
def test_a_wrong_option_is_a_400_that_names_it(
    handle: Invoked, braze: BrazeSimulator, segment_id: str, query: dict[str, str], field: str
) -> None:
    answered = short(handle, segment_id, **query)

    assert (answered.status, answered.body["field"]) == (400, field)
    assert braze.requests() == []


def test_the_vendor_dialect_answers_in_brazes_shape(handle: Invoked, braze: BrazeSimulator) -> None:
    sized(braze, 1, 2, 3)

    answered = vendor(handle)

    days = [(date.today() - timedelta(days=back)).isoformat() for back in (2, 1, 0)]
    assert answered.body == {
        "message": "success",
        "data": [{"time": day, "size": size} for day, size in zip(days, (1, 2, 3), strict=True)],
    }


def test_a_series_ends_where_it_was_asked_to(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.set_segment_sizes("segment-1", {date(2026, 11, 1): 5, date(2026, 11, 2): 6})

    answered = vendor(handle, length="1", ending_at="2026-11-01T23:59:59Z")

    assert answered.body["data"] == [{"time": "2026-11-01", "size": 5}]
    assert braze.requests()[0].query == "segment_id=segment-1&length=1&ending_at=2026-11-01T23%3A59%3A59Z"


def test_series_of_other_lengths_and_ends_are_other_cache_entries(handle: Invoked, braze: BrazeSimulator) -> None:
    for query in ({"length": "1"}, {"length": "2"}, {"ending_at": "2026-11-01"}, {"length": "1"}):
        vendor(handle, **query)

    assert len(braze.requests()) == 3


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"length": "0"}, "length"),
        ({"length": "101"}, "length"),
        ({"length": "x"}, "length"),
        ({"segment_id": "a b"}, "segment_id"),
        ({"ending_at": "yesterday"}, "ending_at"),
        ({"ending_at": "2026-11-22T23:59:59Z&length=100"}, "ending_at"),
        ({"unit": "day"}, "unit"),
    ],
)
def test_a_wrong_option_of_the_vendor_dialect_is_a_400_that_names_it(
    handle: Invoked, query: dict[str, str], field: str
) -> None:
    answered = vendor(handle, **query)

    assert (answered.status, answered.body["field"]) == (400, field)


def test_a_missing_option_is_named(handle: Invoked) -> None:
    answered = get(handle, "GET /segments/data_series", query={"segment_id": "segment-1"})

    assert (answered.status, answered.body["code"], answered.body["field"]) == (400, "missing_field", "length")


@pytest.mark.parametrize(
    ("segment_id", "fault", "message"),
    [
        ("nobody-knows", None, "Invalid Segment ID"),
        ("segment-1", Status(404, "<html>"), "upstream_unavailable"),
        ("segment-1", Status(429), "upstream_throttled"),
        ("segment-1", Status(500), "upstream_unavailable"),
    ],
)
def test_a_failure_of_the_vendor_dialect_is_a_message_and_no_data(
    handle: Invoked, braze: BrazeSimulator, segment_id: str, fault: Status | None, message: str
) -> None:
    if fault is not None:
        braze.faults.add("GET *", fault)

    answered = vendor(handle, segment_id=segment_id)

    assert (answered.status, answered.body) == (200, {"message": message, "data": []})


@pytest.mark.parametrize("operation", ["GetItem", "PutItem"])
def test_a_cache_that_fails_costs_a_call_and_not_the_answer(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, operation: str
) -> None:
    faulty_aws.refuse(operation)
    handle = build(aws.settings(BRAZE_REST_URL=braze.url))

    assert [short(handle).body["ok"] for _ in range(2)] == [True, True]
    assert len(braze.requests()) == 2
