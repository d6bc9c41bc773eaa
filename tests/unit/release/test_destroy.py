"""`make destroy` on emulated AWS: nothing goes without the right word, and data stays unless its end was asked for."""

from __future__ import annotations

import io
import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from infra.commands.stack import CannotRun, Stack
from infra.local.template import Template
from infra.release.destroy import Kept, delete, destroy, messages_of, retained, run
from tests.integration.support.aws import Aws
from tests.unit.docs.material import template

KEPT = {"LedgerTable", "ImportsTable", "SegmentHistoryTable", "ImportBucket"}
STORES = {"AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::S3::Bucket"}


@pytest.fixture(scope="module")
def written() -> Template:
    return Template.load()


@pytest.fixture
def stack(aws: Aws, written: Template) -> Stack:
    """The stores of template.yaml, with their own deletion policies, as a stack of moto's CloudFormation."""
    body = {
        "Parameters": {name: {"Type": declared["Type"]} for name, declared in written.parameters.items()},
        "Conditions": written.conditions,
        "Resources": written.of_type(*STORES),
    }
    session = boto3.Session(region_name="us-east-1")
    session.client("cloudformation").create_stack(
        StackName=aws.name,
        TemplateBody=json.dumps(body),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in written.values.items()],
    )
    return Stack(aws.name, f"the stack {aws.name} in us-east-1", session)


def physical(stack: Stack, logical_id: str) -> str:
    return stack.physical_id(logical_id)


def is_there(stack: Stack, kind: str, name: str) -> bool:
    try:
        if kind == "table":
            stack.client("dynamodb").describe_table(TableName=name)
        elif kind == "bucket":
            stack.client("s3").head_bucket(Bucket=name)
        elif kind == "queue":
            stack.client("sqs").get_queue_attributes(QueueUrl=name, AttributeNames=["QueueArn"])
        else:
            stack.client("cloudformation").describe_stacks(StackName=name)
    except ClientError:
        return False
    return True


class Typed:
    """Types one answer, and remembers what was asked."""

    def __init__(self, answer: str) -> None:
        self.prompts: list[str] = []
        self._answer = answer

    def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self._answer


def destroyed(stack: Stack, with_data: bool, typed: Typed) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=300)
    status = destroy(stack, with_data, typed, console, lambda _: None)
    assert isinstance(console.file, io.StringIO)
    return status, console.file.getvalue()


def fill(stack: Stack) -> str:
    """Two versions and a deleted object in the bucket; returns the bucket's name."""
    bucket, s3 = physical(stack, "ImportBucket"), stack.client("s3")
    for body in (b"one", b"two"):
        s3.put_object(Bucket=bucket, Key="imports/a.csv", Body=body)
    s3.put_object(Bucket=bucket, Key="imports/b.csv", Body=b"three")
    s3.delete_object(Bucket=bucket, Key="imports/b.csv")
    return bucket


def test_what_holds_data_is_kept_by_the_template() -> None:
    resources: dict[str, Any] = template()["Resources"]

    kept = {name for name, resource in resources.items() if resource.get("DeletionPolicy") == "Retain"}

    assert kept >= KEPT | {"CallersSecret", "SessionmSecret", "BrazeSecret"}
    for name in kept:
        assert resources[name]["UpdateReplacePolicy"] == "Retain"
    holding = {"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret"}
    assert {name for name, resource in resources.items() if resource["Type"] in holding} - kept == {"CacheTable"}


def test_the_stack_goes_and_its_data_stays(stack: Stack) -> None:
    tables = {name: physical(stack, name) for name in ("LedgerTable", "ImportsTable", "CacheTable")}
    queue = physical(stack, "TagQueue")
    bucket = fill(stack)

    status, shown = destroyed(stack, False, Typed("y"))

    assert status == 0
    assert {name: is_there(stack, "table", table) for name, table in tables.items()} == {
        "LedgerTable": True,
        "ImportsTable": True,
        "CacheTable": False,
    }
    assert is_there(stack, "bucket", bucket)
    assert not is_there(stack, "queue", queue)
    assert not is_there(stack, "stack", stack.name)
    assert "Its data stays:" in shown
    assert f"LedgerTable: {tables['LedgerTable']}" in shown


def test_with_data_the_name_is_typed_and_all_of_it_goes(stack: Stack) -> None:
    kept = {each.logical_id: each.name for each in retained(stack)}
    bucket = fill(stack)
    typed = Typed(f" {stack.name} ")

    status, shown = destroyed(stack, True, typed)

    assert status == 0
    assert kept.keys() == KEPT
    assert stack.name in typed.prompts[0]
    assert not is_there(stack, "bucket", bucket)
    assert not any(is_there(stack, "table", name) for name in kept.values() if name != bucket)
    assert "ImportBucket is deleted" in shown


@pytest.mark.parametrize(("with_data", "answer"), [(False, ""), (False, "n"), (True, "y"), (True, "yes"), (True, "")])
def test_another_word_deletes_nothing(stack: Stack, with_data: bool, answer: str) -> None:
    status, shown = destroyed(stack, with_data, Typed(answer))

    assert status == 1
    assert "Nothing was deleted." in shown
    assert is_there(stack, "stack", stack.name)
    assert is_there(stack, "table", physical(stack, "LedgerTable"))


def test_messages_that_would_be_lost_are_counted_first(stack: Stack) -> None:
    stack.client("sqs").send_message(QueueUrl=physical(stack, "TagDeadLetterQueue"), MessageBody="{}")

    assert messages_of(stack) == {"TagDeadLetterQueue": 1}
    _, shown = destroyed(stack, False, Typed("n"))
    assert "1 messages wait in TagDeadLetterQueue, and go with it." in shown


def test_secrets_are_deleted_so_that_they_can_be_restored(aws: Aws) -> None:
    arn = aws.secretsmanager.create_secret(Name=f"{aws.name}-callers", SecretString="{}")["ARN"]
    session = boto3.Session(region_name="us-east-1")

    delete(Stack("any", "any", session), Kept("CallersSecret", "AWS::SecretsManager::Secret", arn))

    assert "DeletedDate" in aws.secretsmanager.describe_secret(SecretId=arn)
    aws.secretsmanager.restore_secret(SecretId=arn)
    assert aws.secretsmanager.get_secret_value(SecretId=arn)["SecretString"] == "{}"


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"DATA": "everything", "STACK": "x"}, "DATA=delete deletes the data"),
        ({"STACK": "no-such-stack", "AWS_REGION": "us-east-1"}, "the stack no-such-stack in us-east-1 cannot be found"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_a_wish_that_cannot_be_met_is_refused_in_words(environment: dict[str, str], told: str) -> None:
    console = Console(file=io.StringIO(), width=300)

    assert run(environment, Typed("y"), console) == 2
    assert isinstance(console.file, io.StringIO)
    assert told in console.file.getvalue()


def test_without_a_terminal_nothing_is_deleted(stack: Stack) -> None:
    with pytest.raises(CannotRun, match="nobody to ask"):
        destroy(stack, False, None, Console(file=io.StringIO()))
    assert is_there(stack, "stack", stack.name)
