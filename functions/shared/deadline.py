"""One notion of running out of time, used by every read and every worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from shared.errors import DeadlineExceeded

Result = TypeVar("Result")


class Deadline:
    """A moment on the monotonic clock. Passed down, so that each step spends only what is left."""

    def __init__(self, budget_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock() + budget_seconds

    def remaining_seconds(self) -> float:
        return max(0.0, self._at - self._clock())

    def passed(self) -> bool:
        return self.remaining_seconds() <= 0


def within(deadline: Deadline, call: Callable[[], Result]) -> Result:
    """Runs `call` and returns its result or raises its error, but never later than the deadline.

    A socket time-out bounds one read, not an answer that drips in byte by byte. So the call runs in a thread of its
    own, and when time is up `DeadlineExceeded` is raised here while the thread is left to its own time-outs. The
    thread is a daemon and not from a pool: a hung vendor must not use up the threads of the next request.
    """
    outcome: SimpleQueue[tuple[Result | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((call(), None))
        except BaseException as error:  # carried over to the waiting thread and raised there
            outcome.put((None, error))

    remaining = deadline.remaining_seconds()
    if remaining <= 0:
        raise DeadlineExceeded("no time was left to ask the vendor")
    Thread(target=run, daemon=True).start()
    try:
        result, error = outcome.get(timeout=remaining)
    except Empty:
        raise DeadlineExceeded("the vendor had not answered in time") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None only where Result allows it
