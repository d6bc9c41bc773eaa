"""Query parameters and bodies as Braze's endpoints share them: pages, directions, lengths, moments, JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime
from typing import TypeVar

from infra.local.simulators.messages import Call, Json, Refused, Reply

PAGE = 100

Item = TypeVar("Item")


def bad(message: str) -> Refused:
    """A 400 with these words."""
    return Refused(Reply(400, {"message": message}))


def parsed(call: Call) -> Json:
    """The body as JSON, in Braze's words when it is none."""
    try:
        return call.json()
    except ValueError:
        raise bad("Error while parsing request body. Please check your syntax.") from None


def page_of(call: Call, items: Sequence[Item]) -> Sequence[Item]:
    """The items of `page` (from 0, 100 each), oldest first or by `sort_direction` the other way round."""
    page, direction = call.query.get("page", "0"), call.query.get("sort_direction", "asc")
    if not is_whole(page):
        raise bad("page must be a whole number")
    if direction not in ("asc", "desc"):
        raise bad("sort_direction must be asc or desc")
    ordered = items[::-1] if direction == "desc" else items
    return ordered[int(page) * PAGE : (int(page) + 1) * PAGE]


def length_of(call: Call, most: int) -> int:
    length = call.query.get("length", "")
    if not is_whole(length) or not 1 <= int(length) <= most:
        raise bad(f"length must be a whole number from 1 to {most}")
    return int(length)


def flag_of(call: Call, name: str) -> bool:
    value = call.query.get(name, "false")
    if value not in ("true", "false"):
        raise bad(f"{name} must be true or false")
    return value == "true"


def required(call: Call, name: str) -> str:
    if not call.query.get(name):
        raise bad(f"{name} is required")
    return call.query[name]


def moment_of(call: Call, name: str) -> datetime | None:
    """A time in ISO 8601, without a zone in UTC; None when it was not given."""
    given = call.query.get(name)
    if given is None:
        return None
    try:
        # A plus sign left unescaped in a query arrives as a space, and the pages' own example has an hour of one digit.
        zoned = re.sub(r" (?=\d{1,2}:?\d\d$)", "+", given)
        moment = datetime.fromisoformat(re.sub(r"(?<=[+-])(?=\d:\d\d$)", "0", zoned))
        in_utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise bad(f"{name} must be an ISO 8601 time") from None
    if not MINYEAR < in_utc.year < MAXYEAR:  # a series about it would leave the calendar
        raise bad(f"{name} must be an ISO 8601 time")
    return in_utc


def last_day(call: Call) -> date:
    """The day of `ending_at`, today when there is none."""
    return (moment_of(call, "ending_at") or datetime.fromtimestamp(call.received_at, UTC)).date()


def is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
