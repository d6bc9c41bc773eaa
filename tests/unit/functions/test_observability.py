"""Correlation ids, and what calls to vendors come to in embedded metrics."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from shared import observability
from shared.observability import UpstreamCalls, begin, begin_batch, concerning, correlation_id, logger, narrow, note


@pytest.fixture(autouse=True)
def nothing_under_way() -> Iterator[None]:
    observability.flush()
    begin("")
    yield
    begin("")


def lines(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


class Invocation:
    aws_request_id = "invocation-1"


def test_every_line_carries_the_id_of_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    begin("request-1")
    logger.info("one")
    begin("request-2")
    logger.info("two")

    assert [(line["message"], line["correlation_id"]) for line in lines(capsys)] == [
        ("one", "request-1"),
        ("two", "request-2"),
    ]


@pytest.mark.parametrize(
    ("ids", "known_as"),
    [
        (["request-1", "request-1"], "request-1"),
        (["request-1", "request-2"], "invocation-1"),
        (["request-1", ""], "invocation-1"),  # one of a message from before there were ids
        ([""], "invocation-1"),
        ([], "invocation-1"),
        (["two\r\nlines"], "invocation-1"),
        (["x" * 129], "invocation-1"),
    ],
)
def test_a_batch_has_an_id_of_its_own_unless_it_is_about_one_request(ids: list[str], known_as: str) -> None:
    begin_batch(Invocation())
    narrow(ids)

    assert correlation_id() == known_as


def test_a_call_is_under_the_one_id_it_concerns_in_its_thread_alone() -> None:
    begin("batch")
    seen: list[str] = []
    with concerning(["request-1"]):
        seen.append(correlation_id())
        other = threading.Thread(target=lambda: seen.append(correlation_id()))
        other.start()
        other.join()
    with concerning(["request-1", "request-2"]):
        seen.append(correlation_id())
    seen.append(correlation_id())

    assert seen == ["request-1", "batch", "batch", "batch"]


def test_a_requests_line_tells_its_metrics_ids_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    begin("order-4711-a8")
    note(trigger_id="trg-1", recipients=2)
    observability.request("POST /triggers", 202, "ok", 12.5, "gateway-1")

    [line] = lines(capsys)
    assert {name: line[name] for name in ("correlation_id", "request_id", "trigger_id", "recipients", "status")} == {
        "correlation_id": "order-4711-a8",
        "request_id": "gateway-1",
        "trigger_id": "trg-1",
        "recipients": 2,
        "status": 202,
    }
    observability.request("POST /triggers", 202, "ok", 12.5, "gateway-2")
    assert "trigger_id" not in lines(capsys)[0]


def test_calls_are_told_by_vendor_and_operation_and_once_more_by_vendor(capsys: pytest.CaptureFixture[str]) -> None:
    begin("request-1")
    calls = UpstreamCalls()
    for status in (200, 404, 429, 500, 503, 408, None):
        calls.note("Braze", "/campaigns/trigger/send", 20.04, status)
    calls.note("Braze", "/canvas/trigger/send", 7, 201)
    calls.write()

    campaigns, canvas = lines(capsys)
    assert campaigns["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [
        ["upstream", "operation", "service"],
        ["upstream"],
    ]
    assert (campaigns["upstream"], campaigns["operation"]) == ("Braze", "/campaigns/trigger/send")
    assert campaigns["correlation_id"] == "request-1"
    assert [campaigns[name] for name in ("UpstreamCalls", "UpstreamFailures", "UpstreamThrottles")] == [7, 4, 1]
    assert campaigns["UpstreamDuration"] == [20.0] * 7
    assert (canvas["operation"], canvas["UpstreamCalls"], canvas["UpstreamFailures"]) == ("/canvas/trigger/send", 1, 0)

    calls.write()
    assert lines(capsys) == []  # told once


def test_calls_that_are_turned_down_for_their_credential_are_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    calls = UpstreamCalls()
    for status in (200, 401, 403, 404, 401, 407, None):
        calls.note("SessionM Core", "add_tags", 20, status)
    calls.write()

    [line] = lines(capsys)
    assert [line[name] for name in ("UpstreamCalls", "UpstreamDenials", "UpstreamFailures")] == [7, 3, 1]
    assert {"Name": "UpstreamDenials", "Unit": "Count"} in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]


@pytest.mark.parametrize("number", [99, 100, 101, 200, 5000])
def test_of_very_many_calls_some_durations_stand_for_all(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    calls = UpstreamCalls()
    for duration in range(number):
        calls.note("SessionM Core", "add_tags", duration, 200)
    calls.write()

    [line] = lines(capsys)
    assert line["UpstreamCalls"] == number
    told = line["UpstreamDuration"]
    assert min(number, 50) <= len(told) <= 100
    assert abs(sum(told) / len(told) - (number - 1) / 2) <= number / 50  # spread over the whole
