"""Values in the form Liquid can use, and nothing changed that was not certainly meant."""

from __future__ import annotations

from typing import Any

import pytest

from trigger_relay.values import Kind, converted, kind_by_name


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("2026-11-30T23:59:59Z", "2026-11-30T23:59:59Z"),
        ("2026-11-30T23:59:59.123+01:00", "2026-11-30T23:59:59.123+01:00"),
        ("2026-11-30 23:59:59 UTC", "2026-11-30T23:59:59Z"),
        ("2026-11-30 23:59:59 +0000", "2026-11-30T23:59:59Z"),
        ("2026-11-30 23:59:59 -0500", "2026-11-30T23:59:59-05:00"),
        ("2026-11-30 23:59", "2026-11-30T23:59"),
        ("2026/11/30", "2026-11-30"),
        ("2026-1-5T00:00:00Z", "2026-01-05T00:00:00Z"),
        (" 2026-11-30 ", "2026-11-30"),
        ("11/30/2026", "2026-11-30"),
        ("1/2/2026 08:00", "2026-01-02T08:00"),
        ("Nov 30, 2026", "2026-11-30"),
        ("30 November 2026", "2026-11-30"),
        (1_795_334_400, "2026-11-22T08:00:00Z"),
        (1_795_334_400_123, "2026-11-22T08:00:00Z"),
        (1_795_334_400.5, "2026-11-22T08:00:00Z"),
        (1_795_334_400_999.9, "2026-11-22T08:00:00Z"),
    ],
)
def test_a_date_becomes_iso_8601_with_the_zone_it_had(value: Any, date: str) -> None:
    assert converted(value, "date") == date


@pytest.mark.parametrize(
    "value",
    [
        *("2026-02-30", "2026-11-30 25:00", "2026-11-30 23:00 +9900", "2026-11/30", "13/13/2026", "soon", ""),
        *(7, 10**9 - 1, 10**10, 10**12 - 1, 10**13, 10**15, True, None, 1.5, float("inf"), ["2026-11-30"]),
    ],
)
def test_what_is_no_date_stays_as_it_is(value: Any) -> None:
    assert converted(value, "date") == value


@pytest.mark.parametrize(
    ("value", "number"),
    [("50", 50), (" -7 ", -7), ("12.50", 12.5), ("1,250", 1250), ("1,250.5", 1250.5), (50, 50), (1.5, 1.5)],
)
def test_a_number_in_a_text_becomes_a_number(value: Any, number: float) -> None:
    assert converted(value, "number") == number


@pytest.mark.parametrize("value", ["", "many", "1e5", "1,25", "0x10", "1" * 16, "50 points", None, True, "nan", "inf"])
def test_what_is_no_number_stays_as_it_is(value: Any) -> None:
    assert converted(value, "number") is value


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (1.5, "1.5"), ("x", "x"), (True, True), (None, None)])
def test_a_number_becomes_a_text_where_that_is_asked_for(value: Any, text: Any) -> None:
    assert converted(value, "text") == text


@pytest.mark.parametrize(
    ("name", "kind"), [("purchase_date", "date"), ("created_at", "date"), ("format", "as_is"), ("dated", "as_is")]
)
def test_a_field_the_table_does_not_know_may_be_named_like_a_date(name: str, kind: Kind) -> None:
    assert kind_by_name(name) == kind
