"""What a message is told: a flat object with stable keys, numbers as numbers and again as text, and failures as data.

Every key is there in every answer, for Liquid tells a missing key from nothing at all. What cannot be known is null, or
blank where text is expected.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from clients.braze import Point
from clients.cultures import culture_of
from segment_size.series import Series, day_before, window_of
from shared.flight import Found
from shared.locales import form_of, number_text

_USUAL_CULTURE = "en-US"


class Wish(msgspec.Struct, frozen=True):
    """What all answers have in common: the least number worth showing, and the language of numbers."""

    least: float | None
    culture: str
    decimals: int = 0

    def text(self, value: float | None, signed: bool = False) -> str:
        """A number with separators, blank when it is not known; `signed` puts a plus before one above zero."""
        if value is None:
            return ""
        text = number_text(value, form_of(culture_of(self.culture, _USUAL_CULTURE)), self.decimals)
        return f"+{text}" if signed and value > 0 else text


def size_answer(
    segment_id: str, wish: Wish, days: int, found: Found[Series] | None, reason: str = ""
) -> dict[str, Any]:
    """The latest size, the day before, and the trend since `days` days before."""
    points = found.value.points if found else []
    by_day = {point.time: round(point.value) for point in points}
    latest = points[-1] if points else None
    size = by_day[latest.time] if latest else None
    previous = by_day.get(day_before(latest, 1)) if latest else None
    then = by_day.get(day_before(latest, days)) if latest else None
    trend = _change(size, then, wish)
    return {
        **_standing(found, reason),
        "segment_id": segment_id,
        "size": size,
        "size_text": wish.text(size),
        "date": latest.time if latest else None,
        "previous_size": previous,
        **_change(size, previous, wish),
        "trend": _direction(size, then),
        "trend_days": days,
        "trend_size": then,
        "trend_change": trend["change"],
        "trend_change_text": trend["change_text"],
        "trend_change_percent": trend["change_percent"],
        "meets_min": _meets(size, wish),
    }


def count_answer(
    name: str, named: dict[str, Any], wish: Wish, length: int, found: Found[Series] | None, reason: str = ""
) -> dict[str, Any]:
    """The sum of the last `length` hours or days under `name`, and that of as many before; `named` says of what."""
    points = found.value.points if found else []
    current, before = window_of(points, length)
    total = _sum(current, wish.decimals)
    previous = _sum(before, wish.decimals)
    return {
        **_standing(found, reason),
        **named,
        name: total,
        f"{name}_text": wish.text(total),
        "since": current[0].time if current else None,
        "until": current[-1].time if current else None,
        f"previous_{name}": previous,
        **_change(total, previous, wish),
        "meets_min": _meets(total, wish),
    }


def _standing(found: Found[Series] | None, reason: str) -> dict[str, Any]:
    """`reason` is why there is nothing, or why it is stale."""
    ok = bool(found and found.value.points)
    why = reason or (found.value.reason or found.reason if found else "") or ("" if ok else "no_data")
    return {
        "ok": ok,
        "stale": found is not None and found.stale,
        "reason": why or None,
        "as_of": datetime.fromtimestamp(found.as_of, UTC).isoformat(timespec="seconds") if found else None,
    }


def _change(now: float | None, then: float | None, wish: Wish) -> dict[str, Any]:
    """The difference, with its sign in the text; null and blank where one of the two is not known."""
    if now is None or then is None:
        return {"change": None, "change_text": "", "change_percent": None}
    change = _rounded(now - then, wish.decimals)
    return {
        "change": change,
        "change_text": wish.text(change, signed=True),
        "change_percent": round(100 * change / abs(then), 1) if then else None,
    }


def _direction(now: float | None, then: float | None) -> str | None:
    if now is None or then is None:
        return None
    return "flat" if now == then else "up" if now > then else "down"


def _meets(value: float | None, wish: Wish) -> bool:
    return value is not None and value >= (wish.least or 0)


def _sum(points: list[Point], decimals: int) -> float | None:
    return _rounded(sum(point.value for point in points), decimals) if points else None


def _rounded(value: float, decimals: int) -> float:
    """Rounded here, and then printed as it is: the number and its text are the same. There is no minus before 0."""
    return round(value, decimals) + 0.0 if decimals else round(value)
