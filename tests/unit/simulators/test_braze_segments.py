"""Braze's segment reads."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from typing import Any

import pytest
import requests

from infra.local.simulators import BrazeSimulator


def get(simulator: BrazeSimulator, operation: str, **query: Any) -> requests.Response:
    url = f"{simulator.url}/segments/{operation}"
    return requests.get(url, params=query, headers={"Authorization": simulator.authorization}, timeout=5)


def sizes(simulator: BrazeSimulator, **query: Any) -> dict[str, int]:
    answer = get(simulator, "data_series", segment_id="seg", **query)
    assert answer.json()["message"] == "success"
    return {row["time"]: row["size"] for row in answer.json()["data"]}


def test_the_list_has_pages_of_a_hundred_from_zero(braze: BrazeSimulator) -> None:
    for number in range(101):
        braze.add_segment(f"s{number}", name=f"Segment {number}", analytics=number != 0)
    first, second = (get(braze, "list", page=page).json()["segments"] for page in (0, 1))
    assert (len(first), len(second)) == (100, 1)
    assert first[0] == {"id": "s0", "name": "Segment 0", "analytics_tracking_enabled": False, "tags": []}
    assert get(braze, "list").json()["segments"] == first
    assert get(braze, "list", page=2).json()["segments"] == []


def test_the_list_can_be_turned_round(braze: BrazeSimulator, clock: Any) -> None:
    for name in ("old", "new"):
        braze.add_segment(name)
        clock.advance(1)
    listed = get(braze, "list", sort_direction="desc").json()["segments"]
    assert [segment["id"] for segment in listed] == ["new", "old"]


@pytest.mark.parametrize("query", [{"page": "-1"}, {"page": "x"}, {"sort_direction": "up"}])
def test_a_list_query_that_makes_no_sense_is_a_400(braze: BrazeSimulator, query: dict[str, str]) -> None:
    assert get(braze, "list", **query).status_code == 400


def test_details_name_the_segment(braze: BrazeSimulator) -> None:
    braze.add_segment("seg", name="Gold members")
    details = get(braze, "details", segment_id="seg").json()
    assert (details["message"], details["name"]) == ("success", "Gold members")
    assert details["created_at"] == "2026-11-22T12:30:00+00:00"
    assert details.keys() >= {"updated_at", "description", "text_description", "tags", "teams"}


def test_a_series_is_daily_and_ends_today(braze: BrazeSimulator) -> None:
    braze.add_segment("seg", size=10_000)
    series = sizes(braze, length=3)
    assert list(series) == ["2026-11-20", "2026-11-21", "2026-11-22"]


def test_a_day_has_the_same_size_in_every_call(braze: BrazeSimulator) -> None:
    braze.add_segment("seg", size=10_000)
    long, short = sizes(braze, length=100), sizes(braze, length=5, ending_at="2026-11-01T00:00:00Z")
    assert len(long) == 100
    assert short.items() <= long.items()


def test_sizes_are_believable(braze: BrazeSimulator) -> None:
    braze.add_segment("seg", size=10_000)
    series = list(sizes(braze, length=100).values())
    assert all(9_000 < size < 11_000 for size in series)
    assert all(abs(b - a) < 400 for a, b in pairwise(series))
    assert len(set(series)) > 50


def test_an_exact_series_is_answered_as_given(braze: BrazeSimulator) -> None:
    braze.add_segment("seg")
    braze.set_segment_sizes("seg", {date(2026, 11, 20): 7, date(2026, 11, 22): 9})
    assert sizes(braze, length=5) == {"2026-11-20": 7, "2026-11-22": 9}


@pytest.mark.parametrize(
    ("ending_at", "last"),
    [
        ("2026-11-10", "2026-11-10"),
        ("2026-11-10T23:59:59", "2026-11-10"),
        ("2026-11-10T23:30:00-05:00", "2026-11-11"),
        ("2026-11-10T00:30:00+05:00", "2026-11-09"),
    ],
)
def test_ending_at_names_the_last_day_in_utc(braze: BrazeSimulator, ending_at: str, last: str) -> None:
    braze.add_segment("seg")
    assert list(sizes(braze, length=2, ending_at=ending_at))[-1] == last


def test_a_segment_without_analytics_has_no_data(braze: BrazeSimulator) -> None:
    braze.add_segment("seg", analytics=False)
    assert sizes(braze, length=3) == {}


@pytest.mark.parametrize(
    "query",
    [
        {"length": 1},
        {"segment_id": "unknown", "length": 1},
        {"segment_id": "seg"},
        {"segment_id": "seg", "length": 0},
        {"segment_id": "seg", "length": 101},
        {"segment_id": "seg", "length": "ten"},
        {"segment_id": "seg", "length": 1, "ending_at": "yesterday"},
        {"segment_id": "seg", "length": 2, "ending_at": "0001-01-01T00:00:00Z"},
        {"segment_id": "seg", "length": 1, "ending_at": "0001-01-01T00:00:00+05:00"},
        {"segment_id": "seg", "length": 1, "ending_at": "9999-12-31T23:00:00-05:00"},
    ],
)
def test_a_series_query_that_breaks_the_contract_is_a_400(braze: BrazeSimulator, query: dict[str, Any]) -> None:
    braze.add_segment("seg")
    answer = get(braze, "data_series", **query)
    assert answer.status_code == 400
    assert answer.json()["message"] != "success"


def test_details_of_an_unknown_segment_are_a_400(braze: BrazeSimulator) -> None:
    assert get(braze, "details", segment_id="unknown").status_code == 400
