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

Which stack: see `infra.stack`. AWS must allow GetSecretValue, PutSecretValue and UpdateSecretVersionStage.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from authorizer.callers import Callers, digest_of, fits
from authorizer.sources import networks_of, published
from infra.local.aws import physical_name
from infra.local.template import TEMPLATE_PATH, parse
from infra.stack import CannotRun, Stack, local_bundle, stack_of
from infra.wishes import said_yes
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_KEY_BYTES: Final = 32  # 256 bits
_ANYWHERE: Final = "anywhere"

# The longest that CallerRotationSeconds can be, after which no key of this age works any more.
_LONGEST_ROTATION_SECONDS: Final = 604_800
_MOST_FORMER_KEYS: Final = 10

_TRIES: Final = 5


class Changed(Exception):
    """The secret has another value than the one that was read."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for one caller. `allows` and `sources` are None for what it has, empty `sources` for anywhere."""

    name: str
    allows: list[str] | None = None
    sources: list[str] | None = None
    keeps_key: bool = False
    ends_former_keys: bool = False
    removes: bool = False


@dataclass(frozen=True)
class Version:
    """A version of the secret: its callers as JSON has them, and by AWS's clock when it was put in and when read."""

    callers: dict[str, Any]
    id: str
    created_at: float
    read_at: float


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


# --- the change -------------------------------------------------------------------------------------------------------


def changed(current: Version, previous: Mapping[str, Any], wanted: Wanted, key: str) -> dict[str, Any]:
    """The callers as they are to be: `previous` are those of the version before, for what is still being rotated.

    Callers whose former key only the version before knows get it into their own lists, or this change would end it.
    Raises `CannotRun` when the caller is not there, or would be the last to go.
    """
    callers = {name: _with_former(name, caller, current, previous) for name, caller in current.callers.items()}
    old = callers.pop(wanted.name, None)
    if wanted.removes:
        if old is None:
            raise CannotRun(f"there is no caller {wanted.name}; see make callers")
        if not callers:
            raise CannotRun(f"{wanted.name} is the last caller, and a secret without any is broken. Make another first")
        return callers
    if old is None and (wanted.allows is None or wanted.keeps_key):
        raise CannotRun(f"there is no caller {wanted.name}. To make one, give ALLOWS, and no KEEP")
    new = dict(old or {})
    if wanted.allows is not None:
        new["allows"] = wanted.allows
    if wanted.sources is not None:
        new["sources"] = wanted.sources
        if not wanted.sources:
            del new["sources"]
    if not wanted.keeps_key:
        former = [] if wanted.ends_former_keys else _former_of(new, current.read_at)
        new.pop("key", None)
        new.update(key_sha256=digest_of(key.encode()), former=former)
    return {**callers, wanted.name: new}


def _with_former(name: str, caller: dict[str, Any], current: Version, previous: Mapping[str, Any]) -> dict[str, Any]:
    before = previous.get(name)
    recent = current.read_at - current.created_at <= _LONGEST_ROTATION_SECONDS
    if "former" in caller or before is None or not recent or _digest(before) == _digest(caller):
        return caller
    return {**caller, "former": [{"key_sha256": _digest(before), "replaced_at": current.created_at}]}


def _former_of(caller: Mapping[str, Any], now: float) -> list[dict[str, Any]]:
    """A caller's former keys once its present one is replaced, without those that cannot work any more."""
    if not caller.get("key") and not caller.get("key_sha256"):
        return []
    kept = [each for each in caller.get("former", []) if now - each["replaced_at"] <= _LONGEST_ROTATION_SECONDS]
    return [*kept, {"key_sha256": _digest(caller), "replaced_at": now}][-_MOST_FORMER_KEYS:]


def _digest(caller: Mapping[str, Any]) -> str:
    return str(caller.get("key_sha256") or digest_of(caller["key"].encode()))


# --- the secret -------------------------------------------------------------------------------------------------------


