"""Something to fetch from, on real sockets, that can be told to fail: the Braze simulator behind CONTENT_HOST."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.liquid.fetching import Fetcher
from infra.local.simulators import BrazeSimulator, SteppedClock

TAG = (
    "{% connected_content https://CONTENT_HOST/segments/data_series?segment_id=seg&length=1"
    ' :headers {"Authorization": "Bearer local-braze-key"} :save series %}'
)


@pytest.fixture(scope="module")
def server() -> Iterator[BrazeSimulator]:
    with BrazeSimulator(latency_scale=0) as simulator:
        simulator.add_segment("seg")
        yield simulator


@pytest.fixture
def braze(server: BrazeSimulator) -> Iterator[BrazeSimulator]:
    server.faults.clear()
    server.forget()
    yield server
    server.faults.clear()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(1_795_350_600.0)


@pytest.fixture
def fetcher(braze: BrazeSimulator, clock: SteppedClock) -> Fetcher:
    return Fetcher({"CONTENT_HOST": braze.url}, {"stored": ("name", "key")}, clock=clock)
