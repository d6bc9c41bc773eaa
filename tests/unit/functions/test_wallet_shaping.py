"""SessionM's wallet made into what a message can print."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from clients.vocabulary import MAX_SHOWN_BYTES
from clients.wallet import wallet_of
from shared.errors import UpstreamGarbled
from wallet_proxy.wallet import OFFER_FIELDS, Shape, answer_of, empty_wallet, fitted, for_html, for_json

ALL = frozenset(OFFER_FIELDS)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def shaped(*offers: dict[str, Any], limit: int = 50, fields: frozenset[str] = ALL, **more: Any) -> Any:
    payload = {"user_offers": list(offers), "available_points": 100, "total_points": 1000} | more
    return answer_of(wallet_of([payload]), Shape("en-US", limit, fields), NOW)


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
        ("is_redeemable", "redeemable"),
        ("redeemable", "redeemable"),
    ],
)
def test_every_spelling_of_a_field_has_one_name_here(theirs: str, ours: str) -> None:
    offer = only({theirs: "value"})

    assert offer == {name: ("value" if name == ours else None) for name in OFFER_FIELDS}


@pytest.mark.parametrize("theirs", ["points_required", "price"])
@pytest.mark.parametrize(
    ("sent", "number", "text"),
    [(1500, 1500, "1,500"), ("1500", 1500, "1,500"), ("12.50", 12.5, "12.5"), ("many", None, None), (True, None, None)],
)
def test_the_price_of_an_offer_is_a_number_and_printed(theirs: str, sent: Any, number: Any, text: Any) -> None:
    offer = only({theirs: sent})

    assert (offer["points_required"], offer["points_required_text"]) == (number, text)


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
        ("2026-11-21", False),
        ("2026-11-22", True),
        ("20261121", False),
        ("0001-01-01T00:00:00+14:00", False),
        ("9999-12-31T23:59:59-14:00", True),
        ("next year", True),
        ("", True),
        (1_577_836_800, False),
        (1_700_000_000, False),
        (1_700_000_000_000, False),
        (1_900_000_000, True),
        ("11/30/2020", False),
        ("11/22/2026", True),
        ("Nov 21, 2026", False),
        ("22 November 2026", True),
        ("2020-1-5T00:00:00Z", False),
        ("2026-11-22 11:59:59 UTC", False),
        (" 2026-11-22 ", True),
        ("2020-01-05 00:00:00 +9900", True),
        (10**30, True),
        ([1_577_836_800], True),
        ({"date": "2020-01-05"}, True),
        (True, True),
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


@pytest.mark.parametrize("total_records", [100_001, 10**9])
def test_a_count_that_no_member_has_is_garbled(total_records: int) -> None:
    with pytest.raises(UpstreamGarbled):
        shaped({"offer_id": "1"}, total_records=total_records)


def test_offers_that_were_promised_and_never_came_are_not_counted() -> None:
    pages: list[dict[str, Any]] = [{"user_offers": [{"id": "a"}], "total_records": 300}, {"user_offers": []}]

    assert wallet_of(pages).not_fetched == 0


@pytest.mark.parametrize(
    ("points", "shown"),
    [
        *((0, 0), (12.5, 12.5), (-7, -7), (None, None)),
        *(("100", 100), ("1970", 1970), ("1,970", 1970), ("1970.5", 1970.5), (" 7 ", 7)),
    ],
)
def test_points_are_numbers_or_null(points: Any, shown: float | None) -> None:
    found = shaped(available_points=points, total_points=points)

    assert (found["available_points"], found["total_points"]) == (shown, shown)


@pytest.mark.parametrize("name", ["available_points", "total_points"])
@pytest.mark.parametrize("points", ["lots", "", "1e5", "1,97", "nan", True, [], {"value": 5}])
def test_points_that_are_no_number_are_garbled(name: str, points: Any) -> None:
    with pytest.raises(UpstreamGarbled):
        shaped(**{name: points})


def test_points_that_are_left_out_are_null_and_blank() -> None:
    found = answer_of(wallet_of([{"user_offers": []}]), Shape("en-US", 50, ALL), NOW)

    assert (found["available_points"], found["available_points_text"]) == (None, "")
    assert (found["total_points"], found["total_points_text"]) == (None, "")


@pytest.mark.parametrize(
    ("expires_at", "expires_on", "days_left"),
    [
        ("2026-11-22T23:00:00Z", "November 22, 2026", 0),
        ("2026-11-23T00:00:00Z", "November 23, 2026", 1),
        ("2026-12-22", "December 22, 2026", 30),
        ("2026-11-23T03:30:00+14:00", "November 23, 2026", 0),
        ("12/22/2026", "December 22, 2026", 30),
        (1_795_435_200, "November 23, 2026", 1),
        (None, None, None),
        ("soon", None, None),
    ],
)
def test_the_end_of_an_offer_is_printed_and_counted_in_days(
    expires_at: Any, expires_on: str | None, days_left: int | None
) -> None:
    offer = only({"offer_id": "1", "expiration_date": expires_at})

    assert (offer["expires_on"], offer["days_left"]) == (expires_on, days_left)


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, True),
        ({"redeem_date": None, "status": "issued"}, True),
        ({"status": 2}, True),
        ({"redeem_date": "2026-11-01T00:00:00Z"}, False),
        ({"status": "Redeemed"}, False),
    ],
)
def test_an_offer_that_was_redeemed_is_left_out(more: dict[str, Any], shown: bool) -> None:
    assert len(shaped({"offer_id": "1", **more})["offers"]) == int(shown)


def test_an_offer_that_moved_to_the_next_page_meanwhile_is_shown_once() -> None:
    pages: list[dict[str, Any]] = [
        {"user_offers": [{"id": "a"}, {"id": "b"}], "total_records": 3},
        {"user_offers": [{"id": "b"}, {}, {}]},
    ]

    wallet = wallet_of(pages)

    assert ([offer.user_offer_id for offer in wallet.offers], wallet.not_fetched) == (["a", "b", None, None], 0)


def test_a_wallet_never_grows_to_what_braze_throws_away() -> None:
    offer = {"description": "☕" * 10_000}  # 30,000 bytes each

    found = fitted(shaped(*[offer] * 60, limit=1000), MAX_SHOWN_BYTES)

    assert len(msgspec.json.encode(found)) <= MAX_SHOWN_BYTES
    assert len(found["offers"]) == 29
    assert (found["offer_count"], found["truncated"]) == (60, True)


def made_safe(value: Any, escape: Callable[[str], str]) -> Any:
    wallet = wallet_of([{"user_offers": [{"name": value}]}])
    return answer_of(wallet, Shape("en-US", 50, ALL, escape), NOW)["offers"][0]["name"]


@pytest.mark.parametrize(
    ("sent", "safe"),
    [
        ("<b>", "&lt;b&gt;"),
        ({"en": "<b>", "<i>": 7}, {"en": "&lt;b&gt;", "&lt;i&gt;": 7}),
        (["<i>", None, True, 1.5], ["&lt;i&gt;", None, True, 1.5]),
        ({"en": [{"a": ["'\""]}]}, {"en": [{"a": ["&#x27;&quot;"]}]}),
        ({}, {}),
    ],
)
def test_texts_are_made_safe_however_deep_they_lie(sent: Any, safe: Any) -> None:
    assert made_safe(sent, for_html) == safe


def test_keys_and_texts_are_made_safe_for_json_too() -> None:
    assert made_safe({'"': ["\n"]}, for_json) == {'\\"': ["\\n"]}


@pytest.mark.parametrize("around", [lambda value: [value], lambda value: {"<": value}], ids=["lists", "objects"])
def test_a_text_too_deep_to_be_made_safe_is_not_shown(around: Callable[[Any], Any]) -> None:
    sent: Any = "<"
    for _ in range(5000):
        sent = around(sent)

    assert b"<" not in msgspec.json.encode(made_safe(sent, for_html))


@pytest.mark.parametrize("user_offers", [None, "seven", {}, [1], [{}, None]])
def test_a_wallet_of_another_shape_is_garbled(user_offers: Any) -> None:
    with pytest.raises(UpstreamGarbled):
        wallet_of([{"user_offers": user_offers}])


def test_more_offers_than_were_asked_for_are_garbled() -> None:
    with pytest.raises(UpstreamGarbled):
        wallet_of([{"user_offers": [{}] * 1001}])


def test_a_wallet_without_facts_has_the_same_keys() -> None:
    assert empty_wallet("en-US").keys() == shaped().keys()
    assert empty_wallet("en-US")["available_points"] is None
