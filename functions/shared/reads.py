"""What reads of every kind have in common when they are counted."""

from __future__ import annotations

from shared.errors import DeadlineExceeded, InProgress
from shared.observability import count

# Time was up while the vendor was asked, by us or by another environment.
_OUT_OF_TIME = frozenset({DeadlineExceeded.code, InProgress.code})


def count_if_out_of_time(code: str) -> None:
    """Counts a read that was answered because its time was up, whether with something older or with a failure."""
    if code in _OUT_OF_TIME:
        count("ReadsOutOfTime")
