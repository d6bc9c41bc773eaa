"""Schedules of segment exports, which live in EventBridge Scheduler and outlive deployments.

    make schedule NAME=gold-daily SEGMENT=SEGMENT_ID TAG=gold CRON="cron(0 4 * * ? *)"
    make schedules
    make unschedule NAME=gold-daily

A schedule of the same name is replaced. Of TAG several are separated by commas. CRON takes rate(1 day) as well, in UTC
or in ZONE=Europe/Berlin. TTL=14d is how long the tags live, twice the time between two runs when it is not given.
LEAVERS=yes has each run list who left the segment since the last one. ID=external_id says that the external_id in Braze
is an external id at SessionM too, instead of SessionM's own user id. COUNTER is refused: each run would count everybody
in the segment once more.

Which stack: see `infra.commands.stack`. On this machine nothing fires by itself.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from bulk.rows import MAX_TTL_SECONDS, ttl_seconds_of
from infra.commands.periods import Unclear, default_ttl_seconds, longest_period_seconds, spelled
from infra.commands.stack import CannotRun, Stack, stack_of, words_of
from infra.commands.wishes import NO, said_yes, tags_of
from infra.emulated import ACCOUNT_ID, REGION, physical_name
from shared.errors import InvalidInput

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

# What EventBridge Scheduler replaces by the moment a run was due: the same when it sends one twice, unlike its
# execution id, which is another for each attempt (its page on context attributes).
_SCHEDULED_TIME: Final = "<aws.scheduler.scheduled-time>"

# A run that cannot be sent for a day is worth no more than the next one.
_RETRY_POLICY: Final = {"MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 86_400}


@dataclass(frozen=True)
class Place:
    """Where a stack's schedules are, where they send to, where that ends when it fails, and as whom."""

    group: str
    queue_arn: str
    failed_events_arn: str
    role_arn: str


@dataclass(frozen=True)
class Wanted:
    """One schedule; `expression` and `zone` are EventBridge Scheduler's."""

    name: str
    expression: str
    zone: str
    segment_id: str
    tags: Sequence[str]
    ttl_seconds: int
    member_kind: str
    lists_leavers: bool


def wanted_of(environment: Mapping[str, str]) -> Wanted:
    """What the environment asks for; raises `CannotRun` when it cannot be had, or would not do what is meant."""
    name, segment_id = environment.get("NAME", ""), environment.get("SEGMENT", "")
    expression = environment.get("CRON", "").strip()
    tags = tags_of(environment)
    if not (name and segment_id and tags and expression):
        raise CannotRun(
            'which one? As in: make schedule NAME=gold-daily SEGMENT=SEGMENT_ID TAG=gold CRON="cron(0 4 * * ? *)"'
        )
    if not _NAME.match(name):
        raise CannotRun("NAME is 1 to 64 letters, digits, hyphens, underscores or points")
    if not _SEGMENT.match(segment_id):
        raise CannotRun("SEGMENT is the API id that Braze shows for the segment")
    counter = environment.get("COUNTER", "").strip()
    if counter and counter.lower() not in NO:
        raise CannotRun(
            f"COUNTER={counter} is not for schedules: each run would count everybody in the "
            "segment once more. Leave it out, and the tags live for TTL; to count once, import a file: "
            "make import FILE=members.csv TAG=visits COUNTER=yes"
        )
    member_kind = environment.get("ID", "") or "user_id"
    if member_kind not in ("user_id", "external_id"):
        raise CannotRun("ID is user_id or external_id: what the external_id in Braze is at SessionM")
    try:
        period_seconds = longest_period_seconds(expression)
    except Unclear as error:
        raise CannotRun(str(error)) from None
    return Wanted(
        name,
        expression,
        environment.get("ZONE", "") or "UTC",
        segment_id,
        tags,
        _ttl_seconds(environment.get("TTL", ""), period_seconds),
        member_kind,
        said_yes(environment, "LEAVERS"),
    )


def _ttl_seconds(text: str, period_seconds: int) -> int:
    if not text.strip():
        return min(default_ttl_seconds(period_seconds), MAX_TTL_SECONDS)
    try:
        seconds = ttl_seconds_of(text)
    except InvalidInput as error:
        raise CannotRun(f"TTL={text.strip()}: {error.message}. {error.hint}") from None
    if seconds <= period_seconds:
        raise CannotRun(
            f"with TTL={text.strip()} members would lose the tag between two runs, which can be "
            f"{spelled(period_seconds)} apart. Give more than that, or leave TTL out for "
            f"{spelled(default_ttl_seconds(period_seconds))}"
        )
    return seconds


