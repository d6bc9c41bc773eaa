"""Logs and metrics: JSON lines and embedded metrics on standard output, read by CloudWatch.

Every line carries a correlation id: the request's own, from the caller to the queue, the worker and the vendor. A
worker that has several requests in hand at once logs under an id of its own, and names theirs beside each call.

Nothing here, and nothing that uses it, logs a body, a credential, a path or a member id. docs/metrics.md lists the
metrics.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Lock
from typing import Any

import msgspec
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
metrics = Metrics()

CORRELATION_HEADER = "X-Correlation-Id"

# What a caller may name its request: an id, and nothing that could hold an address or a line of its own.
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=-]{7,63}\Z")

# What may stand in a header. A message that somebody put into a queue by hand may name anything.
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,128}\Z")

# An environment of Lambda serves one event at a time, so what it is about is known to all threads, those included that
# were begun before. The variable is for a thread whose call concerns only some of it.
_of_event = ""
_of_call: ContextVar[str] = ContextVar("correlation_id", default="")

# Threads count too, also those that a read has left behind.
_adding = Lock()

# The embedded metric format takes so many values of a metric in a line.
_VALUES_A_LINE = 100

_UPSTREAM_METRICS = {
    "UpstreamCalls": "Count",
    "UpstreamFailures": "Count",
    "UpstreamThrottles": "Count",
    "UpstreamDenials": "Count",
    "UpstreamDuration": "Milliseconds",
}


def begin(correlation_id: str) -> None:
    """From now on this event's lines carry that id."""
    global _of_event
    _of_event = correlation_id
    logger.set_correlation_id(correlation_id)


def begin_request(event: Mapping[str, Any]) -> None:
    """The same for an event of API Gateway: the caller's own id if it sent a well-formed one, else API Gateway's."""
    given = (event.get("headers") or {}).get(CORRELATION_HEADER.lower(), "")
    begin(given if _WELL_FORMED.match(given) else event.get("requestContext", {}).get("requestId", ""))


def begin_batch(context: Any) -> None:
    """The same for what a queue or a schedule brings, under the id of the invocation (a Lambda context's)."""
    begin(getattr(context, "aws_request_id", ""))


def narrow(correlation_ids: Iterable[str]) -> None:
    """Puts a batch that turns out to concern one request under that request's id."""
    only = _only(correlation_ids)
    if only:
        begin(only)


def correlation_id() -> str:
    """What is under way here; empty before the first event."""
    return _of_call.get() or _of_event


@contextmanager
def concerning(correlation_ids: Iterable[str]) -> Iterator[None]:
    """For as long as it lasts, this thread's calls are under the one id that they share, if they share one."""
    token = _of_call.set(_only(correlation_ids))
    try:
        yield
    finally:
        _of_call.reset(token)


def count(name: str, value: int = 1) -> None:
    """Adds `value` to the metric `name`, as in "TagsSent"."""
    _add(name, MetricUnit.Count, value)


def milliseconds(name: str, value: float) -> None:
    _add(name, MetricUnit.Milliseconds, value)


def gauge(name: str, value: float) -> None:
    """Says how much of something there is now, in the unit that the metric is named after."""
    _add(name, MetricUnit.NoUnit, value)


def _add(name: str, unit: MetricUnit, value: float) -> None:
    with _adding:
        metrics.add_metric(name=name, unit=unit, value=value)


def note(**facts: str | int | bool) -> None:
    """Facts that the line of this HTTP request tells beside its metrics, such as the id it was answered with."""
    for name, value in facts.items():
        metrics.add_metadata(name, value)


def request(route: str, status: int, code: str, duration_ms: float, request_id: str) -> None:
    """Writes the one line of an HTTP request: its metrics and, beside them, what a log line would say of it."""
    milliseconds("RequestDuration", duration_ms)
    note(
        message="request",
        route=route,
        status=status,
        code=code,
        request_id=request_id,
        correlation_id=correlation_id(),
    )
    flush()


def flush() -> None:
    """Writes what was counted since the last flush; nothing when nothing was."""
    upstream_calls.write()
    with _adding:
        if metrics.metric_set:
            metrics.flush_metrics()


class _Calls:
    """Calls of one operation since the last flush. Of very many some durations stand for all; the counts are exact."""

    __slots__ = ("denied", "durations_ms", "failed", "throttled")

    def __init__(self) -> None:
        self.failed = 0
        self.throttled = 0
        self.denied = 0
        self.durations_ms: list[float] = []


class UpstreamCalls:
    """Calls to vendors as they end, in whatever thread, and what they come to by vendor and operation.

    It is the `Watcher` of every transport. `note` takes no lock: hundreds of threads end a call each few milliseconds.
    """

    def __init__(self) -> None:
        self._ended: deque[tuple[str, str, float, int | None]] = deque()

    def correlation_id(self) -> str:
        return correlation_id()

    def note(self, upstream: str, operation: str, duration_ms: float, status: int | None) -> None:
        """A call that ended with an HTTP status; None when it had no whole answer."""
        self._ended.append((upstream, operation, duration_ms, status))

    def write(self) -> None:
        """A line for each operation, with the metrics by operation and once more by vendor alone."""
        for (upstream, operation), calls in self._taken().items():
            step = (len(calls.durations_ms) - 1) // _VALUES_A_LINE + 1
            values = (
                len(calls.durations_ms),
                calls.failed,
                calls.throttled,
                calls.denied,
                [round(duration_ms, 1) for duration_ms in calls.durations_ms[::step]],
            )
            # Written by hand: Powertools takes five times as long, and a read has one such line.
            line = {
                "_aws": {
                    "Timestamp": int(time.time() * 1000),
                    "CloudWatchMetrics": [
                        {
                            "Namespace": metrics.namespace,
                            "Dimensions": [["upstream", "operation", "service"], ["upstream"]],
                            "Metrics": [{"Name": name, "Unit": unit} for name, unit in _UPSTREAM_METRICS.items()],
                        }
                    ],
                },
                "service": metrics.service,
                "message": "upstream calls",
                "correlation_id": correlation_id(),
                "upstream": upstream,
                "operation": operation,
                **dict(zip(_UPSTREAM_METRICS, values, strict=True)),
            }
            print(msgspec.json.encode(line).decode())

    def _taken(self) -> dict[tuple[str, str], _Calls]:
        found: dict[tuple[str, str], _Calls] = {}
        with suppress(IndexError):  # of the last one taken
            while True:
                upstream, operation, duration_ms, status = self._ended.popleft()
                calls = found.setdefault((upstream, operation), _Calls())
                calls.throttled += status == 429
                calls.denied += status in (401, 403)
                calls.failed += status is None or status == 408 or status >= 500
                calls.durations_ms.append(duration_ms)
        return found


upstream_calls = UpstreamCalls()


def _only(correlation_ids: Iterable[str]) -> str:
    """The one id among them; empty when there are several, or none."""
    found = set(correlation_ids)
    return found.pop() if len(found) == 1 and _PRINTABLE.match(next(iter(found))) else ""
