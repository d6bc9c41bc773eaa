"""One call to Braze: claimed in the ledger, made, and every send in it settled.

What Braze refuses as a whole is halved until the culprit is alone, and everybody else is sent. What Braze may or may
not have done is `unknown`, and kept with its payload for an operator.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from dataclasses import dataclass

from clients.braze import Braze, Dispatch, Quota
from clients.transport import Timeouts
from shared.deadline import Deadline
from shared.errors import (
    BundleError,
    DeadlineExceeded,
    InProgress,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnknown,
)
from shared.gate import Gate
from shared.ledger import WORKER_DIED, Ledger, Payloads
from shared.observability import concerning, logger
from shared.outcomes import Outcome, State
from shared.queues import body_of
from shared.retries import ONLY_IF_NOT_DONE, repeated
from trigger_relay.broadcasts import Broadcasts
from trigger_relay.calls import Call
from trigger_relay.refusals import About, about
from trigger_relay.triggers import Send, again

_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=15)

# Longer than any worker lives (template.yaml: 120 s), so that a lease that is over belongs to a dead one.
LEASE_SECONDS = 180.0

# Of each hour's requests so many are kept for what is urgent, and for whatever else uses the same workspace.
URGENT_SHARE = 0.05

# A 429 that does not say for how long.
_UNSAID_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Repeated:
    """An outcome that was reached earlier."""

    outcome: Outcome


# For each send the outcome reached now or earlier, or the error for which it is to be tried again later.
Result = Outcome | Repeated | BundleError
Results = dict[str, Result]


@dataclass(frozen=True, slots=True)
class Courier:
    """Makes calls; safe to use from many threads."""

    braze: Braze
    ledger: Ledger
    gate: Gate
    broadcast_gate: Gate
    broadcasts: Broadcasts
    broadcast_allowed: Container[str]
    sleep: Callable[[float], None] = time.sleep

    def deliver(self, call: Call, deadline: Deadline, *, urgent: bool) -> Results:
        """Makes the call, without what in it is settled already or in another worker's hand."""
        ids = [send.id for send in call.sends]
        try:
            if deadline.passed():
                raise DeadlineExceeded("the worker's time is up")
            self._stand_in_line(call, urgent)
            kept = _payloads(call)
            claims = self.ledger.claim_all(ids, LEASE_SECONDS, kept)
        except BundleError as error:
            _tell_of("call postponed", call, error)
            return dict.fromkeys(ids, error)
        results: Results = {
            send_id: outcome if outcome == WORKER_DIED else Repeated(outcome)
            for send_id, outcome in claims.settled.items()
        }
        results |= {send_id: InProgress("another worker has it in hand") for send_id in claims.in_progress}
        if claims.ours:
            ours = Call(tuple(send for send in call.sends if send.id in claims.ours))
            results |= self._made(ours, kept, deadline)
        return results

    def _stand_in_line(self, call: Call, urgent: bool) -> None:
        wait = self.gate.wait_seconds(urgent)
        if call.is_broadcast and call.target_id in self.broadcast_allowed:
            wait = max(wait, self.broadcast_gate.wait_seconds(urgent))
            wait = wait or self.broadcasts.take(call.target_id)
        if wait:
            raise UpstreamThrottled("Braze", wait)

    def _made(self, call: Call, kept: Payloads, deadline: Deadline) -> Results:
        """Makes a call whose every send is claimed, and settles or releases each."""
        try:
            outcomes = self._outcomes(call, deadline)
        except UpstreamRefused as refused:
            if about(refused) is About.CALLER:
                return self._released(call, refused)
            first, second = call.halves()
            logger.info(
                "call halved",
                target_id=call.target_id,
                sends=len(call.sends),
                reason=refused.vendor_code,
                correlation_ids=call.correlation_ids,
            )
            results = self._made(first, kept, deadline)
            stopped = next((each for each in results.values() if isinstance(each, BundleError)), None)
            if stopped is None and not deadline.passed():
                return results | self._made(second, kept, deadline)
            return results | self._released(second, stopped or DeadlineExceeded("the worker's time is up"))
        except BundleError as error:
            return self._released(call, error)
        try:
            self.ledger.settle_all(outcomes, kept)
        except BundleError as error:
            # The lease runs out, and whoever finds the entry then settles it as unknown.
            _tell_of("outcomes not written", call, error)
            return dict.fromkeys(outcomes, error)
        return {**outcomes}

    def _outcomes(self, call: Call, deadline: Deadline) -> dict[str, Outcome]:
        """What became of each send.

        Raises `UpstreamRefused` when the call is to be halved or to wait, and other errors when nothing was done.
        """
        ids = [send.id for send in call.sends]
        if call.is_broadcast and call.target_id not in self.broadcast_allowed:
            # It was taken off the list since, or the message came into the queue by another way.
            return dict.fromkeys(ids, _not_allowed(call))
        try:
            with concerning(call.correlation_ids):
                dispatch = repeated(
                    lambda: self.braze.send(call.kind, call.body(), _TIMEOUTS), ONLY_IF_NOT_DONE, deadline, self.sleep
                )
        except (UpstreamUnknown, UpstreamGarbled) as error:
            _tell_of("call unknown", call, error)
            unknown = Outcome(State.UNKNOWN, error.code, "Braze may or may not have sent this message")
            return dict.fromkeys(ids, unknown)
        except UpstreamRefused as error:
            if about(error) is About.CALLER or (len(call.sends) > 1 and about(error) is About.CONTENT):
                raise
            _tell_of("call refused", call, error)
            return dict.fromkeys(ids, Outcome(State.FAILED, error.vendor_code, error.vendor_message))
        except UpstreamThrottled as error:
            self._gate_for(call).shut(error.retry_after_seconds or _UNSAID_WAIT_SECONDS, urgent_too=True)
            raise
        if dispatch.quota and not call.is_broadcast:
            self._heed(dispatch.quota)
        logger.info(
            "call made",
            kind=call.kind,
            target_id=call.target_id,
            dispatch_id=dispatch.dispatch_id,
            has_notice=bool(dispatch.notice),
            trigger_ids=ids,
            correlation_ids=call.correlation_ids,
        )
        return {send.id: _outcome(dispatch, position) for position, send in enumerate(call.sends)}

    def _gate_for(self, call: Call) -> Gate:
        return self.broadcast_gate if call.is_broadcast else self.gate

    def _heed(self, quota: Quota) -> None:
        """Stops before Braze has to say so."""
        if quota.remaining == 0 or quota.remaining < quota.limit * URGENT_SHARE:
            self.gate.shut(quota.reset_seconds, urgent_too=quota.remaining == 0)

    def _released(self, call: Call, error: BundleError) -> Results:
        ids = [send.id for send in call.sends]
        _tell_of("call postponed", call, error)
        try:
            self.ledger.release_all(ids)
        except BundleError as unreleased:
            _tell_of("not released", call, unreleased)
        return dict.fromkeys(ids, error)


