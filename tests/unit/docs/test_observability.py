"""docs/metrics.md lists what is counted, infra/observability.yaml watches it, and docs/runbook.md says what to do."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.local.template import references
from tests.unit.docs.material import DOCS, ROOT, metrics, observability, template

FUNCTIONS = ROOT / "functions"
ALARM = "AWS::CloudWatch::Alarm"

# What writes a metric, and its unit.
UNITS = {"count": "Count", "_count": "Count", "milliseconds": "Milliseconds", "gauge": "None"}

# What AWS writes of the resources that template.yaml has. Sources: the CloudWatch metrics pages of Lambda, SQS, API
# Gateway (HTTP APIs), DynamoDB, EventBridge and EventBridge Scheduler.
AWS_METRICS: Mapping[tuple[str, tuple[str, ...]], set[str]] = {
    ("AWS/Lambda", ("FunctionName",)): {"Errors", "Throttles", "Duration", "Invocations"},
    ("AWS/Lambda", ()): {"ConcurrentExecutions"},
    ("AWS/SQS", ("QueueName",)): {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"},
    ("AWS/ApiGateway", ("ApiId",)): {"Count", "4xx", "5xx"},
    ("AWS/DynamoDB", ("TableName",)): {"ReadThrottleEvents", "WriteThrottleEvents"},
    ("AWS/Events", ("RuleName",)): {"FailedInvocations"},
    ("AWS/Scheduler", ("ScheduleGroup",)): {"InvocationDroppedCount"},
}
# What the name of each dimension's resource is a name of.
DIMENSION_OF = {
    "FunctionName": "AWS::Serverless::Function",
    "QueueName": "AWS::SQS::Queue",
    "ApiId": "AWS::Serverless::HttpApi",
    "TableName": "AWS::DynamoDB::Table",
    "RuleName": "AWS::Events::Rule",
    "ScheduleGroup": "AWS::Scheduler::ScheduleGroup",
}
UPSTREAMS = {"Braze", "SessionM Core", "SessionM Connect"}


# --- what the code counts ---------------------------------------------------------------------------------------------


def modules() -> list[Path]:
    return sorted(path for path in FUNCTIONS.rglob("*.py") if "__pycache__" not in path.parts)


def named_in(node: ast.expr) -> Iterator[str]:
    """The texts that an expression can be."""
    if isinstance(node, ast.IfExp):
        yield from named_in(node.body)
        yield from named_in(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def counted_in(path: Path) -> Iterator[tuple[str, str]]:
    """Each metric a module writes, and its unit; a metric that is chosen by its outcome comes from `_COUNTED_AS`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == "_COUNTED_AS":
                yield from ((name, "Count") for value in node.value.values for name in named_in(value))
            elif node.targets[0].id == "_UPSTREAM_METRICS":
                yield from ast.literal_eval(node.value).items()
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = (
            node.func.id
            if isinstance(node.func, ast.Name)
            else node.func.attr
            if isinstance(node.func, ast.Attribute)
            else ""
        )
        if called in UNITS and (isinstance(node.func, ast.Name) or node.func.value.id == "observability"):  # type: ignore[attr-defined]
            yield from ((name, UNITS[called]) for name in named_in(node.args[0]))


