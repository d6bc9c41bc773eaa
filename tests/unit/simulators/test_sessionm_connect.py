"""SessionM Connect: wallets and balances; and the made-up loyalty data."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from infra.local.simulators import SessionmSimulator, SteppedClock

OFFERS = "/offers/api/2.0/offers/get_user_offers"
BALANCES = "/incentives/api/1.0/user_points/all_balances"


def connect(simulator: SessionmSimulator, path: str = OFFERS, auth: str = "", **fields: Any) -> requests.Response:
    body = {"retailer_id": simulator.retailer_id, "user_id": "u1", **fields}
    return requests.post(
        simulator.url + path,
        json={name: value for name, value in body.items() if value is not ...},
        headers={"Authorization": auth or simulator.connect_authorization},
        timeout=5,
    )


def code_of(answer: requests.Response) -> str:
    assert answer.json()["status"] == "error"
    return str(answer.json()["errors"]["code"])


def test_the_documented_request_gets_the_documented_answer(sessionm: SessionmSimulator) -> None:
    sessionm.add_offer("u1", offer_id="o1", offer_group_id="g1", name="Free coffee")
    answer = connect(sessionm, skip=0, take=1000, include_pending_extended_data=False, culture="en-US").json()
    assert answer["status"] == "ok"
    payload = answer["payload"]
    assert payload["user"] == {"opted_in": True, "activated": True}
    assert (payload["user_id"], payload["available_points"], payload["total_points"]) == ("u1", 120, 900)
    assert payload["total_records"] == 1
    (offer,) = payload["user_offers"]
    assert offer.items() >= {"offer_id": "o1", "offer_group_id": "g1", "offer_type": "manual_fulfillment"}.items()
    assert offer["name"] == "Free coffee"
    for listed in ("offer_groups", "offer_categories"):
        assert all(entry.keys() == {"id", "name", "sort_order"} for entry in payload[listed])


def test_pages_add_up_to_all_issued_offers(sessionm: SessionmSimulator) -> None:
    for number in range(5):
        sessionm.add_offer("u1", offer_id=f"o{number}")
    pages = [connect(sessionm, skip=skip, take=2).json()["payload"] for skip in (0, 2, 4, 6)]
    assert [[offer["offer_id"] for offer in page["user_offers"]] for page in pages] == [
        ["o0", "o1"],
        ["o2", "o3"],
        ["o4"],
        [],
    ]
    assert {page["total_records"] for page in pages} == {5}


def test_only_issued_offers_are_in_the_wallet(sessionm: SessionmSimulator) -> None:
    sessionm.add_offer("u1", offer_id="used", state="redeemed")
    sessionm.add_offer("u1", offer_id="here")
    payload = connect(sessionm).json()["payload"]
    assert [offer["offer_id"] for offer in payload["user_offers"]] == ["here"]
    assert payload["total_records"] == 1


def test_an_offer_carries_one_spelling_of_its_own_id(sessionm: SessionmSimulator) -> None:
    sessionm.add_offer("u1")
    sessionm.add_offer("u1", user_offer_id="uo2")
    first, second = connect(sessionm).json()["payload"]["user_offers"]
    assert "id" in first
    assert "user_offer_id" not in first
    assert second["user_offer_id"] == "uo2"
    assert "id" not in second


def test_a_culture_chooses_the_words(sessionm: SessionmSimulator) -> None:
    sessionm.add_offer("u1", name="Free coffee", translations={"ko-KR": {"name": "무료 커피"}})
    names = [connect(sessionm, culture=c).json()["payload"]["user_offers"][0]["name"] for c in ("ko-KR", "fr-FR")]
    assert names == ["무료 커피", "Free coffee"]


def test_balances_tell_both_totals(sessionm: SessionmSimulator) -> None:
    payload = connect(sessionm, BALANCES, culture="en-US").json()["payload"]
    assert payload["summary"] == {"total_points": 900, "life_time_points": 900}
    assert payload["details"][0]["available_balance"] == 120


@pytest.mark.parametrize("path", [OFFERS, BALANCES])
def test_a_wrong_credential_is_a_401(sessionm: SessionmSimulator, path: str) -> None:
    answer = connect(sessionm, path, auth=sessionm.core_authorization)
    assert (answer.status_code, code_of(answer)) == (401, "invalid_api_key")


def test_after_a_rotation_only_the_new_credential_opens(sessionm: SessionmSimulator) -> None:
    old = sessionm.connect_authorization
    sessionm.rotate_credentials(connect_secret="fresh")
    assert connect(sessionm, auth=old).status_code == 401
    assert connect(sessionm).status_code == 200


@pytest.mark.parametrize("path", [OFFERS, BALANCES])
def test_an_unknown_member_is_a_404(sessionm: SessionmSimulator, path: str) -> None:
    answer = connect(sessionm, path, user_id="nobody")
    assert (answer.status_code, code_of(answer)) == (404, "user_not_found")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"retailer_id": ...}, "missing_data"),
        ({"user_id": ...}, "missing_data"),
        ({"user_id": ""}, "missing_data"),
        ({"user_id": 7}, "validation"),
        ({"retailer_id": "another"}, "access_denied"),
        ({"skip": -1}, "validation"),
        ({"skip": "0"}, "validation"),
        ({"take": 0}, "validation"),
        ({"take": 1001}, "validation"),
        ({"take": True}, "validation"),
        ({"include_pending_extended_data": "no"}, "validation"),
        ({"culture": "ko"}, "validation"),
        ({"culture": 7}, "validation"),
        ({"page": 1}, "argument_error"),
    ],
)
def test_a_request_off_the_documented_fields_is_refused(
    sessionm: SessionmSimulator, fields: dict[str, Any], code: str
) -> None:
    answer = connect(sessionm, **fields)
    assert (answer.status_code, code_of(answer)) == (200, code)


@pytest.mark.parametrize(
    ("data", "content_type", "code"),
    [
        ("{", "application/json", "argument_error"),
        ("[]", "application/json", "validation"),
        ("{}", "application/x-www-form-urlencoded", "argument_error"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    sessionm: SessionmSimulator, data: str, content_type: str, code: str
) -> None:
    headers = {"Authorization": sessionm.connect_authorization, "Content-Type": content_type}
    assert code_of(requests.post(sessionm.url + OFFERS, data=data, headers=headers, timeout=5)) == code


def test_the_limit_holds_for_connect_too(clock: SteppedClock) -> None:
    simulator = SessionmSimulator(latency_scale=0, clock=clock, rate_limit_per_second=1)
    simulator.add_member("u1")
    with simulator:
        assert [connect(simulator).status_code for _ in range(2)] == [200, 429]


# --- made-up data ---------------------------------------------------------------------------------------------------


def test_seeded_data_is_the_same_for_the_same_seed(clock: SteppedClock) -> None:
    first, second, other = (SessionmSimulator(clock=clock, seed=seed) for seed in (1, 1, 2))
    assert first.seed(5, 7) == second.seed(5, 7)
    assert first.members != {m.user_id: m for m in other.seed(5, 7)}


def test_seeded_wallets_show_every_variation_a_client_meets(sessionm: SessionmSimulator) -> None:
    made = sessionm.seed(members=20, offers_each=8)
    assert len({member.user_id for member in made}) == 20
    assert {member.external_id is None for member in made} == {True, False}
    assert all(0 <= member.available_points <= member.total_points for member in made)
    payload = connect(sessionm, user_id=made[1].user_id).json()["payload"]
    offers = payload["user_offers"]
    assert len(offers) == 8
    for spelling in ("id", "user_offer_id", "expiration_date", "redemption_end_date", "terms", "pos_discount_id"):
        assert {spelling in offer for offer in offers} == {True, False}, spelling
    assert {offer["is_redeemable"] for offer in offers} == {True, False}
    ends = [offer.get("expiration_date") or offer["redemption_end_date"] for offer in offers]
    assert {end < "2026-11-22T12:30:00Z" for end in ends} == {True, False}
    groups = {group["id"] for group in payload["offer_groups"]}
    assert {offer["offer_group_id"] for offer in offers} <= groups
