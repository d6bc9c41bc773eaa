"""From TriggerQueue to Braze, each trigger once: claimed in the ledger, sent, settled."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

import wiring
from clients.braze import Braze
from clients.transport import Timeouts
from shared import aws
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import (
    BundleError,
    DeadlineExceeded,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamUnknown,
)
from shared.ledger import Ledger
from shared.observability import count, flush, logger
from shared.outcomes import Outcome, State
from shared.queues import Message, Queue, Staying, batch_response, messages_of
from shared.retries import ONLY_IF_NOT_DONE, repeated
from trigger_relay.triggers import Trigger

_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=15)

# A trigger is begun only while this much of the function's time is left: two tries with the time-outs above.
_RESERVE_SECONDS = 40.0

# Longer than any worker lives (template.yaml: 120 s), so that a lease that is over belongs to a dead one.
_LEASE_SECONDS = 180.0

SqsHandler = Callable[[Mapping[str, Any], Any], dict[str, Any]]


def deliver(trigger: Trigger, braze: Braze, ledger: Ledger, deadline: Deadline) -> Outcome:
    """The trigger's final outcome, which is reported when it is reached now and not by an earlier message.

    Raises a `BundleError` when it has none yet and is to be tried again later.
    """
    if deadline.passed():
        raise DeadlineExceeded("the worker's time is up")
    settled = ledger.claim(trigger.trigger_id, _LEASE_SECONDS)
    if settled is not None:
        if settled.state is State.UNKNOWN:
            _report(trigger, settled)  # by a worker that died, perhaps, and could not say so
        else:
            count("TriggersRepeated")
        return settled
    try:
        dispatch = repeated(lambda: braze.send(trigger.kind, trigger.body(), _TIMEOUTS), ONLY_IF_NOT_DONE, deadline)
        skipped = f"Braze skipped {dispatch.error_count} recipients or fields" if dispatch.error_count else ""
        outcome = Outcome(State.SENT, detail=skipped, dispatch_id=dispatch.dispatch_id, notice=dispatch.notice)
    except (UpstreamUnknown, UpstreamGarbled) as error:
        outcome = Outcome(State.UNKNOWN, error.code, "Braze may or may not have sent this message")
    except UpstreamRefused as error:
        outcome = Outcome(State.FAILED, error.vendor_code, error.vendor_message)
    except BundleError:
        ledger.release(trigger.trigger_id)
        raise
    _report(trigger, outcome)
    return ledger.settle(trigger.trigger_id, outcome)


def deliver_all(messages: Sequence[Message], braze: Braze, ledger: Ledger, deadline: Deadline) -> list[Staying]:
    """Delivers in the order of the batch; returns the messages that must stay in the queue."""
    staying: list[Staying] = []
    for message in messages:
        try:
            trigger = msgspec.json.decode(message.body, type=Trigger)
        except msgspec.DecodeError:
            logger.error("unreadable message", message_id=message.id)
            staying.append(Staying(message))
            continue
        try:
            deliver(trigger, braze, ledger, deadline)
        except BundleError as error:
            logger.warning("trigger postponed", trigger_id=trigger.trigger_id, code=error.code, detail=str(error))
            count("TriggersPostponed")
            staying.append(Staying(message, error.retry_after_seconds))
    return staying


def build(settings: Settings) -> SqsHandler:
    queue = Queue(aws.sqs(), settings.text("TRIGGER_QUEUE_URL"))
    ledger = Ledger(aws.dynamodb(), settings.text("LEDGER_TABLE"))
    braze = wiring.braze(settings, connections=4)

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
        staying = deliver_all(messages_of(event), braze, ledger, deadline)
        queue.postpone(staying)
        flush()
        return batch_response(staying)

    return handle


def _report(trigger: Trigger, outcome: Outcome) -> None:
    count({State.SENT: "TriggersSent", State.FAILED: "TriggersFailed"}.get(outcome.state, "TriggersUnknown"))
    if outcome.notice:
        count("CanvasNotices")  # Braze accepted the send, yet the Canvas is paused or archived
    logger.info(
        "trigger delivered",
        trigger_id=trigger.trigger_id,
        kind=trigger.kind,
        target_id=trigger.target_id,
        state=outcome.state.value,
        reason=outcome.reason,
        dispatch_id=outcome.dispatch_id,
        has_notice=bool(outcome.notice),
    )


handle = build(Settings(os.environ))
