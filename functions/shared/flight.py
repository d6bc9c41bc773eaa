"""One question to the vendor at a time, however many environments want to know: cache, lease and waiting together.

A reader looks into the cache. A fresh value is the answer. Otherwise the first reader takes the lease on the key and
asks the vendor; the others look again every few hundredths of a second until the value, or the failure, is there. A
holder that dies or dawdles loses the lease after a part of its time, and a waiting reader asks in its place. When the
vendor fails, a value too old to be fresh serves instead, marked stale.

A value that DynamoDB is too small for cannot be handed on. Its holder says so, and for a while each reader asks alone.

The table itself is never worth an answer: when it cannot be asked in time, the vendor is asked without it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shared.cache import Cache, Entry, Failure, Seen, TooLargeToKeep
from shared.deadline import Deadline, within
from shared.errors import (
    AnswerTooLarge,
    BundleError,
    DeadlineExceeded,
    InProgress,
    StoreUnavailable,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    UpstreamUnknown,
    UpstreamUnreachable,
)
from shared.observability import count, logger

Shape = TypeVar("Shape")
Result = TypeVar("Result")

# DynamoDB answers in milliseconds, or is no use: it must not take the time the vendor needs. So much of what is left.
_STORE_SHARE = 1 / 3
_STORE_SECONDS = 0.5

# The share of its time that a reader holds the lease for. Whoever waits has the rest to ask in its place.
_HELD_SHARE = 0.6

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.1

# A failure counts for everybody who asks within this time, so that a burst does not ask a failing vendor one by one.
_FAILURE_SECONDS = 0.5

# A value that was too large to keep is likely to be so again. Then it is tried once more, for it may have shrunk.
_ALONE_SECONDS = 30

# What one environment learns from the vendor and another may say in its place. Anything else is its own trouble.
_SHARED: dict[str, type[UpstreamError]] = {
    kind.code: kind
    for kind in (
        *(UpstreamUnreachable, UpstreamUnknown, UpstreamUnavailable, UpstreamThrottled),
        *(UpstreamUnauthorized, UpstreamGarbled, AnswerTooLarge),
    )
}


@dataclass(frozen=True, slots=True)
class Found(Generic[Shape]):
    """A value, when the vendor gave it (epoch seconds), and whether it came out of the cache.

    `reason` is why it is stale: the code of what kept us from a fresh one. Empty when it is fresh.
    """

    value: Shape
    as_of: float
    cached: bool
    reason: str = ""

    @property
    def stale(self) -> bool:
        return bool(self.reason)


class SingleFlight(Generic[Shape]):
    """Reads through `cache`.

    A value is fresh for `fresh_seconds`, or as long as it says itself, and serves as stale for as long as the cache
    keeps it. A refusal, such as that of an unknown member, is remembered for `refused_seconds`.
    """

    def __init__(
        self,
        cache: Cache[Shape],
        fresh_seconds: float,
        refused_seconds: float = _FAILURE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cache = cache
        self._fresh_seconds = fresh_seconds
        self._refused_seconds = refused_seconds
        self._sleep = sleep

    def read(self, key: str, fetch: Callable[[], Shape], deadline: Deadline, variant: str = "") -> Found[Shape]:
        """The value under a key; `fetch` asks the vendor, and must itself end by the deadline.

        Raises what `fetch` raised, here or in another environment, when no stale value can serve; `InProgress` when
        time was up while another environment was still asking.
        """
        old: Entry[Shape] | None = None
        holder, pause = os.urandom(8).hex(), _FIRST_PAUSE_SECONDS
        try:
            seen = self._in_time(deadline, lambda: self._cache.look(key, variant))
            while True:
                old = seen.entry or old
                if seen.entry is not None and self._is_fresh(seen.entry):
                    return Found(seen.entry.value, seen.entry.stored_at, cached=True)
                if seen.failure is not None:
                    return _instead(old, _error_of(seen.failure))
                if seen.alone:
                    break
                if not seen.leased:
                    other = self._lease(key, holder, seen, deadline, variant)
                    if other is None:
                        break
                    seen = other
                    continue
                if deadline.remaining_seconds() <= pause:
                    return _instead(old, InProgress("another environment is still asking the vendor"))
                self._sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                with suppress(StoreUnavailable):  # then it may still be asking
                    seen = self._in_time(deadline, lambda: self._cache.look(key, variant))
        except StoreUnavailable as error:
            _report("cache not read", error)
            return self._alone(fetch, old)
        if seen.alone:
            return self._alone(fetch, old)
        return self._as_holder(key, holder, fetch, old, deadline, variant)

    def _alone(self, fetch: Callable[[], Shape], old: Entry[Shape] | None) -> Found[Shape]:
        as_of = self._cache.clock()
        try:
            return Found(fetch(), as_of, cached=False)
        except BundleError as error:
            return _instead(old, error)

    def _as_holder(
        self,
        key: str,
        holder: str,
        fetch: Callable[[], Shape],
        old: Entry[Shape] | None,
        deadline: Deadline,
        variant: str,
    ) -> Found[Shape]:
        as_of = self._cache.clock()
        try:
            value = fetch()
        except BundleError as error:
            failure, seconds = failure_of(error), self._remembered_seconds(error)
            self._keep(deadline, lambda: self._cache.give_up(key, holder, failure, seconds, variant))
            return _instead(old, error)
        self._keep(deadline, lambda: self._settle(key, holder, value, as_of, variant))
        return Found(value, as_of, cached=False)

    def _lease(self, key: str, holder: str, seen: Seen[Shape], deadline: Deadline, variant: str) -> Seen[Shape] | None:
        seconds = deadline.remaining_seconds() * _HELD_SHARE
        return self._in_time(deadline, lambda: self._cache.lease(key, holder, seconds, seen, variant))

    def _settle(self, key: str, holder: str, value: Shape, as_of: float, variant: str) -> None:
        try:
            self._cache.settle(key, holder, value, as_of, variant)
        except TooLargeToKeep:
            self._cache.ask_alone(key, holder, _ALONE_SECONDS, variant)
            raise

    def _keep(self, deadline: Deadline, write: Callable[[], Any]) -> None:
        try:
            self._in_time(deadline, write)
        except StoreUnavailable as error:
            _report("cache not written", error)

    def _in_time(self, deadline: Deadline, call: Callable[[], Result]) -> Result:
        try:
            return within(deadline.sooner(min(_STORE_SECONDS, deadline.remaining_seconds() * _STORE_SHARE)), call)
        except DeadlineExceeded:
            raise StoreUnavailable("cache: no answer in time") from None

    def _is_fresh(self, entry: Entry[Shape]) -> bool:
        return self._cache.clock() < max(entry.stored_at + self._fresh_seconds, entry.fresh_until)

    def _remembered_seconds(self, error: BundleError) -> float:
        return self._refused_seconds if isinstance(error, UpstreamRefused) else _FAILURE_SECONDS


def _instead(old: Entry[Shape] | None, error: BundleError) -> Found[Shape]:
    """An old value in place of an error, but never in place of the vendor's own no."""
    if old is None or isinstance(error, UpstreamRefused):
        raise error
    return Found(old.value, old.stored_at, cached=True, reason=error.code)


def failure_of(error: BundleError) -> Failure | None:
    """What others may be told in place of asking the vendor; None when it is trouble of our own."""
    if isinstance(error, UpstreamRefused):
        return Failure(error.code, error.upstream, error.vendor_code)
    if isinstance(error, UpstreamError) and error.code in _SHARED:
        return Failure(error.code, error.upstream)
    return None


def _error_of(failure: Failure) -> UpstreamError:
    if failure.code == UpstreamRefused.code:
        return UpstreamRefused(failure.upstream, failure.vendor_code)
    return _SHARED.get(failure.code, UpstreamUnavailable)(failure.upstream)


def _report(what: str, error: StoreUnavailable) -> None:
    count("CacheUnavailable")
    logger.warning(what, code=error.code, detail=str(error))
