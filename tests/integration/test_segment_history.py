"""Sizes from before the hundred days that Braze tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import boto3
import pytest

from clients.braze import Point
from infra.local.simulators import BrazeSimulator, Status
from segment_size.endpoint import build
from segment_size.history import History
from shared.errors import StoreUnavailable
from tests.integration.support.aws import Aws
from tests.integration.support.events import Invoked, get
from tests.integration.support.faulty_aws import Answer, FaultyAws

TODAY = date.today()


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=braze.url))


def day(back: int) -> str:
    return (TODAY - timedelta(days=back)).isoformat()


def note(aws: Aws, *days_ago: int) -> None:
    """Notes a size for each of these days; it is how long ago the day was."""
    History(aws.dynamodb, aws.table("history")).add("segment-1", [Point(day(back), back) for back in days_ago])


def noted(aws: Aws, segment_id: str = "segment-1") -> list[Point]:
    return History(aws.dynamodb, aws.table("history")).sizes(segment_id, "2000-01-01", "2099-12-31")


def size(handle: Invoked, **query: str) -> Any:
    return get(handle, "GET /segments/{segment_id}/size", path={"segment_id": "segment-1"}, query=query).body


def series(handle: Invoked, **query: str) -> Any:
    return get(handle, "GET /segments/data_series", query={"segment_id": "segment-1", **query}).body["data"]


def test_what_braze_says_is_noted_day_by_day(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    braze.set_segment_sizes("segment-1", {TODAY: 9, TODAY - timedelta(days=1): 7})

    size(handle)

    assert noted(aws) == [Point(day(1), 7), Point(day(0), 9)]


def test_a_day_is_never_lost_and_takes_the_newer_number(aws: Aws) -> None:
    history = History(aws.dynamodb, aws.table("history"))

    history.add("segment-1", [Point("2026-01-01", 1), Point("2026-01-02", 2)])
    history.add("segment-1", [Point("2026-01-02", 20), Point("2026-01-03", 3)])
    history.add("segment-1", [])

    assert noted(aws) == [Point("2026-01-01", 1), Point("2026-01-02", 20), Point("2026-01-03", 3)]
    assert noted(aws, "segment-2") == []


def test_only_the_last_days_are_written_again_once_the_others_are_there(
    aws: Aws,
) -> None:
    history = History(aws.dynamodb, aws.table("history"))
    first = [Point(f"2026-01-{day:02}", day) for day in range(1, 7)]
    history.add("segment-1", first)

    history.add("segment-1", [Point(size.time, 10 * size.value) for size in first])

    assert [size.value for size in noted(aws)] == [1, 2, 3, 40, 50, 60]


def test_a_series_goes_back_further_than_braze_does(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    note(aws, 301, 300, 150, 2)
    braze.set_segment_sizes("segment-1", {TODAY - timedelta(days=back): 10 * back for back in range(3)})

    data = series(handle, starting_at=day(300))

    assert [point["size"] for point in data] == [300, 150, 20, 10, 0]
    assert len(braze.requests()) == 1


def test_a_trend_over_a_year_comes_from_history(aws: Aws, handle: Invoked) -> None:
    note(aws, 368, 365)

    body = size(handle, days="365")

    assert (body["trend_size"], body["trend"]) == (365, "up")


@pytest.mark.parametrize("days", ["98", "99", "365", "1000"])
def test_a_size_of_long_ago_is_the_latest_however_far_a_trend_looks_back(
    handle: Invoked, braze: BrazeSimulator, days: str
) -> None:
    told = [{"time": day(321), "size": 4_000}, {"time": day(320), "size": 5_000}]
    braze.faults.add("GET /segments/data_series", Status(200, {"message": "success", "data": told}))

    body = size(handle, days=days)

    assert (body["ok"], body["reason"], body["size"], body["date"]) == (True, None, 5_000, day(320))
    assert (body["previous_size"], body["trend"]) == (4_000, None)


def test_a_trend_looks_back_from_a_latest_size_of_long_ago(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    note(aws, 500)
    told = [{"time": day(320), "size": 5_000}]
    braze.faults.add("GET /segments/data_series", Status(200, {"message": "success", "data": told}))

    body = size(handle, days="180")

    assert (body["size"], body["trend"], body["trend_size"], body["trend_change"]) == (5_000, "up", 500, 4_500)


@pytest.mark.parametrize(("time", "size_then"), [(day(365) + "x", "5"), (day(365), "5.5"), (day(365), "1" + "0" * 30)])
def test_a_noted_size_that_cannot_be_counts_as_none(aws: Aws, handle: Invoked, time: str, size_then: str) -> None:
    item = {"segment_id": {"S": "segment-1"}, "day": {"S": time}, "size": {"N": size_then}}
    aws.dynamodb.put_item(TableName=aws.table("history"), Item=item)
    note(aws, 364)

    assert series(handle, starting_at=day(366))[0]["size"] == 364
    assert size(handle, days="365")["ok"] is True


def test_what_history_has_not_is_asked_for_once(handle: Invoked, braze: BrazeSimulator) -> None:
    for _ in range(2):
        data = series(handle, length="3", ending_at=day(200))
        assert [point["time"] for point in data] == [day(202), day(201), day(200)]

    assert [request.query.split("&")[2:] for request in braze.requests()] == [[], [f"ending_at={day(200)}"]]


def test_without_history_and_with_a_braze_that_fails_the_known_days_are_given(
    handle: Invoked, braze: BrazeSimulator
) -> None:
    size(handle)
    braze.faults.add("GET *", Status(500))

    data = series(handle, starting_at=day(150))

    assert [data[0]["time"], data[-1]["time"]] == [day(99), day(0)]


@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem", "BatchWriteItem", "Query"])
def test_a_history_that_fails_does_not_cost_the_answer(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, operation: str
) -> None:
    faulty_aws.refuse(operation)
    handle = build(aws.settings(BRAZE_REST_URL=braze.url))

    assert len(series(handle, length="120")) == 120
    assert size(handle)["ok"] is True


def test_a_series_longer_than_may_be_asked_for_is_cut(aws: Aws, handle: Invoked) -> None:
    note(aws, 1_100, 999)

    assert series(handle, starting_at=day(1_100))[0]["time"] == day(999)


def test_what_dynamodb_did_not_take_is_written_the_next_time(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator
) -> None:
    handle = build(aws.settings(BRAZE_REST_URL=braze.url, SEGMENT_SIZE_FRESH_SECONDS="0"))
    faulty_aws.answer("BatchWriteItem", lambda _: (200, {}, b'{"UnprocessedItems":{"some-table":[]}}'))
    size(handle)
    assert noted(aws) == []
    faulty_aws.heal()

    size(handle)

    assert len(noted(aws)) == 100


def leaving_out(aws: Aws, day: str, times: int) -> Callable[[bytes], Answer | None]:
    """DynamoDB takes all of a batch but one day, so many times."""
    turns = iter(range(times))

    def rule(body: bytes) -> Answer | None:
        if next(turns, None) is None:
            return None
        [(table, puts)] = json.loads(body)["RequestItems"].items()
        left = [put for put in puts if put["PutRequest"]["Item"]["day"]["S"] == day]
        if taken := [put for put in puts if put not in left]:
            aws.dynamodb.batch_write_item(RequestItems={table: taken})
        return 200, {}, json.dumps({"UnprocessedItems": {table: left} if left else {}}).encode()

    return rule


def through(faulty_aws: FaultyAws, aws: Aws) -> History:
    return History(boto3.client("dynamodb", endpoint_url=faulty_aws.url), aws.table("history"), sleep=lambda _: None)


def days_of_january(last: int) -> list[Point]:
    return [Point(f"2026-01-{number:02}", number) for number in range(1, last + 1)]


def test_what_dynamodb_leaves_of_a_batch_is_sent_again_at_once(aws: Aws, faulty_aws: FaultyAws) -> None:
    faulty_aws.answer("BatchWriteItem", leaving_out(aws, "2026-01-04", times=2))

    through(faulty_aws, aws).add("segment-1", days_of_january(10))

    assert noted(aws) == days_of_january(10)
    assert faulty_aws.calls.count("BatchWriteItem") == 3


@pytest.mark.parametrize("left", [1, 4, 7, 8, 10])
@pytest.mark.parametrize("next_run", [10, 11, 12, 15])
def test_a_day_that_was_left_is_made_up_for_by_a_later_run(
    aws: Aws, faulty_aws: FaultyAws, left: int, next_run: int
) -> None:
    day = f"2026-01-{left:02}"
    faulty_aws.answer("BatchWriteItem", leaving_out(aws, day, times=3))
    with pytest.raises(StoreUnavailable):
        through(faulty_aws, aws).add("segment-1", days_of_january(10))
    assert noted(aws) == [size for size in days_of_january(10) if size.time != day]

    through(faulty_aws, aws).add("segment-1", days_of_january(next_run))

    assert noted(aws) == days_of_january(next_run)
