"""Asynchronous invocations, bucket notifications and schedules."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from infra.local.async_invoke import AsyncInvoker
from infra.local.environment import FunctionError
from infra.local.event_rules import Schedules, object_created_event, rate_seconds
from infra.local.views import Function, Rule


class Flaky:
    """A function that fails a number of times, and the queue of its failures."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.events: list[Any] = []
        self.sent: list[tuple[str, Any]] = []
        self.done = threading.Event()

    def invoke(self, _function: str, event: Any) -> Any:
        self.events.append(event)
        if len(self.events) <= self.failures:
            raise FunctionError("ValueError", "no")
        self.done.set()

    def send(self, queue: str, body: str) -> None:
        self.sent.append((queue, json.loads(body)))
        self.done.set()


def function(**settings: Any) -> Function:
    return Function("F", "f", "h", 1, 128, {}, **settings)


@pytest.fixture
def flaky() -> Flaky:
    return Flaky(failures=99)


def run(flaky: Flaky, target: Function) -> None:
    invoker = AsyncInvoker(flaky.invoke, flaky.send, retry_waits_seconds=(0.0,))
    invoker.submit(target, {"n": 1})
    assert flaky.done.wait(5)
    invoker.stop()


def test_an_event_is_tried_again_until_it_succeeds() -> None:
    flaky = Flaky(failures=2)
    run(flaky, function(retry_attempts=2, on_failure_queue="Q"))
    assert flaky.events == [{"n": 1}] * 3
    assert flaky.sent == []


def test_an_event_that_never_succeeds_goes_to_the_failure_destination(flaky: Flaky) -> None:
    run(flaky, function(retry_attempts=2, on_failure_queue="Q"))
    assert len(flaky.events) == 3
    ((queue, record),) = flaky.sent
    assert queue == "Q"
    assert record["requestPayload"] == {"n": 1}
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["responsePayload"] == {"errorMessage": "no", "errorType": "ValueError"}


def test_stopping_does_not_wait_for_the_next_try(flaky: Flaky) -> None:
    invoker = AsyncInvoker(flaky.invoke, flaky.send, retry_waits_seconds=(60.0,))
    invoker.submit(function(), {})
    while not flaky.events:
        time.sleep(0.01)
    started = time.monotonic()
    invoker.stop()
    assert time.monotonic() - started < 2
    assert flaky.sent == []
    invoker.submit(function(), {})
    assert len(flaky.events) == 1


def test_a_schedule_fires_on_demand_with_the_scheduled_event_or_its_own_input() -> None:
    received: dict[str, Any] = {}
    both = threading.Barrier(3, timeout=5)

    def invoke(name: str, event: Any) -> Any:
        received[name] = event
        both.wait()

    functions = {"A": Function("A", "a", "h", 1, 128, {}), "B": Function("B", "b", "h", 1, 128, {})}
    rules = [
        Rule("RuleA", "A", None, None, "rate(1 hour)", None),
        Rule("RuleB", "B", None, None, "cron(x)", '{"full": true}'),
    ]
    invoker = AsyncInvoker(invoke, lambda _queue, _body: None)
    schedules = Schedules(rules, functions, invoker)
    assert schedules.names == ["a", "b"]
    schedules.fire("a")
    schedules.fire("b")
    both.wait()
    invoker.stop()
    assert received["B"] == {"full": True}
    assert received["A"]["detail-type"] == "Scheduled Event"
    assert received["A"]["source"] == "aws.events"
    assert received["A"]["resources"] == ["arn:aws:events:us-east-1:123456789012:rule/RuleA"]
    with pytest.raises(KeyError):
        schedules.fire("c")


def test_a_rate_fires_by_itself_until_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.event_rules.rate_seconds", lambda _expression: 0.02)
    fired = threading.Semaphore(0)
    invoker = AsyncInvoker(lambda _name, _event: fired.release(), lambda _queue, _body: None)
    schedules = Schedules([Rule("R", "F", None, None, "rate(1 hour)", None)], {"F": function()}, invoker)
    schedules.start()
    assert fired.acquire(timeout=5)
    assert fired.acquire(timeout=5)
    schedules.stop()
    invoker.stop()


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [("rate(1 minute)", 60), ("rate(5 minutes)", 300), ("rate(2 hours)", 7200), ("rate(1 day)", 86_400)],
)
def test_rates_are_understood(expression: str, seconds: int) -> None:
    assert rate_seconds(expression) == seconds


def test_a_cron_expression_has_no_rate() -> None:
    assert rate_seconds("cron(0 6 * * ? *)") is None


def test_a_notification_has_s3s_spelling_and_is_unlike_any_other() -> None:
    def made() -> dict[str, Any]:
        described = {"key": "imports/a.csv", "size": 3, "eTag": "abc", "version-id": "null", "sequencer": "same"}
        return object_created_event({"id": "same", "detail": {"version": "0", "object": described}})

    first, second = made(), made()
    assert first["id"] != second["id"]
    assert first["detail"]["object"].pop("sequencer") != second["detail"]["object"].pop("sequencer")
    assert first["detail"]["object"] == {"key": "imports/a.csv", "size": 3, "etag": "abc"}