class CallersSecret:
    """The secret in Secrets Manager. Methods raise `CannotRun`, or what boto3 raises."""

    def __init__(self, client: SecretsManagerClient, secret_id: str) -> None:
        self._client = client
        self._secret_id = secret_id

    def current(self) -> Version | None:
        """None when the secret has no value yet."""
        return self._version("AWSCURRENT")

    def previous(self) -> dict[str, Any]:
        """The callers of the version before; empty when there is none, or it is unreadable and so lets nobody in."""
        with suppress(CannotRun):
            version = self._version("AWSPREVIOUS")
            if version is not None:
                return version.callers
        return {}

    def replace(self, callers: Mapping[str, Any], read: Version | None) -> None:
        """Puts the callers in if `read` is still the current version; raises `Changed` when it is not.

        PutSecretValue would overwrite whatever is there by now. So the value is put in beside it, under a label of
        its own, and then AWSCURRENT is moved, which Secrets Manager refuses unless it is where we say it is. The first
        version gets AWSCURRENT at once.
        """
        label = f"make-caller-{uuid.uuid4().hex}"
        made = self._client.put_secret_value(
            SecretId=self._secret_id, SecretString=json.dumps({"callers": callers}), VersionStages=[label]
        )
        try:
            if "AWSCURRENT" in made["VersionStages"]:
                return
            if read is None:
                raise Changed
            try:
                self._client.update_secret_version_stage(
                    SecretId=self._secret_id,
                    VersionStage="AWSCURRENT",
                    MoveToVersionId=made["VersionId"],
                    RemoveFromVersionId=read.id,
                )
            except self._client.exceptions.InvalidParameterException:
                raise Changed from None
        finally:
            # A version without a label is forgotten by Secrets Manager.
            self._client.update_secret_version_stage(
                SecretId=self._secret_id, VersionStage=label, RemoveFromVersionId=made["VersionId"]
            )

    def _version(self, stage: str) -> Version | None:
        try:
            answer = self._client.get_secret_value(SecretId=self._secret_id, VersionStage=stage)
        except self._client.exceptions.ResourceNotFoundException:
            return None
        text = answer.get("SecretString", "")
        try:
            msgspec.json.decode(text, type=Callers)
        except msgspec.DecodeError as error:
            # msgspec's message gives the path and the expected type, and no part of the value.
            raise CannotRun(
                f"the callers secret is not of the documented shape: {error}. Nobody can call. Mend it by hand "
                "(docs/configuration.md)"
            ) from None
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return Version(
            json.loads(text)["callers"],
            answer["VersionId"],
            answer["CreatedDate"].timestamp(),
            parsedate_to_datetime(headers["date"]).timestamp(),
        )


def put(secret: CallersSecret, wanted: Wanted, key: str) -> dict[str, Any]:
    """Makes the change to whatever the secret holds by then, and returns the callers. Raises `CannotRun`."""
    for _ in range(_TRIES):
        current = secret.current()
        known = current or Version({}, "", 0.0, 0.0)
        callers = changed(known, secret.previous() if current else {}, wanted, key)
        try:
            msgspec.convert({"callers": callers}, Callers)
        except msgspec.ValidationError as error:
            raise CannotRun(f"this would be no callers secret: {error}") from None
        try:
            secret.replace(callers, current)
        except Changed:
            continue
        return callers
    raise CannotRun("somebody else keeps changing the callers secret. Nothing was changed; try again later")


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
        secret = CallersSecret(stack.client("secretsmanager"), _secret_id(stack))
        if wanted is None:
            return _list(secret, stack, console)
        key = draw(_KEY_BYTES)
        with _KeyFile(environment.get("FILE", ""), wanted, key) as file:
            caller = put(secret, wanted, key).get(wanted.name)
            file.keep()
        console.print(f"in {stack.place}", markup=False)
        if caller is None:
            console.print(
                f"{wanted.name} is removed; it may get in for some minutes, see docs/security.md", markup=False
            )
        elif wanted.keeps_key:
            console.print(f"{wanted.name} is changed and keeps its key", markup=False)
        elif file.path:
            console.print(f"the key of {wanted.name} is in {file.path}, for curl -K {file.path}", markup=False)
        else:
            _show_key(wanted, key, caller["allows"], routes, _addresses(stack, bundle_path), console)
        return 0
    except CannotRun as error:
        console.print(str(error), markup=False, soft_wrap=True)
    except (BotoCoreError, ClientError, OSError) as error:
        console.print(f"this did not work: {error}", markup=False, soft_wrap=True)
    return 2


class _KeyFile:
    """A file for curl -K that only its owner can read. It takes its name when the key is in force, and not before."""

    def __init__(self, path: str, wanted: Wanted, key: str) -> None:
        self.path = path if not (wanted.removes or wanted.keeps_key) else ""
        self._draft = f"{path}.{uuid.uuid4().hex}"
        self._line = f'user = "{wanted.name}:{key}"\n'

    def __enter__(self) -> _KeyFile:
        if self.path:
            with open(os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as draft:
                draft.write(self._line)
        return self

    def keep(self) -> None:
        if self.path:
            os.replace(self._draft, self.path)

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            os.unlink(self._draft)


def _secret_id(stack: Stack) -> str:
    if stack.endpoint_url:
        return physical_name("CallersSecret")
    try:
        return stack.outputs()["CallersSecretArn"]
    except KeyError:
        raise CannotRun(f"{stack.place} has no output CallersSecretArn; deploy it anew with: make deploy") from None


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
    table = Table("name", "may call", "from", "key", "keys before", title=f"callers in {stack.place}")
    for column in table.columns:
        column.overflow = "fold"
    for name, caller in sorted(current.callers.items() if current else ()):
        former = [f"replaced {_moment(each['replaced_at'])}" for each in caller.get("former", [])]
        table.add_row(
            name,
            ", ".join(caller["allows"]),
            ", ".join(caller.get("sources", [_ANYWHERE])),
            "digest" if "key_sha256" in caller else "plain",
            "\n".join(former),
        )
    console.print(table)
    return 0


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], os.environ, Console()))
