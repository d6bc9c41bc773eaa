"""Braze's reads of campaigns and Canvases."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from infra.local.simulators import BrazeSimulator


def get(simulator: BrazeSimulator, path: str, **query: Any) -> requests.Response:
    return requests.get(
        simulator.url + path, params=query, headers={"Authorization": simulator.authorization}, timeout=5
    )


def trigger(simulator: BrazeSimulator, path: str, body: dict[str, Any]) -> None:
    headers = {"Authorization": simulator.authorization}
    answer = requests.post(
        simulator.url + path, json=body | {"recipients": [{"external_user_id": "u"}]}, headers=headers, timeout=5
    )
    assert answer.status_code == 201


def test_campaigns_come_in_pages_of_a_hundred_from_zero(braze: BrazeSimulator) -> None:
    for number in range(100):
        braze.add_campaign(f"c{number}")
    first, second = (get(braze, "/campaigns/list", page=page).json()["campaigns"] for page in (0, 1))
    assert (len(first), len(second)) == (100, 1)
    assert first[0] == {
        "id": "camp",
        "last_edited": "2026-11-22T12:30:00+00:00",
        "name": "Offer reminder",
        "is_api_campaign": True,
        "tags": [],
    }


@pytest.mark.parametrize(("path", "name"), [("/campaigns/list", "campaigns"), ("/canvas/list", "canvases")])
def test_archived_ones_are_listed_when_asked_for(braze: BrazeSimulator, path: str, name: str) -> None:
    braze.add_campaign("old", archived=True)
    braze.add_canvas("old", state="archived")
    assert "old" not in [each["id"] for each in get(braze, path).json()[name]]
    assert "old" in [each["id"] for each in get(braze, path, include_archived="true").json()[name]]


def test_a_list_can_begin_after_a_moment_and_be_turned_round(braze: BrazeSimulator, clock: Any) -> None:
    for name in ("next", "last"):
        clock.advance(60)
        braze.add_canvas(name)
    query = {"last_edit.time[gt]": "2026-11-22T12:30:00", "sort_direction": "desc"}
    listed = get(braze, "/canvas/list", **query).json()["canvases"]
    assert [each["id"] for each in listed] == ["last", "next"]


def test_details_tell_how_it_stands(braze: BrazeSimulator) -> None:
    braze.add_canvas("paused", state="paused")
    campaign = get(braze, "/campaigns/details", campaign_id="camp").json()
    canvas = get(braze, "/canvas/details", canvas_id="paused").json()
    assert (campaign["message"], campaign["enabled"], campaign["schedule_type"]) == ("success", True, "api_triggered")
    assert (canvas["message"], canvas["enabled"], canvas["archived"]) == ("success", False, False)
    assert campaign["messages"]
    assert canvas["steps"][0]["channels"] == ["email"]


def test_a_campaigns_series_counts_what_was_sent(braze: BrazeSimulator) -> None:
    trigger(braze, "/campaigns/trigger/send", {"campaign_id": "camp"})
    data = get(braze, "/campaigns/data_series", campaign_id="camp", length=2).json()["data"]
    assert [(day["time"], day["unique_recipients"]) for day in data] == [("2026-11-21", 0), ("2026-11-22", 1)]
    assert data[1]["messages"]["email"][0]["delivered"] == 1


def test_a_canvas_series_is_broken_down_when_asked_for(braze: BrazeSimulator) -> None:
    trigger(braze, "/canvas/trigger/send", {"canvas_id": "canv"})
    query = {"canvas_id": "canv", "ending_at": "2026-11-22T23:59:59Z"}
    plain = get(braze, "/canvas/data_series", **query, length=1).json()["data"]
    broken = get(
        braze,
        "/canvas/data_series",
        **query,
        starting_at="2026-11-21",
        include_variant_breakdown="true",
        include_step_breakdown="true",
    ).json()["data"]
    assert plain["stats"][0]["total_stats"]["entries"] == 1
    assert "variant_stats" not in plain["stats"][0]
    assert [day["time"] for day in broken["stats"]] == ["2026-11-21", "2026-11-22"]
    assert {"variant_stats", "step_stats"} <= broken["stats"][0].keys()


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/campaigns/list", {"page": "x"}),
        ("/campaigns/list", {"include_archived": "yes"}),
        ("/campaigns/list", {"last_edit.time[gt]": "yesterday"}),
        ("/campaigns/list", {"last_edit.time[gt]": "0001-01-01T00:00:00+01:00"}),
        ("/campaigns/data_series", {"campaign_id": "camp", "length": "9", "ending_at": "0001-01-03"}),
        ("/canvas/data_series", {"canvas_id": "canv", "length": "9", "ending_at": "0001-01-03"}),
        ("/campaigns/details", {}),
        ("/campaigns/details", {"campaign_id": "nobody"}),
        ("/campaigns/data_series", {"campaign_id": "camp"}),
        ("/campaigns/data_series", {"campaign_id": "camp", "length": "101"}),
        ("/canvas/details", {"canvas_id": "nobody"}),
        ("/canvas/data_series", {"canvas_id": "canv", "length": "3"}),
        ("/canvas/data_series", {"canvas_id": "canv", "length": "15", "ending_at": "2026-11-22"}),
        ("/canvas/data_series", {"canvas_id": "canv", "starting_at": "2026-11-01", "ending_at": "2026-11-22"}),
    ],
)
def test_a_query_that_makes_no_sense_is_a_400(braze: BrazeSimulator, path: str, query: dict[str, str]) -> None:
    assert get(braze, path, **query).status_code == 400


def test_each_read_needs_its_own_permission(braze: BrazeSimulator) -> None:
    braze.set_permissions({"campaigns.list"})
    assert get(braze, "/campaigns/list").status_code == 200
    for path in ("/campaigns/details", "/campaigns/data_series", "/canvas/list", "/templates/email/list"):
        assert get(braze, path).status_code == 403
