"""Both simulators on real sockets, without simulated latency, on a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.simulators import BrazeSimulator, SessionmSimulator, SteppedClock

# Half past noon, 22 November 2026, UTC: inside an hour, a minute and a second.
NOON_HALF = 1_795_350_600.0


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(NOON_HALF)


@pytest.fixture
def sessionm(clock: SteppedClock) -> Iterator[SessionmSimulator]:
    simulator = SessionmSimulator(latency_scale=0, clock=clock)
    simulator.add_member("u1", "card/1", available_points=120, total_points=900)
    with simulator:
        yield simulator


@pytest.fixture
def braze(clock: SteppedClock) -> Iterator[BrazeSimulator]:
    simulator = BrazeSimulator(latency_scale=0, clock=clock)
    simulator.add_campaign("camp")
    simulator.add_canvas("canv")
    with simulator:
        yield simulator
