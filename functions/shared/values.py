"""Numbers and dates as vendors write them, read for what is certainly meant."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

_WHOLE = re.compile(r"[+-]?\d{1,15}\Z")
_DECIMAL = re.compile(r"[+-]?\d{1,15}\.\d{1,15}\Z")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d{1,15})?\Z")

# "2026-11-30 23:59:59 +0000", with or without time and zone, as Ruby and SQL print it.
_ISO_LIKE = re.compile(
    r"(?P<year>\d{4})(?P<between>[-/])(?P<month>\d{1,2})(?P=between)(?P<day>\d{1,2})"
    r"([T ]+(?P<time>\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?) ?(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?)?\Z",
    re.IGNORECASE,
)
# "11/30/2026 23:59", month first, as in the country SessionM comes from.
_AMERICAN = re.compile(r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})( (?P<time>\d{2}:\d{2}(:\d{2})?))?\Z")
# "Nov 30, 2026" and "30 November 2026".
_IN_WORDS = ("%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y")

# Epoch seconds from 2001 to 2286, and the same in milliseconds, each from and up to.
_EPOCH_SECONDS = (10**9, 10**10)
_EPOCH_MILLISECONDS = (10**12, 10**13)


def number_of(value: Any) -> Any:
    """The number in a text; anything else as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if _THOUSANDS.match(text):
        text = text.replace(",", "")
    if _WHOLE.match(text):
        return int(text)
    return float(text) if _DECIMAL.match(text) else value


def date_of(value: Any) -> Any:
    """A date or moment in ISO 8601; a zone is kept if there was one, and never made up. Anything else as it is."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_epoch(value)
    if not isinstance(value, str):
        return value
    text = value.strip()
    if found := _ISO_LIKE.match(text):
        return _checked(_day(found), found["time"], _zone(found["zone"] or "")) or value
    if found := _AMERICAN.match(text):
        return _checked(_day(found), found["time"], "") or value
    for form in _IN_WORDS if text[-4:].isdigit() else ():  # each try costs some microseconds, of a thousand offers
        try:
            return datetime.strptime(text, form).date().isoformat()
        except ValueError:
            continue
    return value


def _from_epoch(value: float) -> Any:
    seconds = value // 1000 if _is_within(value, _EPOCH_MILLISECONDS) else value
    if not _is_within(seconds, _EPOCH_SECONDS):
        return value
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_within(value: float, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= value < bounds[1]


def _day(found: re.Match[str]) -> str:
    return f"{found['year']}-{int(found['month']):02}-{int(found['day']):02}"


def _zone(zone: str) -> str:
    if zone.upper() in ("Z", "UTC", "GMT", "+0000", "-0000"):
        return "Z"
    return f"{zone[:3]}:{zone[-2:]}" if zone else ""


def _checked(date: str, time: str | None, zone: str) -> str:
    """Put together, or empty when there is no such day, hour or zone."""
    written = f"{date}T{time}{zone}" if time else date
    try:
        datetime.fromisoformat(f"{date}T{time[:8]}{zone}" if time else date)
    except ValueError:
        return ""
    return written
