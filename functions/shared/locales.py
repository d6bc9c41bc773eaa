"""Dates and numbers as a culture writes them, ready to print.

The forms are Unicode's CLDR, the long date and the plain number, with Latin digits. They stand in locales.json, which
infra/locales.py makes from Babel; the table is read at the first answer, not at a cold start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

import msgspec

_TABLE = Path(__file__).with_name("locales.json")


class Form(msgspec.Struct, frozen=True):
    """How one culture, or several alike, write: `sizes` are digits in the last group and in those before it."""

    date: str
    months: Sequence[str]
    era: str
    group: str
    decimal: str
    sizes: Sequence[int]


class _Table(msgspec.Struct, frozen=True):
    cultures: Mapping[str, int]
    forms: Sequence[Form]


@cache
def _table() -> _Table:
    return msgspec.json.decode(_TABLE.read_bytes(), type=_Table)


@cache
def form_of(culture: str) -> Form:
    """That of a culture, or else of its language, or else of American English."""
    table = _table()
    language = culture.partition("-")[0]
    number = table.cultures.get(culture, table.cultures.get(language, table.cultures["en"]))
    return table.forms[number]


def date_text(day: date, form: Form) -> str:
    """As in "30 November 2026" or "2026년 11월 30일"."""
    return form.date.format(
        day=day.day, number=day.month, month=form.months[day.month - 1], year=day.year, era=form.era
    )


def number_text(value: float, form: Form, decimals: int | None = None) -> str:
    """As in "1,234.5" or "1.234,5", with that many decimals, or else as many as it has and at most three."""
    whole, _, fraction = f"{abs(Decimal(str(value))):.{3 if decimals is None else decimals}f}".partition(".")
    fraction = fraction.rstrip("0") if decimals is None else fraction
    last, before = form.sizes
    groups = [whole[-last:]]
    rest = whole[:-last]
    while rest:
        groups.insert(0, rest[-before:])
        rest = rest[:-before]
    text = form.group.join(groups) + (form.decimal + fraction if fraction else "")
    return "-" + text if value < 0 and text.strip("0" + form.decimal) else text
