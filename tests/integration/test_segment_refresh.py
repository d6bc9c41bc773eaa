"""The scheduled refresh: sizes fetched before a message asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.simulators import BrazeSimulator, Status
from segment_size.assembly import analytics
from segment_size.endpoint import build
from segment_size.refresh import build as build_refresh
from segment_size.refresh import refresh
from shared.deadline import Deadline
from shared.errors import UpstreamUnauthorized
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, get


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=braze.url))


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


def test_calls_keep_to_twenty_a_second(aws: Aws, braze: BrazeSimulator) -> None:
    ids = [f"segment-{number}" for number in range(1, 12)]
    for segment_id in ids:
        braze.add_segment(segment_id)
    waits: list[float] = []

    failed = refresh(
        analytics(aws.settings(BRAZE_REST_URL=braze.url), aws.dynamodb), ids, Deadline(20), sleep=waits.append
    )

    assert (failed, waits) == ({}, [0.05] * 11)


def test_without_segments_the_schedule_does_nothing(aws: Aws, braze: BrazeSimulator) -> None:
    assert refreshed(aws, braze, "") == {"refreshed": 0, "failed": {}}
    assert braze.requests() == []
