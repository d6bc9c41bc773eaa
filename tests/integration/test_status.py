"""`make status` of a stack as CloudFormation has made it: queues, tables, secrets, a rule and a group of schedules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from rich.console import Console

from infra.commands import status
from infra.template import TEMPLATE_PATH, parse
from tests.integration.support.aws import Aws


def resources(prefix: str) -> dict[str, Any]:
    """What status looks at, out of the real template, named for this test alone."""
    written = parse(TEMPLATE_PATH)["Resources"]
    made: dict[str, Any] = {}
    for name, resource in written.items():
        if resource["Type"] == "AWS::SQS::Queue":
            made[name] = {"Type": resource["Type"], "Properties": {"QueueName": f"{prefix}-{name}"}}
        elif resource["Type"] == "AWS::DynamoDB::Table":
            kept = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
            shape = {key: value for key, value in resource["Properties"].items() if key in kept}
            made[name] = {"Type": resource["Type"], "Properties": {**shape, "TableName": f"{prefix}-{name}"}}
    # SAM calls a schedule's rule after the function and the event.
    assert written["SegmentRefreshFunction"]["Properties"]["Events"]["Refresh"]["Type"] == "Schedule"
    made["SegmentRefreshFunctionRefresh"] = {
        "Type": "AWS::Events::Rule",
        "Properties": {"Name": f"{prefix}-refresh", "ScheduleExpression": "rate(1 hour)", "State": "ENABLED"},
    }
    return made


@pytest.fixture
def stack(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in status.SECRETS:
        aws.leave_empty(name)
    outputs = {
        **{f"{name}Arn": f"{aws.name}-{name}" for name in status.SECRETS},
        "SegmentExportScheduleGroupName": aws.name,
        **dict.fromkeys(("ImportQueueArn", "FailedEventsQueueArn", "SegmentExportScheduleRoleArn"), "arn:aws:x"),
    }
    body = {
        "Parameters": {"SecretMaxAgeDays": {"Type": "Number"}},
        "Resources": resources(aws.name),
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    cloudformation = boto3.client("cloudformation", endpoint_url=aws.url)
    cloudformation.create_stack(
        StackName=aws.name,
        TemplateBody=json.dumps(body),
        Parameters=[{"ParameterKey": "SecretMaxAgeDays", "ParameterValue": "0"}],
    )
    boto3.client("scheduler", endpoint_url=aws.url).create_schedule_group(Name=aws.name)
    monkeypatch.setenv("STACK", aws.name)
    yield aws
    cloudformation.delete_stack(StackName=aws.name)


def shown(stack: Aws, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    wishes = {"STACK": stack.name, "AWS_REGION": "us-east-1", "JSON": "yes"}
    code = status.run(wishes, Console(width=200))
    return code, json.loads(capsys.readouterr().out)


def test_the_template_has_an_output_for_each_secret() -> None:
    assert {f"{name}Arn" for name in status.SECRETS} <= set(parse(TEMPLATE_PATH)["Outputs"])


def test_of_a_deployed_stack_empty_and_old_secrets_failed_events_and_the_schedule_are_told(
    stack: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    code, first = shown(stack, capsys)

    assert code == 1
    assert first["needs"] == [f"{name} has no value: put one in" for name in status.SECRETS]
    assert first["schedules"] == [{"name": "segment sizes", "expression": "rate(1 hour)", "enabled": True}]

    for name in status.SECRETS:
        stack.put_secret(name, "{}")
    failed = stack.sqs.get_queue_url(QueueName=f"{stack.name}-FailedEventsQueue")["QueueUrl"]
    stack.sqs.send_message(QueueUrl=failed, MessageBody="{}")

    code, then = shown(stack, capsys)

    assert code == 1
    assert then["failed_events"] == 1
    assert then["needs"][0] == "1 events failed: make redrive QUEUE=failed-events lists them"
    assert all("days old: rotate it" in need for need in then["needs"][1:])
