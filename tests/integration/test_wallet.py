"""The wallet for Connected Content, in both dialects, from a SessionM that answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.simulators import SessionmSimulator, Status
from tests.integration.support.aws import Aws
from tests.integration.support.events import Invoked, get, post
from wallet_proxy.endpoint import build

VENDOR = "POST /offers/api/2.0/offers/get_user_offers"
KEYS = {
    *("ok", "stale", "reason", "as_of", "user_id", "available_points", "total_points"),
    *("offer_count", "truncated", "offers"),
}


@pytest.fixture
def handle(aws: Aws, sessionm: SessionmSimulator) -> Invoked:
    return build(aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url))


def wallet(handle: Invoked, user_id: str = "member-1", **query: str) -> Any:
    answered = get(handle, "GET /wallet/{user_id}", path={"user_id": user_id}, query=query)
    assert answered.status == 200, answered.text
    return answered.body


def asked(sessionm: SessionmSimulator) -> Any:
    return sessionm.requests()[-1].json()


def test_a_wallet_is_flat_and_complete(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.add_offer("member-1", name="Tea", user_offer_id="u-2", redemption_end_date="2099-12-31T00:00:00Z")
    sessionm.add_offer("member-1", name="Free coffee", id="u-1", expiration_date="2099-11-30T00:00:00Z")

    found = wallet(handle)

    assert found.keys() == KEYS
    assert (found["ok"], found["stale"], found["reason"], found["user_id"]) == (True, False, None, "member-1")
    assert (found["available_points"], found["total_points"]) == (120, 450)
    assert (found["offer_count"], found["truncated"]) == (2, False)
    assert [(offer["name"], offer["user_offer_id"]) for offer in found["offers"]] == [
        ("Free coffee", "u-1"),
        ("Tea", "u-2"),
    ]
    age = datetime.now(UTC) - datetime.fromisoformat(found["as_of"])
    assert timedelta(0) <= age < timedelta(seconds=10)


def test_an_empty_wallet_has_points_and_no_offers(handle: Invoked) -> None:
    found = wallet(handle)

    assert (found["ok"], found["available_points"], found["offer_count"], found["offers"]) == (True, 120, 0, [])


def test_get_and_post_answer_the_same(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.add_offer("member-1", name="Tea")

    by_get = wallet(handle, limit="1", fields="name")
    by_post = post(handle, "POST /wallet", {"user_id": "member-1", "limit": 1, "fields": "name"}).body

    assert {**by_get, "as_of": ""} == {**by_post, "as_of": ""}


@pytest.mark.parametrize(
    ("given", "culture"), [({}, "en-US"), ({"culture": "ko"}, "ko-KR"), ({"culture": "pt_BR"}, "pt-BR")]
)
def test_a_braze_language_becomes_a_sessionm_culture(
    handle: Invoked, sessionm: SessionmSimulator, given: dict[str, str], culture: str
) -> None:
    wallet(handle, **given)

    assert asked(sessionm) == {
        "retailer_id": sessionm.retailer_id,
        "user_id": "member-1",
        "skip": 0,
        "take": 200,
        "include_pending_extended_data": False,
        "culture": culture,
    }


@pytest.mark.parametrize(("limit", "take"), [("1", 200), ("200", 200), ("201", 201), ("1000", 1000)])
def test_a_page_is_asked_for_that_holds_what_is_shown(
    handle: Invoked, sessionm: SessionmSimulator, limit: str, take: int
) -> None:
    wallet(handle, limit=limit)

    assert asked(sessionm)["take"] == take


def test_the_default_culture_is_a_setting(aws: Aws, sessionm: SessionmSimulator) -> None:
    url = sessionm.url
    handle = build(aws.settings(SESSIONM_CORE_URL=url, SESSIONM_CONNECT_URL=url, WALLET_DEFAULT_CULTURE="ja-JP"))
    wallet(handle, culture="xx")

    assert asked(sessionm)["culture"] == "ja-JP"


def test_limit_and_fields_trim_the_answer(handle: Invoked, sessionm: SessionmSimulator) -> None:
    for day in (3, 1, 2):
        sessionm.add_offer("member-1", name=f"Offer {day}", end_date=f"2099-12-0{day}")

    found = wallet(handle, limit="2", fields=" name , expires_at ", v="7", cache_id="x")

    assert found["offers"] == [
        {"name": "Offer 1", "expires_at": "2099-12-01"},
        {"name": "Offer 2", "expires_at": "2099-12-02"},
    ]
    assert (found["offer_count"], found["truncated"]) == (3, True)


def test_no_answer_grows_to_what_braze_throws_away(handle: Invoked, sessionm: SessionmSimulator) -> None:
    for _ in range(12):
        sessionm.add_offer("member-1", description="x" * 100_000)

    answered = post(handle, "POST /wallet", {"user_id": "member-1", "limit": 1000})

    assert len(answered.text) < 1_000_000
    assert (answered.body["offer_count"], answered.body["truncated"], len(answered.body["offers"])) == (12, True, 8)


@pytest.mark.parametrize(
    ("user_id", "query", "field"),
    [
        ("a/b", {}, "user_id"),
        ("a b", {}, "user_id"),
        ("50%", {}, "user_id"),
        ("☕", {}, "user_id"),
        ("m" * 129, {}, "user_id"),
        ("member-1", {"limit": "0"}, "limit"),
        ("member-1", {"limit": "1001"}, "limit"),
        ("member-1", {"limit": "many"}, "limit"),
        ("member-1", {"limit": ""}, "limit"),
        ("member-1", {"fields": "name,colour"}, "fields"),
        ("member-1", {"fields": "x" * 501}, "fields"),
        ("member-1", {"on_error": "explode"}, "on_error"),
        ("member-1", {"culture": "korean"}, "culture"),
        ("member-1", {"culture": "ko-KR\n"}, "culture"),
        ("member-1", {"color": "red"}, "color"),
    ],
)
def test_a_wrong_option_is_a_400_that_names_it(
    handle: Invoked, sessionm: SessionmSimulator, user_id: str, query: dict[str, str], field: str
) -> None:
    answered = get(handle, "GET /wallet/{user_id}", path={"user_id": user_id}, query=query)

    assert (answered.status, answered.body["field"]) == (400, field)
    assert answered.body["hint"]
    assert sessionm.requests() == []


def test_an_unknown_member_is_said_in_sessionms_own_word(handle: Invoked) -> None:
    found = wallet(handle, "nobody")

    assert found.keys() == KEYS
    assert (found["ok"], found["reason"], found["available_points"], found["offers"]) == (
        *(False, "user_not_found", None, []),
    )


def test_a_member_nobody_knows_is_not_asked_for_again(handle: Invoked) -> None:
    answered = post(handle, "POST /wallet", {"user_id": "nobody", "on_error": "retry"})

    assert (answered.status, answered.body["reason"]) == (200, "user_not_found")


def test_the_vendor_dialect_answers_with_sessionms_own_bytes(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /offers/*", Status(200, '{ "status" :"ok", "payload": {"x": [1,  2]} }'))
    body = {
        "retailer_id": "YOUR-RETAIL-ID",
        "user_id": "member-1",
        "skip": 0,
        "take": 1000,
        "include_pending_extended_data": False,
        "culture": "en-US",
    }

    answered = post(handle, VENDOR, body)

    assert (answered.status, answered.text) == (200, '{ "status" :"ok", "payload": {"x": [1,  2]} }')
    assert asked(sessionm) == body | {"retailer_id": sessionm.retailer_id}


def test_the_vendor_dialect_passes_paging_on_and_fills_in_the_rest(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    for number in range(3):
        sessionm.add_offer("member-1", name=f"Offer {number}")

    answered = post(handle, VENDOR, {"user_id": "member-1", "skip": 1, "take": 1, "culture": "ko"})

    assert [offer["name"] for offer in answered.body["payload"]["user_offers"]] == ["Offer 1"]
    assert asked(sessionm)["culture"] == "ko-KR"


def test_an_error_sessionm_words_itself_is_passed_on(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /offers/*", Status(200, {"status": "error", "errors": {"code": "validation"}}))

    assert post(handle, VENDOR, {"user_id": "member-1"}).body == {"status": "error", "errors": {"code": "validation"}}


def test_a_vendor_answer_too_large_for_braze_is_an_error_that_liquid_can_read(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    for _ in range(10):
        sessionm.add_offer("member-1", description="x" * 100_000)

    answered = post(handle, VENDOR, {"user_id": "member-1"})

    assert answered.body == {
        "status": "error",
        "errors": {"code": "answer_too_large"},
        "payload": {"user_offers": [], "total_records": 0},
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user_id"),
        ({"user_id": "a b"}, "user_id"),
        ({"user_id": "member-1", "take": 1001}, "take"),
        ({"user_id": "member-1", "take": 0}, "take"),
        ({"user_id": "member-1", "skip": -1}, "skip"),
        ({"user_id": "member-1", "include_pending_extended_data": "no"}, "include_pending_extended_data"),
        ({"user_id": "member-1", "color": "red"}, "color"),
    ],
)
def test_a_wrong_field_of_the_vendor_dialect_is_a_400_that_names_it(
    handle: Invoked, body: dict[str, Any], field: str
) -> None:
    answered = post(handle, VENDOR, body)

    assert (answered.status, answered.body["field"]) == (400, field)
