"""`make status` of a stack as CloudFormation has made it: queues, tables, secrets, a rule and a group of schedules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from infra.commands import status
from infra.commands.stack import Stack
from infra.template import TEMPLATE_PATH, parse
from tests.integration.support.aws import BRAZE_KEY, SESSIONM_SECRET, Aws

USABLE = {"SessionmSecret": json.dumps(SESSIONM_SECRET), "BrazeSecret": json.dumps({"rest_api_key": BRAZE_KEY})}


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
    assert first["needs"] == [
        "CallersSecret has no value: put one in",
        *(
            f"{name} is not usable: it has no value, put one in; see docs/runbook.md, Secrets unreadable"
            for name in status.VENDOR_SECRETS
        ),
    ]
    assert first["schedules"] == [{"name": "segment sizes", "expression": "rate(1 hour)", "enabled": True}]

    for name in status.SECRETS:
        stack.put_secret(name, USABLE.get(name, "{}"))
    failed = stack.sqs.get_queue_url(QueueName=f"{stack.name}-FailedEventsQueue")["QueueUrl"]
    stack.sqs.send_message(QueueUrl=failed, MessageBody="{}")

    code, then = shown(stack, capsys)

    assert code == 1
    assert then["failed_events"] == 1
    assert [each["usable"] for each in then["secrets"]] == [None, True, True]
    assert then["needs"][0] == "1 events failed: make redrive QUEUE=failed-events lists them"
    assert all("days old: rotate it" in need for need in then["needs"][1:])


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("{}", "missing required field"),
        ("private-key", "malformed"),
        ('"private-key"', "Expected `object`"),
        ('{"rest_api_key": 5, "core_api_key": ["private-key"]}', r"at `\$\.(rest|core)_api_key`"),
    ],
)
@pytest.mark.parametrize("name", status.VENDOR_SECRETS)
def test_a_vendor_secret_that_no_function_can_use_needs_a_person_and_is_not_shown(
    stack: Aws, capsys: pytest.CaptureFixture[str], name: str, value: str, fault: str
) -> None:
    for each in status.SECRETS:
        stack.put_secret(each, USABLE.get(each, "{}"))
    stack.put_secret(name, value)

    code, found = shown(stack, capsys)

    assert code == 1
    (need,) = [need for need in found["needs"] if "not usable" in need]
    assert re.fullmatch(
        rf"{name} is not usable: its value is not of the documented shape \(.*({fault}).*\); "
        r"see docs/runbook\.md, Secrets unreadable",
        need,
    )
    assert "private-key" not in json.dumps(found)


class Refusing:
    """Secrets Manager that lists versions and gives no value away."""

    def __init__(self, client: Any, code: str) -> None:
        self.list_secret_version_ids = client.list_secret_version_ids
        self._code = code

    def get_secret_value(self, **_: str) -> Any:
        raise ClientError({"Error": {"Code": self._code, "Message": "no"}}, "GetSecretValue")


@pytest.mark.parametrize(
    ("code", "usable", "words"),
    [
        ("AccessDeniedException", None, "cannot be read"),
        ("ResourceNotFoundException", False, "it has no value, put one in"),
    ],
)
def test_an_operator_who_may_not_read_a_secret_is_told_so_and_no_more(
    stack: Aws,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    usable: bool | None,
    words: str,
) -> None:
    for name in status.SECRETS:
        stack.put_secret(name, USABLE.get(name, "{}"))
    whole = Stack.client

    def client(self: Stack, service: Any) -> Any:
        made = whole(self, service)
        return Refusing(made, code) if service == "secretsmanager" else made

    monkeypatch.setattr(Stack, "client", client)
    _, found = shown(stack, capsys)

    assert [(each["usable"], each["fault"]) for each in found["secrets"][1:]] == [(usable, words)] * 2
    assert sum("not usable" in need for need in found["needs"]) == (2 if usable is False else 0)


def test_what_else_secrets_manager_refuses_is_told_as_a_refusal(
    stack: Aws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.put_secret("SessionmSecret", "{}")
    whole = Stack.client
    monkeypatch.setattr(
        Stack,
        "client",
        lambda self, service: (
            Refusing(whole(self, service), "InternalServiceError")
            if service == "secretsmanager"
            else whole(self, service)
        ),
    )

    assert status.run({"STACK": stack.name, "AWS_REGION": "us-east-1"}, Console(width=200)) == 2
    assert "InternalServiceError" in capsys.readouterr().out
