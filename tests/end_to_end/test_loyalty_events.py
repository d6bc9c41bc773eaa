"""A SessionM event is a custom event in Braze, beside a trigger and without one; and it makes a wallet a new one."""

from __future__ import annotations

import pytest

from infra.local.bundle import LocalBundle
from infra.local.settings import CAMPAIGN_ID
from tests.end_to_end.support import Caller


def test_an_event_is_tracked_once_beside_a_trigger_and_without_one(
    bundle: LocalBundle, sessionm_template: Caller
) -> None:
    award = {"event name": "Points Awarded", "customer identifier": "member-1", "point award amount": "250"}

    beside = sessionm_template.post("/triggers", award | {"braze_campaign_id": CAMPAIGN_ID, "event id": "e1"})
    alone = sessionm_template.post("/events", award | {"event id": "e2"})
    repeated = sessionm_template.post("/events", award | {"event id": "e2"})

    assert (beside.status_code, alone.status_code) == (202, 202)
    assert repeated.json() == alone.json() | {"repeated": True}
    bundle.wait_until(lambda: len(bundle.braze.tracked) == 4, what="both events with their attributes")
    bundle.wait_until(lambda: bundle.braze.sends, what="the send")
    events = [each.data for each in bundle.braze.tracked if each.array == "events"]
    assert [(each["name"], each["properties"]) for each in events] == [
        ("loyalty_points_awarded", {"point_award_amount": 250})
    ] * 2
    event_id = alone.json()["event_id"]
    bundle.wait_until(
        lambda: sessionm_template.get(f"/events/{event_id}").json()["state"] == "sent", what="the outcome"
    )


@pytest.mark.parametrize(("path", "more"), [("/events", {}), ("/triggers", {"braze_campaign_id": CAMPAIGN_ID})])
def test_a_wallet_that_is_asked_for_after_a_redemption_is_not_the_one_before(
    bundle: LocalBundle, sessionm_template: Caller, connected_content: Caller, path: str, more: dict[str, str]
) -> None:
    def points() -> int:
        shown: int = connected_content.post("/wallet", {"user_id": member}).json()["available_points"]
        return shown

    member = f"redeems-by-{path.strip('/')}"
    bundle.sessionm.add_member(member, available_points=500)
    assert points() == 500
    bundle.sessionm.add_member(member, available_points=100)
    assert points() == 500, "a cached one"

    redemption = {"event name": "Offer Redeemed", "customer identifier": member, "event id": f"e-{path}", **more}
    assert sessionm_template.post(path, redemption).status_code == 202

    assert points() == 100
