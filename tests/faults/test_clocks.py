"""Clocks that differ by less than AWS minds: what is waited for, and that nothing is sent twice for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from authorizer.endpoint import build as build_authorizer
from infra.local.simulators import BrazeSimulator, SessionmSimulator, Slow, SteppedClock, Throttle
from tests.faults.support.relay_scenarios import TrackDelivery, TriggerDelivery
from tests.faults.support.running import made
from tests.faults.support.scenario import Clock, Ground
from tests.integration.support.aws import Aws
from tests.integration.support.events import JSON, Context, call, http_event
from wallet_proxy.endpoint import build as build_wallet


@pytest.mark.parametrize(
    ("ahead_seconds", "asked"), [(5, False), (31, True), (-5, True)], ids=["ahead", "far ahead", "behind"]
)
def test_a_clock_ahead_of_the_apis_makes_a_read_short_and_never_long(
    aws: Aws, sessionm: SessionmSimulator, ahead_seconds: float, asked: bool
) -> None:
    budget = dict.fromkeys(("READ_BUDGET_MILLISECONDS", "READ_COLD_BUDGET_MILLISECONDS"), "1500")
    handle = build_wallet(aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url, **budget))
    arrived_at = time.time() - ahead_seconds
    event = http_event("POST /wallet", headers=JSON, body='{"user_id": "member-1"}', arrived_at=arrived_at)

    answered = call(handle, event)

    assert (answered.status, bool(sessionm.requests())) == (200, asked)
    assert answered.body["reason"] in ({None, "deadline_exceeded"} if asked else {"deadline_exceeded"})


@contextmanager
def braze_whose_clock_is_off(seconds: float) -> Iterator[BrazeSimulator]:
    with BrazeSimulator(latency_scale=0, clock=SteppedClock(time.time() + seconds)) as braze:
        braze.add_campaign("campaign-1")
        yield braze


@pytest.mark.parametrize("scenario", [TriggerDelivery, TrackDelivery])
@pytest.mark.parametrize(
    ("off_seconds", "shut_for", "open_after"),
    [(-3600, 50, 65), (7200, 3880, 3920)],
    ids=["behind ours", "ahead of ours"],
)
def test_a_moment_of_another_clocks_shuts_the_gate_for_a_minute_or_an_hour_and_no_longer(
    aws: Aws,
    sessionm: SessionmSimulator,
    scenario: type[TriggerDelivery | TrackDelivery],
    off_seconds: float,
    shut_for: float,
    open_after: float,
) -> None:
    with braze_whose_clock_is_off(off_seconds) as braze:
        run = made(scenario, Ground(aws, sessionm, braze))
        handle = run.built()
        braze.faults.add("POST *", Throttle(9, "reset-epoch"), times=1)
        assert run.run(handle) == "the message stays"

        run.clock.ahead = shut_for
        assert run.run(handle) == "the message stays"
        assert len(braze.requests()) == 1

        run.clock.ahead = open_after
        assert run.run(handle) == "the message is done"
        assert run.outcome() == "done"


@pytest.mark.parametrize("scenario", [TriggerDelivery, TrackDelivery])
def test_a_worker_whose_clock_is_ahead_sends_nothing_that_another_has_in_hand(
    aws: Aws,
    sessionm: SessionmSimulator,
    braze: BrazeSimulator,
    scenario: type[TriggerDelivery | TrackDelivery],
) -> None:
    run = made(scenario, Ground(aws, sessionm, braze))
    ours = run.built()
    run.clock = Clock()
    run.clock.ahead = 200
    ahead = run.built()
    braze.faults.add("POST *", Slow(2), times=1)

    with ThreadPoolExecutor(1) as threads:
        sent = threads.submit(run.run, ours)
        while not braze.requests():
            time.sleep(0.02)
        assert run.run(ahead) == "the message is done"
        assert run.outcome() == "unknown"
        assert sent.result(30) == "the message is done"

    assert len(braze.requests()) == 1
    assert run.outcome() == "done"


def test_a_clock_ahead_of_secrets_managers_ends_a_former_key_sooner_by_as_much(aws: Aws) -> None:
    former, current = "f" * 40, "c" * 40
    for key in (former, current):
        aws.put_secret("callers", {"callers": {"braze": {"key": key, "allows": ["POST /tags"]}}})
    event = {"routeKey": "POST /tags", "headers": {"authorization": f"Bearer {former}"}}
    clock = Clock()
    settings = aws.settings(CALLER_ROTATION_SECONDS="600")

    assert build_authorizer(settings, clock)(event, Context())["isAuthorized"] is True
    clock.ahead = 601
    assert build_authorizer(settings, clock)(event, Context())["isAuthorized"] is False
