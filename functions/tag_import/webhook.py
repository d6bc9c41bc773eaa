"""Tags by HTTP, in SessionM's dialect (a Braze webhook campaign) and in ours: checked, queued, then acknowledged."""

from __future__ import annotations

import os
import time
import uuid
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bulk.parcels import Label, Packer, Parcel, webhook_import_id
from bulk.rows import MemberFields, TagFields, Tags, Ttl, label_of, member_of
from clients.vocabulary import ExternalId, Member, UserId
from shared import aws
from shared.config import Settings
from shared.errors import InvalidInput
from shared.http import Answer, Handler, Request, http_handler
from shared.members import MemberHashes
from shared.observability import correlation_id, count, note
from shared.queues import Queue, body_of
from shared.validation import convert

_LIST_TOO_LARGE = "Send fewer rows at a time, or drop a CSV file."


class _ByUserId(msgspec.Struct):
    user_id: UserId


class _ByExternalId(msgspec.Struct):
    external_id: ExternalId


class ShortBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either one member's fields, or `rows` with the fields of many."""

    tags: Tags | UnsetType = UNSET
    ttl: Ttl | None = None
    counter: bool = False
    user_id: UserId | None = None
    external_id: ExternalId | None = None
    rows: (
        Annotated[list[MemberFields], Meta(min_length=1, max_length=5000, description="Give 1 to 5000 rows.")]
        | UnsetType
    ) = UNSET


def build(settings: Settings) -> Handler:
    queue = Queue(aws.sqs_for_requests(), settings.text("TAG_QUEUE_URL"))
    hashes = MemberHashes(aws.secretsmanager(), settings.text("LOG_KEY_SECRET_ID"))

    def accept(parcels: list[Parcel]) -> Answer:
        queue.send(body_of(parcel) for parcel in parcels)
        queued = sum(len(parcel.rows) for parcel in parcels)
        count("TagsAccepted", queued)
        members = hashes.of(row.member_id for parcel in parcels[:1] for row in parcel.rows)
        note(import_id=parcels[0].import_id, rows=queued, member_hashes=members)
        return Answer(202, {"status": "ok", "ok": True, "queued": queued, "import_id": parcels[0].import_id})

    def by_user_id(request: Request) -> Answer:
        member = convert(dict(request.path), _ByUserId)
        return accept(_vendor_parcels(request, Member("user_id", member.user_id)))

    def by_external_id(request: Request) -> Answer:
        member = convert(dict(request.path), _ByExternalId)
        return accept(_vendor_parcels(request, Member("external_id", member.external_id)))

    def short(request: Request) -> Answer:
        return accept(_short_parcels(request.json(ShortBody, too_large_hint=_LIST_TOO_LARGE), request.idempotency_key))

    return http_handler(
        {
            "POST /priv/v1/apps/{app_key}/users/{user_id}/tags": by_user_id,
            "POST /priv/v1/apps/{app_key}/external/users/{external_id}/tags": by_external_id,
            "POST /tags": short,
        }
    )


def _vendor_parcels(request: Request, member: Member) -> list[Parcel]:
    once = request.idempotency_key
    return _parcels([(member, label_of(request.json(TagFields), member.kind))], once)


def _short_parcels(body: ShortBody, once: str) -> list[Parcel]:
    if body.rows is not UNSET:
        if body.tags is not UNSET or body.user_id or body.external_id or body.ttl or body.counter:
            raise InvalidInput("rows stand alone", field="rows", hint="Put tags, ttl and ids into each row.")
        return _parcels([_row(fields, at=f"rows[{position}].") for position, fields in enumerate(body.rows)], once)
    if body.tags is UNSET:
        raise InvalidInput(
            "this field is required", code="missing_field", field="tags", hint="Give a list of 1 to 100 tag names."
        )
    return _parcels([_row(MemberFields(body.tags, body.ttl, body.counter, body.user_id, body.external_id))], once)


def _row(fields: MemberFields, at: str = "") -> tuple[Member, Label]:
    member = member_of(fields, at=at)
    return member, label_of(fields, member.kind, at=at)


def _parcels(rows: list[tuple[Member, Label]], once: str) -> list[Parcel]:
    """The rows of one request. All that came by HTTP on one day is one import, in which they are told apart."""
    if not once and any(label.ttl_seconds is None for _, label in rows):
        raise InvalidInput(
            "a counter needs a key to tell a repeated request from a new one",
            code="missing_field",
            field="idempotency-key",
            hint="Add the header Idempotency-Key, in a Braze campaign {{campaign.${dispatch_id}}}.",
        )
    request_id = uuid.uuid4().hex
    packer = Packer(webhook_import_id(time.time()), lambda line: f"{request_id}-{line}", once, correlation_id())
    full = [packer.add(position, member.id, label) for position, (member, label) in enumerate(rows)]
    return [parcel for parcel in [*full, packer.rest()] if parcel is not None]


handle = build(Settings(os.environ))
