"""`make member-hash MEMBER=...`: what a member is called in the logs of a stack, to look for their events.

MEMBER is what a request names them by: a user id, an external id, an alias or an email address. It is sent nowhere; AWS
must allow GetSecretValue on LogKeySecret, without which nobody can say whom a hash stands for.

Which stack: see `infra.commands.stack`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from infra.commands.stack import CannotRun, Stack, stack_of, words_of
from shared.members import LogKey, member_hash

_SECRET = "LogKeySecret"


def run(environment: Mapping[str, str], console: Console, bundle_path: Path | None = None) -> int:
    """Prints the hash, and where to look for it; returns the exit code."""
    member = environment.get("MEMBER", "").strip()
    try:
        if not member:
            raise CannotRun("which member? As in: make member-hash MEMBER=LC-100001")
        stack = stack_of(environment, bundle_path) if bundle_path else stack_of(environment)
        found = member_hash(_key_of(stack), member)
    except CannotRun as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2
    console.print(found, markup=False, highlight=False)
    console.print(where_to_look(stack, found), markup=False, highlight=False, soft_wrap=True)
    return 0


def where_to_look(stack: Stack, found: str) -> str:
    """How a hash is found in the logs of a stack: a query of CloudWatch, or a search of the files of `make run`."""
    if stack.endpoint_url:
        return f"in the logs of {stack.place}: grep {found} .local/logs/*.log"
    return (
        f"in the logs of {stack.place}: fields @timestamp, service, route, correlation_id, trigger_id, event_id,"
        f" import_id | filter member_hashes like /{found}/"
    )


def _key_of(stack: Stack) -> str:
    secret_id = stack.secret_id(_SECRET)
    try:
        held = stack.client("secretsmanager").get_secret_value(SecretId=secret_id).get("SecretString", "")
        return msgspec.json.decode(held, type=LogKey).key
    except (BotoCoreError, ClientError) as error:
        raise CannotRun(f"{_SECRET} of {stack.place} cannot be read: {words_of(error)}") from None
    except msgspec.DecodeError:
        raise CannotRun(f"{_SECRET} of {stack.place} holds no key") from None


if __name__ == "__main__":
    sys.exit(run(os.environ, Console()))
