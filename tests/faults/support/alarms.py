"""Which alarms of infra/observability.yaml a fault sets off, if there is enough of it: by the metrics they watch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from infra.template import TEMPLATE_PATH, parse

OBSERVABILITY = TEMPLATE_PATH.parent / "infra" / "observability.yaml"

# A metric with its dimensions, as in ("Errors", FunctionName, "WalletFunction"); resources by their logical ids.
Metric = tuple[str, frozenset[tuple[str, str]]]

# What alarms only divide by, or what is not a count of anything that failed.
_NO_FAILURES = frozenset({"RequestDuration", "UpstreamCalls", "SecretAgeDays", "Count", "Duration", "Invocations"})


def metric(name: str, **dimensions: str) -> Metric:
    return name, frozenset(dimensions.items())


def raised_by(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """The logical ids of the alarms that watch any of these metrics."""
    seen = set(metrics)
    return tuple(sorted(name for name, watched in _alarms().items() if watched & seen))


def emitted(output: str, service: str) -> Iterator[Metric]:
    """The embedded metrics above zero in what a function printed; `service` is its name in template.yaml."""
    for line in output.splitlines():
        if not line.startswith("{") or '"_aws"' not in line:
            continue
        written = json.loads(line) | {"service": service}
        for group in written["_aws"]["CloudWatchMetrics"]:
            for each in group["Metrics"]:
                values = written[each["Name"]]
                if any(value > 0 for value in (values if isinstance(values, list) else [values])):
                    for dimensions in group["Dimensions"]:
                        yield each["Name"], frozenset((name, written[name]) for name in dimensions)


def without_failures(found: Iterable[Metric]) -> set[Metric]:
    return {each for each in found if each[0] not in _NO_FAILURES}


@cache
def _alarms() -> dict[str, set[Metric]]:
    resources = _document(OBSERVABILITY)["Resources"]
    return {
        name: without_failures(_watched(resource["Properties"]))
        for name, resource in resources.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }


def _watched(properties: Mapping[str, Any]) -> Iterator[Metric]:
    for each in properties["Metrics"]:
        if "MetricStat" in each:
            watched = each["MetricStat"]["Metric"]
            dimensions = {one["Name"]: one["Value"] for one in watched.get("Dimensions", [])}
            yield (
                watched["MetricName"],
                frozenset(
                    (name, value["Ref"] if isinstance(value, dict) else value) for name, value in dimensions.items()
                ),
            )


@cache
def _document(path: Path) -> dict[str, Any]:
    return parse(path)
