"""Tags by HTTP, in SessionM's dialect (a Braze webhook campaign) and in ours: checked, queued, then acknowledged."""

from __future__ import annotations

import os
import time
import uuid
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from clients.vocabulary import ExternalId, MemberKind, UserId
from shared import aws
from shared.config import Settings
from shared.errors import InvalidInput
from shared.http import Answer, Handler, Request, http_handler
from shared.observability import count
from shared.queues import Queue
from shared.validation import convert
from tag_import.rows import MemberFields, Row, TagFields, Tags, Ttl, member_row, parcels, row_of


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
    queue = Queue(aws.sqs(), settings.text("TAG_QUEUE_URL"))

    def accept(rows: list[Row]) -> Answer:
        import_id = time.strftime("webhook-%Y-%m-%d", time.gmtime())
        queue.send(parcels(import_id, rows))
        count("TagsAccepted", len(rows))
        return Answer(202, {"status": "ok", "ok": True, "queued": len(rows)})

    def by_user_id(request: Request) -> Answer:
        member = convert(dict(request.path), _ByUserId)
        return accept([_vendor_row(request, "user_id", member.user_id)])

    def by_external_id(request: Request) -> Answer:
        member = convert(dict(request.path), _ByExternalId)
        return accept([_vendor_row(request, "external_id", member.external_id)])

    def short(request: Request) -> Answer:
        return accept(_short_rows(request.json(ShortBody), request.headers.get("idempotency-key", "")))

    return http_handler(
        {
            "POST /priv/v1/apps/{app_key}/users/{user_id}/tags": by_user_id,
            "POST /priv/v1/apps/{app_key}/external/users/{external_id}/tags": by_external_id,
            "POST /tags": short,
        }
    )


def _vendor_row(request: Request, kind: MemberKind, member_id: str) -> Row:
    once = request.headers.get("idempotency-key", "")
    return row_of(request.json(TagFields), kind, member_id, ref=uuid.uuid4().hex, once=once)


def _short_rows(body: ShortBody, once: str) -> list[Row]:
    request_ref = uuid.uuid4().hex
    if body.rows is not UNSET:
        if body.tags is not UNSET or body.user_id or body.external_id or body.ttl or body.counter:
            raise InvalidInput("rows stand alone", field="rows", hint="Put tags, ttl and ids into each row.")
        return [
            member_row(
                fields,
                ref=f"{request_ref}-{position}",
                once=f"{once}#{position}" if once else "",
                at=f"rows[{position}].",
            )
            for position, fields in enumerate(body.rows)
        ]
    if body.tags is UNSET:
        raise InvalidInput(
            "this field is required", code="missing_field", field="tags", hint="Give a list of 1 to 100 tag names."
        )
    fields = MemberFields(body.tags, body.ttl, body.counter, body.user_id, body.external_id)
    return [member_row(fields, ref=request_ref, once=once)]


handle = build(Settings(os.environ))
