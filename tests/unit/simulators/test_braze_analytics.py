"""Braze's counts of events and purchases."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from infra.local.simulators import BrazeSimulator, SteppedClock


def get(simulator: BrazeSimulator, path: str, **query: Any) -> requests.Response:
    headers = {"Authorization": simulator.authorization}
    return requests.get(simulator.url + path, params=query, headers=headers, timeout=5)


def data(simulator: BrazeSimulator, path: str, **query: Any) -> list[dict[str, Any]]:
    answer = get(simulator, path, **query)
    assert answer.status_code == 200, answer.text
    series: list[dict[str, Any]] = answer.json()["data"]
    return series


@pytest.fixture
def analytics(braze: BrazeSimulator) -> BrazeSimulator:
    braze.add_event("joined", per_day=2400)
    braze.add_product("latte", per_day=240, price=4.5)
    braze.add_product("tea", per_day=120, price=3)
    return braze


def test_an_event_is_counted_by_the_day_or_the_hour_and_a_day_is_its_hours(analytics: BrazeSimulator) -> None:
    days = data(analytics, "/events/data_series", event="joined", length=2)
    hours = data(
        analytics, "/events/data_series", event="joined", length=36, unit="hour", ending_at="2026-11-21T23:59:59Z"
    )

    assert [point["time"] for point in days] == ["2026-11-21", "2026-11-22"]
    assert hours[-1]["time"] == "2026-11-21T23:00:00Z"
    assert days[0]["count"] == sum(point["count"] for point in hours[-24:])
    assert 1600 < days[0]["count"] < 3200


def test_a_count_can_be_of_a_segment(analytics: BrazeSimulator) -> None:
    analytics.add_segment("seg")
    (everybody,) = data(analytics, "/events/data_series", event="joined", length=1)
    (segment,) = data(analytics, "/events/data_series", event="joined", length=1, segment_id="seg")

    assert 0 < segment["count"] < everybody["count"]
    assert get(analytics, "/events/data_series", event="joined", length=1, segment_id="?").status_code == 400


def test_a_product_has_quantities_and_revenue_and_all_products_have_theirs(analytics: BrazeSimulator) -> None:
    (quantity,) = data(analytics, "/purchases/quantity_series", length=1, product="latte")
    (revenue,) = data(analytics, "/purchases/revenue_series", length=1, product="latte")
    (every,) = data(analytics, "/purchases/quantity_series", length=1)

    assert revenue["revenue"] == pytest.approx(quantity["purchase_quantity"] * 4.5)
    assert every["purchase_quantity"] > quantity["purchase_quantity"]


def test_names_are_listed(analytics: BrazeSimulator) -> None:
    assert get(analytics, "/events/list").json()["events"] == ["joined"]
    assert get(analytics, "/purchases/product_list", page=0).json()["products"] == ["latte", "tea"]


@pytest.mark.parametrize("path", ["/events/data_series", "/purchases/quantity_series", "/purchases/revenue_series"])
def test_what_was_never_noted_has_no_data(braze: BrazeSimulator, path: str) -> None:
    assert data(braze, path, event="?", product="?", length=3) == []


@pytest.mark.parametrize(
    "query",
    [
        {"event": "joined"},
        {"length": 1},
        {"event": "joined", "length": 101},
        {"event": "joined", "length": 1, "unit": "week"},
        {"event": "joined", "length": 30, "unit": "hour", "ending_at": "0001-01-01T05:00:00Z"},
        {"event": "joined", "length": 1, "ending_at": "9999-12-31T23:00:00-05:00"},
    ],
)
def test_a_query_that_breaks_the_contract_is_a_400(analytics: BrazeSimulator, query: dict[str, Any]) -> None:
    assert get(analytics, "/events/data_series", **query).status_code == 400


def test_purchases_and_lists_share_a_limit_that_starts_anew_with_the_hour(clock: SteppedClock) -> None:
    with BrazeSimulator(latency_scale=0, clock=clock, purchase_reads_per_hour=3) as braze:
        paths = ["/purchases/quantity_series", "/purchases/revenue_series", "/events/list", "/purchases/product_list"]
        answers = [get(braze, path, length=1) for path in paths]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert (answers[-1].headers["x-ratelimit-limit"], answers[-1].headers["x-ratelimit-remaining"]) == ("3", "0")
        assert get(braze, "/events/data_series", event="e", length=1).status_code == 200

        clock.advance(1800)
        assert get(braze, paths[0], length=1).status_code == 200


def test_an_archived_segment_has_no_sizes_and_is_not_listed(braze: BrazeSimulator) -> None:
    braze.add_segment("old", archived=True)

    assert get(braze, "/segments/list").json()["segments"] == []
    assert get(braze, "/segments/details", segment_id="old").status_code == 200
    assert data(braze, "/segments/data_series", segment_id="old", length=3) == []
