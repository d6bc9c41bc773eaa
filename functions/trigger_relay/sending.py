"""Messages at Braze's door: campaigns/trigger/send and canvas/trigger/send."""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass
from typing import ClassVar

from clients.braze import Braze, Dispatch, Quota
from shared.gate import Gate
from shared.observability import logger
from shared.outcomes import Outcome, State
from trigger_relay.broadcasts import Broadcasts
from trigger_relay.calls import Call
from trigger_relay.courier import TIMEOUTS
from trigger_relay.refusals import About

# Of each hour's requests so many are kept for what is urgent, and for whatever else uses the same workspace.
URGENT_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Sending:
    """The courier's `Endpoint` for calls of sends."""

    braze: Braze
    gate: Gate
    broadcast_gate: Gate
    broadcasts: Broadcasts
    broadcast_allowed: Container[str]

    halved: ClassVar[Collection[About]] = {About.CONTENT}
    unsure: ClassVar[str] = "Braze may or may not have sent this message"

    def wait_seconds(self, call: Call, urgent: bool) -> float:
        wait = self.gate.wait_seconds(urgent)
        if call.is_broadcast and call.target_id in self.broadcast_allowed:
            wait = max(wait, self.broadcast_gate.wait_seconds(urgent))
            wait = wait or self.broadcasts.take(call.target_id)
        return wait

    def gate_of(self, call: Call) -> Gate:
        return self.broadcast_gate if call.is_broadcast else self.gate

    def ask(self, call: Call) -> dict[str, Outcome]:
        if call.is_broadcast and call.target_id not in self.broadcast_allowed:
            # It was taken off the list since, or the message came into the queue by another way.
            return dict.fromkeys(call.ids, _not_allowed(call))
        dispatch = self.braze.send(call.kind, call.body(), TIMEOUTS)
        if dispatch.quota and not call.is_broadcast:
            self._heed(dispatch.quota)
        logger.info("call made", dispatch_id=dispatch.dispatch_id, has_notice=bool(dispatch.notice), **call.named)
        return {send_id: _outcome(dispatch, position) for position, send_id in enumerate(call.ids)}

    def _heed(self, quota: Quota) -> None:
        """Stops before Braze has to say so."""
        if quota.remaining == 0 or quota.remaining < quota.limit * URGENT_SHARE:
            self.gate.shut(quota.reset_seconds, urgent_too=quota.remaining == 0)


def _outcome(dispatch: Dispatch, position: int) -> Outcome:
    if position in dispatch.skipped:
        return Outcome(
            State.FAILED, "recipient_skipped", f"Braze left this recipient out: {dispatch.skipped[position]}"
        )
    unplaced = dispatch.error_count - len(dispatch.skipped)
    detail = f"Braze skipped {unplaced} recipients or fields" if unplaced else ""
    return Outcome(State.SENT, detail=detail, dispatch_id=dispatch.dispatch_id, notice=dispatch.notice)


def _not_allowed(call: Call) -> Outcome:
    logger.warning("broadcast not allowed", **call.named)
    return Outcome(State.FAILED, "broadcast_not_allowed", "its id is not in the parameter BroadcastAllowedIds")
