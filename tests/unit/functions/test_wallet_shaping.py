"""SessionM's wallet made into what a message can print."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shared.errors import UpstreamGarbled
from wallet_proxy.wallet import MAX_OFFERS_BYTES, OFFER_FIELDS, empty_wallet, wallet_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def shaped(*offers: dict[str, Any], limit: int = 50, fields: frozenset[str] = OFFER_FIELDS, **more: Any) -> Any:
    payload = {"user_offers": list(offers), "available_points": 100, "total_points": 1000} | more
    return wallet_of(payload, limit=limit, fields=fields, now=NOW)


def only(offer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = shaped(offer)["offers"][0]
    return found


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("offer_id", "offer_id"),
        ("user_offer_id", "user_offer_id"),
        ("id", "user_offer_id"),
        ("root_offer_id", "root_offer_id"),
        ("name", "name"),
        ("title", "name"),
        ("description", "description"),
        ("details", "description"),
        ("terms", "terms"),
        ("terms_and_conditions", "terms"),
        ("offer_type", "type"),
        ("type", "type"),
        ("image_url", "image_url"),
        ("logo", "image_url"),
        ("expiration_date", "expires_at"),
        ("redemption_end_date", "expires_at"),
        ("end_date", "expires_at"),
        ("points_required", "points_required"),
        ("price", "points_required"),
        ("is_redeemable", "redeemable"),
        ("redeemable", "redeemable"),
    ],
)
def test_every_spelling_of_a_field_has_one_name_here(theirs: str, ours: str) -> None:
    offer = only({theirs: "value"})

    assert offer == {name: ("value" if name == ours else None) for name in OFFER_FIELDS}


def test_of_two_spellings_the_better_one_counts_unless_it_is_null() -> None:
    assert only({"user_offer_id": "better", "id": "worse"})["user_offer_id"] == "better"
    assert only({"user_offer_id": None, "id": "worse"})["user_offer_id"] == "worse"


@pytest.mark.parametrize(
    ("media", "image_url"),
    [
        ([{"uri": "https://x/1.png"}, {"uri": "https://x/2.png"}], "https://x/1.png"),
        ([{"category_name": "logo"}, "text", {"uri": 7}, {"uri": "https://x/2.png"}], "https://x/2.png"),
        ([], None),
        (None, None),
        ("https://x/1.png", None),
    ],
)
def test_the_image_is_the_first_medium_that_has_an_address(media: Any, image_url: str | None) -> None:
    assert only({"media": media})["image_url"] == image_url


def test_offers_are_sorted_by_expiry_and_those_without_one_come_last() -> None:
    found = shaped(
        {"offer_id": "never"},
        {"offer_id": "late", "expiration_date": "2026-12-31T00:00:00Z"},
        {"offer_id": "odd", "end_date": 20261231},
        {"offer_id": "soon", "redemption_end_date": "2026-11-30T00:00:00Z"},
    )

    assert [offer["offer_id"] for offer in found["offers"]] == ["soon", "late", "never", "odd"]


def test_a_limit_keeps_the_soonest_to_expire_and_says_that_there_are_more() -> None:
    offers = [{"offer_id": day, "expiration_date": f"2026-12-{day:02}"} for day in (3, 1, 2)]

    found = shaped(*offers, limit=2, total_records=3)

    assert [offer["offer_id"] for offer in found["offers"]] == [1, 2]
    assert (found["offer_count"], found["truncated"]) == (3, True)


def test_only_the_fields_asked_for_are_answered() -> None:
    found = shaped({"offer_id": "1", "name": "Free coffee"}, fields=frozenset({"name"}))

    assert found["offers"] == [{"name": "Free coffee"}]


@pytest.mark.parametrize(
    ("expires_at", "shown"),
    [
        ("2026-11-22T12:00:01Z", True),
        ("2026-11-22T12:00:00Z", False),
        ("2026-11-22T11:59:59Z", False),
        ("2026-11-22T13:30:00+02:00", False),
        ("2026-11-22T10:30:00-02:00", True),
        ("2026-11-22T12:00:01", True),
        ("2026-11-22T11:59:59.999", False),
        ("2026-11-22", False),
        ("2026-11-23", True),
        ("0001-01-01T00:00:00+14:00", False),
        ("9999-12-31T23:59:59-14:00", True),
        ("next year", True),
        ("", True),
        (1_700_000_000, True),
        (None, True),
    ],
)
def test_an_offer_that_has_expired_is_left_out(expires_at: Any, shown: bool) -> None:
    found = shaped({"offer_id": "1", "expiration_date": expires_at}, total_records=1)

    assert (len(found["offers"]), found["offer_count"], found["truncated"]) == (int(shown), int(shown), False)


def test_dates_are_compared_as_moments_and_not_as_text() -> None:
    found = shaped(
        {"offer_id": "later", "expiration_date": "2026-12-01T00:00:00-05:00"},
        {"offer_id": "sooner", "expiration_date": "2026-12-01T01:00:00Z"},
    )

    assert [offer["offer_id"] for offer in found["offers"]] == ["sooner", "later"]


@pytest.mark.parametrize(
    ("total_records", "count", "truncated"), [(None, 1, False), ("7", 1, False), (1, 1, False), (1500, 1500, True)]
)
def test_the_count_is_sessionms_or_else_ours(total_records: Any, count: int, truncated: bool) -> None:
    found = shaped({"offer_id": "1"}, total_records=total_records)

    assert (found["offer_count"], found["truncated"]) == (count, truncated)


@pytest.mark.parametrize(("points", "shown"), [(0, 0), (12.5, 12.5), (None, None), ("100", None), (True, None)])
def test_points_are_numbers_or_null(points: Any, shown: float | None) -> None:
    found = shaped(available_points=points, total_points=points)

    assert (found["available_points"], found["total_points"]) == (shown, shown)


def test_a_wallet_never_grows_to_what_braze_throws_away() -> None:
    offer = {"description": "☕" * 10_000}  # 30,000 bytes each

    found = shaped(*[offer] * 60, limit=1000)

    assert len(msgspec.json.encode(found["offers"])) <= MAX_OFFERS_BYTES
    assert len(found["offers"]) == 29
    assert (found["offer_count"], found["truncated"]) == (60, True)


@pytest.mark.parametrize("user_offers", [None, "seven", {}, [1], [{}, None]])
def test_a_wallet_of_another_shape_is_garbled(user_offers: Any) -> None:
    with pytest.raises(UpstreamGarbled):
        wallet_of({"user_offers": user_offers}, limit=50, fields=OFFER_FIELDS, now=NOW)


def test_a_wallet_without_facts_has_the_same_keys() -> None:
    assert empty_wallet().keys() == shaped().keys()
    assert empty_wallet()["available_points"] is None
