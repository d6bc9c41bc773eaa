"""Any operation of SessionM Connect: open ones pass, what changes something is made once for its key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.local.simulators import HangAfterAccept, Reset, ResetAfterEffect, SessionmSimulator, Status
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Invoked, post
from tests.integration.support.faulty_aws import FaultyAws
from wallet_proxy.endpoint import build

BALANCES = "api/1.0/user_points/all_balances"
ISSUE = "api/2.0/offers/acquisition/issue"
ISSUING = {"user_id": "member-1", "offer_id": "offer-9", "quantity": 1}
KEY = "dispatch-1.member-1.offer-9"


def built(aws: Aws, sessionm: SessionmSimulator, **changed: str) -> Invoked:
    return build(
        aws.settings(
            SESSIONM_CORE_URL=sessionm.url,
            SESSIONM_CONNECT_URL=sessionm.url,
            CONNECT_OPERATIONS="/incentives/api/1.0/user_points/*,/offers/api/2.0/offers/acquisition/issue",
            **changed,
        )
    )


@pytest.fixture
def handle(aws: Aws, sessionm: SessionmSimulator) -> Invoked:
    return built(aws, sessionm)


def operation(handle: Invoked, service: str, path: str, body: Any, **headers: str) -> Answered:
    return post(handle, f"POST /{service}/{{operation+}}", body, path={"operation": path}, **headers)


def issue(handle: Invoked, key: str = KEY, **changed: Any) -> Answered:
    return operation(handle, "offers", ISSUE, ISSUING | changed, idempotency_key=key)


def issued(sessionm: SessionmSimulator, member: str = "member-1") -> int:
    return len(sessionm.offers_of(member))


def test_an_open_operation_is_passed_on_with_our_retailer_id(handle: Invoked, sessionm: SessionmSimulator) -> None:
    answered = operation(handle, "incentives", BALANCES, {"user_id": "member-1", "retailer_id": "YOURS"})

    assert (answered.status, answered.body["status"]) == (200, "ok")
    assert answered.body["payload"]["details"][0]["available_balance"] == 120
    assert sessionm.requests()[-1].json() == {"user_id": "member-1", "retailer_id": sessionm.retailer_id}


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("offers", "api/2.0/offers/acquisition/revoke"),
        ("incentives", "api/1.0/user_points/../../../priv/users"),
        ("incentives", "api/1.0/user_points/a b"),
        ("catalog", "api/1.0/anything"),
        ("transactions", ""),
    ],
)
def test_an_operation_that_is_not_open_is_refused_and_not_sent(
    handle: Invoked, sessionm: SessionmSimulator, service: str, path: str
) -> None:
    answered = operation(handle, service, path, {})

    assert (answered.status, answered.body["code"], answered.body["field"]) == (403, "operation_not_open", "path")
    assert sessionm.requests() == []


def test_a_read_is_asked_again_after_a_blip_and_a_write_is_not(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /*", Reset(), times=1)
    assert operation(handle, "incentives", BALANCES, {"user_id": "member-1"}).body["status"] == "ok"

    sessionm.faults.add("POST /*", Reset(), times=1)
    assert issue(handle).body["errors"] == {"code": "upstream_no_answer"}


def test_a_body_must_be_an_object(handle: Invoked) -> None:
    answered = operation(handle, "incentives", BALANCES, [1])

    assert (answered.status, answered.body["code"]) == (400, "not_an_object")


@pytest.mark.parametrize("key", ["", "short", "with space in it", "x" * 129])
def test_a_write_without_a_key_is_refused(handle: Invoked, sessionm: SessionmSimulator, key: str) -> None:
    answered = issue(handle, key)

    assert (answered.status, answered.body["field"]) == (400, "idempotency-key")
    assert sessionm.requests() == []


def test_a_write_happens_once_for_its_key_and_is_answered_the_same(
    handle: Invoked, aws: Aws, sessionm: SessionmSimulator
) -> None:
    first, again = issue(handle), issue(built(aws, sessionm))

    assert first.body["payload"]["status_list"][0]["offer_id"] == "offer-9"
    assert again.text == first.text
    assert issued(sessionm) == 1

    issue(handle, "another-key-of-theirs")
    assert issued(sessionm) == 2


def test_one_key_for_two_members_is_a_change_for_each(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.add_member("member-2")
    first, other = issue(handle), issue(handle, user_id="member-2")

    assert [issue(handle).text, issue(handle, user_id="member-2").text] == [first.text, other.text]
    assert (issued(sessionm), issued(sessionm, "member-2")) == (1, 1)


def test_a_key_is_for_one_body_however_it_is_written(handle: Invoked, sessionm: SessionmSimulator) -> None:
    first = issue(handle)
    rewritten = dict(reversed(ISSUING.items())) | {"retailer_id": "YOURS"}

    assert operation(handle, "offers", ISSUE, rewritten, idempotency_key=KEY).text == first.text
    refused = issue(handle, quantity=2)
    assert (refused.status, refused.body["code"], refused.body["field"]) == (400, "key_reused", "idempotency-key")
    assert issued(sessionm) == 1


def test_a_key_is_for_one_body_also_while_it_is_not_known_what_came_of_it(
    aws: Aws, sessionm: SessionmSimulator
) -> None:
    handle = built(aws, sessionm)
    sessionm.faults.add("POST /offers/*", ResetAfterEffect(), times=1)
    issue(handle)

    assert issue(handle, quantity=2).body["code"] == "key_reused"
    assert issue(handle).body["errors"] == {"code": "upstream_no_answer"}


def test_a_key_of_a_change_that_was_not_made_may_have_another_body(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    sessionm.faults.add("POST /offers/*", Status(503), times=1)
    issue(handle, quantity=2)

    assert issue(handle).body["status"] == "ok"
    assert issue(handle, quantity=2).body["code"] == "key_reused"


@pytest.mark.parametrize("fault", [ResetAfterEffect(), HangAfterAccept(1)], ids=str)
def test_a_write_that_may_have_happened_is_never_made_again(aws: Aws, sessionm: SessionmSimulator, fault: Any) -> None:
    handle = built(aws, sessionm, READ_BUDGET_MILLISECONDS="600", READ_COLD_BUDGET_MILLISECONDS="600")
    sessionm.faults.add("POST /offers/*", fault, times=1)

    assert issue(handle).body["status"] == "error"
    assert issue(handle).body["errors"] == {"code": "upstream_no_answer"}
    assert issued(sessionm) == 1


def test_a_write_that_certainly_did_not_happen_may_be_tried_again(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /offers/*", Status(503), times=1)

    assert issue(handle).body["errors"] == {"code": "upstream_unavailable"}
    assert issue(handle).body["status"] == "ok"
    assert issued(sessionm) == 1


def test_a_write_sessionm_refuses_is_refused_again(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /offers/*", Status(200, {"status": "error", "errors": {"code": "validation"}}), times=1)

    assert [issue(handle).body["errors"] for _ in range(2)] == [{"code": "validation"}] * 2
    assert issued(sessionm) == 0


def test_a_long_answer_to_a_write_is_told_again_in_brief(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /offers/*", Status(200, {"status": "ok", "payload": "x" * 200_000}), times=1)

    assert len(issue(handle).text) > 200_000
    assert issue(handle).body == {"status": "ok"}


def test_a_write_whose_answer_braze_would_throw_away_is_told_as_done(
    handle: Invoked, sessionm: SessionmSimulator
) -> None:
    sessionm.faults.add("POST /offers/*", Status(200, {"status": "ok", "payload": "x" * 900_000}), times=1)

    assert [issue(handle).body for _ in range(2)] == [{"status": "ok"}] * 2
    assert len(sessionm.requests()) == 1


def test_an_answer_braze_would_throw_away_is_an_error(handle: Invoked, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /*", Status(200, {"status": "ok", "payload": "x" * 900_000}))

    answered = operation(handle, "incentives", BALANCES, {"user_id": "member-1"})
    assert answered.body == {"status": "error", "errors": {"code": "answer_too_large"}, "payload": None}


def test_a_write_that_cannot_be_written_down_is_not_made(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    faulty_aws.refuse("UpdateItem")

    assert issue(built(aws, sessionm)).body["errors"] == {"code": "store_unavailable"}
    assert sessionm.requests() == []


def test_a_write_whose_outcome_cannot_be_written_down_is_not_made_again(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    ledger = json.dumps(aws.table("ledger"))
    updates = 0

    def only_the_claim(body: bytes) -> Any:
        nonlocal updates
        if ledger.encode() not in body.replace(b" ", b""):
            return None
        updates += 1
        return (400, {}, b'{"__type": "AccessDeniedException"}') if updates > 1 else None

    faulty_aws.answer("UpdateItem", only_the_claim)
    handle = built(aws, sessionm)

    assert issue(handle).body["status"] == "ok"
    faulty_aws.heal()
    assert issue(handle).body["errors"] == {"code": "in_progress"}
    assert issued(sessionm) == 1
