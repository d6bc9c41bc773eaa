"""The stack that a command is about: one deployed to AWS, or the bundle that `make run` keeps running on this machine.

STACK names a deployed stack. Without it the local bundle is meant while it runs, else what `make deploy` has deployed.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

from infra.emulated import REGION, STACK_NAME, physical_name

ROOT: Final = Path(__file__).resolve().parents[2]
_LOCAL_BUNDLE: Final = ROOT / ".local" / "bundle.json"
_DEPLOYMENTS: Final = (ROOT / "samconfig.local.toml", ROOT / "samconfig.toml")

# A person waits: half a minute of silence is told, where boto3's own would be five of them. No call here takes long.
PATIENCE: Final = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 2})
_SILENCE: Final = (ConnectTimeoutError, ReadTimeoutError)


class CannotRun(Exception):
    """The text says why, and what to do."""


@dataclass(frozen=True)
class Stack:
    """`place` says in words where it is. Resources go by their logical ids in template.yaml."""

    name: str
    place: str
    session: boto3.Session
    endpoint_url: str | None = None
    patience: Config = PATIENCE

    def client(self, service: Any) -> Any:
        """A boto3 client of the account that the stack is in."""
        return self.session.client(service, endpoint_url=self.endpoint_url, config=self.patience)

    def physical_id(self, logical_id: str) -> str:
        """What a resource is called in AWS: the URL of a queue, the name of a table. Raises `CannotRun`."""
        try:
            found = self.client("cloudformation").describe_stack_resource(
                StackName=self.name, LogicalResourceId=logical_id
            )
        except (BotoCoreError, ClientError) as error:
            raise CannotRun(f"{logical_id} of {self.place} cannot be found: {words_of(error)}") from None
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def outputs(self) -> dict[str, str]:
        """The stack's outputs by name. Raises `CannotRun`."""
        try:
            (found,) = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        except (BotoCoreError, ClientError) as error:
            raise CannotRun(f"{self.place} cannot be found: {words_of(error)}") from None
        return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}

    def secret_id(self, logical_id: str) -> str:
        """What Secrets Manager knows a secret by. Raises `CannotRun`."""
        if self.endpoint_url:
            return physical_name(logical_id)  # the emulated CloudFormation knows of no secret
        return self.outputs().get(f"{logical_id}Arn") or self.physical_id(logical_id)


def words_of(error: Exception) -> str:
    """What boto3 has raised, for people to read."""
    if isinstance(error, _SILENCE):
        return f"no answer, though asked twice, from {error.kwargs['endpoint_url']}, which hangs or is out of reach"
    return str(error)


def refusal(error: Exception, of: str = "AWS") -> str:
    """The same as a sentence; `of` is who was asked."""
    return f"{of} {'is silent' if isinstance(error, _SILENCE) else 'refuses'}: {words_of(error)}"


def local_bundle(path: Path = _LOCAL_BUNDLE) -> dict[str, Any] | None:
    """What `make run` has written down about the bundle on this machine; None when it is not running.

    Raises `CannotRun` when it was killed, and so could not take back what it had written.
    """
    try:
        running: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    if "process_id" in running and not _is_there(running["process_id"]):
        raise CannotRun(f"make run ended without cleaning up; start it again, or delete {path}")
    return running


def _is_there(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True


def stack_of(environment: Mapping[str, str], bundle_path: Path = _LOCAL_BUNDLE) -> Stack:
    """The stack that the environment (STACK, and AWS's own variables) means. Raises `CannotRun`."""
    name = environment.get("STACK", "")
    running = None if name else local_bundle(bundle_path)
    if running is not None:
        session = boto3.Session("local", "local", "local", region_name=REGION)
        return Stack(STACK_NAME, "the bundle on this machine", session, running["aws_url"])
    deployed = _deployment()
    name = name or deployed["stack_name"]
    try:
        session = boto3.Session(region_name=_region(environment, deployed))
    except BotoCoreError as error:
        raise CannotRun(str(error)) from None
    if session.region_name is None:
        raise CannotRun(
            f"in which region is the stack {name}? Set AWS_REGION, or start the bundle on this machine with: make run"
        )
    return Stack(name, f"the stack {name} in {session.region_name}", session)


def _region(environment: Mapping[str, str], deployed: Mapping[str, Any]) -> str | None:
    return environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or deployed.get("region")


def _deployment() -> Mapping[str, Any]:
    """The answers that `make deploy` keeps, or what it would ask with."""
    for path in _DEPLOYMENTS:
        if path.exists():
            default = tomllib.loads(path.read_text(encoding="utf-8")).get("default", {})
            found = {
                **default.get("global", {}).get("parameters", {}),
                **default.get("deploy", {}).get("parameters", {}),
            }
            if "stack_name" in found:
                return found
    raise CannotRun("no stack is named in samconfig.toml. Give STACK.")
