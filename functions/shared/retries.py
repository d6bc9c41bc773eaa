"""The one policy for repeating a call at once; what takes longer goes back to its queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from shared.deadline import Deadline, Outcomes, Runner, begin, came_home
from shared.errors import (
    DeadlineExceeded,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUnknown,
    UpstreamUnreachable,
)

Result = TypeVar("Result")

# A call that may be repeated whatever the vendor made of the first: a read, or a write that sets rather than adds.
REPEATABLE = (UpstreamUnreachable, UpstreamUnknown, UpstreamUnavailable, UpstreamGarbled)

# A call that must not happen twice is repeated only when the vendor certainly did nothing.
ONLY_IF_NOT_DONE = (UpstreamUnreachable, UpstreamUnavailable)

# A blip is over after a moment or it is no blip. A throttled vendor (429) is never asked again at once.
TRIES = 2
PAUSE_SECONDS = 0.05

# A call that has not answered after this share of the time probably never will. A second one beside it costs the vendor
# little, for that is rare, and the first may still win: nothing it was about to answer is thrown away.
_HEDGED_AFTER_SHARE = 0.4


def repeated(
    call: Callable[[], Result],
    on: tuple[type[UpstreamError], ...],
    deadline: Deadline,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Calls once, and once more after an error in `on` while the deadline has not passed."""
    for _ in range(TRIES - 1):
        try:
            return call()
        except on:
            if deadline.remaining_seconds() <= PAUSE_SECONDS:
                raise
            sleep(PAUSE_SECONDS)
    return call()


def hedged(
    call: Callable[[], Result],
    on: tuple[type[UpstreamError], ...],
    deadline: Deadline,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """The answer of a call, or of a second one, by the deadline.

    The second is made after an error in `on`, or beside the first when that is slow; the first good answer counts, and
    of two errors the first, unless that was only `UpstreamBusy`. Raises `DeadlineExceeded` when time is up; a call
    still under way then is left behind.
    """
    if deadline.passed():
        raise DeadlineExceeded("no time was left to ask the vendor")
    outcomes: Outcomes = SimpleQueue()
    running: list[Runner] = [begin(call, outcomes)]
    tries, fault = 1, None
    slow = deadline.sooner(deadline.remaining_seconds() * _HEDGED_AFTER_SHARE)
    try:
        while True:
            try:
                wait = (slow if tries < TRIES else deadline).remaining_seconds()
                runner, result, error = outcomes.get(timeout=wait)
            except Empty:
                if tries == TRIES:
                    raise DeadlineExceeded("the vendor had not answered in time") from None
                tries += 1
                running.append(begin(call, outcomes))
                continue
            running.remove(runner)
            came_home(runner)
            if error is None:
                return result  # type: ignore[no-any-return]
            if fault is None or isinstance(fault, UpstreamBusy) or isinstance(error, UpstreamRefused):
                fault = error
            if isinstance(error, on) and tries < TRIES and deadline.remaining_seconds() > PAUSE_SECONDS:
                sleep(PAUSE_SECONDS)
                tries += 1
                running.append(begin(call, outcomes))
            elif not running or isinstance(error, UpstreamRefused):
                raise fault
    finally:
        for runner in running:
            runner.leave_behind()
