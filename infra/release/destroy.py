"""`make destroy`: the stack goes, its data stays. DATA=delete takes the data as well, after the stack's name is typed.

What is kept is what the template marks with `DeletionPolicy: Retain`; there is no list of it
here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from infra.commands.stack import CannotRun, Stack, refusal, stack_of, words_of
from infra.release.answers import Ask
from infra.template import TEMPLATE_PATH, parse

# A deleted secret can be restored for so long.
_RESTORABLE_DAYS: Final = 7
_LOOK_AGAIN_SECONDS: Final = 5.0
_AT_ONCE: Final = 1_000  # objects that S3 deletes in one call

_KINDS: Final = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret")

Sleep = Callable[[float], None]


@dataclass(frozen=True)
class Kept:
    """Something that outlives its stack: `kind` as CloudFormation says it, `name` what AWS calls it."""

    logical_id: str
    kind: str
    name: str


def run(environment: Mapping[str, str], ask: Ask | None, console: Console, sleep: Sleep = time.sleep) -> int:
    """Does what the environment asks for and returns the exit code. `ask` is None without a terminal."""
    wish = environment.get("DATA", "keep").lower()
    try:
        if wish not in ("keep", "delete"):
            raise CannotRun("DATA=delete deletes the data, DATA=keep or nothing keeps it")
        stack = stack_of(environment)
        if stack.endpoint_url is not None:
            raise CannotRun("the bundle on this machine ends with Ctrl-C. Name a deployed stack: STACK=...")
        return destroy(stack, wish == "delete", ask, console, sleep)
    except CannotRun as error:
        console.print(f"{error}.", markup=False, soft_wrap=True)
        return 2
    except (KeyboardInterrupt, EOFError):
        console.print("\nStopped. To see how far it came: aws cloudformation describe-stacks")
        return 130


def destroy(stack: Stack, with_data: bool, ask: Ask | None, console: Console, sleep: Sleep = time.sleep) -> int:
    """Deletes a stack once the answer is right, else nothing. Returns the exit code. Raises `CannotRun`."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    kept = list(retained(stack))
    waiting = messages_of(stack)
    say(f"{stack.place}: its APIs, functions, queues and schedules will be deleted.")
    for queue, messages in waiting.items():
        say(f"  {messages} messages wait in {queue}, and go with it.")
    say("Its data will be deleted as well:" if with_data else "Its data stays:")
    for each in kept:
        say(f"  {each.logical_id}: {each.name}")
    if ask is None:
        raise CannotRun("there is nobody to ask, so nothing was deleted")
    if not _agreed(stack, with_data, ask):
        say("Nothing was deleted.")
        return 1
    _delete_stack(stack, sleep)
    say("The stack is deleted.")
    if with_data:
        for each in kept:
            delete(stack, each)
            say(f"  {each.logical_id} is deleted")
        say(f"For {_RESTORABLE_DAYS} days secrets can be restored: aws secretsmanager restore-secret --secret-id ...")
    return 0


def retained(stack: Stack) -> Iterator[Kept]:
    """What the template keeps, and the stack has. Raises `CannotRun`."""
    wanted = {
        logical_id
        for logical_id, resource in parse(TEMPLATE_PATH)["Resources"].items()
        if resource.get("DeletionPolicy") == "Retain"
    }
    for resource in _resources(stack):
        if resource["LogicalResourceId"] in wanted and resource["ResourceType"] in _KINDS:
            yield Kept(resource["LogicalResourceId"], resource["ResourceType"], resource["PhysicalResourceId"])


def messages_of(stack: Stack) -> dict[str, int]:
    """About how many messages wait in which queues; those that are empty are left out. Raises `CannotRun`."""
    sqs = stack.client("sqs")
    names: list[Any] = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    found = {}
    for resource in _resources(stack):
        if resource["ResourceType"] == "AWS::SQS::Queue":
            try:
                answer = sqs.get_queue_attributes(QueueUrl=resource["PhysicalResourceId"], AttributeNames=names)
            except (BotoCoreError, ClientError) as error:
                raise CannotRun(f"{resource['LogicalResourceId']} cannot be looked at: {words_of(error)}") from None
            found[resource["LogicalResourceId"]] = sum(int(answer["Attributes"][name]) for name in names)
    return {queue: messages for queue, messages in found.items() if messages}


def _resources(stack: Stack) -> list[Any]:
    try:
        pages = stack.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack.name)
        return [resource for page in pages for resource in page["StackResourceSummaries"]]
    except (BotoCoreError, ClientError) as error:
        raise CannotRun(f"{stack.place} cannot be found: {words_of(error)}") from None


def _agreed(stack: Stack, with_data: bool, ask: Ask) -> bool:
    if with_data:
        return (
            ask(f"The data cannot be had back. Type the stack's name, {stack.name}, to delete it: ").strip()
            == stack.name
        )
    return ask(f"Delete {stack.name}? [y/N] ").strip().lower() in ("y", "yes")


def _delete_stack(stack: Stack, sleep: Sleep) -> None:
    """Returns once the stack is gone. It is asked for by its id, as its name is nobody's then."""
    cloudformation = stack.client("cloudformation")
    try:
        stack_id = cloudformation.describe_stacks(StackName=stack.name)["Stacks"][0]["StackId"]
        cloudformation.delete_stack(StackName=stack_id)
        while (
            status := cloudformation.describe_stacks(StackName=stack_id)["Stacks"][0]["StackStatus"]
        ) != "DELETE_COMPLETE":
            if status == "DELETE_FAILED":
                raise CannotRun(f"CloudFormation could not delete {stack.name}; its events say what is in the way")
            sleep(_LOOK_AGAIN_SECONDS)
    except (BotoCoreError, ClientError) as error:
        raise CannotRun(refusal(error, "CloudFormation")) from None


def delete(stack: Stack, kept: Kept) -> None:
    """Deletes what a stack has left behind. Raises `CannotRun`."""
    try:
        if kept.kind == "AWS::DynamoDB::Table":
            stack.client("dynamodb").delete_table(TableName=kept.name)
        elif kept.kind == "AWS::S3::Bucket":
            s3 = stack.client("s3")
            _empty(s3, kept.name)
            s3.delete_bucket(Bucket=kept.name)
        else:
            stack.client("secretsmanager").delete_secret(SecretId=kept.name, RecoveryWindowInDays=_RESTORABLE_DAYS)
    except (BotoCoreError, ClientError) as error:
        raise CannotRun(f"{kept.logical_id} ({kept.name}) stays, {refusal(error)}") from None


def _empty(s3: Any, bucket: str) -> None:
    """Every version of every object, and what marks objects as deleted."""
    for page in s3.get_paginator("list_object_versions").paginate(
        Bucket=bucket, PaginationConfig={"PageSize": _AT_ONCE}
    ):
        listed = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if listed:
            objects: list[Any] = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed]
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
            if errors := answer.get("Errors"):
                raise CannotRun(f"{bucket} cannot be emptied: {errors[0]['Code']} for {len(errors)} objects")


def _input(prompt: str) -> str:
    return input(prompt)


if __name__ == "__main__":
    sys.exit(run(os.environ, _input if sys.stdin.isatty() else None, Console()))
