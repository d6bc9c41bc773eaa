"""What is left of a deadline, split over connecting and reading."""

from __future__ import annotations

from clients.transport import Timeouts
from shared.deadline import Deadline

# A connection is made in milliseconds or not at all, and a second try needs time as well.
_CONNECT_SECONDS = 0.5
_CONNECT_SHARE = 0.4

# The deadline itself ends the wait; the socket's own time-out comes after it and only ends the abandoned thread.
_ABANDONED_SECONDS = 0.25


def timeouts_of(deadline: Deadline) -> Timeouts:
    """For a call that somebody else ends at the deadline."""
    left = deadline.remaining_seconds()
    return Timeouts(min(_CONNECT_SECONDS, max(0.01, left * _CONNECT_SHARE)), left + _ABANDONED_SECONDS)
