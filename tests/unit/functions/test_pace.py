"""The limit on calls under way: low at first, up while SessionM keeps up, down when it does not."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from bulk.pace import FIRST_LIMIT, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Vendor:
    """Answers after `seconds_at(calls under way)`; refuses what exceeds `per_second` in a second, as of the clock."""

    per_second: int | None = None
    seconds_at: Callable[[int], float] = lambda _: 0.3
    answered: int = 0
    refused: int = 0
    _second: tuple[int, int] = (0, 0)

    def begins(self, now: float, under_way: int) -> tuple[float, bool]:
        """When the answer comes, and whether it is a 429."""
        second, taken = self._second if self._second[0] == int(now) else (int(now), 0)
        if self.per_second is not None and taken >= self.per_second:
            self.refused += 1
            return now + 0.02, True
        self._second = second, taken + 1
        self.answered += 1
        return now + self.seconds_at(under_way), False


@dataclass
class Worker:
    """One worker with more to send than it ever can; time passes as its calls need it.

    It begins no more calls in a tenth of a second than it would get permits for. Answers take a tenth more or less.
    """

    pace: Pace
    vendor: Vendor
    clock: Clock
    limits: list[tuple[float, int]] = field(default_factory=list)
    _under_way: list[tuple[float, int, float, bool]] = field(default_factory=list)
    _slot: tuple[int, int] = (0, 0)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def work(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.clock.now < until:
            while self._may_begin():
                number = self.pace.begin()
                at, throttled = self.vendor.begins(self.clock.now, len(self._under_way) + 1)
                at += (at - self.clock.now) * self._random.uniform(-0.1, 0.1)
                heapq.heappush(self._under_way, (at, number, self.clock.now, throttled))
            slot_ends = (int(self.clock.now * 10) + 1) / 10 + 1e-9
            if not self._under_way or self._under_way[0][0] > slot_ends:
                self.clock.now = slot_ends
                continue
            at, number, begun_at, throttled = heapq.heappop(self._under_way)
            self.clock.now = max(self.clock.now, at)
            if throttled:
                self.pace.throttled(number, 1.0)
            else:
                self.pace.succeeded(number, len(self._under_way) + 1, self.clock.now - begun_at)
            self.limits.append((self.clock.now, self.pace.limit))

    def _may_begin(self) -> bool:
        if self.pace.pause_seconds() > 0 or len(self._under_way) >= self.pace.limit:
            return False
        slot, begun = int(self.clock.now * 10), 0
        if slot == self._slot[0]:
            begun = self._slot[1]
        self._slot = (slot, begun + 1)
        return begun < self.pace.calls_within(0.1)

    def highest_limit(self) -> int:
        return max(limit for _, limit in self.limits)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_starts_low_and_doubles_with_each_round_trip_up_to_the_most(clock: Clock) -> None:
    worker = Worker(Pace(400, clock), Vendor(), clock)
    assert worker.pace.limit == FIRST_LIMIT

    worker.work(0.65)
    assert worker.pace.limit == pytest.approx(4 * FIRST_LIMIT, rel=0.1)
    worker.work(2)
    assert worker.pace.limit == 400


def test_it_never_exceeds_the_most_even_at_first(clock: Clock) -> None:
    worker = Worker(Pace(2, clock), Vendor(), clock)
    worker.work(5)
    assert worker.highest_limit() == 2


@pytest.mark.parametrize("per_second", [100, 300])
def test_a_vendor_that_throttles_is_used_to_nine_tenths_with_few_429s(clock: Clock, per_second: int) -> None:
    vendor = Vendor(per_second=per_second)
    worker = Worker(Pace(512, clock), vendor, clock)
    worker.work(30)
    vendor.answered = vendor.refused = 0

    worker.work(180)

    share = vendor.answered / (180 * per_second)
    throttled = vendor.refused / (vendor.refused + vendor.answered)
    assert share >= 0.9, f"{share:.3f} of the rate, {throttled:.3%} throttled"
    assert throttled < 0.02, f"{throttled:.3%} throttled"


def test_answers_that_take_twice_as_long_as_they_used_to_halve_it(clock: Clock) -> None:
    vendor = Vendor(seconds_at=lambda under_way: 0.3 * max(1.0, under_way / 100))
    worker = Worker(Pace(512, clock), vendor, clock)

    worker.work(60)

    assert 80 <= worker.limits[-1][1] <= 250
    assert vendor.answered / 60 > 0.9 * 100 / 0.3, "and all that the vendor can do is used"


def test_fast_answers_may_scatter(clock: Clock) -> None:
    times = itertools.cycle([0.002] * 20 + [0.04] * 20)
    worker = Worker(Pace(64, clock), Vendor(seconds_at=lambda _: next(times)), clock)
    worker.work(3)
    assert worker.pace.limit == 64


def test_a_vendor_that_became_slower_for_good_is_forgiven(clock: Clock) -> None:
    seconds = 0.1
    worker = Worker(Pace(64, clock), Vendor(seconds_at=lambda _: seconds), clock)
    worker.work(5)
    seconds = 0.5

    worker.work(5)
    assert min(limit for _, limit in worker.limits[-20:]) < 40

    worker.work(120)
    assert worker.pace.limit == 64


def test_calls_begun_before_a_cut_do_not_cut_again(clock: Clock) -> None:
    pace = Pace(64, clock)
    numbers = [pace.begin() for _ in range(16)]

    for number in numbers:
        pace.failed(number, overloaded=True)
    assert pace.limit == 8

    pace.failed(pace.begin(), overloaded=True)
    assert pace.limit == 4


def test_nor_do_they_make_it_grow(clock: Clock) -> None:
    pace = Pace(64, clock)
    before = [pace.begin() for _ in range(16)]
    pace.throttled(before[0], 1)

    for number in before[1:]:
        pace.succeeded(number, 16, 0.3)
    assert pace.limit == 8


def test_it_goes_down_to_one_call_and_comes_back_at_once_after_an_outage(clock: Clock) -> None:
    pace = Pace(256, clock)
    for _ in range(20):
        pace.failed(pace.begin(), overloaded=True)
    assert pace.limit == 1

    worker = Worker(pace, Vendor(), clock)
    worker.work(4)
    assert pace.limit == 256


def test_a_few_failures_of_single_calls_are_no_reason_to_slow_down(clock: Clock) -> None:
    pace = Pace(16, clock)
    for _ in range(40):
        for outcome in range(10):
            if outcome < 1:
                pace.failed(pace.begin(), overloaded=False)
            else:
                pace.succeeded(pace.begin(), 16, 0.3)
    assert pace.limit == 16


def test_many_are(clock: Clock) -> None:
    pace = Pace(16, clock)
    for _ in range(8):
        pace.failed(pace.begin(), overloaded=False)
        pace.succeeded(pace.begin(), 16, None)
    assert pace.limit <= 8


def test_a_limit_that_is_not_used_does_not_grow(clock: Clock) -> None:
    pace = Pace(256, clock)
    for _ in range(200):
        pace.succeeded(pace.begin(), 5, 0.3)
    assert pace.limit == FIRST_LIMIT


def test_refusals_say_nothing_of_how_long_sessionm_takes(clock: Clock) -> None:
    pace = Pace(32, clock)
    for seconds in [0.3] * 64 + [None] * 64 + [0.3] * 64:
        pace.succeeded(pace.begin(), 32, seconds)
    assert pace.limit == 32


@pytest.mark.parametrize(("asked", "paused"), [(7.0, 7.0), (0.0, 1.0), (10.0**9, 3600.0)])
def test_a_429_stops_all_calls_for_as_long_as_it_asks(clock: Clock, asked: float, paused: float) -> None:
    pace = Pace(64, clock)
    first, second = pace.begin(), pace.begin()

    pace.throttled(first, asked)
    assert pace.pause_seconds() == paused
    pace.throttled(second, 0.5)
    assert pace.pause_seconds() == paused, "a shorter wait does not end a longer one"

    clock.now += paused
    assert pace.pause_seconds() == 0


def test_how_many_calls_will_begin_follows_from_how_long_they_take(clock: Clock) -> None:
    pace = Pace(100, clock)
    assert pace.calls_within(0.1) >= FIRST_LIMIT

    worker = Worker(pace, Vendor(), clock)
    worker.work(5)
    assert 34 <= pace.calls_within(0.1) <= 45
