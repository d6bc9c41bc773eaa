"""A SessionM payload read: what is to be sent, to whom, and what makes a repeat of it a repeat."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from clients.vocabulary import TargetKind
from shared.errors import ConfigurationError, InvalidInput
from shared.queues import body_of
from trigger_relay import fields
from trigger_relay.addresses import MEMBER_KIND, address_of, checked, nobody
from trigger_relay.triggers import Recipient, Trigger, check_broadcast, check_properties

# A thousand recipients fit a body of 1 MiB with a kilobyte of properties each; a campaign for more is a broadcast.
MAX_RECIPIENTS_A_TRIGGER = 1000

# SQS takes 256 KiB a message in older regions and emulators.
_MESSAGE_BYTES = 200_000

_TRUE = (True, "true", 1, "1")
_FALSE = (None, False, "false", 0, "0", "")


class _Target(msgspec.Struct):
    target_id: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z", description="Give the API id Braze shows under Schedule Delivery.")
    ]


@dataclass(frozen=True, slots=True)
class Reader:
    """How this deployment reads payloads.

    `broadcast_allowed`: ids that may be broadcast. `rules`: names added to the table. `member_kind`: what a customer
    identifier is in Braze when the payload does not say: external_id, braze_id, or alias:LABEL.
    """

    broadcast_allowed: Container[str] = ()
    rules: Sequence[fields.Rule] = ()
    member_kind: str = "external_id"

    def __post_init__(self) -> None:
        kind = MEMBER_KIND.fullmatch(self.member_kind)
        if kind is None or (self.member_kind.startswith("alias") and not (kind["label"] or "").strip()):
            is_blank = "" if self.member_kind.strip() else ", and is blank"
            raise ConfigurationError(
                f"TRIGGER_CUSTOMER_IDENTIFIER must be external_id, braze_id or alias:LABEL{is_blank}: "
                "give the parameter TriggerCustomerIdentifier one of them, and deploy"
            )

    def read(self, payload: dict[str, Any], identity: str = "", caller: str = "") -> Reading:
        """Makes sense of a payload.

        `identity` is the caller's own key for this event, or empty: then an event id in the payload, or else its whole
        content, tells a repeat from a new event. An event id counts for `caller` alone: two systems may both have a 17.
        Raises `InvalidInput`, `NotAllowed` or `TooLarge`.
        """
        unwrapped = fields.unwrapped(payload)
        content = msgspec.json.encode(unwrapped, order="deterministic")
        sent = fields.Payload(unwrapped, self.rules)
        kind, target_id = _target(sent)
        broadcast = _flag(sent.take_first(fields.BROADCAST_NAMES))
        urgent = _flag(sent.take_first(fields.URGENT_NAMES))
        event_id = sent.find_first(fields.EVENT_NAMES)
        listed = sent.take_first(fields.RECIPIENTS_NAMES)
        members, properties = self._members(sent, kind, listed)
        recipients = members
        if broadcast:
            # Whose event it was is left aside: the same broadcast must not go out once for every member.
            recipients = []
            content = msgspec.json.encode([kind, target_id, properties], order="deterministic")
        if not broadcast and not recipients and (blank := nobody(sent)):
            raise blank
        check_broadcast(kind, target_id, recipients, broadcast, self.broadcast_allowed)
        if broadcast and listed.value is not None:
            # Also a list of one, or of none: somebody chose whom to message, and it was not the whole segment.
            raise InvalidInput("a broadcast has no recipients", field=listed.name, hint="Leave out one of the two.")
        known_by = content
        if identity or event_id is not None:
            addresses = [recipient.address for recipient in recipients]
            known_by = msgspec.json.encode(
                [kind, target_id, addresses, identity or _own(caller, event_id)], order="deterministic"
            )
        trigger_id = "trg-" + sha256(known_by).hexdigest()[:32]
        text = msgspec.json.encode(properties)
        return Reading(trigger_id, kind, target_id, recipients, text, broadcast, urgent, members)

    def read_event(self, payload: dict[str, Any], identity: str = "", caller: str = "") -> Event:
        """Makes sense of a payload that is to trigger nothing. Raises `InvalidInput` or `TooLarge`."""
        unwrapped = fields.unwrapped(payload)
        known_by = msgspec.json.encode(unwrapped, order="deterministic")
        sent = fields.Payload(unwrapped, self.rules)
        for names in (fields.CAMPAIGN_NAMES[:1], fields.CANVAS_NAMES[:1], fields.BROADCAST_NAMES, fields.URGENT_NAMES):
            sent.take_first(names)
        event_id = sent.find_first(fields.EVENT_NAMES)
        recipients, properties = self._members(sent, "campaign", sent.take_first(fields.RECIPIENTS_NAMES))
        if not recipients:
            raise nobody(sent) or InvalidInput(
                "the event concerns nobody",
                code="no_recipients",
                field=fields.MEMBER_NAMES[0],
                hint="Give an identifier or an email address.",
            )
        if identity or event_id is not None:
            addresses = [recipient.address for recipient in recipients]
            known_by = msgspec.json.encode([addresses, identity or _own(caller, event_id)], order="deterministic")
        return Event("evt-" + sha256(known_by).hexdigest()[:32], recipients, properties)

    def _members(
        self, sent: fields.Payload, kind: TargetKind, listed: fields.Taken
    ) -> tuple[list[Recipient], dict[str, Any]]:
        """Whom a payload is about, those it lists before whom it names, and the properties it leaves."""
        member_kind = self._member_kind(sent.take_first(fields.MEMBER_KIND_NAMES)) or self.member_kind
        address = address_of(sent, member_kind)
        properties = sent.properties()
        check_properties(kind, properties)
        if listed.value is not None:
            return self._recipients(kind, listed, member_kind, properties), properties
        return ([Recipient(address)] if address else []), properties

    def _member_kind(self, given: fields.Taken) -> str:
        if given.value is None:
            return ""
        if not isinstance(given.value, str) or not MEMBER_KIND.fullmatch(given.value):
            raise InvalidInput(
                "not a kind of identifier Braze has", field=given.name, hint="Give external_id, alias or braze_id."
            )
        return given.value

    def _recipients(
        self, kind: TargetKind, listed: fields.Taken, member_kind: str, shared: dict[str, Any]
    ) -> list[Recipient]:
        if not isinstance(listed.value, list):
            raise InvalidInput("expected a list", field=listed.name, hint="Give a list of recipients.")
        if len(listed.value) > MAX_RECIPIENTS_A_TRIGGER:
            raise InvalidInput(
                f"more than {MAX_RECIPIENTS_A_TRIGGER} recipients", field=listed.name, hint="Send several requests."
            )
        return [
            self._recipient(kind, item, f"{listed.name}[{position}]", member_kind, shared)
            for position, item in enumerate(listed.value)
        ]

    def _recipient(self, kind: TargetKind, item: Any, at: str, member_kind: str, shared: dict[str, Any]) -> Recipient:
        if isinstance(item, str):
            item = {fields.MEMBER_NAMES[0]: item}
        if not isinstance(item, dict):
            raise InvalidInput("expected an object or an identifier", field=at, hint="Give each recipient an object.")
        try:
            sent = fields.Payload(fields.unwrapped(item), self.rules)
            address = address_of(sent, self._member_kind(sent.take_first(fields.MEMBER_KIND_NAMES)) or member_kind)
            if address is None and (blank := nobody(sent)):
                raise blank
        except InvalidInput as error:
            error.field = f"{at}.{error.field}"
            raise
        if address is None:
            raise InvalidInput(
                "nobody to send to", code="no_recipients", field=at, hint="Give an identifier or an email address."
            )
        own = sent.properties()
        if not own:
            return Recipient(address)
        joined = {**shared, **own}
        check_properties(kind, joined, f"{at}.")
        return Recipient(address, msgspec.Raw(msgspec.json.encode(joined)))


@dataclass(frozen=True, slots=True)
class Event:
    """An event that triggers nothing: whom it concerns, and what it says."""

    event_id: str
    recipients: list[Recipient]
    properties: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a payload asks for. `properties` is a JSON object as text, shared by recipients without their own.

    `members` are those it is about: the recipients, and of a broadcast whoever's event it was.
    """

    trigger_id: str
    kind: TargetKind
    target_id: str
    recipients: list[Recipient]
    properties: bytes = b"{}"
    broadcast: bool = False
    urgent: bool = False
    members: Sequence[Recipient] = ()

    @property
    def parts(self) -> int:
        return max(1, len(self.recipients))

    def messages(self, accepted_at: float, entered_at: int, correlation_id: str = "") -> list[str]:
        """The trigger as bodies of queue messages; its parts, if it has several, are known by when it was entered."""
        first = 1 if self.parts > 1 else 0
        bodies = []
        for chunk in _chunks(self.recipients, _MESSAGE_BYTES - len(self.properties)):
            trigger = Trigger(
                self.trigger_id,
                self.kind,
                self.target_id,
                chunk,
                msgspec.Raw(self.properties),
                self.broadcast,
                accepted_at,
                first,
                entered_at if first else 0,
                correlation_id,
            )
            bodies.append(body_of(trigger))
            first += len(chunk) if first else 0
        return bodies


