"""How long it can be from one run of a schedule to the next, and how long a tag must live to span that.

SessionM has no call that takes a tag away. So who leaves a segment keeps its tag until its time to live is over, and
who stays keeps it only if the next run comes before that. A tag must outlive the time between two runs; by default it
lives twice as long, so that a run that fails does no harm.

Source: EventBridge Scheduler's page on schedule types (rate and cron expressions).
"""

from __future__ import annotations

import re
from typing import Final

MINUTE: Final = 60
HOUR: Final = 3_600
DAY: Final = 86_400
WEEK: Final = 7 * DAY

_RATE: Final = re.compile(r"rate\((?P<number>[1-9][0-9]{0,4}) (?P<unit>minute|hour|day)s?\)\Z")
_UNITS: Final = {"minute": MINUTE, "hour": HOUR, "day": DAY}
_CRON: Final = re.compile(r"cron\((?P<fields>[^()]+)\)\Z")
_ANY: Final = frozenset({"*", "?"})

# The 29th, 30th and 31st are in no February, and the 31st in no two months of which the second is a short one.
_LATE_DAY: Final = re.compile(r"(?<![0-9])(29|30|31)(?![0-9])")


class Unclear(Exception):
    """The expression is no schedule of runs that repeat; the text says what to do."""


def longest_period_seconds(expression: str) -> int:
    """The longest time between two runs of a rate or cron expression, rather too long than too short. Raises `Unclear`.

    A cron expression has minutes, hours, day of month, month, day of week and year.
    """
    if rate := _RATE.match(expression):
        return int(rate["number"]) * _UNITS[rate["unit"]]
    cron = _CRON.match(expression)
    fields = cron["fields"].split() if cron else []
    if len(fields) != 6:
        raise Unclear(
            "a schedule is written as rate(1 day) or as cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR), as in "
            "cron(0 4 * * ? *); for a single run call POST /segment-exports"
        )
    _, hours, day_of_month, month, day_of_week, year = fields
    if year != "*":
        raise Unclear("give * for the year: a schedule that ends leaves tags behind that nobody renews")
    if (day_of_month == "?") == (day_of_week == "?"):
        raise Unclear("one of the two days, of the month or of the week, must be a ?, as in cron(0 4 * * ? *)")
    if month != "*":
        return 366 * DAY
    if day_of_month not in _ANY:
        return (62 if _LATE_DAY.search(day_of_month) else 31) * DAY
    if day_of_week not in _ANY:
        if "#5" in day_of_week:
            return 14 * WEEK
        return 5 * WEEK if re.search("#|L", day_of_week) else WEEK
    return HOUR if hours == "*" else DAY


def default_ttl_seconds(period_seconds: int) -> int:
    """Twice the time between two runs."""
    return 2 * period_seconds


def spelled(seconds: int) -> str:
    """Seconds for people to read, as in 14 days."""
    for size, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if seconds % size == 0:
            return f"{seconds // size} {name}{'s' if seconds > size else ''}"
    return f"{seconds} seconds"
