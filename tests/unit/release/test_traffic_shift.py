"""A deployment moves calls to new versions bit by bit, and its errors take it back: what template.yaml says of that."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from infra.local import views
from infra.local.template import Template, references, transform
from tests.unit.docs.material import template as written

ALARMS = ["NewReadVersionErrors", "NewIntakeVersionErrors", "NewDeliveryVersionErrors"]
# Why each moves at once is said in the template.
MOVED_AT_ONCE = {"TagImportFunction", "SegmentRefreshFunction"}
MOST_METRICS_OF_AN_ALARM = 10


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.load()


def functions() -> dict[str, Any]:
    return {
        name: resource["Properties"]
        for name, resource in written()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def depends_on(template: Template, name: str) -> Iterator[str]:
    """What CloudFormation makes before a resource."""
    seen = set()
    waiting = [name]
    while waiting:
        resource = template.resources[waiting.pop()]
        for other in references([resource.get("Properties", {}), resource.get("UpdatePolicy", {})]):
            if other in template.resources and other not in seen:
                seen.add(other)
                waiting.append(other)
                yield other


def test_every_call_goes_to_an_alias_and_none_to_the_code_that_was_uploaded_last(template: Template) -> None:
    callers = template.of_type(
        "AWS::Lambda::EventSourceMapping", "AWS::ApiGatewayV2::Api", "AWS::Lambda::Permission", "AWS::Events::Rule"
    )

    named = {name for resource in callers.values() for name in references(resource["Properties"])}

    assert not {name for name in named if template.resources.get(name, {}).get("Type") == "AWS::Lambda::Function"}
    aliases = {name for name in named if template.resources.get(name, {}).get("Type") == "AWS::Lambda::Alias"}
    assert aliases == set(template.of_type("AWS::Lambda::Alias"))
    assert len(aliases) == len(views.functions(template))


def test_every_function_shifts_linearly_under_the_alarms_but_the_two_that_say_why_not(template: Template) -> None:
    groups = template.of_type("AWS::CodeDeploy::DeploymentGroup")

    assert {name.removesuffix("DeploymentGroup") for name in groups} == functions().keys() - MOVED_AT_ONCE
    for group in groups.values():
        properties = group["Properties"]
        assert properties["DeploymentConfigName"] == {"Fn::Sub": "CodeDeployDefault.LambdaLinear10PercentEvery1Minute"}
        assert properties["AlarmConfiguration"]["Alarms"] == [{"Name": {"Ref": name}} for name in ALARMS]
        assert "DEPLOYMENT_STOP_ON_ALARM" in properties["AutoRollbackConfiguration"]["Events"]


def test_the_alarms_watch_the_new_version_of_every_function_that_shifts(template: Template) -> None:
    watched = []
    for name in ALARMS:
        metrics = [metric for metric in template.resources[name]["Properties"]["Metrics"] if "MetricStat" in metric]
        assert len(metrics) <= MOST_METRICS_OF_AN_ALARM
        for metric in metrics:
            dimensions = {each["Name"]: each["Value"] for each in metric["MetricStat"]["Metric"]["Dimensions"]}
            function = dimensions["FunctionName"]["Ref"]
            version, attribute = dimensions["ExecutedVersion"]["Fn::GetAtt"]
            assert dimensions["Resource"] == {"Fn::Sub": f"${{{function}}}:live"}
            assert template.resources[version]["Type"] == "AWS::Lambda::Version"
            assert template.resources[version]["Properties"]["FunctionName"] == {"Ref": function}
            assert attribute == "Version"
            watched.append(function)

    assert sorted(watched) == sorted(functions().keys() - MOVED_AT_ONCE)


def test_no_alarm_waits_for_what_waits_for_it(template: Template) -> None:
    for alias in template.of_type("AWS::Lambda::Alias"):
        if alias.removesuffix("Aliaslive") not in MOVED_AT_ONCE:
            assert set(ALARMS) <= set(depends_on(template, alias))
    for alarm in ALARMS:
        kinds = {template.resources[name]["Type"] for name in depends_on(template, alarm)}
        assert kinds.isdisjoint({"AWS::Lambda::Alias", "AWS::CodeDeploy::DeploymentGroup"})


def test_another_release_is_another_version_of_every_function() -> None:
    def versions(release: str) -> dict[str, str]:
        document = {**written(), "Parameters": {**written()["Parameters"]}}
        document["Parameters"]["Release"] = {**document["Parameters"]["Release"], "Default": release}
        made = Template(transform(deepcopy(document))).of_type("AWS::Lambda::Version")
        return {version["Properties"]["FunctionName"]["Ref"]: name for name, version in made.items()}

    first, second = versions("0123456789ab"), versions("9876543210ab")

    assert first.keys() == second.keys() == functions().keys()
    assert set(first.values()).isdisjoint(second.values())
