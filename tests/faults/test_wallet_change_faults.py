"""An operation of SessionM that changes something, when time is up or an answer is lost before SessionM was asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from infra.local.simulators import SessionmSimulator, Slow
from tests.integration.support.aws import Aws
from tests.integration.support.events import Invoked, post
from tests.integration.support.faulty_aws import DYNAMODB, LOST, FaultyAws
from wallet_proxy.endpoint import build


def built(aws: Aws, url: str, budget_ms: int) -> Invoked:
    return build(
        aws.settings(
            SESSIONM_CORE_URL=url,
            SESSIONM_CONNECT_URL=url,
            READ_BUDGET_MILLISECONDS=str(budget_ms),
            READ_COLD_BUDGET_MILLISECONDS=str(budget_ms),
            CONNECT_OPERATIONS="/offers/api/2.0/offers/acquisition/issue",
        )
    )


def issued(handle: Invoked) -> Any:
    answered = post(
        handle,
        "POST /offers/{operation+}",
        {"user_id": "member-1", "offer_id": "offer-9", "quantity": 1},
        path={"operation": "api/2.0/offers/acquisition/issue"},
        idempotency_key="dispatch-1.member-1",
    )
    assert answered.status == 200
    return answered.body.get("errors", {}).get("code", "made")


def slow_once(seconds: float) -> Callable[[bytes], None]:
    """Keeps the first call waiting, and passes all of them on."""
    waits = iter([seconds])
    return lambda _: time.sleep(next(waits, 0))


def wait_for_calls(faulty_aws: FaultyAws, operation: str, number: int) -> None:
    until = time.monotonic() + 30
    while faulty_aws.calls.count(operation) < number:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_change_that_waited_for_its_credentials_too_long_is_called_off_and_can_be_made_later(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    faulty_aws.answer("GetSecretValue", slow_once(3))

    assert issued(built(aws, sessionm.url, 800)) == "deadline_exceeded"
    wait_for_calls(faulty_aws, "GetSecretValue", 2)  # what was left behind gets its credentials now
    time.sleep(0.3)
    assert sessionm.requests() == []
    assert issued(built(aws, sessionm.url, 10_000)) == "made"
    assert len(sessionm.offers_of("member-1")) == 1


def test_a_claim_that_comes_after_time_was_up_is_given_back(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator
) -> None:
    faulty_aws.answer("UpdateItem", slow_once(0.4))

    assert issued(built(aws, sessionm.url, 200)) == "deadline_exceeded"
    wait_for_calls(faulty_aws, "UpdateItem", 2)  # the claim, and what takes it back
    time.sleep(0.3)
    assert issued(built(aws, sessionm.url, 10_000)) == "made"
    assert len(sessionm.offers_of("member-1")) == 1


def test_a_change_that_sessionm_was_asked_for_is_not_called_off(aws: Aws, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /offers/*", Slow(2))

    assert issued(built(aws, sessionm.url, 700)) == "deadline_exceeded"
    sessionm.faults.clear()
    assert issued(built(aws, sessionm.url, 10_000)) == "upstream_no_answer"


@pytest.mark.parametrize("times", [1, 2])
def test_a_claim_whose_answer_was_lost_is_given_back(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, times: int
) -> None:
    handle = built(aws, sessionm.url, 10_000)
    faulty_aws.fail(DYNAMODB, lambda _: LOST)

    assert [issued(handle) for _ in range(times)] == ["store_unavailable"] * times
    faulty_aws.heal()
    assert issued(handle) == "made"
    assert len(sessionm.offers_of("member-1")) == 1
