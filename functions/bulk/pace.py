"""How many calls one worker has under way: as many as SessionM bears, found out by trying.

SessionM publishes no limit, so the worker starts low and doubles with every round trip while all goes well. A 429, a
503, answers that take twice as long as they used to, or a quarter of all calls failing halves it, once a round trip:
calls that were under way at the cut say nothing about what comes after it. The number at which that happened is
remembered. The way back is short to near it and slow from there, for each try above what SessionM bears costs a burst
of 429s and the wait they ask for; beyond it the steps grow, in case the bound has gone.

    limit
      │   /│            ________/│           a cut halves; up to near the ceiling with every answer, then slowly;
      │  / │    _______/         │           above it faster and faster, until the next cut
      │ /  │ /─┘                 │ /──
      │/   │/                    │/
      └────────────────────────────────── time

Sources: RFC 9438 (CUBIC), whose curve this is with a fixed time to the top; RFC 9110 on Retry-After.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median

FIRST_LIMIT = 16

# The curve after a cut: it starts at this share of the ceiling, is back at the ceiling after so many seconds, and then
# rises by this many calls times the cube of the seconds since.
_QUICK_SHARE = 0.95
_SECONDS_TO_CEILING = 45
_CALLS_PER_CUBIC_SECOND = 0.1

# What SessionM bears, and so the ceiling, is what it answered well in the last second times the time an answer takes,
# and at least half the limit. Where it had been answering for less than half a second, that is no measure.
_MEASURED_SECONDS = 1.0
_UNMEASURED_SHARE = 0.75
_REMEMBERED_ANSWERS = 4096

# Answers are compared in rounds of as many as are under way. Below this time they are fast, whatever they scatter.
_FEWEST_IN_ROUND = 8
_FAST_SECONDS = 0.05
_SLOWER = 2.0
_FAILING_SHARE = 0.25

# Only a limit that is in use has proved anything.
_IN_USE = 0.75

# Answers do not come evenly, and the limit grows while a forecast is being used up.
_HEADROOM = 1.25

# A vendor that says 429 and no more is left alone for a second; nobody's wait counts for more than an hour.
_UNNAMED_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 3600.0


class Pace:
    """The limit on calls under way, and when none may begin at all.

    Lives as long as the worker's environment, so that a batch goes on at the pace of the one before. For one thread.
    Each call has a number, from `begin`, and comes back with it to `succeeded`, `throttled` or `failed`.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(most)
        self._clock = clock
        self._limit = float(min(FIRST_LIMIT, most))
        self._ceiling: float | None = None
        self._begun = 0
        self._first_after_cut = 0
        self._good_since_cut = False
        self._grown_from = self._paused_until = clock()
        self._usual_seconds: float | None = None
        self._latest_seconds = 0.0
        self._good_at: deque[float] = deque(maxlen=_REMEMBERED_ANSWERS)
        self._start_round()

    @property
    def limit(self) -> int:
        """The most calls that may be under way."""
        return int(self._limit)

    def pause_seconds(self) -> float:
        """How long no call may begin; 0 when one may."""
        return max(0.0, self._paused_until - self._clock())

    def calls_within(self, seconds: float) -> int:
        """A generous guess at how many calls can begin in that time, at least one."""
        rounds = seconds / self._latest_seconds if self._latest_seconds else 1.0
        return 1 + round(self._limit * rounds * _HEADROOM)

    def begin(self) -> int:
        self._begun += 1
        return self._begun

    def succeeded(self, number: int, under_way: int, seconds: float | None) -> None:
        """An answer after `seconds`, None when it was none of SessionM's work; `under_way` includes this call."""
        if number < self._first_after_cut:
            return
        self._good_since_cut = True
        if under_way >= self.limit * _IN_USE:
            self._grow()
        if seconds is not None:
            self._seconds.append(seconds)
            self._good_at.append(self._clock())
        self._count()

    def throttled(self, number: int, retry_after_seconds: float) -> bool:
        """A 429: nothing more begins before the time it names, 0 when it names none. Returns as `failed` does."""
        wait = min(retry_after_seconds or _UNNAMED_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        self._paused_until = max(self._paused_until, self._clock() + wait)
        news = self.failed(number, overloaded=True)
        self._grown_from = max(self._grown_from, self._paused_until)
        return news

    def failed(self, number: int, *, overloaded: bool) -> bool:
        """No answer, or not the one asked for; `overloaded` when SessionM said that it has too much to do.

        Returns whether that is news: of many calls under way that meet the same moment of weakness, the first.
        """
        if number < self._first_after_cut:
            return False
        self._failures += 1
        if overloaded:
            self._cut()
        else:
            self._count()
        return True

    def _grow(self) -> None:
        bound = self._most
        if self._ceiling is not None:
            bound = min(bound, _curve(self._ceiling, self._clock() - self._grown_from))
        self._limit = min(self._limit + 1, max(self._limit, bound))

    def _cut(self, seconds: float | None = None) -> None:
        self._ceiling = None  # where nothing succeeds any more, no number of calls is the cause
        if self._good_since_cut:
            self._ceiling = self._borne(self._latest_seconds if seconds is None else seconds)
        self._limit = max(1.0, self._limit / 2)
        self._good_since_cut = False
        self._first_after_cut = self._begun + 1
        self._grown_from = max(self._clock(), self._paused_until)
        self._start_round()

    def _borne(self, seconds: float) -> float:
        """How many calls SessionM bears that take so long."""
        now = self._clock()
        answering = min(_MEASURED_SECONDS, now - self._grown_from - seconds)
        if answering < _MEASURED_SECONDS / 2:
            return self._limit * _UNMEASURED_SHARE
        answers = sum(1 for at in self._good_at if at > now - answering)
        return min(self._limit, max(self._limit / 2, answers / answering * seconds))

    def _count(self) -> None:
        self._calls += 1
        if self._calls < max(_FEWEST_IN_ROUND, self.limit):
            return
        calls, failures, seconds = self._calls, self._failures, self._seconds
        self._start_round()
        if failures >= calls * _FAILING_SHARE:
            self._cut()
        elif len(seconds) >= _FEWEST_IN_ROUND / 2:
            self._compare(median(seconds))

    def _compare(self, seconds: float) -> None:
        self._latest_seconds = seconds
        if self._usual_seconds is None or self._limit < 2:
            # What one call alone takes is SessionM's own time, however much longer than on its best days.
            self._usual_seconds, self._ceiling = seconds, None
        elif seconds > _SLOWER * max(self._usual_seconds, _FAST_SECONDS):
            self._cut(self._usual_seconds)
        else:
            self._usual_seconds = min(self._usual_seconds, seconds)

    def _start_round(self) -> None:
        self._calls = 0
        self._failures = 0
        self._seconds: list[float] = []


def _curve(ceiling: float, seconds: float) -> float:
    to_go = _SECONDS_TO_CEILING - seconds
    if to_go > 0:
        return float(ceiling * (1 - (1 - _QUICK_SHARE) * (to_go / _SECONDS_TO_CEILING) ** 3))
    return float(ceiling + _CALLS_PER_CUBIC_SECOND * (-to_go) ** 3)
