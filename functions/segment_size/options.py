"""What can be asked of the segment and social proof routes, each option with its rule and its advice."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from clients.vocabulary import Culture, SegmentId
from shared.budgets import BudgetMilliseconds
from shared.errors import InvalidInput

# The longest a series can be asked for. Braze gives a hundred days, our history the rest.
MOST_DAYS = 1000

Least = Annotated[int, Meta(ge=0, le=10**12, description="Give the least number worth showing, as in 1000.")]
Days = Annotated[int, Meta(ge=1, le=MOST_DAYS, description="Give 1 to 1000 days.")]
OnError = Annotated[Literal["data", "retry"], Meta(description="Give data or retry.")]

# Anything but control characters: events and products are named by people.
Name = Annotated[
    str,
    Meta(pattern=r"^[^\x00-\x1f\x7f]{1,255}\Z", description="Give the name as Braze shows it, 1 to 255 characters."),
]
Window = Annotated[
    str,
    Meta(
        pattern=r"^([1-9][0-9]?|100)[hd]\Z",
        description="Give 1 to 100 hours or days, as in 24h or 7d.",
    ),
]

# As Braze takes it; the example on its page has a time zone with one digit, and a plus may arrive as a space.
Moment = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+ -]\d{1,2}:?\d{2})?)?\Z",
        description="Give an ISO 8601 date or time, as in 2026-11-22T23:59:59Z.",
    ),
]

_ZONE = re.compile(r"(?<=\d)(?P<sign>[+ -])(?P<hours>\d{1,2}):?(?P<minutes>\d{2})\Z")


class ShortOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every route of the short dialect takes. `v` and `cache_id` only vary a URL."""

    min: Least | None = None
    culture: Culture = ""
    on_error: OnError = "data"
    budget_ms: BudgetMilliseconds | None = None
    v: str = ""
    cache_id: str = ""


class SizeOptions(ShortOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`days` is how far back the trend looks."""

    segment_id: SegmentId
    days: Days = 7


class SizesOptions(ShortOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same for several segments, `ids` separated by commas."""

    ids: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_-]{1,64}(,[A-Za-z0-9_-]{1,64}){0,19}\Z",
            description="Give 1 to 20 segment ids, separated by commas.",
        ),
    ]
    days: Days = 7


class SeriesOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query of Braze's segments/data_series, `length` or `starting_at` saying where it begins; with both, the later.

    Braze itself has no `starting_at`, and a `length` of at most 100. Source: Braze's page on that endpoint.
    """

    segment_id: SegmentId
    length: Days | None = None
    starting_at: Moment | None = None
    ending_at: Moment | None = None


class EventOptions(ShortOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    event: Name
    window: Window = "24h"
    segment_id: SegmentId | None = None


class ProductOptions(ShortOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    product: Name
    measure: Annotated[Literal["quantity", "revenue"], Meta(description="Give quantity or revenue.")] = "quantity"
    window: Window = "24h"


def span_of(options: SeriesOptions, now: float) -> tuple[date, date]:
    """The first and the last day asked for; without `ending_at` the last is today. Raises `InvalidInput`."""
    last = _day(options.ending_at, "ending_at") if options.ending_at else datetime.fromtimestamp(now, UTC).date()
    if options.length is None and options.starting_at is None:
        hint = "Give length, as in length=7, or starting_at."
        raise InvalidInput("this field is required", code="missing_field", field="length", hint=hint)
    firsts = [_before(last, options.length - 1)] if options.length else []
    if options.starting_at:
        firsts.append(_day(options.starting_at, "starting_at"))
    first = max(firsts)
    if first > last:
        raise InvalidInput("the series ends before it begins", field="starting_at", hint="Give an earlier day.")
    return max(first, _before(last, MOST_DAYS - 1)), last


def _before(day: date, days: int) -> date:
    """So many days before, or the first day there is."""
    return day - min(timedelta(days=days), day - date.min)


def _day(moment: str, field: str) -> date:
    """The day in UTC, by which Braze cuts its series."""
    try:
        read = datetime.fromisoformat(_ZONE.sub(_zone, moment) if len(moment) > len("2026-11-22") else moment)
        return (read.astimezone(UTC) if read.tzinfo else read).date()
    except (ValueError, OverflowError):  # the latter at either end of the calendar
        raise InvalidInput("there is no such day or time", field=field, hint="As in 2026-11-22T23:59:59Z.") from None


def _zone(found: re.Match[str]) -> str:
    return f"{found['sign'].replace(' ', '+')}{found['hours']:0>2}:{found['minutes']}"
