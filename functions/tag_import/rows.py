"""One row: one member, some tags, and for how long. The same row whether it came by webhook, in a list or in a CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta

from clients.vocabulary import ExternalId, Member, MemberKind, UserId
from shared.errors import InvalidInput
from shared.queues import body_of

# SessionM publishes no limits for tags. These are far above any use we know of, and keep a row below a queue message.
Tag = Annotated[
    str,
    Meta(
        pattern=r"^(?=.*\S)[^\x00-\x1f\x7f-\x9f\ufffd]{1,255}\Z",
        description="Give each tag as 1 to 255 characters, not all spaces, without line breaks or control characters.",
    ),
]
Tags = Annotated[list[Tag], Meta(min_length=1, max_length=100, description="Give a list of 1 to 100 tag names.")]
Ttl = Annotated[
    int,
    Meta(
        ge=1,
        le=315_360_000,
        description="Give whole seconds from 1 to 315360000 (ten years), as a number: 2592000 is 30 days.",
    ),
]

# SQS takes 256 KiB everywhere. Messages stay well under it, and short enough that one slow row delays few others.
_MESSAGE_BYTES = 131_072
_MESSAGE_ROWS = 25


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row on its way. `ref` tells it apart within its import (the line of a file); `once` names a counter's effect.

    A tag with `ttl_seconds` expires, and sending it again merely refreshes it. A row without is a counter: each call
    adds one in SessionM, so it is sent under the ledger entry `once`.
    """

    kind: MemberKind
    id: str
    tags: list[str]
    ref: str
    ttl_seconds: int | None = None
    once: str = ""

    @property
    def member(self) -> Member:
        return Member(self.kind, self.id)


class Parcel(msgspec.Struct, frozen=True):
    """One message of TagQueue: some rows of one import."""

    import_id: str
    rows: list[Row]


class TagFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What SessionM's tag endpoint takes, plus `counter`, which says that a missing ttl is meant."""

    tags: Tags
    ttl: Ttl | None = None
    counter: bool = False


class MemberFields(TagFields, frozen=True, forbid_unknown_fields=True):
    """The same with the member in it: exactly one of `user_id` and `external_id`."""

    user_id: UserId | None = None
    external_id: ExternalId | None = None


def row_of(fields: TagFields, kind: MemberKind, member_id: str, *, ref: str, once: str, at: str = "") -> Row:
    """Joins a member and tag fields into a row; `once` is needed for a counter. `at` prefixes field names in errors.

    Raises `InvalidInput` when neither ttl nor counter is given, or both are, or a counter has nothing to be known by.
    """
    if fields.ttl is None and not fields.counter:
        raise InvalidInput(
            "a tag without ttl is a counter in SessionM, which every repeat increments",
            code="missing_field",
            field=f"{at}ttl",
            hint="Give ttl in seconds, or counter: true if counting is meant.",
        )
    if fields.ttl is not None and fields.counter:
        raise InvalidInput(
            "a tag has a ttl or a count, never both", field=f"{at}counter", hint="Leave out ttl or counter."
        )
    if fields.counter and not once:
        raise InvalidInput(
            "a counter needs a key to tell a repeated request from a new one",
            code="missing_field",
            field="idempotency-key",
            hint="Add the header Idempotency-Key, in a Braze campaign {{campaign.${dispatch_id}}}.",
        )
    once = _fingerprint(once, kind, member_id, *fields.tags) if fields.counter else ""
    return Row(kind=kind, id=member_id, tags=list(fields.tags), ref=ref, ttl_seconds=fields.ttl, once=once)


def member_row(fields: MemberFields, *, ref: str, once: str, at: str = "") -> Row:
    """A row from fields that name the member themselves."""
    if (fields.user_id is None) == (fields.external_id is None):
        raise InvalidInput(
            "exactly one of user_id and external_id is needed",
            code="missing_field" if fields.user_id is None else "invalid_field",
            field=f"{at}user_id",
            hint="Give user_id (SessionM's own) or external_id.",
        )
    if fields.user_id is not None:
        return row_of(fields, "user_id", fields.user_id, ref=ref, once=once, at=at)
    return row_of(fields, "external_id", fields.external_id or "", ref=ref, once=once, at=at)


def parcels(import_id: str, rows: Iterable[Row]) -> Iterator[str]:
    """Packs rows into bodies of queue messages."""
    packed: list[Row] = []
    size_bytes = 0
    for row in rows:
        row_bytes = len(msgspec.json.encode(row))
        if packed and (len(packed) == _MESSAGE_ROWS or size_bytes + row_bytes > _MESSAGE_BYTES):
            yield _body(import_id, packed)
            packed, size_bytes = [], 0
        packed.append(row)
        size_bytes += row_bytes
    if packed:
        yield _body(import_id, packed)


def _body(import_id: str, rows: list[Row]) -> str:
    return body_of(Parcel(import_id, rows))


def _fingerprint(*parts: str) -> str:
    return sha256(msgspec.json.encode(parts)).hexdigest()[:40]
