"""Which sends go to Braze in one call.

A call has one campaign or Canvas, up to 50 recipients with properties of their own, and no member twice: of two entries
for one member Braze keeps the last. So a member's second message closes the call and begins the next, and nothing
overtakes anything within one batch. Batches of other workers are delivered at the same time, in no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from clients.vocabulary import TargetKind
from shared.queues import body_of
from trigger_relay.courier import CallOf
from trigger_relay.triggers import MAX_RECIPIENTS, PROPERTIES_FIELD, Send, again

# Braze takes 4 MB; what a recipient needs beside address and properties is counted generously.
MAX_BODY_BYTES = 4_000_000
_AROUND_A_RECIPIENT_BYTES = 100


class Call(CallOf[Send]):
    """Sends of one target, in the order they were accepted. A broadcast is alone."""

    __slots__ = ()

    @property
    def sends(self) -> Sequence[Send]:
        return self.items

    @property
    def kind(self) -> TargetKind:
        return self.sends[0].kind

    @property
    def target_id(self) -> str:
        return self.sends[0].target_id

    @property
    def is_broadcast(self) -> bool:
        return self.sends[0].address is None

    @property
    def is_full(self) -> bool:
        return len(self.sends) == MAX_RECIPIENTS

    @property
    def named(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "target_id": self.target_id,
            "trigger_ids": self.ids,
            "correlation_ids": self.correlation_ids,
        }

    def payload(self, send_id: str) -> str:
        return body_of(again(self.item(send_id)))

    def body(self) -> bytes:
        """The request body Braze documents for this kind, as JSON."""
        target = f'{{"{self.kind}_id":'.encode() + msgspec.json.encode(self.target_id)
        properties_name = f',"{PROPERTIES_FIELD[self.kind]}":'.encode()
        if self.is_broadcast:
            own = self.sends[0].properties
            return target + b',"broadcast":true' + (properties_name + own if own != b"{}" else b"") + b"}"
        recipients = [
            msgspec.json.encode(send.address)[:-1]
            + (properties_name + send.properties if send.properties != b"{}" else b"")
            + b"}"
            for send in self.sends
        ]
        return target + b',"recipients":[' + b",".join(recipients) + b"]}"


def planned(sends: Iterable[Send]) -> list[list[Call]]:
    """For each target, in the order they first occur, its calls in the order they are to be made.

    Sends are taken in the order they were accepted; of those accepted at once, in the order given.
    """
    by_target: dict[tuple[TargetKind, str], list[Send]] = {}
    for send in sorted(sends, key=lambda send: send.accepted_at):
        by_target.setdefault((send.kind, send.target_id), []).append(send)
    return [_calls(of_target) for of_target in by_target.values()]


def _calls(sends: Sequence[Send]) -> list[Call]:
    calls: list[Call] = []
    together: list[Send] = []
    members: set[bytes] = set()
    size_bytes = 0

    def close() -> None:
        nonlocal size_bytes
        if together:
            calls.append(Call(tuple(together)))
        together.clear()
        members.clear()
        size_bytes = 0

    for send in sends:
        member = send.member
        send_bytes = len(member) + len(send.properties) + _AROUND_A_RECIPIENT_BYTES
        if (
            send.address is None
            or member in members
            or len(together) == MAX_RECIPIENTS
            or size_bytes + send_bytes > MAX_BODY_BYTES
        ):
            close()
        together.append(send)
        members.add(member)
        size_bytes += send_bytes
        if send.address is None:
            close()
    close()
    return calls