@cache
def counted() -> Mapping[str, tuple[str, frozenset[str]]]:
    """For each metric its unit, and the modules that write it, as in "shared.breaker"."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for path in modules():
        module = ".".join(path.relative_to(FUNCTIONS).with_suffix("").parts)
        for name, unit in counted_in(path):
            known_unit, writers = found.get(name, (unit, frozenset()))
            assert known_unit == unit, f"{name} is written as {known_unit} and as {unit}"
            found[name] = unit, writers | {module}
    return found


@cache
def imports_of(module: str) -> frozenset[str]:
    """Our own modules that a module imports, anywhere in it."""
    path = FUNCTIONS.joinpath(*module.split(".")).with_suffix(".py")
    if not path.exists():
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(found)


def reachable(module: str) -> set[str]:
    """A module and all that it imports, and what those import."""
    seen, open_modules = set[str](), {module}
    while open_modules:
        seen |= open_modules
        open_modules = {found for each in open_modules for found in imports_of(each)} - seen
    return seen


@cache
def handlers() -> Mapping[str, str]:
    """The module of each function's handler, by the service that its logs and metrics are under."""
    return {
        resource["Properties"]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]: resource["Properties"][
            "Handler"
        ].removesuffix(".handle")
        for resource in template()["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    }


# --- what the page lists ----------------------------------------------------------------------------------------------


def services_of(origin: str) -> set[str]:
    """The functions that a metric comes from."""
    reaches = {
        "every function behind an API": "shared.http",
        "every function that calls a vendor": "clients.transport",
    }
    if origin in reaches:
        return {service for service, handler in handlers().items() if reaches[origin] in reachable(handler)}
    return set(origin.split(", "))


def test_the_page_lists_what_is_counted_and_nothing_else() -> None:
    assert {name: unit for name, (unit, _) in metrics().items()} == {
        name: unit for name, (unit, _) in counted().items()
    }


@pytest.mark.parametrize("name", sorted(metrics()))
def test_a_metric_comes_from_functions_that_write_it(name: str) -> None:
    unreached = {
        service
        for service in services_of(metrics()[name][1])
        if not reachable(handlers()[service]) & counted()[name][1]
    }
    assert not unreached


# --- alarms -----------------------------------------------------------------------------------------------------------


def alarms() -> dict[str, Any]:
    return {name: each["Properties"] for name, each in observability()["Resources"].items() if each["Type"] == ALARM}


def metrics_of(alarm: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for each in alarm["Metrics"]:
        if "MetricStat" in each:
            yield each["MetricStat"]["Metric"]


def on_the_dashboard() -> Iterator[dict[str, Any]]:
    """The metrics of the dashboard, in the form of an alarm's."""
    body = observability()["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    for widget in json.loads(body)["widgets"]:
        for namespace, name, *rest in widget["properties"]["metrics"]:
            words = [word for word in rest if isinstance(word, str)]
            dimensions = [
                {"Name": key, "Value": {"Ref": value[2:-1]} if value.startswith("${") else value}
                for key, value in zip(words[::2], words[1::2], strict=True)
            ]
            ours = namespace == "${MetricsNamespace}"
            yield {
                "Namespace": {"Ref": "MetricsNamespace"} if ours else namespace,
                "MetricName": name,
                "Dimensions": dimensions,
            }


def check(metric: Mapping[str, Any]) -> None:
    """A metric that is really written, of something that exists."""
    dimensions = {each["Name"]: each["Value"] for each in metric.get("Dimensions", [])}
    if metric["Namespace"] == {"Ref": "MetricsNamespace"}:
        _, origin = metrics()[metric["MetricName"]]
        if set(dimensions) == {"upstream"}:
            assert metric["MetricName"].startswith("Upstream")
            assert dimensions["upstream"] in UPSTREAMS
        else:
            assert set(dimensions) == {"service"}
            assert dimensions["service"] in services_of(origin)
        return
    assert metric["MetricName"] in AWS_METRICS[metric["Namespace"], tuple(dimensions)]
    for name, value in dimensions.items():
        assert template()["Resources"][value["Ref"]]["Type"] == DIMENSION_OF[name]


@pytest.mark.parametrize("name", sorted(alarms()))
def test_an_alarm_is_about_metrics_that_are_written(name: str) -> None:
    watched_metrics = list(metrics_of(alarms()[name]))
    assert 1 <= len(watched_metrics) <= 10  # CloudWatch takes no more
    for metric in watched_metrics:
        check(metric)


@pytest.mark.parametrize("name", sorted(alarms()))
def test_an_expression_names_its_metrics_and_no_others(name: str) -> None:
    for each in alarms()[name]["Metrics"]:
        if "Expression" in each:
            given = {other["Id"] for other in alarms()[name]["Metrics"] if other is not each}
            text = each["Expression"]["Fn::Sub"] if isinstance(each["Expression"], dict) else each["Expression"]
            words = set(re.findall(r"\b[a-z]\w*", re.sub(r"\$\{\w+\}", "", text)))
            assert words == (set() if "METRICS()" in text else given)


def test_vendors_are_called_by_the_names_of_their_transports() -> None:
    wiring = (FUNCTIONS / "wiring.py").read_text(encoding="utf-8")
    assert set(re.findall(r'Transport\(\s*"([^"]+)"', wiring)) == UPSTREAMS


def test_the_dashboard_shows_metrics_that_are_written() -> None:
    shown = list(on_the_dashboard())
    assert shown
    for metric in shown:
        check(metric)


def watched(metric_name: str, dimension: str) -> set[str]:
    """The resources whose metric some alarm watches."""
    return {
        each["Value"]["Ref"]
        for alarm in alarms().values()
        for metric in metrics_of(alarm)
        if metric["MetricName"] == metric_name
        for each in metric.get("Dimensions", [])
        if each["Name"] == dimension
    }


def resources(kind: str) -> set[str]:
    return {name for name, resource in template()["Resources"].items() if resource["Type"] == kind}


def dead_letter_queues() -> set[str]:
    targets = {
        resource["Properties"]["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        for resource in template()["Resources"].values()
        if resource["Type"] == "AWS::SQS::Queue" and "RedrivePolicy" in resource["Properties"]
    }
    return targets | {"FailedEventsQueue"}


@pytest.mark.parametrize("metric", ["Errors", "Throttles", "Duration"])
def test_every_function_is_watched(metric: str) -> None:
    assert watched(metric, "FunctionName") == resources("AWS::Serverless::Function")


def test_every_queue_is_watched() -> None:
    queues = resources("AWS::SQS::Queue")
    assert watched("ApproximateNumberOfMessagesVisible", "QueueName") == dead_letter_queues()
    assert watched("ApproximateAgeOfOldestMessage", "QueueName") == queues - dead_letter_queues()


def test_a_refused_key_is_told_of_every_vendor_whichever_function_called() -> None:
    watched_metrics = list(metrics_of(alarms()["VendorKeyRefused"]))
    assert {metric["MetricName"] for metric in watched_metrics} == {"UpstreamDenials"}
    assert {metric["Dimensions"][0]["Value"] for metric in watched_metrics} == UPSTREAMS
    assert all(len(metric["Dimensions"]) == 1 for metric in watched_metrics), "not that of one function"
    assert metrics()["UpstreamDenials"] == ("Count", "every function that calls a vendor")


def test_every_api_and_every_table_is_watched() -> None:
    assert watched("5xx", "ApiId") == resources("AWS::Serverless::HttpApi")
    assert watched("WriteThrottleEvents", "TableName") == resources("AWS::DynamoDB::Table")


def test_a_job_that_failed_is_told_of_whatever_it_was_for() -> None:
    names = {metric["MetricName"] for alarm in alarms().values() for metric in metrics_of(alarm)}
    assert {"TagImportsFailed", "WalletPrefetchesFailed"} <= names


def test_functions_are_slow_near_their_own_time_outs() -> None:
    default = template()["Globals"]["Function"]["Timeout"]
    seconds = {
        name: template()["Resources"][name]["Properties"].get("Timeout", default)
        for name in resources("AWS::Serverless::Function")
    }
    found = {}
    for alarm in alarms().values():
        ids = {each["Id"]: each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each}
        for each in alarm["Metrics"]:
            for metric_id, divisor in re.findall(r"FILL\((\w+), 0\) / (\d+)", str(each.get("Expression", ""))):
                if ids[metric_id]["MetricName"] == "Duration":
                    found[ids[metric_id]["Dimensions"][0]["Value"]["Ref"]] = int(divisor) / 10  # in ms, and in percent
    assert found == seconds


def test_the_host_health_alarms_watch_every_function_behind_their_api() -> None:
    """Of functions that Braze calls; nobody but Braze judges a host."""
    for api, alarm in (("ContentApi", "ContentHostHealth"), ("IntakeApi", "IntakeHostHealth")):
        behind = {
            resource["Properties"]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
            for resource in template()["Resources"].values()
            if resource["Type"] == "AWS::Serverless::Function"
            for event in resource["Properties"].get("Events", {}).values()
            if event["Type"] == "HttpApi" and event["Properties"]["ApiId"] == {"Ref": api}
        }
        assert {metric["Dimensions"][0]["Value"] for metric in metrics_of(alarms()[alarm])} == behind - {"health"}


def test_every_parameter_of_the_part_is_given_what_it_is_named_after() -> None:
    given = template()["Resources"]["Observability"]["Properties"]["Parameters"]
    assert set(given) == set(observability()["Parameters"])
    used = set(references(observability()["Resources"])) | set(references(observability()["Conditions"]))
    assert set(given) <= used
    for name, value in given.items():
        if name in template()["Resources"]:
            assert list(references(value)) == [name]
            is_queue = template()["Resources"][name]["Type"] == "AWS::SQS::Queue"
            assert ("Fn::GetAtt" in value) is is_queue  # the Ref of a queue is its URL, and metrics go by the name


def test_the_functions_metrics_are_where_alarms_look_for_them() -> None:
    written = template()["Globals"]["Function"]["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"]
    assert template()["Resources"]["Observability"]["Properties"]["Parameters"]["MetricsNamespace"] == written


# --- runbook ----------------------------------------------------------------------------------------------------------


@cache
def sections() -> Mapping[str, str]:
    """The runbook's sections by their anchors."""
    text = (DOCS / "runbook.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"): body
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }


@pytest.mark.parametrize("name", sorted(alarms()))
def test_an_alarm_names_its_section_of_the_runbook_and_is_named_there(name: str) -> None:
    alarm = alarms()[name]
    assert alarm["AlarmName"] == {"Fn::Sub": f"${{StackName}}-{name}"}
    [section] = re.findall(r"See docs/runbook\.md#([a-z-]+)$", alarm["AlarmDescription"])
    assert re.search(rf"\b{name}\b", sections()[section])
    assert alarm["AlarmActions"] == alarm["OKActions"]


def test_each_section_about_alarms_says_all_that_there_is_to_say() -> None:
    about = {re.findall(r"#([a-z-]+)$", alarm["AlarmDescription"])[0] for alarm in alarms().values()}
    for section in about:
        for question in ("Alarms", "What it means", "What callers see", "Look at", "Do", "Lost"):
            assert f"**{question}.**" in sections()[section], f"{section} does not say: {question}"


def test_the_runbook_names_no_alarm_query_or_command_that_there_is_not() -> None:
    text = (DOCS / "runbook.md").read_text(encoding="utf-8")
    listed_there = re.findall(r"^\*\*Alarms\.\*\* (.+?)\n\n", text, re.MULTILINE | re.DOTALL)
    named = {name for line in listed_there for name in re.findall(r"[A-Z]\w+", line)}
    assert named == set(alarms())
    queries = {
        resource["Properties"]["Name"]["Fn::Sub"].removeprefix("${StackName}/")
        for resource in observability()["Resources"].values()
        if resource["Type"] == "AWS::Logs::QueryDefinition"
    }
    asked = set(re.findall(r"[Qq]uery “([^”]+)”", text.replace("\n", " ")))
    assert asked == queries


def test_log_queries_look_at_every_function_that_could_have_something_to_tell() -> None:
    found = {
        resource["Properties"]["Name"]["Fn::Sub"]: set(references(resource["Properties"]["LogGroupNames"]))
        for resource in observability()["Resources"].values()
        if resource["Type"] == "AWS::Logs::QueryDefinition"
    }
    assert found["${StackName}/Everything about a correlation id"] == resources("AWS::Serverless::Function")
    assert found["${StackName}/Warnings and errors"] == resources("AWS::Serverless::Function")


def test_lines_that_the_runbook_and_the_queries_speak_of_are_written() -> None:
    """As the text of a log line, or as what AWS writes."""
    text = (DOCS / "runbook.md").read_text(encoding="utf-8")
    quoted = set(re.findall(r"(?<![Qq]uery )“([^”]+)”", text.replace("\n", " ")))
    queries = json.dumps([each["Properties"] for each in observability()["Resources"].values()])
    asked = set(re.findall(r'message = \\\\?"([^"\\]+)', queries))
    by_aws = {"Task timed out", "Runtime.OutOfMemory", "Tag Import Finished"}
    sources = "\n".join(path.read_text(encoding="utf-8") for path in modules())
    assert asked
    assert {line for line in (quoted - by_aws) | asked if f'"{line}"' not in sources} == set()
