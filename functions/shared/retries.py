"""The one policy for repeating a call at once; what takes longer goes back to its queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from shared.deadline import Deadline
from shared.errors import UpstreamError, UpstreamGarbled, UpstreamUnavailable, UpstreamUnknown, UpstreamUnreachable

Result = TypeVar("Result")

# A call that may be repeated whatever the vendor made of the first: a read, or a write that sets rather than adds.
REPEATABLE = (UpstreamUnreachable, UpstreamUnknown, UpstreamUnavailable, UpstreamGarbled)

# A call that must not happen twice is repeated only when the vendor certainly did nothing.
ONLY_IF_NOT_DONE = (UpstreamUnreachable, UpstreamUnavailable)

# A blip is over after a moment or it is no blip. A throttled vendor (429) is never asked again at once.
_TRIES = 2
_PAUSE_SECONDS = 0.05


def repeated(
    call: Callable[[], Result],
    on: tuple[type[UpstreamError], ...],
    deadline: Deadline,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Calls once, and once more after an error in `on` while the deadline has not passed."""
    for _ in range(_TRIES - 1):
        try:
            return call()
        except on:
            if deadline.remaining_seconds() <= _PAUSE_SECONDS:
                raise
            sleep(_PAUSE_SECONDS)
    return call()
