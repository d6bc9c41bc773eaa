"""Who may call what: credentials compared in constant time, routes by pattern, closed when in doubt."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta

# An Authorization header longer than this was not made by any of our callers.
MAX_HEADER_LENGTH = 1024

Key = Annotated[str, Meta(min_length=32, max_length=512, pattern=r"^[\x21-\x7e]+\Z")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class FormerKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that was replaced, as its SHA-256 in hex, and when, in epoch seconds."""

    key_sha256: Digest
    replaced_at: Annotated[float, Meta(ge=0)]


class Caller(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One caller.

    `key` is the Basic password or Bearer token, `key_sha256` the SHA-256 of it in hex: one of the two. `allows` lists
    route keys, where a final * stands for any rest. `sources` says where it may call from, anywhere when it is left
    out. `former` are keys that were replaced; left out, the secret's previous version says which.
    """

    allows: Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(min_length=1, max_length=100)]
    key: Key | None = None
    key_sha256: Digest | None = None
    sources: (
        Annotated[list[Annotated[str, Meta(pattern=r"^[0-9A-Za-z.:/-]{1,64}\Z")]], Meta(min_length=1, max_length=100)]
        | None
    ) = None
    former: Annotated[list[FormerKey], Meta(max_length=10)] | None = None

    def __post_init__(self) -> None:
        if (self.key is None) == (self.key_sha256 is None):
            raise ValueError("a caller has either key or key_sha256")

    def may_use(self, route: str) -> bool:
        return any(fits(route, pattern) for pattern in self.allows)

    @property
    def digest(self) -> str:
        return self.key_sha256 or digest_of((self.key or "").encode())


class Callers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The callers secret."""

    callers: Annotated[dict[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")], Caller], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request presented; `name` is empty for a Bearer token, which has none."""

    name: str
    key: bytes


def fits(route: str, pattern: str) -> bool:
    """Whether a route key is what a pattern of `allows` stands for."""
    return route.startswith(pattern[:-1]) if pattern.endswith("*") else route == pattern


def digest_of(key: bytes) -> str:
    """A key as the secret holds it. Keys are random and long, so nobody finds one by trying: no salt, no slow hash."""
    return sha256(key).hexdigest()


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


def authenticate(
    credential: Credential, current: Callers, previous: Callers | None, now: float = 0.0, rotation_seconds: float = 0.0
) -> str | None:
    """The name of the caller that presented this credential, or None.

    A former key counts until `rotation_seconds` after it was replaced, and of `previous`, the secret before the last
    change, for callers that have no list of their own. Only callers that still exist have any, so removing a caller
    shuts it out at once. Digests of one length are compared, and every one of them, whichever matches: the time taken
    tells nothing about a key.
    """
    presented = digest_of(credential.key)
    found: str | None = None
    for name, digest in _digests(current, previous, now - rotation_seconds):
        if hmac.compare_digest(digest, presented) and credential.name in ("", name):
            found = name
    return found


def _digests(current: Callers, previous: Callers | None, since: float) -> Iterator[tuple[str, str]]:
    for name, caller in current.callers.items():
        yield name, caller.digest
        if caller.former is not None:
            yield from ((name, former.key_sha256) for former in caller.former if former.replaced_at >= since)
        elif previous is not None and name in previous.callers:
            yield name, previous.callers[name].digest


def _basic(value: str) -> Credential | None:
    try:
        pair = b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, key = pair.partition(b":")
    if not (name and colon and key):
        return None
    return Credential(name.decode("utf-8", "replace"), key)
