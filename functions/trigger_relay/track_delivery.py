"""From TrackQueue to Braze's users/track: each track once, up to 75 objects in one call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

import wiring
from shared import aws
from shared.config import Settings
from shared.deadline import Deadline
from shared.gate import Gate
from shared.ledger import Ledger
from shared.observability import begin_batch, flush, logger
from shared.outcomes import State
from shared.queues import Message, Queue, SqsHandler, Staying, batch_response, messages_of
from trigger_relay.batches import Batch, summary
from trigger_relay.courier import RESERVE_SECONDS, Courier
from trigger_relay.track import Track
from trigger_relay.track_calls import TrackCall, Tracking, planned

_COUNTED_AS = {
    State.SENT: "TracksSent",
    State.FAILED: "TracksFailed",
    State.UNKNOWN: "TracksUnknown",
    "repeated": "TracksRepeated",
    "postponed": "TracksPostponed",
}


def deliver_all(messages: Sequence[Message], courier: Courier[TrackCall], deadline: Deadline) -> list[Staying]:
    """Delivers a batch in its order; returns the messages that must stay in the queue."""
    batch = Batch.of(messages, lambda body: [msgspec.json.decode(body, type=Track)])
    results = courier.deliver([TrackCall(tracks) for tracks in planned(batch.items.values())], deadline)
    logger.info("tracks delivered", **summary(results, _COUNTED_AS))
    return list(batch.staying(results).values())


def build(settings: Settings, clock: Callable[[], float] = time.time) -> SqsHandler:
    queue = Queue(aws.sqs(), settings.text("TRACK_QUEUE_URL"))
    dynamodb = aws.dynamodb_for_transactions()
    tracking = Tracking(
        wiring.braze(settings, connections=1),
        Gate(dynamodb, settings.text("CACHE_TABLE"), "braze-track", clock),
    )
    courier = Courier(tracking, Ledger(dynamodb, settings.text("LEDGER_TABLE"), clock))

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        begin_batch(context)
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
        staying = deliver_all(messages_of(event), courier, deadline)
        queue.postpone(staying)
        flush()
        return batch_response(staying)

    return handle


handle = build(Settings(os.environ))
