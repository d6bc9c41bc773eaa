"""A trigger: one campaign or Canvas, its recipients, and the properties its message is rendered with."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import msgspec

from clients.vocabulary import TargetKind
from shared.errors import InvalidInput, NotAllowed, TooLarge

# Braze's limits on campaigns/trigger/send and canvas/trigger/send.
MAX_RECIPIENTS = 50
MAX_PROPERTIES_BYTES = 51_200

# Where the properties go: campaigns and Canvases use different names.
PROPERTIES_FIELD: Mapping[TargetKind, str] = {"campaign": "trigger_properties", "canvas": "context"}


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of TriggerQueue. `recipients` are in Braze's shape and empty for a broadcast."""

    trigger_id: str
    kind: TargetKind
    target_id: str
    recipients: list[dict[str, Any]]
    properties: dict[str, Any]
    broadcast: bool = False

    def body(self) -> dict[str, Any]:
        """The request body Braze documents for this kind."""
        body: dict[str, Any] = {f"{self.kind}_id": self.target_id}
        if self.broadcast:
            body["broadcast"] = True
        else:
            body["recipients"] = self.recipients
        if self.properties:
            body[PROPERTIES_FIELD[self.kind]] = self.properties
        return body


def check_audience(
    kind: TargetKind, target_id: str, recipients: Sequence[Any] | None, broadcast: bool, allowed: Container[str]
) -> None:
    """One wrong flag messages a whole segment: a broadcast needs an allow-listed id; no recipients are an error."""
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
    if recipients and len(recipients) > MAX_RECIPIENTS:
        raise InvalidInput(
            f"more than {MAX_RECIPIENTS} recipients",
            field="recipients",
            hint=f"Braze takes {MAX_RECIPIENTS} a call: send several.",
        )


def check_properties(kind: TargetKind, properties: Mapping[str, Any], at: str = "") -> None:
    if len(msgspec.json.encode(properties)) > MAX_PROPERTIES_BYTES:
        raise TooLarge(
            f"the properties exceed {MAX_PROPERTIES_BYTES} bytes",
            field=f"{at}{PROPERTIES_FIELD[kind]}",
            hint="Send what the message shows, and no more.",
        )
