"""Counting requests against a limit that starts anew on the clock: at the full second, minute or hour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """The state of a limit after a look at it. `reset_at` is the epoch second at which the count starts anew."""

    limit: int
    remaining: int
    reset_at: int
    allowed: bool


class ClockWindow:
    """At most `limit` requests in each stretch of `seconds`, the stretches being aligned to the epoch."""

    def __init__(self, limit: int, seconds: int) -> None:
        self.limit = limit
        self.seconds = seconds
        self._window = -1
        self._used = 0

    def peek(self, now: float) -> Allowance:
        """The state of the limit; `allowed` says whether one more request would pass. Uses nothing up."""
        window = int(now // self.seconds)
        if window != self._window:
            self._window, self._used = window, 0
        remaining = max(0, self.limit - self._used)
        return Allowance(self.limit, remaining, (window + 1) * self.seconds, remaining > 0)

    def take(self, now: float) -> Allowance:
        """Use up one request. `remaining` already counts it; a refused request uses nothing up."""
        before = self.peek(now)
        if not before.allowed:
            return before
        self._used += 1
        return Allowance(before.limit, before.remaining - 1, before.reset_at, True)

    def reset(self) -> None:
        self._used = 0
