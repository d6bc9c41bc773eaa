"""POST /triggers: what a SessionM template sends, understood, recorded, queued, and only then acknowledged."""

from __future__ import annotations

import os
from collections.abc import Container
from hashlib import sha256
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from clients.vocabulary import TargetKind
from shared import aws
from shared.config import Settings
from shared.errors import InvalidInput
from shared.http import Answer, Handler, Request, http_handler
from shared.ledger import Ledger
from shared.observability import count
from shared.outcomes import State, seen_from_outside
from shared.queues import Queue, body_of
from shared.validation import convert
from trigger_relay import fields
from trigger_relay.triggers import Trigger, check_audience, check_properties

# Who gets the message when an email address belongs to several profiles. Source: Braze's recipient object.
_EMAIL_PRIORITIZATION = ["identified", "most_recently_updated"]

_TRUE = (True, "true", 1, "1")
_FALSE = (None, False, "false", 0, "0", "")


class _Address(msgspec.Struct):
    target_id: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z", description="Give the API id Braze shows under Schedule Delivery.")
    ]
    customer_identifier: (
        Annotated[
            str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,255}\Z", description="Give the member's external id in Braze.")
        ]
        | None
    ) = None
    email_address: (
        Annotated[
            str,
            Meta(
                pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\Z",
                max_length=254,
                description="Give one email address.",
            ),
        ]
        | None
    ) = None


def trigger_of(payload: dict[str, Any], identity: str, broadcast_allowed: Container[str]) -> Trigger:
    """Makes a trigger of a SessionM payload.

    `identity` is the caller's own key for this event, or empty: then an event id in the payload, or else its whole
    content, tells a repeat from a new event. Raises `InvalidInput`, `NotAllowed` or `TooLarge`.
    """
    properties = fields.in_snake_case(payload)
    content = msgspec.json.encode(properties, order="deterministic")
    kind, target = _target(properties)
    broadcast = _flag(fields.take_first(properties, fields.BROADCAST_NAMES))
    member = fields.take_first(properties, fields.MEMBER_NAMES)
    email = fields.take_first(properties, fields.EMAIL_NAMES)
    address = _address(target, member, email)
    recipients = [] if broadcast else _recipients(address)
    check_audience(kind, address.target_id, recipients, broadcast, broadcast_allowed)
    check_properties(kind, properties)
    event_id = next((id_ for name in fields.EVENT_NAMES if not fields.is_blank(id_ := properties.get(name))), None)
    if identity or event_id is not None:
        known_by = msgspec.json.encode([kind, target.value, member.value, email.value, identity or event_id])
    else:
        known_by = content
    return Trigger(
        trigger_id="trg-" + sha256(known_by).hexdigest()[:32],
        kind=kind,
        target_id=address.target_id,
        recipients=recipients,
        properties=properties,
        broadcast=broadcast,
    )


def build(settings: Settings) -> Handler:
    queue = Queue(aws.sqs(), settings.text("TRIGGER_QUEUE_URL"))
    ledger = Ledger(aws.dynamodb(), settings.text("LEDGER_TABLE"))
    broadcast_allowed = frozenset(settings.names("BROADCAST_ALLOWED_IDS"))

    def accept(request: Request) -> Answer:
        payload = fields.parse(request.json_bytes())
        trigger = trigger_of(payload, request.headers.get("idempotency-key", ""), broadcast_allowed)
        known = ledger.enter(trigger.trigger_id)
        state = seen_from_outside(known.state) if known else State.QUEUED
        if state is State.QUEUED:
            # Also for a repeat: the first request may have died before this line. Delivery sends once.
            queue.send([body_of(trigger)])
        if known is None:
            count("TriggersAccepted")
        return Answer(
            202, {"ok": True, "trigger_id": trigger.trigger_id, "state": state.value, "repeated": known is not None}
        )

    return http_handler({"POST /triggers": accept})


def _target(properties: dict[str, Any]) -> tuple[TargetKind, fields.Taken]:
    campaign = fields.take_first(properties, fields.CAMPAIGN_NAMES[:1])
    canvas = fields.take_first(properties, fields.CANVAS_NAMES[:1])
    # Beside an id of Braze's, campaign_id and canvas_id are SessionM's own and mere data.
    if campaign.value is None and canvas.value is None:
        campaign = fields.take_first(properties, fields.CAMPAIGN_NAMES[1:])
        canvas = fields.take_first(properties, fields.CANVAS_NAMES[1:])
    if campaign.value is not None and canvas.value is not None:
        raise InvalidInput(
            "both a campaign and a Canvas are named", field=canvas.name, hint="Leave one of the two blank."
        )
    if campaign.value is None and canvas.value is None:
        raise InvalidInput(
            "neither a campaign nor a Canvas is named",
            code="missing_field",
            field=fields.CAMPAIGN_NAMES[0],
            hint="Fill in braze_campaign_id or braze_canvas_id in the campaign's advanced settings.",
        )
    return ("campaign", campaign) if campaign.value is not None else ("canvas", canvas)


def _address(target: fields.Taken, member: fields.Taken, email: fields.Taken) -> _Address:
    """Checks who is addressed; an error names the field as it was sent."""
    sent_as = {"target_id": target, "customer_identifier": member, "email_address": email}
    try:
        return convert({name: taken.value for name, taken in sent_as.items()}, _Address)
    except InvalidInput as error:
        error.field = sent_as[error.field or ""].name
        raise


def _flag(flag: fields.Taken) -> bool:
    value = flag.value.strip().lower() if isinstance(flag.value, str) else flag.value
    if value in _TRUE and not isinstance(value, float):
        return True
    if value in _FALSE and not isinstance(value, float):
        return False
    raise InvalidInput("expected true or false", field=flag.name, hint="Send true, or leave it out.")


def _recipients(address: _Address) -> list[dict[str, Any]]:
    if address.customer_identifier is not None:
        return [{"external_user_id": address.customer_identifier}]
    if address.email_address is not None:
        return [{"email": address.email_address, "prioritization": _EMAIL_PRIORITIZATION}]
    return []


handle = build(Settings(os.environ))
