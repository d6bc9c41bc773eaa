"""Logs and metrics: JSON lines and embedded metrics on standard output, read by CloudWatch.

Nothing here, and nothing that uses it, logs a body, a credential, a path or a member id.
"""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
metrics = Metrics()


def count(name: str, value: int = 1) -> None:
    """Adds `value` to the metric `name`, as in "TagsSent"."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def milliseconds(name: str, value: float) -> None:
    metrics.add_metric(name=name, unit=MetricUnit.Milliseconds, value=value)


def request(route: str, status: int, code: str, duration_ms: float, request_id: str) -> None:
    """Writes the one line of an HTTP request: its metrics and, beside them, what a log line would say of it."""
    milliseconds("RequestDuration", duration_ms)
    metrics.add_metadata("message", "request")
    metrics.add_metadata("route", route)
    metrics.add_metadata("status", status)
    metrics.add_metadata("code", code)
    metrics.add_metadata("request_id", request_id)
    flush()


def flush() -> None:
    """Writes what was counted since the last flush; nothing when nothing was."""
    if metrics.metric_set:
        metrics.flush_metrics()
