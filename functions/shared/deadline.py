"""One notion of running out of time, used by every read and every worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from shared.errors import DeadlineExceeded

Result = TypeVar("Result")


class Deadline:
    """A moment on the monotonic clock. Passed down, so that each step spends only what is left."""

    def __init__(self, budget_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock() + budget_seconds

    def remaining_seconds(self) -> float:
        return max(0.0, self._at - self._clock())

    def sooner(self, budget_seconds: float) -> Deadline:
        """This deadline, or one `budget_seconds` from now if that is earlier."""
        return Deadline(min(budget_seconds, self.remaining_seconds()), self._clock)

    def passed(self) -> bool:
        return self.remaining_seconds() <= 0


class Runner:
    """A thread that makes one call after the other, until a call outlives its deadline and it is left behind."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Outcomes] | None] = SimpleQueue()
        Thread(target=self._work, daemon=True).start()

    def start(self, call: Callable[[], Any], outcomes: Outcomes) -> None:
        self._calls.put((call, outcomes))

    def leave_behind(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (task := self._calls.get()) is not None:
            call, outcomes = task
            try:
                outcomes.put((self, call(), None))
            except BaseException as error:  # carried over to the waiting thread and raised there
                outcomes.put((self, None, error))


# The runner that made the call, its result, and its error if there was one.
Outcomes: TypeAlias = "SimpleQueue[tuple[Runner, Any, BaseException | None]]"

# Starting a thread costs more than half a millisecond on a busy machine, so those that came home are used again.
_idle_runners: list[Runner] = []


def begin(call: Callable[[], Any], outcomes: Outcomes) -> Runner:
    """Makes the call in a thread of its own, which reports to `outcomes`, and is then given to `came_home`.

    The thread is a daemon, and of no pool of a fixed size: a hung vendor must not use up those of the next request.
    """
    try:
        runner = _idle_runners.pop()
    except IndexError:
        runner = Runner()
    runner.start(call, outcomes)
    return runner


def came_home(runner: Runner) -> None:
    _idle_runners.append(runner)


def within(deadline: Deadline, call: Callable[[], Result]) -> Result:
    """Runs `call` and returns its result or raises its error, but never later than the deadline.

    A socket time-out bounds one read, not an answer that drips in byte by byte. So the call runs in a thread of its
    own, and when time is up `DeadlineExceeded` is raised here while the thread is left to its own time-outs.
    """
    remaining = deadline.remaining_seconds()
    if remaining <= 0:
        raise DeadlineExceeded("no time was left to ask")
    outcomes: Outcomes = SimpleQueue()
    runner = begin(call, outcomes)
    try:
        _, result, error = outcomes.get(timeout=remaining)
    except Empty:
        runner.leave_behind()
        raise DeadlineExceeded("no answer in time") from None
    came_home(runner)
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]
