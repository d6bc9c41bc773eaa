"""The callers secret of a stack: read, changed for one caller, and replaced only if it is still what was read."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from authorizer.callers import Callers, digest_of
from infra.commands.stack import CannotRun

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

# The longest that CallerRotationSeconds can be, after which no key of this age works any more.
_LONGEST_ROTATION_SECONDS: Final = 604_800
_MOST_FORMER_KEYS: Final = 10

_TRIES: Final = 5


class Changed(Exception):
    """The secret has another value than the one that was read."""


class Unknown(Exception):
    """AWS gave no answer, and may or may not have put `callers` in."""

    def __init__(self, callers: Mapping[str, Any]) -> None:
        super().__init__("AWS gave no answer: whether the callers secret has changed is not known")
        self.callers = callers


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
        """Puts the callers in if `read` is still the current version; raises `Changed` when it is not, or `Unknown`.

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
            except (BotoCoreError, ClientError):
                if not self._is_current(made["VersionId"], callers):
                    raise
        finally:
            # A version without a label is forgotten by Secrets Manager. One that is not is no reason to lose the key.
            with suppress(BotoCoreError, ClientError):
                self._client.update_secret_version_stage(
                    SecretId=self._secret_id, VersionStage=label, RemoveFromVersionId=made["VersionId"]
                )

    def _is_current(self, version_id: str, callers: Mapping[str, Any]) -> bool:
        """Whether a move that failed was made all the same; raises `Unknown` when that cannot be seen either."""
        try:
            current = self.current()
        except (BotoCoreError, ClientError):
            raise Unknown(callers) from None
        return current is not None and current.id == version_id

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
    """Makes the change to what the secret holds by then, and returns the callers. Raises `CannotRun` or `Unknown`."""
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
