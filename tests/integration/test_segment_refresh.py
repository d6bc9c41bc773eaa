"""The scheduled refresh: sizes fetched before a message asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.simulators import BrazeSimulator
from segment_size.endpoint import build
from segment_size.refresh import build as build_refresh
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


def test_without_segments_the_schedule_does_nothing(aws: Aws, braze: BrazeSimulator) -> None:
    assert refreshed(aws, braze, "") == {"refreshed": 0, "failed": {}}
    assert braze.requests() == []