def _tell_of(what: str, call: Call, error: BundleError) -> None:
    """Logs what became of a call that was not taken, and of which triggers: their ids, and never whom they are for."""
    reason = error.vendor_code if isinstance(error, UpstreamRefused) else error.code
    logger.warning(
        what,
        code=reason,
        detail=str(error),
        kind=call.kind,
        target_id=call.target_id,
        trigger_ids=[send.id for send in call.sends],
        correlation_ids=call.correlation_ids,
    )


def _outcome(dispatch: Dispatch, position: int) -> Outcome:
    if position in dispatch.skipped:
        return Outcome(
            State.FAILED, "recipient_skipped", f"Braze left this recipient out: {dispatch.skipped[position]}"
        )
    unplaced = dispatch.error_count - len(dispatch.skipped)
    detail = f"Braze skipped {unplaced} recipients or fields" if unplaced else ""
    return Outcome(State.SENT, detail=detail, dispatch_id=dispatch.dispatch_id, notice=dispatch.notice)


def _not_allowed(call: Call) -> Outcome:
    logger.warning("broadcast not allowed", kind=call.kind, target_id=call.target_id, trigger_ids=[call.sends[0].id])
    return Outcome(State.FAILED, "broadcast_not_allowed", "its id is not in the parameter BroadcastAllowedIds")


def _payloads(call: Call) -> Payloads:
    by_id: dict[str, Send] = {send.id: send for send in call.sends}
    return lambda send_id: body_of(again(by_id[send_id]))
