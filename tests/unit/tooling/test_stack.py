"""What commands know of a stack, and what they do when AWS says nothing.

They wait for a person's patience and no longer, and say who is silent.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from infra.commands.intake_api import intake_of
from infra.commands.redrive import depth
from infra.commands.stack import PATIENCE, ROOT, CannotRun, Stack, local_bundle, refusal, stack_of, words_of
from infra.local.invoke import CannotInvoke, _running_bundle
from infra.release import destroy
from tests.integration.support.sockets import not_accepting, serving

SOON = PATIENCE.merge(Config(connect_timeout=0.1, read_timeout=0.1))
MOST_SECONDS = 5


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Stack]:
    """A bundle on this machine whose AWS takes connections and never answers, as a stopped process does."""
    path = tmp_path / "bundle.json"
    with serving(lambda connection: [*iter(lambda: connection.recv(65_536), b"")].clear()) as url:
        path.write_text(json.dumps({"aws_url": url}), encoding="utf-8")
        yield replace(stack_of({}, path), patience=SOON)


def test_every_client_of_a_stack_waits_for_half_a_minute_at_most(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    path.write_text('{"aws_url": "http://127.0.0.1:9"}', encoding="utf-8")

    for stack in (stack_of({}, path), stack_of({"STACK": "mine", "AWS_REGION": "eu-west-1"}, path)):
        config = stack.client("sqs").meta.config
        tries = config.retries["total_max_attempts"]
        assert (config.connect_timeout, config.read_timeout, tries) == (5, 15, 2)
        assert tries * config.read_timeout <= 30


@pytest.fixture
def gone() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_a_bundle_that_was_killed_is_told_at_once_and_a_stack_that_is_named_is_asked_all_the_same(
    tmp_path: Path, gone: int
) -> None:
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"process_id": gone, "aws_url": "http://127.0.0.1:9"}), encoding="utf-8")

    for ask in (local_bundle, lambda path: stack_of({}, path), lambda path: intake_of({}, path)):
        with pytest.raises(CannotRun, match="make run ended without cleaning up; start it again"):
            ask(path)
    with pytest.raises(CannotInvoke, match="make run ended without cleaning up; start it again"):
        _running_bundle(path)
    assert stack_of({"STACK": "mine", "AWS_REGION": "eu-west-1"}, path).endpoint_url is None


def test_one_function_is_invoked_at_a_bundle_that_runs_and_at_no_other(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    with pytest.raises(CannotInvoke, match="not running on this machine; start it with: make run"):
        _running_bundle(path)

    path.write_text(json.dumps({"process_id": os.getpid()}), encoding="utf-8")
    assert _running_bundle(path) == {"process_id": os.getpid()}


@pytest.mark.parametrize(
    "process_id", [os.getpid(), 1], ids=["this one", "the first"]
)  # which is another user's, or ours
def test_a_bundle_whose_process_is_there_is_meant(tmp_path: Path, process_id: int) -> None:
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"process_id": process_id, "aws_url": "http://127.0.0.1:9"}), encoding="utf-8")

    assert stack_of({}, path).endpoint_url == "http://127.0.0.1:9"


def test_a_process_that_may_not_be_asked_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"process_id": 1}), encoding="utf-8")
    monkeypatch.setattr(os, "kill", refuse)

    assert local_bundle(path) == {"process_id": 1}


def test_without_a_region_and_a_bundle_both_ways_on_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    with pytest.raises(CannotRun, match=r"Set AWS_REGION, or start the bundle on this machine with: make run"):
        stack_of({"STACK": "mine"}, tmp_path / "nothing")


@pytest.mark.parametrize(
    "ask",
    [
        lambda stack: stack.physical_id("TagQueue"),
        lambda stack: stack.outputs(),
        lambda stack: depth(stack.client("sqs"), f"{stack.endpoint_url}/1/queue"),
        lambda stack: list(destroy.retained(stack)),
        lambda stack: destroy.delete(stack, destroy.Kept("LedgerTable", "AWS::DynamoDB::Table", "table")),
    ],
    ids=["a resource", "outputs", "a queue", "what is kept", "a table"],
)
def test_silence_is_told_as_silence_and_soon(silent: Stack, ask: Callable[[Stack], object]) -> None:
    began = time.monotonic()

    with pytest.raises(
        CannotRun, match=r"no answer, though asked twice, from http://127\.0\.0\.1:.*hangs or is out of"
    ):
        ask(silent)
    assert time.monotonic() - began < MOST_SECONDS


def test_a_connection_that_is_never_made_is_silence_too() -> None:
    with not_accepting() as url:
        stack = Stack("mine", "the stack mine", boto3.Session("a", "b", region_name="us-east-1"), url, SOON)
        with pytest.raises(CannotRun, match="no answer, though asked twice"):
            stack.outputs()


def test_a_refusal_keeps_its_words() -> None:
    refused = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetItem")

    assert words_of(refused) == str(refused)
    assert refusal(refused) == f"AWS refuses: {refused}"
    for silence in (ConnectTimeoutError, ReadTimeoutError):
        assert refusal(silence(endpoint_url="https://sqs", error=""), "SQS").startswith("SQS is silent: no answer")


class Deployed(Stack):
    """A stack on AWS that tells of one secret in its outputs."""

    def outputs(self) -> dict[str, str]:
        return {"CallersSecretArn": "arn of the output"}

    def physical_id(self, logical_id: str) -> str:
        return f"arn of {logical_id}"


def test_a_secret_goes_by_its_output_or_its_resource_and_by_its_name_where_aws_is_emulated() -> None:
    session = boto3.Session("test", "test", region_name="eu-west-1")
    deployed, local = Deployed("mine", "mine", session), Deployed("local", "here", session, "http://127.0.0.1:9")

    assert deployed.secret_id("CallersSecret") == "arn of the output"
    assert deployed.secret_id("LogKeySecret") == "arn of LogKeySecret"
    assert local.secret_id("CallersSecret") == "local-callers-secret"


def test_what_works_on_deployed_stacks_needs_no_emulator() -> None:
    files = [path for folder in ("", "commands", "release") for path in (ROOT / "infra" / folder).glob("*.py")]
    nodes = [(path.name, node) for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    imported = {
        *((name, node.module or "") for name, node in nodes if isinstance(node, ast.ImportFrom)),
        *((name, each.name) for name, node in nodes if isinstance(node, ast.Import) for each in node.names),
    }

    assert ("callers.py", "infra.template") in imported
    assert not {(name, module) for name, module in imported if module.startswith("infra.local")}
