"""The scheduled refresh: sizes fetched before a message asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.simulators import BrazeSimulator, Status
from segment_size.endpoint import build
from segment_size.refresh import build as build_refresh
from shared.cache import Cache
from shared.errors import UpstreamUnauthorized
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, get


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=braze.url))


@pytest.fixture
def crowd() -> Iterator[BrazeSimulator]:
    """Braze with three pages of segments, `segment-0` to `segment-229`, none of which it counts."""
    with BrazeSimulator(latency_scale=0) as simulator:
        for number in range(230):
            simulator.add_segment(f"segment-{number}", analytics=False)
        yield simulator


def size(handle: Invoked, segment_id: str) -> Any:
    return get(handle, "GET /segments/{segment_id}/size", path={"segment_id": segment_id}).body


def refreshed(aws: Aws, braze: BrazeSimulator, segment_ids: str) -> Any:
    return build_refresh(aws.settings(BRAZE_REST_URL=braze.url, SEGMENT_IDS=segment_ids))({}, Context())


def test_the_schedule_fetches_sizes_before_anybody_asks(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    braze.add_segment("segment-2")
    assert refreshed(aws, braze, "segment-1, segment-2") == {"refreshed": 2, "failed": {}}
    braze.forget()

    assert [size(handle, segment_id)["ok"] for segment_id in ("segment-1", "segment-2")] == [True, True]
    assert braze.requests() == []


def test_what_is_still_fresh_is_fetched_anew_all_the_same(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    before = size(handle, "segment-1")["size"]
    braze.add_segment("segment-1", size=77_000)

    refreshed(aws, braze, "segment-1")

    assert before < 20_000 < size(handle, "segment-1")["size"]


def test_a_segment_that_fails_stops_no_other(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    assert refreshed(aws, braze, "nobody-knows,segment-1") == {
        "refreshed": 1,
        "failed": {"nobody-knows": "upstream_refused"},
    }
    braze.forget()

    assert size(handle, "segment-1")["ok"] is True
    assert braze.requests() == []


def test_an_asterisk_means_every_segment_that_braze_counts_and_those_named_first(
    aws: Aws, braze: BrazeSimulator
) -> None:
    for number in range(2, 13):
        braze.add_segment(f"segment-{number}", analytics=number != 12)
    braze.forget()

    result = refreshed(aws, braze, "*, segment-7, segment-7")

    asked = [request.query.split("=")[1].split("&")[0] for request in braze.requests() if "series" in request.path]
    assert result["failed"] == {}
    assert result["refreshed"] == len(asked) == len(set(asked))
    assert asked[0] == "segment-7"
    assert {f"segment-{number}" for number in range(1, 12)} <= set(asked)
    assert "segment-12" not in asked


def test_segments_that_are_named_are_fetched_though_braze_does_not_list_the_others(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    braze.faults.add("GET /segments/list", Status(401))

    with pytest.raises(UpstreamUnauthorized):  # so that Lambda runs it again, and the failure is seen
        refreshed(aws, braze, "segment-1,*")
    braze.forget()

    assert size(handle, "segment-1")["ok"] is True
    assert braze.requests() == []


def test_what_cannot_be_reached_in_time_is_reported(aws: Aws, braze: BrazeSimulator) -> None:
    handle = build_refresh(aws.settings(BRAZE_REST_URL=braze.url, SEGMENT_IDS="segment-1"))

    assert handle({}, Context(remaining_ms=5_000)) == {"refreshed": 0, "failed": {"segment-1": "deadline_exceeded"}}
    assert braze.requests() == []


def test_a_429_ends_the_asking_for_this_time(aws: Aws, braze: BrazeSimulator) -> None:
    ids = ",".join(f"segment-{number}" for number in range(1, 13))
    braze.faults.add("GET *", Status(429))

    result = refreshed(aws, braze, ids)

    assert set(result["failed"].values()) == {"upstream_throttled"}
    assert len(result["failed"]) == 12
    assert len(braze.requests()) < 12


@pytest.mark.parametrize("named", ["segment-{}", "nobody-knows-{}"], ids=["empty", "unknown"])
def test_calls_keep_to_twenty_a_second_whatever_they_are_for(aws: Aws, crowd: BrazeSimulator, named: str) -> None:
    ids = [named.format(number) for number in range(200, 225)]
    crowd.faults.add("GET *", Status(500), times=3)
    began = time.monotonic()

    refreshed(aws, crowd, ",".join(ids))

    elapsed, asked = time.monotonic() - began, len(crowd.requests())
    assert asked >= len(ids) + 1
    assert (asked - 1) / 20 <= elapsed


def test_segments_without_sizes_share_one_listing(aws: Aws, crowd: BrazeSimulator) -> None:
    ids = [f"segment-{number}" for number in range(205, 211)]
    for number in (211, 212):
        crowd.add_segment(f"segment-{number}")
        crowd.set_segment_sizes(f"segment-{number}", {})

    result = refreshed(aws, crowd, ",".join(["*", *ids]))

    asked = [request.query for request in crowd.requests() if "list" in request.path]
    assert asked == ["page=0", "page=1", "page=2", "page=3"]
    assert result == {"refreshed": len(ids) + 2, "failed": {}}
    handle = build(aws.settings(BRAZE_REST_URL=crowd.url))
    assert [size(handle, f"segment-{number}")["reason"] for number in (205, 212)] == ["analytics_off", "no_data"]


def test_a_listing_is_made_anew_once_it_is_old(aws: Aws, crowd: BrazeSimulator) -> None:
    cache = Cache(aws.dynamodb, aws.table("cache"), dict[str, bool], keep_seconds=300)
    for age in (301, 10):
        cache.put('segments#["0"]', {"segment-5": True}, as_of=time.time() - age)
        refreshed(aws, crowd, "*")

    asked = [request.query for request in crowd.requests()]
    assert asked[:4] == ["page=0", "page=1", "page=2", "page=3"]
    assert [query.split("&")[0] for query in asked[4:]] == ["segment_id=segment-5"]


def test_without_segments_the_schedule_does_nothing(aws: Aws, braze: BrazeSimulator) -> None:
    assert refreshed(aws, braze, "") == {"refreshed": 0, "failed": {}}
    assert braze.requests() == []
