"""What members are called in logs: the same for the same member, nothing without the key, and nobody waits for it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from rich.console import Console

from infra.commands import member_hash as command
from infra.commands.stack import Stack
from infra.emulated import physical_name
from shared import aws as clients
from shared.members import MemberHashes, member_hash
from tag_import.webhook import build as build_webhook
from tests.integration.support.aws import LOG_KEY, Aws
from tests.integration.support.events import Invoked, post
from tests.integration.support.faulty_aws import FaultyAws
from trigger_relay.events import build as build_events
from trigger_relay.intake import build as build_intake

LINE = re.compile(r'^\{.*"message": ?"request".*$', re.MULTILINE)


def line_of(capsys: pytest.CaptureFixture[str], handle: Invoked, route: str, body: Any) -> dict[str, Any]:
    """The line that the request writes."""
    capsys.readouterr()
    assert post(handle, route, body).status == 202
    [line] = LINE.findall(capsys.readouterr().out)
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_member_has_one_hash_for_each_key_whatever_the_case_of_an_address() -> None:
    assert re.fullmatch("[0-9a-f]{12}", member_hash("key", "LC-100001"))
    assert member_hash("key", " LC-100001 ") == member_hash("key", "LC-100001")
    assert member_hash("key", "Ada@Example.com") == member_hash("key", "ada@example.com")
    assert member_hash("key", "LC-100001") != member_hash("key", "lc-100001")
    assert member_hash("key", "LC-100001") != member_hash("another", "LC-100001")


def test_what_comes_in_is_logged_with_the_hashes_of_its_members(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    tag = {"tags": ["gold"], "ttl": 60}
    webhook, intake, events = (
        build(aws.settings(TRACKED_EVENTS="offer_issued")) for build in (build_webhook, build_intake, build_events)
    )
    rows = {"rows": [{**tag, "user_id": "member-1"}, {**tag, "external_id": "loyal-1"}]}
    trigger = {"campaign_id": "campaign-1", "recipients": [{"user_id": "member-1"}, {"email": "Ada@example.com"}]}

    tagged = line_of(capsys, webhook, "POST /tags", rows)
    triggered = line_of(capsys, intake, "POST /triggers", trigger)
    tracked = line_of(capsys, events, "POST /events", {"event name": "offer_issued", "user_id": "member-1"})

    hashes = {name: member_hash(LOG_KEY, name) for name in ("member-1", "loyal-1", "ada@example.com")}
    assert tagged["member_hashes"] == f"{hashes['member-1']} {hashes['loyal-1']}"
    assert triggered["member_hashes"] == f"{hashes['member-1']} {hashes['ada@example.com']}"
    assert tracked["member_hashes"] == hashes["member-1"]


def test_of_many_members_the_first_ten_are_named(aws: Aws) -> None:
    hashes = MemberHashes(clients.secretsmanager(), aws.secret_id("log-key"))

    assert len(hashes.of(f"member-{number // 2}" for number in range(40)).split()) == 10


def test_a_key_that_cannot_be_read_costs_no_request_and_is_asked_for_once_a_minute(
    faulty_aws: FaultyAws, aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty_aws.refuse("GetSecretValue")
    now = 0.0
    hashes = MemberHashes(clients.secretsmanager(), aws.secret_id("log-key"), lambda: now)

    assert [hashes.of(["member-1"]) for _ in range(3)] == ["", "", ""]
    assert faulty_aws.calls.count("GetSecretValue") == 1
    assert "members not named" in capsys.readouterr().out
    faulty_aws.heal()
    now = 61.0
    assert hashes.of(["member-1"]) == member_hash(LOG_KEY, "member-1")


@pytest.mark.parametrize("held", ["", "{}", '"secret-text"'])
def test_a_secret_of_another_shape_is_never_quoted(aws: Aws, capsys: pytest.CaptureFixture[str], held: str) -> None:
    aws.put_secret("log-key", held) if held else aws.leave_empty("log-key")
    hashes = MemberHashes(clients.secretsmanager(), f"{aws.name}-log-key")

    assert hashes.of(["member-1"]) == ""
    told = capsys.readouterr().out
    assert "members not named" in told
    assert "secret-text" not in told


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_says_the_hash_that_the_logs_have(aws: Aws, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.json"
    bundle.write_text(json.dumps({"aws_url": aws.url}), encoding="utf-8")
    secret = {"SecretId": physical_name("LogKeySecret")}

    def run(member: str) -> tuple[int, str]:
        told = io.StringIO()
        return command.run({"MEMBER": member}, Console(file=told, width=200), bundle), told.getvalue()

    assert run("LC-100001")[0] == 2
    aws.secretsmanager.create_secret(Name=secret["SecretId"], SecretString=json.dumps({"key": LOG_KEY}))
    code, told = run(" LC-100001 ")
    assert (code, told.split()[0]) == (0, member_hash(LOG_KEY, "LC-100001"))
    assert f"grep {member_hash(LOG_KEY, 'LC-100001')} .local/logs/*.log" in told
    assert run("")[0] == 2
    aws.secretsmanager.put_secret_value(**secret, SecretString="none")
    code, told = run("LC-100001")
    assert (code, "holds no key" in told) == (2, True)
    aws.secretsmanager.delete_secret(SecretId=secret["SecretId"], ForceDeleteWithoutRecovery=True)


def test_a_deployed_stack_is_searched_by_a_query() -> None:
    stack = Stack("bundle", "the stack bundle in eu-west-1", boto3.Session(region_name="eu-west-1"))

    told = command.where_to_look(stack, "0123456789ab")

    assert told.startswith("in the logs of the stack bundle in eu-west-1: fields @timestamp")
    assert told.endswith("| filter member_hashes like /0123456789ab/")
