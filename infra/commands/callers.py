"""Who may call the bundle: callers are made, given new keys, listed and removed in the stack's callers secret.

    make caller NAME=braze-content ALLOWS="GET /wallet/*, POST /wallet"
    make caller NAME=braze-content                        a new key; the former works on for CallerRotationSeconds
    make caller NAME=braze-content NOW=yes                a new key; the former ones end now, as after a leak
    make caller NAME=braze-content SOURCES=braze-us-01 KEEP=yes       the same key
    make caller NAME=operator ALLOWS="*" FILE=caller.conf
    make caller NAME=braze-content REMOVE=yes
    make callers

ALLOWS are routes, separated by commas, with a * at the end for any rest. SOURCES are networks and names of the lists in
functions/authorizer/braze_addresses.json; SOURCES=anywhere takes the rule away. What is not given stays as it was.

The key is shown this once, or written to FILE for `curl -K`; the secret holds its digest. The secret is changed only
if it is still what was read, so that two people who do this at once lose nothing of each other's.

Which stack: see `infra.commands.stack`. AWS must allow GetSecretValue, PutSecretValue and UpdateSecretVersionStage.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from authorizer.callers import fits
from authorizer.sources import networks_of, published
from infra.commands.callers_secret import CallersSecret, Unknown, Wanted, put
from infra.commands.stack import CannotRun, Stack, local_bundle, stack_of, words_of
from infra.commands.wishes import said_yes
from infra.template import TEMPLATE_PATH, parse
from shared.errors import ConfigurationError

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_KEY_BYTES: Final = 32  # 256 bits
_ANYWHERE: Final = "anywhere"

# --- what is asked for ------------------------------------------------------------------------------------------------


def wanted_of(environment: Mapping[str, str], routes: Mapping[str, Sequence[str]]) -> Wanted:
    """What the environment asks for; raises `CannotRun` for routes that do not exist and sources that mean nothing."""
    name = environment.get("NAME", "")
    if not name:
        raise CannotRun('which one? As in: make caller NAME=braze-content ALLOWS="GET /wallet/*, POST /wallet"')
    if not _NAME.match(name):
        raise CannotRun("NAME is 1 to 64 letters, digits, hyphens or underscores")
    allows, sources = _listed(environment, "ALLOWS"), _listed(environment, "SOURCES")
    for pattern in allows or ():
        if not any(fits(route, pattern) for api in routes.values() for route in api):
            raise CannotRun(f"ALLOWS: no route is {pattern}. Routes are {_spelled(routes)}")
    if sources == [_ANYWHERE]:
        sources = []
    for source in sources or ():
        _check_source(source)
    keeps, at_once, removes = (said_yes(environment, name) for name in ("KEEP", "NOW", "REMOVE"))
    if keeps and at_once:
        raise CannotRun("KEEP=yes and NOW=yes: a key that ends must be replaced. Leave one of them out")
    if removes and (keeps or at_once or allows is not None or sources is not None):
        raise CannotRun("REMOVE=yes goes with NAME alone")
    return Wanted(name, allows, sources, keeps, at_once, removes)


@cache
def routes_by_api(template: Path = TEMPLATE_PATH) -> dict[str, list[str]]:
    """The routes that ask for a caller, as in "POST /tags", by the logical id of their API."""
    found: dict[str, list[str]] = {}
    for resource in parse(template)["Resources"].values():
        for event in resource.get("Properties", {}).get("Events", {}).values():
            route = event["Properties"]
            if event["Type"] == "HttpApi" and route.get("Auth", {}).get("Authorizer") != "NONE":
                found.setdefault(route["ApiId"]["Ref"], []).append(f"{route['Method']} {route['Path']}")
    return found


def _listed(environment: Mapping[str, str], name: str) -> list[str] | None:
    given = [part.strip() for part in environment.get(name, "").split(",") if part.strip()]
    return list(dict.fromkeys(given)) or None


def _check_source(source: str) -> None:
    try:
        networks_of(source)
    except ConfigurationError:
        raise CannotRun(
            f"SOURCES: {source} is neither an address, nor a network as in 203.0.113.0/24, nor one of "
            f"{', '.join(sorted(published()))}"
        ) from None


def _spelled(routes: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(sorted({route for api in routes.values() for route in api}))


# --- the command ------------------------------------------------------------------------------------------------------


def run(
    command: str,
    environment: Mapping[str, str],
    console: Console,
    bundle_path: Path | None = None,
    draw: Callable[[int], str] = secrets.token_urlsafe,
) -> int:
    """Does what is asked for and returns the exit code; `command` is put or list."""
    try:
        routes = routes_by_api()
        wanted = wanted_of(environment, routes) if command == "put" else None
        stack = stack_of(environment, bundle_path) if bundle_path else stack_of(environment)
        secret = CallersSecret(stack.client("secretsmanager"), stack.secret_id("CallersSecret"))
        if wanted is None:
            return _list(secret, stack, console)
        addresses = _addresses(stack, bundle_path)  # asked for now: what fails after the change would lose the key
        key = draw(_KEY_BYTES)
        lost = ""
        with _KeyFile(environment.get("FILE", ""), wanted, key) as file:
            try:
                caller = put(secret, wanted, key).get(wanted.name)
                file.keep()
            except Unknown as error:
                if wanted.removes or wanted.keeps_key:
                    raise
                caller = error.callers[wanted.name]
                lost = f"{error}. Should the former key of {wanted.name} have ended, this is the one in force"
            except OSError as error:
                lost = f"{file.path} cannot be written: {error.strerror}. The key is in force, and shown here instead"
        console.print(f"in {stack.place}", markup=False)
        if caller is None:
            console.print(
                f"{wanted.name} is removed; it may get in for some minutes, see docs/security.md", markup=False
            )
        elif wanted.keeps_key:
            console.print(f"{wanted.name} is changed and keeps its key", markup=False)
        elif file.path and not lost:
            console.print(
                f"the key of {wanted.name} is in {file.path}, for curl -K {file.path}", markup=False, soft_wrap=True
            )
        else:
            if lost:
                console.print(lost, markup=False, soft_wrap=True)
            _show_key(wanted, key, caller["allows"], routes, addresses, console)
        return 2 if lost else 0
    except (CannotRun, Unknown) as error:
        console.print(str(error), markup=False, soft_wrap=True)
    except (BotoCoreError, ClientError, OSError) as error:
        console.print(f"this did not work: {words_of(error)}", markup=False, soft_wrap=True)
    return 2


class _KeyFile:
    """A file for curl -K that only its owner can read. It takes its name when the key is in force, and not before."""

    def __init__(self, path: str, wanted: Wanted, key: str) -> None:
        self.path = path if not (wanted.removes or wanted.keeps_key) else ""
        self._draft = f"{path}.{uuid.uuid4().hex}"
        self._line = f'user = "{wanted.name}:{key}"\n'

    def __enter__(self) -> _KeyFile:
        if self.path:
            try:
                self._reserve()
            except OSError as error:
                self.__exit__()
                raise CannotRun(f"{self.path} cannot be written: {error.strerror}; no key was changed") from None
        return self

    def _reserve(self) -> None:
        """Does beforehand whatever can fail, so that nothing but a name is left to be changed."""
        path = Path(self.path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no file")
        with open(os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as draft:
            draft.write(self._line)

    def keep(self) -> None:
        if self.path:
            os.replace(self._draft, self.path)

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            os.unlink(self._draft)


def _addresses(stack: Stack, bundle_path: Path | None) -> dict[str, str]:
    """Where the APIs are, by their logical ids."""
    if stack.endpoint_url:
        running = (local_bundle(bundle_path) if bundle_path else local_bundle()) or {}
        return {"ContentApi": running.get("content_url", ""), "IntakeApi": running.get("intake_url", "")}
    outputs = stack.outputs()
    return {api: outputs.get(f"{api}Url", "") for api in ("ContentApi", "IntakeApi")}


def _show_key(
    wanted: Wanted,
    key: str,
    allows: Sequence[str],
    routes: Mapping[str, Sequence[str]],
    addresses: Mapping[str, str],
    console: Console,
) -> None:
    def may_call(api: str) -> bool:
        return any(fits(route, pattern) for route in routes[api] for pattern in allows)

    said = [f"The key of {wanted.name}, shown this once: paste it now. It is good within a minute."]
    if may_call("ContentApi"):
        said += [
            f"Connected Content, {addresses['ContentApi']}",
            "  in Braze, Settings > Connected Content, a credential with basic authentication:",
            f"  user name  {wanted.name}",
            f"  password   {key}",
        ]
    if may_call("IntakeApi"):
        said += [
            f"A Braze webhook campaign or a SessionM message template, {addresses['IntakeApi']}",
            "  a request header:",
            f"  Authorization: Bearer {key}",
        ]
    if not wanted.ends_former_keys:
        said.append("A former key works on for CallerRotationSeconds. NOW=yes would end it.")
    for line in said:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _list(secret: CallersSecret, stack: Stack, console: Console) -> int:
    current = secret.current()
    table = Table("name", "may call", "from", "key", title=f"callers in {stack.place}")
    for column in table.columns:
        column.overflow = "fold"
    table.columns[1].no_wrap = True  # a route is on one line, though the terminal be narrow
    for name, caller in sorted(current.callers.items() if current else ()):
        former = [f"replaced {_moment(each['replaced_at'])}" for each in caller.get("former", [])]
        table.add_row(
            name,
            "\n".join(caller["allows"]),
            "\n".join(caller.get("sources", [_ANYWHERE])),
            "\n".join(["digest" if "key_sha256" in caller else "plain", *former]),
        )
    console.print(table)
    return 0


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], os.environ, Console()))