def put(scheduler: Any, place: Place, wanted: Wanted) -> bool:
    """Makes the schedule, or changes the one of that name; returns whether it is new."""
    message = {
        "segment_export": {
            "segment_id": wanted.segment_id,
            "tags": list(wanted.tags),
            "ttl": wanted.ttl_seconds,
            "member_kind": wanted.member_kind,
            "leavers": wanted.lists_leavers,
            "schedule": wanted.name,
            "scheduled_time": _SCHEDULED_TIME,
        }
    }
    schedule: Any = {
        "GroupName": place.group,
        "Name": wanted.name,
        "Description": f"Segment {wanted.segment_id} becomes {'|'.join(wanted.tags)}"[:512],
        "ScheduleExpression": wanted.expression,
        "ScheduleExpressionTimezone": wanted.zone,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": place.queue_arn,
            "RoleArn": place.role_arn,
            "Input": json.dumps(message),
            "DeadLetterConfig": {"Arn": place.failed_events_arn},
            "RetryPolicy": _RETRY_POLICY,
        },
    }
    try:
        scheduler.create_schedule(**schedule)
        return True
    except scheduler.exceptions.ConflictException:
        scheduler.update_schedule(**schedule)
        return False


def listed(scheduler: Any, place: Place) -> list[Mapping[str, Any]]:
    """The stack's schedules as EventBridge Scheduler describes them, by name."""
    pages = scheduler.get_paginator("list_schedules").paginate(GroupName=place.group)
    names = sorted(each["Name"] for page in pages for each in page["Schedules"])
    return [scheduler.get_schedule(GroupName=place.group, Name=name) for name in names]


def place_of(stack: Stack) -> Place:
    """Raises `CannotRun` when the stack has no schedules."""
    if stack.endpoint_url:
        return Place(
            physical_name("SegmentExportScheduleGroup"),
            f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{physical_name('ImportQueue')}",
            f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{physical_name('FailedEventsQueue')}",
            f"arn:aws:iam::{ACCOUNT_ID}:role/{physical_name('SegmentExportScheduleRole')}",
        )
    outputs = stack.outputs()
    try:
        return Place(
            outputs["SegmentExportScheduleGroupName"],
            outputs["ImportQueueArn"],
            outputs["FailedEventsQueueArn"],
            outputs["SegmentExportScheduleRoleArn"],
        )
    except KeyError as error:
        raise CannotRun(f"{stack.place} has no output {error.args[0]}; deploy it anew with: make deploy") from None


def run(command: str, environment: Mapping[str, str], console: Console, bundle_path: Path | None = None) -> int:
    """Does what is asked for and returns the exit code; `command` is put, list or delete."""
    try:
        wanted = wanted_of(environment) if command == "put" else None
        name = environment.get("NAME", "")
        if command == "delete" and not name:
            raise CannotRun("which one? As in: make unschedule NAME=gold-daily")
        stack = stack_of(environment, bundle_path) if bundle_path else stack_of(environment)
        place, scheduler = place_of(stack), stack.client("scheduler")
        console.print(f"in {stack.place}", markup=False)
        if wanted is not None:
            is_new = put(scheduler, place, wanted)
            console.print(
                f"{wanted.name} is {'made' if is_new else 'changed'}: {wanted.expression}, {wanted.zone}; tags live "
                f"{spelled(wanted.ttl_seconds)}",
                markup=False,
                soft_wrap=True,
            )
        elif command == "delete":
            scheduler.delete_schedule(GroupName=place.group, Name=name)
            console.print(f"{name} is gone; tags it gave last until their ttl is over", markup=False)
        else:
            _show(listed(scheduler, place), console)
        return 0
    except CannotRun as error:
        console.print(str(error), markup=False, soft_wrap=True)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        told = "there is no such schedule; see make schedules" if code == "ResourceNotFoundException" else str(error)
        console.print(told, markup=False, soft_wrap=True)
    except BotoCoreError as error:
        console.print(words_of(error), markup=False, soft_wrap=True)
    return 2


def _show(schedules: Sequence[Mapping[str, Any]], console: Console) -> None:
    table = Table("name", "segment", "tags", "ttl", "when", "state", title="scheduled segment exports")
    for column in table.columns:
        column.overflow = "fold"
    for schedule in schedules:
        asked = json.loads(schedule["Target"]["Input"])["segment_export"]
        table.add_row(
            schedule["Name"],
            asked["segment_id"],
            "|".join(asked["tags"]),
            spelled(asked["ttl"]),
            f"{schedule['ScheduleExpression']} {schedule.get('ScheduleExpressionTimezone', 'UTC')}",
            schedule.get("State", "ENABLED").lower(),
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], os.environ, Console()))