def _chunks(recipients: Sequence[Recipient], size_bytes: int) -> list[list[Recipient]]:
    chunks: list[list[Recipient]] = [[]]
    room = size_bytes
    for recipient in recipients:
        needed = len(msgspec.json.encode(recipient)) + 1
        if needed > room and chunks[-1]:
            chunks.append([])
            room = size_bytes
        chunks[-1].append(recipient)
        room -= needed
    return chunks


def _own(caller: str, event_id: Any) -> Any:
    return [caller, event_id] if caller else event_id


def _target(sent: fields.Payload) -> tuple[TargetKind, str]:
    campaign = sent.take_first(fields.CAMPAIGN_NAMES[:1])
    canvas = sent.take_first(fields.CANVAS_NAMES[:1])
    # Beside an id of Braze's, campaign_id and canvas_id are SessionM's own and mere data.
    if campaign.value is None and canvas.value is None:
        campaign = sent.take_first(fields.CAMPAIGN_NAMES[1:])
        canvas = sent.take_first(fields.CANVAS_NAMES[1:])
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
    taken = campaign if campaign.value is not None else canvas
    target_id: str = checked({"target_id": taken}, _Target).target_id
    return ("campaign" if campaign.value is not None else "canvas"), target_id


def _flag(flag: fields.Taken) -> bool:
    value = flag.value.strip().lower() if isinstance(flag.value, str) else flag.value
    if value in _TRUE and not isinstance(value, float):
        return True
    if value in _FALSE and not isinstance(value, float):
        return False
    raise InvalidInput("expected true or false", field=flag.name, hint="Send true, or leave it out.")
