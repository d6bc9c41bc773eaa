"""What Braze counts, through one cache: segment sizes by the day, events and purchases by the hour or the day.

One call to Braze brings a hundred values, as many as it gives, and they serve every question about the same thing until
they are no longer fresh: any window, any day, any `min`. So however many messages are sent, and in however many
environments at once, a segment, an event or a product costs one call per SegmentSizeFreshSeconds or CountFreshSeconds.

When Braze refuses more calls (429), a gate keeps every environment from asking until Braze's own reset, and old values
serve meanwhile. Purchases have a gate of their own, for Braze allows them 1,000 calls an hour and the rest 250,000.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeAlias, TypeVar

import msgspec

from clients.braze import Braze, Point, PurchaseMeasure, SeriesUnit
from clients.timeouts import timeouts_of
from clients.transport import Timeouts
from segment_size.history import History
from shared.cache import Cache
from shared.deadline import Deadline, within
from shared.errors import BundleError, DeadlineExceeded, StoreUnavailable, UpstreamRefused, UpstreamThrottled
from shared.flight import Found, SingleFlight
from shared.gate import Gate
from shared.observability import count, logger
from shared.retries import REPEATABLE, repeated

Result = TypeVar("Result")

# As much as Braze gives in one call.
LENGTH = 100

# The tables answer in milliseconds; what they do not know in this share of the time is left out.
_STORE_SHARE = 1 / 4

# Series read or refreshed at the same time by one environment; botocore keeps ten connections.
MOST_AT_ONCE = 10

# How long everybody waits after a 429 that does not say how long.
_THROTTLED_SECONDS = 60.0

# How long a segment that Braze does not know stays unknown here.
REFUSED_SECONDS = 300.0

# How long a page of Braze's list of segments serves everybody who finds a series empty.
LISTED_SECONDS = 300

# Why a series is empty is worth this share of the time that is left. The empty series must still be kept, before the
# lease on it ends (`shared/flight.py`), or the next reader asks for all of it again.
_REASON_SHARE = 1 / 3

# A page of that list: whether Braze counts it, for each segment.
Listed: TypeAlias = dict[str, bool]


class Series(msgspec.Struct, frozen=True):
    """Values, oldest first; `reason` is why there are none. One kept with a point that cannot be counts as none."""

    points: list[Point]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Gates:
    """One for the calls Braze allows few of, one for all others."""

    purchases: Gate
    others: Gate


class Analytics:
    """Reads series. `sizes` and `counts` are the same cache, each with its own idea of what is fresh.

    `listed` keeps the pages of Braze's list of segments. `pace` is called before each call to Braze, and may wait.
    """

    def __init__(
        self,
        braze: Braze,
        cache: Cache[Series],
        history: History,
        gates: Gates,
        sizes: SingleFlight[Series],
        counts: SingleFlight[Series],
        listed: SingleFlight[Listed],
        pace: Callable[[], None] = lambda: None,
    ) -> None:
        self._braze = braze
        self._cache = cache
        self._history = history
        self._gates = gates
        self._sizes = sizes
        self._counts = counts
        self._listed = listed
        self._pace = pace

    def sizes(self, segment_id: str, deadline: Deadline) -> Found[Series]:
        """A segment's sizes of the last hundred days.

        Raises the `UpstreamError`, `DeadlineExceeded` or `InProgress` that kept us from Braze if the cache has nothing
        either; so do the others.
        """
        return self._sizes.read(_key("segment", segment_id), lambda: self._fetched(segment_id, deadline), deadline)

    def sizes_between(self, segment_id: str, first: date, last: date, deadline: Deadline) -> Found[Series]:
        """Sizes of the days from `first` to `last`, from history and, where that does not reach, from Braze."""
        return self.between(self.sizes(segment_id, deadline), segment_id, first, last, deadline)

    def between(
        self, found: Found[Series], segment_id: str, first: date, last: date, deadline: Deadline
    ) -> Found[Series]:
        """The same for a segment whose sizes of the last hundred days were found already."""
        points = {point.time: point for point in found.value.points}
        # A day later than it must be, for Braze's days may begin before those in UTC.
        covered = today(found.as_of) - timedelta(days=LENGTH - 2)
        if points and first < covered:
            kept = (
                self._in_time(deadline, lambda: self._history.sizes(segment_id, first.isoformat(), last.isoformat()))
                or []
            )
            points = {point.time: point for point in kept} | points
            if min(points) > first.isoformat():
                older = self._older(segment_id, min(last, covered), deadline)
                points = {point.time: point for point in older} | points
        wanted = sorted(time for time in points if first.isoformat() <= time <= last.isoformat())
        series = Series([points[time] for time in wanted], found.value.reason)
        return Found(series, found.as_of, found.cached, found.reason)

    def refresh(self, segment_id: str, deadline: Deadline) -> None:
        """Asks Braze whatever the cache holds, and keeps the answer."""
        as_of = self._cache.clock()
        self._cache.put(_key("segment", segment_id), self._fetched(segment_id, deadline), as_of=as_of)

    def segment_ids(self, deadline: Deadline) -> list[str]:
        """Every segment of the workspace that Braze counts."""
        return [segment_id for page in self._pages(deadline) for segment_id, tracked in page.items() if tracked]

    def event(self, event: str, segment_id: str, unit: SeriesUnit, deadline: Deadline) -> Found[Series]:
        """How often an event happened in each of the last hundred hours or days."""

        def ask(timeouts: Timeouts) -> list[Point]:
            return self._braze.event_counts(event, unit=unit, length=LENGTH, segment_id=segment_id, timeouts=timeouts)

        return self._counted(_key("event", event, segment_id, unit), ask, self._gates.others, deadline)

    def purchases(self, measure: PurchaseMeasure, product: str, unit: SeriesUnit, deadline: Deadline) -> Found[Series]:
        """How much of a product was bought in each of the last hundred hours or days."""

        def ask(timeouts: Timeouts) -> list[Point]:
            return self._braze.purchases(measure, product, unit=unit, length=LENGTH, timeouts=timeouts)

        return self._counted(_key("product", product, measure, unit), ask, self._gates.purchases, deadline)

    def _counted(
        self, key: str, ask: Callable[[Timeouts], list[Point]], gate: Gate, deadline: Deadline
    ) -> Found[Series]:
        def fetched() -> Series:
            points = self._asked(ask, gate, deadline)
            return Series(points, "" if points else "no_data")

        return self._counts.read(key, fetched, deadline)

    def _fetched(self, segment_id: str, deadline: Deadline) -> Series:
        points = self._from_braze(segment_id, None, deadline)
        return Series(points, "" if points else self._why_none(segment_id, deadline))

    def _older(self, segment_id: str, last: date, deadline: Deadline) -> list[Point]:
        """A hundred days up to one that is long past; none when Braze will not say."""
        ending_at = last.isoformat()
        key = _key("segment", segment_id, ending_at)
        try:
            return self._sizes.read(
                key, lambda: Series(self._from_braze(segment_id, ending_at, deadline)), deadline
            ).value.points
        except BundleError as error:
            logger.warning("older sizes not fetched", code=error.code, detail=str(error))
            return []

    def _from_braze(self, segment_id: str, ending_at: str | None, deadline: Deadline) -> list[Point]:
        def ask(timeouts: Timeouts) -> list[Point]:
            return self._braze.segment_sizes(segment_id, length=LENGTH, ending_at=ending_at, timeouts=timeouts)

        points = self._asked(ask, self._gates.others, deadline)
        self._in_time(deadline, lambda: self._history.add(segment_id, points))
        return points

    def _why_none(self, segment_id: str, deadline: Deadline) -> str:
        """Braze answers an empty series without a word; its list of segments tells the reasons apart."""
        try:
            for page in self._pages(deadline.sooner(deadline.remaining_seconds() * _REASON_SHARE)):
                if segment_id in page:
                    return "no_data" if page[segment_id] else "analytics_off"
        except BundleError as error:
            logger.warning("segments not listed", code=error.code, detail=str(error))
            return "no_data"
        return "segment_archived"

    def _pages(self, deadline: Deadline) -> Iterator[Listed]:
        """Braze's list of the segments that are not archived."""
        number = 0
        while page := self._page(number, deadline):
            yield page
            number += 1

    def _page(self, number: int, deadline: Deadline) -> Listed:
        """Each is kept, so that when one reader has no time for all of them the next goes on from there."""

        def ask(timeouts: Timeouts) -> Listed:
            return {segment.id: segment.tracked for segment in self._braze.segments(number, timeouts)}

        def fetched() -> Listed:
            return self._asked(ask, self._gates.others, deadline)

        return self._listed.read(_key("segments", str(number)), fetched, deadline).value

    def _in_time(self, deadline: Deadline, call: Callable[[], Result]) -> Result | None:
        try:
            return within(_for_store(deadline), call)
        except (StoreUnavailable, DeadlineExceeded) as error:
            count("HistoryUnavailable")
            logger.warning("history not reached", code=error.code, detail=str(error))
            return None

    def _asked(self, ask: Callable[[Timeouts], Result], gate: Gate, deadline: Deadline) -> Result:
        """Asks Braze unless the gate is shut, and shuts it for all when Braze says that it was too much."""
        self._pace()
        try:
            wait = within(_for_store(deadline), lambda: gate.wait_seconds(urgent=True))
        except DeadlineExceeded:
            wait = 0.0  # a gate that does not say stands open
        if wait > 0:
            raise UpstreamThrottled("Braze", wait)

        def once() -> Result:
            return ask(timeouts_of(deadline))

        def pause(seconds: float) -> None:
            time.sleep(seconds)
            self._pace()

        try:
            return within(deadline, lambda: repeated(once, REPEATABLE, deadline, pause))
        except UpstreamThrottled as error:
            count("AnalyticsThrottled")
            seconds = error.retry_after_seconds or _THROTTLED_SECONDS
            with suppress(DeadlineExceeded):
                within(_for_store(deadline), lambda: gate.shut(seconds, urgent_too=True))
            raise


def _for_store(deadline: Deadline) -> Deadline:
    return deadline.sooner(deadline.remaining_seconds() * _STORE_SHARE)


def reason_of(error: BundleError) -> str:
    """The one thing Braze can refuse in a checked request is the segment."""
    return "segment_not_found" if isinstance(error, UpstreamRefused) else error.code


def today(as_of: float) -> date:
    """The day it was in UTC, by which Braze cuts its series."""
    return datetime.fromtimestamp(as_of, UTC).date()


def window_of(points: list[Point], length: int) -> tuple[list[Point], list[Point]]:
    """The last `length` values and as many before them; of these none when there are not as many."""
    before = points[-2 * length : -length]
    return points[-length:], before if len(before) == length else []


def day_of(point: Point) -> date:
    return date.fromisoformat(point.time[:10])


def day_before(point: Point, days: int) -> str:
    return (day_of(point) - timedelta(days=days)).isoformat()


def _key(kind: str, *parts: str) -> str:
    """A key no two questions share, whatever characters an event's or a product's name has."""
    return f"{kind}#{msgspec.json.encode(parts).decode()}"
