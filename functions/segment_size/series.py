"""A segment's daily sizes: from the cache while fresh, from Braze when not, from the cache again when Braze fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from clients.braze import Braze, SegmentSize
from clients.transport import Timeouts
from shared.cache import Cache, Entry
from shared.deadline import Deadline, within
from shared.errors import BundleError, DeadlineExceeded, StoreUnavailable, UpstreamRefused
from shared.observability import count, logger
from shared.retries import REPEATABLE, repeated

# Two days: the size, and the day before to compare it with.
SHORT_LENGTH = 2

_CONNECT_SECONDS = 0.5

# The cache answers in milliseconds, or is no use: it must not take the time Braze needs.
_CACHE_SECONDS = 0.3

# The deadline itself ends the wait; the socket's own time-out comes after it and only ends the abandoned thread.
_ABANDONED_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Series:
    """Sizes, oldest first, as Braze gave them at `as_of` (epoch seconds); `reason` is why stale ones are."""

    sizes: list[SegmentSize]
    as_of: float
    stale: bool = False
    reason: str = ""


class SegmentSizes:
    """`fresh_seconds` is the age up to which Braze is not asked; beyond it an entry serves only while Braze fails."""

    def __init__(
        self,
        braze: Braze,
        cache: Cache[list[SegmentSize]],
        fresh_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._braze = braze
        self._cache = cache
        self._fresh_seconds = fresh_seconds
        self._clock = clock

    def series(self, segment_id: str, length: int, ending_at: str | None, deadline: Deadline) -> Series:
        """Raises the `UpstreamError` or `DeadlineExceeded` that kept us from Braze if the cache has nothing either."""
        key = _key(segment_id, length, ending_at)
        cached = self._cached(key, deadline)
        if cached is not None and self._clock() - cached.stored_at < self._fresh_seconds:
            count("SegmentSizeCacheHits")
            return Series(cached.value, cached.stored_at)
        try:
            return self.fetch(segment_id, length, ending_at, deadline)
        except BundleError as error:
            logger.warning("segment size not fetched", segment_id=segment_id, code=error.code, detail=str(error))
            count("SegmentSizeFetchesFailed")
            if cached is None:
                raise
            return Series(cached.value, cached.stored_at, stale=True, reason=reason_of(error))

    def fetch(self, segment_id: str, length: int, ending_at: str | None, deadline: Deadline) -> Series:
        """Asks Braze and keeps the answer, whatever the cache holds."""

        def ask() -> list[SegmentSize]:
            left = deadline.remaining_seconds()
            timeouts = Timeouts(min(_CONNECT_SECONDS, max(0.01, left)), left + _ABANDONED_SECONDS)
            return self._braze.segment_sizes(segment_id, length=length, ending_at=ending_at, timeouts=timeouts)

        sizes = within(deadline, lambda: repeated(ask, REPEATABLE, deadline))
        try:
            within(deadline.sooner(_CACHE_SECONDS), lambda: self._cache.put(_key(segment_id, length, ending_at), sizes))
        except (StoreUnavailable, DeadlineExceeded) as error:
            logger.warning("segment size not cached", code=error.code, detail=str(error))
        return Series(sizes, self._clock())

    def _cached(self, key: str, deadline: Deadline) -> Entry[list[SegmentSize]] | None:
        try:
            return within(deadline.sooner(_CACHE_SECONDS), lambda: self._cache.get(key))
        except (StoreUnavailable, DeadlineExceeded) as error:
            logger.warning("cache not read", code=error.code, detail=str(error))
            return None


def reason_of(error: BundleError) -> str:
    """The one thing Braze can refuse in a checked request is the segment."""
    return "segment_not_found" if isinstance(error, UpstreamRefused) else error.code


def _key(segment_id: str, length: int, ending_at: str | None) -> str:
    return f"segment#{segment_id}#{length}#{ending_at or ''}"
