"""A trace is Lambda's own: when a function ran, for how long, and how it ended. Nothing of ours adds to it.

Lambda makes the segments by itself (`Tracing: Active`). A member's data could come into them by an SDK that notes
calls, addresses or annotations, by a layer or wrapper that puts such an SDK in, or by the words of an exception that
nobody caught; of the last the log has the same words, and the tests of leaks read the logs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.unit.docs.material import DOCS, ROOT, environment_variables, template

FUNCTIONS = ROOT / "functions"
TRACERS = re.compile(
    r"(aws_xray_sdk|opentelemetry|ddtrace|datadog_lambda|newrelic|sentry_sdk|aws_lambda_powertools\.tracing)\b"
)
PACKAGES = re.compile(r"^(aws-xray-sdk|opentelemetry|ddtrace|datadog|newrelic|sentry|lumigo|epsagon)", re.MULTILINE)
SWITCHES = ("AWS_LAMBDA_EXEC_WRAPPER", "OTEL_", "AWS_XRAY_", "POWERTOOLS_TRACE", "_X_AMZN_TRACE_ID", "PYTHONPATH")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_function_is_traced_by_lambda_alone() -> None:
    shared = template()["Globals"]["Function"]
    functions = {
        name: resource["Properties"]
        for name, resource in template()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }

    assert shared["Tracing"] == "Active"
    assert functions
    assert [name for name, own in functions.items() if {"Tracing", "Layers"} & own.keys()] == []
    assert "Layers" not in shared, "which could bring a tracer"


def test_no_environment_variable_puts_a_tracer_in() -> None:
    assert environment_variables()
    assert [name for name in sorted(environment_variables()) if name.startswith(SWITCHES)] == []


def test_no_function_writes_to_its_trace() -> None:
    modules = [path for path in FUNCTIONS.rglob("*.py") if "__pycache__" not in path.parts]

    assert len(modules) > 50
    for path in modules:
        names = set(imported(path))
        assert not [name for name in names if TRACERS.match(name) or name.endswith(".Tracer")], path
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"put_annotation|put_metadata|put_trace_segments|_X_AMZN_TRACE_ID|client\(\"xray\"", text
        ), path


def test_no_tracer_is_shipped() -> None:
    for name in ("requirements.in", "requirements.txt"):
        assert not PACKAGES.search((FUNCTIONS / name).read_text(encoding="utf-8")), name


def test_the_page_says_what_a_trace_holds_and_what_nobody_looks_at() -> None:
    page = (DOCS / "security.md").read_text(encoding="utf-8")
    must_not_leak = page[page.index("## What must not leak") : page.index("## What to watch")]

    [row] = [line for line in must_not_leak.splitlines() if line.startswith("| traces |")]
    assert "exception" in row
    assert "not looked at" in must_not_leak
    assert "`test_no_function_writes_to_its_trace`" in must_not_leak
