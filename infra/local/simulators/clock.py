"""A clock that stands still until told."""

from __future__ import annotations


class SteppedClock:
    """Pass it as a simulator's `clock`: calling it gives epoch seconds, `advance` moves it on."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
