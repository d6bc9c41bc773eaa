"""A trigger as it lies in the queue: one campaign or Canvas, and the messages to its recipients.

A request to /triggers becomes one trigger; one with very many recipients lies in several messages, each with a part of
them. Every recipient is a send of its own: with its own entry in the ledger, and its own outcome.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from clients.vocabulary import TargetKind
from shared.errors import InvalidInput, NotAllowed, TooLarge
from shared.ledger_items import EntryId, PartNumber, part_id

# Braze's limits on campaigns/trigger/send and canvas/trigger/send.
MAX_RECIPIENTS = 50
MAX_PROPERTIES_BYTES = 51_200

# Where the properties go: campaigns and Canvases use different names.
PROPERTIES_FIELD: Mapping[TargetKind, str] = {"campaign": "trigger_properties", "canvas": "context"}

_NONE = msgspec.Raw(b"{}")


class Recipient(msgspec.Struct, frozen=True, omit_defaults=True):
    """`address` is in Braze's shape; `properties`, when given, replace the trigger's, with which they were joined."""

    address: dict[str, Any]
    properties: msgspec.Raw = _NONE


class Send(msgspec.Struct, frozen=True):
    """One message to one recipient, or a broadcast (`address` is None). `properties` is a JSON object as text."""

    id: str
    kind: TargetKind
    target_id: str
    address: dict[str, Any] | None
    properties: bytes
    accepted_at: float
    correlation_id: str = ""

    @property
    def member(self) -> bytes:
        """The same for the same recipient, as far as the address alone can tell."""
        identity = {name: value for name, value in (self.address or {}).items() if name != "prioritization"}
        if isinstance(email := identity.get("email"), str):
            identity["email"] = email.lower()
        return msgspec.json.encode(identity, order="deterministic")


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of TriggerQueue.

    `accepted_at` is in epoch seconds. Of a trigger with several recipients `recipients` is a part, the first of which
    has the number `first` (from 1), and `entered_at` tells this trigger from an equal one of another week.
    `correlation_id` is that of the request it came with.
    """

    trigger_id: EntryId
    kind: TargetKind
    target_id: str
    recipients: list[Recipient]
    properties: msgspec.Raw = _NONE
    broadcast: bool = False
    accepted_at: float = 0.0
    first: PartNumber = 0
    entered_at: PartNumber = 0
    correlation_id: str = ""

    def sends(self) -> Iterator[Send]:
        shared = bytes(self.properties)
        if self.broadcast:
            yield Send(self.trigger_id, self.kind, self.target_id, None, shared, self.accepted_at, self.correlation_id)
        for number, recipient in enumerate(self.recipients, self.first):
            own = bytes(recipient.properties)
            yield Send(
                part_id(self.trigger_id, self.entered_at, number) if self.first else self.trigger_id,
                self.kind,
                self.target_id,
                recipient.address,
                own if own != b"{}" else shared,
                self.accepted_at,
                self.correlation_id,
            )


def names_of(member: Recipient) -> list[str]:
    """What a person would look this member up by: ids, aliases and email address, as far as the address has them."""
    address = member.address
    alias = address.get("user_alias", {})
    names = (address.get("external_user_id"), address.get("braze_id"), alias.get("alias_name"), address.get("email"))
    return [name for name in names if isinstance(name, str) and name]


def again(send: Send) -> Trigger:
    """The trigger that makes exactly this send, for an operator to put into the queue again."""
    trigger_id, _, part = send.id.partition(".")
    entered_at, _, number = part.partition(".")
    return Trigger(
        trigger_id,
        send.kind,
        send.target_id,
        [] if send.address is None else [Recipient(send.address)],
        msgspec.Raw(send.properties),
        send.address is None,
        send.accepted_at,
        int(number or 0),
        int(entered_at or 0),
        send.correlation_id,
    )


def check_audience(
    kind: TargetKind, target_id: str, recipients: Sequence[Any] | None, broadcast: bool, allowed: Container[str]
) -> None:
    """One wrong flag messages a whole segment: a broadcast needs an allow-listed id; no recipients are an error."""
    check_broadcast(kind, target_id, recipients, broadcast, allowed)
    if recipients and len(recipients) > MAX_RECIPIENTS:
        raise InvalidInput(
            f"more than {MAX_RECIPIENTS} recipients",
            field="recipients",
            hint=f"Braze takes {MAX_RECIPIENTS} a call: send several.",
        )


def check_broadcast(
    kind: TargetKind, target_id: str, recipients: Sequence[Any] | None, broadcast: bool, allowed: Container[str]
) -> None:
    """The same for any number of recipients."""
    if broadcast and target_id not in allowed:
        raise NotAllowed(
            f"this {kind} is not allowed to be broadcast",
            code="broadcast_not_allowed",
            field="broadcast",
            hint="Send recipients, or have the operator add the id to the parameter BroadcastAllowedIds.",
        )
    if broadcast and recipients:
        raise InvalidInput(
            "a broadcast has no recipients", field="recipients", hint="Leave out recipients, or broadcast."
        )
    if not broadcast and not recipients:
        raise InvalidInput(
            "nobody to send to", code="no_recipients", field="recipients", hint="Give at least one recipient."
        )


def check_properties(kind: TargetKind, properties: Mapping[str, Any], at: str = "") -> None:
    if len(msgspec.json.encode(properties)) > MAX_PROPERTIES_BYTES:
        raise TooLarge(
            f"the properties exceed {MAX_PROPERTIES_BYTES} bytes",
            field=f"{at}{PROPERTIES_FIELD[kind]}",
            hint="Send what the message shows, and no more.",
        )
