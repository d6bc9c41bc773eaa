"""Asking a vendor while somebody waits: its health, its ceiling, one more try and the end of the time, together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from shared.breaker import Breaker
from shared.bulkhead import Bulkhead
from shared.deadline import Deadline, within
from shared.errors import BundleError, UpstreamBusy, UpstreamResting
from shared.observability import count
from shared.retries import REPEATABLE, hedged

Result = TypeVar("Result")


class Upstream:
    """One vendor as this environment may ask it."""

    def __init__(self, breaker: Breaker, bulkhead: Bulkhead) -> None:
        self._breaker = breaker
        self._bulkhead = bulkhead

    def read(self, ask: Callable[[], Result], deadline: Deadline) -> Result:
        """What `ask` returns, asked twice at most; raises an `UpstreamError`, or `DeadlineExceeded` when time is up."""
        return self._recorded(deadline, lambda: hedged(lambda: self.once(ask), REPEATABLE, deadline))

    def write(self, ask: Callable[[], Result], deadline: Deadline) -> Result:
        """The same, asked once."""
        return self._recorded(deadline, lambda: within(deadline, lambda: self.once(ask)))

    def once(self, ask: Callable[[], Result]) -> Result:
        """Asks once, for a worker with a pace of its own, whose troubles are no reason for readers to rest.

        Raises `UpstreamResting` or `UpstreamBusy` when the vendor is to be left alone now.
        """
        self._breaker.check()
        with self._bulkhead.place():
            return ask()

    def _recorded(self, deadline: Deadline, call: Callable[[], Result]) -> Result:
        given_seconds = deadline.remaining_seconds()
        try:
            result = call()
        except BundleError as error:
            if isinstance(error, UpstreamResting):
                count("CallsSpared")
            elif isinstance(error, UpstreamBusy):
                count("CallsTurnedAway")
            self._breaker.record(error, given_seconds)
            raise
        self._breaker.record(None, given_seconds)
        return result
