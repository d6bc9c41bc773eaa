"""Who may call what: credentials compared in constant time, routes by pattern, closed when in doubt."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

# An Authorization header longer than this was not made by any of our callers.
MAX_HEADER_LENGTH = 1024


class Caller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`key` is the Basic password or Bearer token; `allows` lists route keys, where a final * stands for any rest."""

    key: Annotated[str, Meta(min_length=32, max_length=512, pattern=r"^[\x21-\x7e]+\Z")]
    allows: Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(min_length=1, max_length=100)]

    def may_use(self, route: str) -> bool:
        return any(
            route.startswith(pattern[:-1]) if pattern.endswith("*") else route == pattern for pattern in self.allows
        )


class Callers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The callers secret."""

    callers: Annotated[dict[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")], Caller], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request presented; `name` is empty for a Bearer token, which has none."""

    name: str
    key: bytes


def credential_of(header: str) -> Credential | None:
    """Reads an Authorization header, Basic or Bearer; None for anything else."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if not value or len(header) > MAX_HEADER_LENGTH:
        return None
    match scheme.lower():
        case "bearer":
            return Credential("", value.encode("utf-8", "replace"))
        case "basic":
            return _basic(value)
        case _:
            return None


def authenticate(credential: Credential, current: Callers, previous: Callers | None) -> str | None:
    """The name of the caller that presented this credential, or None.

    During a rotation `previous` holds the keys before the change. They count only for callers that still exist, so
    removing a caller shuts it out at once. Every key is compared, whichever matches, so the time taken tells nothing.
    """
    found: str | None = None
    for name, key in _keys(current.callers, previous):
        if hmac.compare_digest(key, credential.key) and credential.name in ("", name):
            found = name
    return found


def _keys(callers: Mapping[str, Caller], previous: Callers | None) -> Iterator[tuple[str, bytes]]:
    for name, caller in callers.items():
        yield name, caller.key.encode()
        if previous is not None and name in previous.callers:
            yield name, previous.callers[name].key.encode()


def _basic(value: str) -> Credential | None:
    try:
        pair = b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, key = pair.partition(b":")
    if not (name and colon and key):
        return None
    return Credential(name.decode("utf-8", "replace"), key)
