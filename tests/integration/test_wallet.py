"""The wallet for Connected Content, in both dialects, from a SessionM that answers."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.simulators import SessionmSimulator, Slow, Status
from shared.wallets import evict
from tests.integration.support.aws import Aws
from tests.integration.support.events import Invoked, call, get, http_event, post
from tests.integration.support.sockets import answer, read_request, serving
from wallet_proxy.endpoint import build

VENDOR = "POST /offers/api/2.0/offers/get_user_offers"
KEYS = {
    *("ok", "stale", "reason", "as_of", "user_id", "culture", "offer_count", "truncated", "offers"),
    *("available_points", "available_points_text", "total_points", "total_points_text"),
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
    by_post = post(handle, "POST /wallet", {"user_id": "member-1", "limit": 1, "fields": "name", "cache": "no"}).body

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


def test_a_member_with_many_offers_is_read_to_the_end(handle: Invoked, sessionm: SessionmSimulator) -> None:
    for day in range(450, 0, -1):
        expiry = datetime(2099, 1, 1, tzinfo=UTC) + timedelta(days=day)
        sessionm.add_offer("member-1", name=f"Offer {day}", end_date=expiry.isoformat())

    found = wallet(handle, limit="2", fields="name")

    assert [(call.json()["skip"], call.json()["take"]) for call in sessionm.requests()] == [(0, 200), (200, 250)]
    assert (found["offer_count"], found["truncated"]) == (450, True)
    assert found["offers"] == [{"name": "Offer 1"}, {"name": "Offer 2"}]


def test_no_more_than_a_thousand_offers_are_read_and_the_rest_is_counted(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    for number in range(1_100):
        sessionm.add_offer("member-1", name=f"Offer {number}")

    found = wallet(handle, limit="1000", fields="name")

    assert (len(found["offers"]), found["offer_count"], found["truncated"]) == (1_000, 1_100, True)


def test_a_wallet_that_cannot_be_read_to_its_end_is_one_that_is_truncated(aws: Aws) -> None:
    page = {"user_offers": [{"name": "Tea", "id": "1"}], "total_records": 300, "available_points": 5}
    answers = iter([answer(json.dumps({"status": "ok", "payload": page}).encode())])

    def script(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(next(answers, answer(b"{}", "503 Busy")))

    with serving(script) as url:
        found = wallet(build(aws.settings(SESSIONM_CORE_URL=url, SESSIONM_CONNECT_URL=url)))

    assert (found["ok"], found["offer_count"], found["truncated"], len(found["offers"])) == (True, 300, True, 1)


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


def test_the_calls_of_one_message_cost_one_call(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.add_offer("member-1", name="Tea")

    first = wallet(handle)
    others = [wallet(handle, limit="1", fields="name"), wallet(handle, safe="html"), wallet(handle, culture="en")]

    assert len(sessionm.requests()) == 1
    assert {other["as_of"] for other in others} == {first["as_of"]}


def test_a_wallet_is_fetched_for_each_culture(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.add_offer("member-1", name="Tea", translations={"ko-KR": {"name": "차"}})

    assert [wallet(handle, culture=code)["offers"][0]["name"] for code in ("en", "ko", "en")] == ["Tea", "차", "Tea"]
    assert len(sessionm.requests()) == 2


def test_the_sceptical_get_what_sessionm_has_now(handle: Invoked, sessionm: SessionmSimulator) -> None:
    wallet(handle)
    sessionm.add_member("member-1", available_points=999)

    assert [wallet(handle)["available_points"], wallet(handle, cache="no")["available_points"]] == [120, 999]


def test_a_member_seen_to_change_is_asked_about_again(handle: Invoked, sessionm: SessionmSimulator, aws: Aws) -> None:
    for culture in ("en", "ko"):
        wallet(handle, culture=culture)
    post(handle, VENDOR, {"user_id": "member-1"})
    sessionm.add_member("member-1", available_points=999)

    evict(aws.dynamodb, aws.table("cache"), "member-1")

    assert [wallet(handle, culture=culture)["available_points"] for culture in ("en", "ko")] == [999, 999]
    assert post(handle, VENDOR, {"user_id": "member-1"}).body["payload"]["available_points"] == 999


def test_an_offer_that_expires_while_it_is_cached_is_left_out(handle: Invoked, sessionm: SessionmSimulator) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    sessionm.add_offer("member-1", name="Tea", end_date=soon.isoformat())
    assert wallet(handle)["offer_count"] == 1

    time.sleep(1.1)

    assert (wallet(handle)["offer_count"], len(sessionm.requests())) == (0, 1)


def test_an_unknown_member_is_asked_about_once(handle: Invoked, sessionm: SessionmSimulator) -> None:
    assert [wallet(handle, "nobody")["reason"] for _ in range(3)] == ["user_not_found"] * 3
    assert len(sessionm.requests()) == 1


def test_an_old_wallet_is_shown_and_marked_while_sessionm_fails(aws: Aws, sessionm: SessionmSimulator) -> None:
    handle = build(
        aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url, WALLET_FRESH_SECONDS="1")
    )
    before = wallet(handle)
    time.sleep(1.1)
    sessionm.faults.add("POST /offers/*", Status(503))

    for on_error in ("data", "retry"):
        found = wallet(handle, on_error=on_error)
        assert (found["ok"], found["stale"], found["reason"]) == (True, True, "upstream_unavailable")
        assert (found["as_of"], found["available_points"]) == (before["as_of"], 120)


def test_an_old_wallet_is_not_shown_in_sessionms_own_words(aws: Aws, sessionm: SessionmSimulator) -> None:
    handle = build(
        aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url, WALLET_FRESH_SECONDS="1")
    )
    post(handle, VENDOR, {"user_id": "member-1"})
    time.sleep(1.1)
    sessionm.faults.add("POST /offers/*", Status(503))

    assert post(handle, VENDOR, {"user_id": "member-1"}).body["errors"] == {"code": "upstream_unavailable"}


def test_the_vendor_dialect_asks_once_for_each_question(handle: Invoked, sessionm: SessionmSimulator) -> None:
    for take in (1, 1, 2):
        post(handle, VENDOR, {"user_id": "member-1", "take": take})
    assert len(sessionm.requests()) == 2

    post(handle, VENDOR, {"user_id": "member-1", "take": 1}, cache_control="no-cache")
    assert len(sessionm.requests()) == 3


@pytest.mark.parametrize(
    ("cache_control", "calls"),
    [
        ("no-store", 2),
        ("No-Cache", 2),
        ("no-cache, no-store", 2),
        ("max-age=0,NO-STORE", 2),
        ("max-age=60", 1),
        ("x-no-cache", 1),
        ("", 1),
    ],
)
def test_a_kept_answer_is_passed_over_however_that_is_written(
    handle: Invoked, sessionm: SessionmSimulator, cache_control: str, calls: int
) -> None:
    post(handle, VENDOR, {"user_id": "member-1"})
    post(handle, VENDOR, {"user_id": "member-1"}, cache_control=cache_control)

    assert len(sessionm.requests()) == calls


def test_the_first_read_of_an_environment_has_more_time(aws: Aws, sessionm: SessionmSimulator) -> None:
    handle = build(
        aws.settings(
            SESSIONM_CORE_URL=sessionm.url,
            SESSIONM_CONNECT_URL=sessionm.url,
            READ_BUDGET_MILLISECONDS="1000",
            READ_COLD_BUDGET_MILLISECONDS="1800",
        )
    )
    reasons = []
    for _ in range(2):
        late = time.time() - 1.1
        event = http_event(
            "GET /wallet/{user_id}", path={"user_id": "member-1"}, arrived_at=late, query={"cache": "no"}
        )
        reasons.append(call(handle, event).body["reason"])

    assert reasons == [None, "deadline_exceeded"]


def test_an_impatient_caller_is_answered_in_its_time(handle: Invoked, sessionm: SessionmSimulator) -> None:
    wallet(handle, "nobody")
    sessionm.faults.add("POST /offers/*", Slow(2))

    started = time.perf_counter()
    found = wallet(handle, budget_ms="250")

    assert found["reason"] == "deadline_exceeded"
    assert time.perf_counter() - started < 0.4


def test_texts_are_made_safe_for_where_they_are_put(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.add_offer("member-1", name='Tea "&" <cake>', description="two\nlines")

    for safe, name, description in (
        ("json", 'Tea \\"&\\" <cake>', "two\\nlines"),
        ("html", "Tea &quot;&amp;&quot; &lt;cake&gt;", "two\nlines"),
    ):
        (offer,) = wallet(handle, safe=safe)["offers"]
        assert (offer["name"], offer["description"]) == (name, description)


def test_an_answer_is_cut_to_the_bytes_asked_for(handle: Invoked, sessionm: SessionmSimulator) -> None:
    for number in range(20):
        sessionm.add_offer("member-1", name=f"Offer {number}", description="x" * 100)

    answered = post(handle, "POST /wallet", {"user_id": "member-1", "max_bytes": 2000})

    assert len(answered.text) <= 2000
    assert (answered.body["truncated"], answered.body["offer_count"]) == (True, 20)
    assert 0 < len(answered.body["offers"]) < 20


def test_points_and_dates_are_printed_as_the_culture_has_it(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.add_member("member-1", available_points=12_345, total_points=1_234_567)
    sessionm.add_offer("member-1", end_date="2099-11-30T23:59:59Z", points_required="1500")

    printed = {}
    for culture in ("en", "de", "ko"):
        found = wallet(handle, culture=culture)
        (offer,) = found["offers"]
        printed[culture] = (found["available_points_text"], offer["points_required_text"], offer["expires_on"])
        assert (found["available_points"], offer["points_required"]) == (12_345, 1500)

    assert printed == {
        "en": ("12,345", "1,500", "November 30, 2099"),
        "de": ("12.345", "1.500", "30. November 2099"),
        "ko": ("12,345", "1,500", "2099년 11월 30일"),
    }


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


def test_a_wallet_of_another_member_is_shown_to_nobody(handle: Invoked, sessionm: SessionmSimulator) -> None:
    others = {"user_id": "member-2", "user_offers": [], "available_points": 9, "total_points": 9}
    sessionm.faults.add("POST /offers/*", Status(200, {"status": "ok", "payload": others}))

    short, vendor = wallet(handle), post(handle, VENDOR, {"user_id": "member-1"}).body
    assert (short["ok"], short["reason"], short["available_points"]) == (False, "upstream_garbled", None)
    assert (vendor["status"], vendor["errors"]["code"]) == ("error", "upstream_garbled")
    assert "member-2" not in str((short, vendor))

    sessionm.faults.clear()
    assert wallet(handle, "MEMBER-1", cache="no")["reason"] == "user_not_found"
    assert wallet(handle, cache="no")["available_points"] == 120


def test_the_vendor_dialect_passes_paging_on_and_fills_in_the_rest(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    for number in range(3):
        sessionm.add_offer("member-1", name=f"Offer {number}")

    answered = post(handle, VENDOR, {"user_id": "member-1", "skip": 1, "take": 1, "culture": "ko"})

    assert [offer["name"] for offer in answered.body["payload"]["user_offers"]] == ["Offer 1"]
    assert asked(sessionm)["culture"] == "ko-KR"


def test_a_refusal_is_passed_on_with_sessionms_own_code(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /offers/*", Status(200, {"status": "error", "errors": {"code": "validation"}}))

    assert post(handle, VENDOR, {"user_id": "member-1"}).body == {
        "status": "error",
        "errors": {"code": "validation"},
        "payload": {"user_offers": [], "total_records": 0},
    }


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
