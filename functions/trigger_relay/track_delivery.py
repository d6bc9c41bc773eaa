"""From TrackQueue to Braze's users/track: each track once, up to 75 objects in one call."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import msgspec

import wiring
from shared import aws
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import BundleError, InProgress
from shared.gate import Gate
from shared.ledger import Ledger
from shared.observability import begin_batch, count, flush, logger, narrow
from shared.outcomes import Outcome, State
from shared.queues import Message, Queue, SqsHandler, Staying, batch_response, messages_of
from trigger_relay.sending import Repeated, Result
from trigger_relay.track import Track
from trigger_relay.track_calls import Results, TrackCourier, planned

# A call is begun only while this much of the function's time is left: two tries with the courier's time-outs, and two
# of five seconds each to claim it and to settle it.
_RESERVE_SECONDS = 60.0

_COUNTED_AS = {State.SENT: "TracksSent", State.FAILED: "TracksFailed", State.UNKNOWN: "TracksUnknown"}


def deliver_all(messages: Sequence[Message], courier: TrackCourier, deadline: Deadline) -> list[Staying]:
    """Delivers a batch in its order; returns the messages that must stay in the queue.

    What comes after a call that could not be made waits with it, so that Braze is left alone.
    """
    tracks: dict[str, Track] = {}
    brought_by: dict[str, list[Message]] = {}
    staying: list[Staying] = []
    for message in messages:
        try:
            track = msgspec.json.decode(message.body, type=Track)
        except (msgspec.DecodeError, RecursionError):
            logger.error("unreadable message", message_id=message.id)
            staying.append(Staying(message))
            continue
        tracks.setdefault(track.id, track)
        brought_by.setdefault(track.id, []).append(message)
    narrow(track.correlation_id for track in tracks.values())
    results: Results = {}
    stopped: BundleError | None = None
    for call in planned(tracks.values()):
        made = _postponed(call, stopped) if stopped else courier.deliver(call, deadline)
        results |= made
        stopped = next((each for each in made.values() if _stops_the_rest(each)), None)
    _report(results)
    return staying + [
        Staying(message, result.retry_after_seconds)
        for track_id, result in results.items()
        if isinstance(result, BundleError)
        for message in brought_by[track_id]
    ]


def build(settings: Settings, clock: Callable[[], float] = time.time) -> SqsHandler:
    queue = Queue(aws.sqs(), settings.text("TRACK_QUEUE_URL"))
    dynamodb = aws.dynamodb_for_transactions()
    courier = TrackCourier(
        wiring.braze(settings, connections=1),
        Ledger(dynamodb, settings.text("LEDGER_TABLE"), clock),
        Gate(dynamodb, settings.text("CACHE_TABLE"), "braze-track", clock),
    )

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        begin_batch(context)
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
        staying = deliver_all(messages_of(event), courier, deadline)
        queue.postpone(staying)
        flush()
        return batch_response(staying)

    return handle


def _postponed(call: Sequence[Track], error: BundleError) -> Results:
    return dict.fromkeys((track.id for track in call), error)


def _stops_the_rest(result: Result) -> TypeGuard[BundleError]:
    return isinstance(result, BundleError) and not isinstance(result, InProgress)


def _report(results: Results) -> None:
    settled = Counter(result.state for result in results.values() if isinstance(result, Outcome))
    postponed = Counter(result.code for result in results.values() if isinstance(result, BundleError))
    for state, name in _COUNTED_AS.items():
        if settled[state]:
            count(name, settled[state])
    if repeated := sum(isinstance(result, Repeated) for result in results.values()):
        count("TracksRepeated", repeated)
    if postponed:
        count("TracksPostponed", postponed.total())
    logger.info(
        "tracks delivered",
        settled={state.value: number for state, number in settled.items()},
        postponed=dict(postponed),
    )


handle = build(Settings(os.environ))
