"""Schedules are made, shown and deleted where the stack keeps them, and refused when they would take tags away."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from rich.console import Console

from infra.commands.schedules import Place, listed, place_of, run, wanted_of
from infra.commands.stack import CannotRun, Stack, stack_of
from infra.commands.status import ScheduleStatus, _schedules
from infra.emulated import physical_name
from member_lists.scheduled import scheduled_job
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import FaultyAws
from tests.integration.support.schedules import message_of

NOW = 1_795_350_600.0
GROUP = physical_name("SegmentExportScheduleGroup")
DAILY = {"NAME": "gold-daily", "SEGMENT": "segment-1", "TAG": "gold, vip", "CRON": "cron(0 4 * * ? *)"}


@pytest.fixture
def local(aws: Aws, tmp_path: Path) -> Path:
    """What a bundle on this machine has written down, and its empty group of schedules."""
    scheduler = boto3.client("scheduler", endpoint_url=aws.url)
    with suppress(scheduler.exceptions.ConflictException):  # of an earlier test
        scheduler.create_schedule_group(Name=GROUP)
    for left in scheduler.list_schedules(GroupName=GROUP)["Schedules"]:
        scheduler.delete_schedule(GroupName=GROUP, Name=left["Name"])
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"aws_url": aws.url}), encoding="utf-8")
    return path


def ran(command: str, local: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    said = io.StringIO()
    return run(command, environment, Console(file=said, width=200), local), said.getvalue()


def schedules(aws: Aws) -> list[Mapping[str, Any]]:
    return listed(boto3.client("scheduler", endpoint_url=aws.url), Place(GROUP, "", "", ""))


def test_a_schedule_asks_for_the_export_with_tags_that_outlive_its_period(aws: Aws, local: Path) -> None:
    code, said = ran("put", local, {**DAILY, "ZONE": "Europe/Berlin", "LEAVERS": "yes", "ID": "external_id"})

    assert (code, "gold-daily is made" in said, "2 days" in said) == (0, True, True)
    [schedule] = schedules(aws)
    assert schedule["ScheduleExpression"] == "cron(0 4 * * ? *)"
    assert schedule["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert schedule["Target"]["Arn"].endswith(":local-import-queue")
    assert schedule["Target"]["DeadLetterConfig"]["Arn"].endswith(":local-failed-events-queue")
    job = scheduled_job(json.loads(message_of(schedule, NOW))["segment_export"], NOW)
    assert (job.options.tags, job.options.ttl_seconds, job.options.member_kind) == (
        ("gold", "vip"),
        172_800,
        "external_id",
    )
    assert job.export is not None
    assert (job.export.segment_id, job.export.schedule, job.export.lists_leavers) == ("segment-1", "gold-daily", True)


def test_two_firings_are_two_runs(aws: Aws, local: Path) -> None:
    ran("put", local, DAILY)
    [schedule] = schedules(aws)
    assert message_of(schedule, NOW) == message_of(schedule, NOW)
    assert len({message_of(schedule), message_of(schedule), message_of(schedule, NOW)}) >= 2


def test_a_schedule_of_the_same_name_is_replaced(aws: Aws, local: Path) -> None:
    ran("put", local, DAILY)
    code, said = ran("put", local, {**DAILY, "CRON": "rate(12 hours)", "TTL": "36h"})

    assert (code, "gold-daily is changed" in said) == (0, True)
    [schedule] = schedules(aws)
    assert schedule["ScheduleExpression"] == "rate(12 hours)"
    assert json.loads(schedule["Target"]["Input"])["segment_export"]["ttl"] == 129_600
    assert list(_schedules(stack_of({}, local))) == [ScheduleStatus("gold-daily", "rate(12 hours)", True)]


def test_schedules_are_listed_and_deleted(aws: Aws, local: Path) -> None:
    ran("put", local, DAILY)
    ran("put", local, {**DAILY, "NAME": "also"})

    code, said = ran("list", local, {})
    assert code == 0
    assert said.index("also") < said.index("gold-daily")
    assert "gold|vip" in said

    assert ran("delete", local, {"NAME": "also"})[0] == 0
    assert [schedule["Name"] for schedule in schedules(aws)] == ["gold-daily"]
    code, said = ran("delete", local, {"NAME": "also"})
    assert (code, "no such schedule" in said) == (2, True)
    assert ran("delete", local, {})[0] == 2


@pytest.mark.parametrize("counter", ["yes", "1", "TRUE", "visits"])
def test_a_counter_is_refused_since_each_run_would_count_again(aws: Aws, local: Path, counter: str) -> None:
    code, said = ran("put", local, {**DAILY, "COUNTER": counter})

    assert code == 2
    assert f"COUNTER={counter} is not for schedules: each run would count everybody" in said
    assert "make import FILE=" in said
    assert schedules(aws) == []


@pytest.mark.parametrize("counter", ["no", "0", ""])
def test_who_wants_no_counter_gets_none(local: Path, counter: str) -> None:
    assert ran("put", local, {**DAILY, "COUNTER": counter})[0] == 0


@pytest.mark.parametrize("ttl", ["1d", "24h", "86400", "12h"])
def test_a_ttl_that_does_not_outlast_the_period_is_refused(local: Path, ttl: str) -> None:
    code, said = ran("put", local, {**DAILY, "TTL": ttl})
    assert (code, "lose the tag between two runs" in said) == (2, True)


@pytest.mark.parametrize(
    "changed",
    [
        {"NAME": ""},
        {"NAME": "two words"},
        {"SEGMENT": ""},
        {"SEGMENT": "a/b"},
        {"TAG": " , "},
        {"CRON": ""},
        {"CRON": "daily"},
        {"TTL": "forever"},
        {"TTL": "600w0"},
        {"TTL": "999999999w"},
        {"ID": "email"},
    ],
)
def test_a_schedule_that_would_not_work_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(CannotRun):
        wanted_of({**DAILY, **changed})


def test_a_yearly_run_has_tags_of_two_years() -> None:
    assert wanted_of({**DAILY, "CRON": "cron(0 4 1 1 ? *)"}).ttl_seconds == 732 * 86_400


def test_a_stack_is_found_by_its_outputs(aws: Aws) -> None:
    cloudformation = boto3.client("cloudformation", endpoint_url=aws.url)
    names = ("SegmentExportScheduleGroupName", "ImportQueueArn", "FailedEventsQueueArn", "SegmentExportScheduleRoleArn")
    session = boto3.Session("test", "test", region_name="us-east-1")

    def stack(wanted: tuple[str, ...]) -> Stack:
        name = f"{aws.name}-{len(wanted)}"
        template = {
            "Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": name}}},
            "Outputs": {each: {"Value": f"value of {each}"} for each in wanted},
        }
        cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))

        class Deployed(Stack):
            def client(self, service: Any) -> Any:
                return boto3.client(service, endpoint_url=aws.url)

        return Deployed(name, f"the stack {name}", session)

    assert place_of(stack(names)) == Place(*(f"value of {each}" for each in names))
    with pytest.raises(CannotRun, match="deploy it anew"):
        place_of(stack(names[:2]))


def test_an_aws_that_says_no_is_quoted(local: Path, faulty_aws: FaultyAws) -> None:
    local.write_text(json.dumps({"aws_url": faulty_aws.url}), encoding="utf-8")
    faulty_aws.refuse("GET /schedules")
    code, said = ran("list", local, {})
    assert (code, "AccessDenied" in said) == (2, True)


def test_an_aws_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"aws_url": "http://127.0.0.1:9"}), encoding="utf-8")
    code, said = ran("list", path, {})
    assert (code, "127.0.0.1:9" in said) == (2, True)
