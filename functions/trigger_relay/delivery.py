"""From TriggerQueue and UrgentTriggerQueue to Braze: each trigger once, up to 50 of them in one call."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec

import wiring
from shared import aws
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import BundleError, InProgress
from shared.gate import Gate
from shared.ledger import Ledger
from shared.observability import begin_batch, count, flush, logger, milliseconds, narrow
from shared.outcomes import Outcome, State
from shared.queues import Message, Queue, SqsHandler, Staying, batch_response, messages_of
from trigger_relay.broadcasts import Broadcasts
from trigger_relay.calls import Call, planned
from trigger_relay.sending import Courier, Repeated, Result, Results
from trigger_relay.triggers import Send, Trigger

# A call is begun only while this much of the function's time is left: two tries with the courier's time-outs, and two
# of five seconds each to claim it and to settle it.
_RESERVE_SECONDS = 60.0

# Campaigns and Canvases are served side by side, each in the order of its triggers. Braze answers in a tenth of a
# second, so that one worker makes up to 80 calls a second: what Braze grants a whole workspace is 69.
_SIDE_BY_SIDE = 8

# While more triggers wait than one batch holds, the few that would make a call of less than 50 wait for company.
_FOR_COMPANY_SECONDS = 2

# Of a batch of very many triggers so many stand for all when it is told how long they waited.
_MOST_WAITS = 50

_COUNTED_AS = {
    State.SENT: "TriggersSent",
    State.FAILED: "TriggersFailed",
    State.UNKNOWN: "TriggersUnknown",
}


@dataclass(slots=True)
class Batch:
    """The sends of a batch of messages, and which message each came in; a send may come in several."""

    sends: dict[str, Send] = field(default_factory=dict)
    messages: dict[str, list[Message]] = field(default_factory=dict)
    unreadable: list[Message] = field(default_factory=list)

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Batch:
        batch = cls()
        decoder = msgspec.json.Decoder(Trigger)
        for message in messages:
            try:
                sends = list(decoder.decode(message.body).sends())
            except (msgspec.DecodeError, RecursionError):
                logger.error("unreadable message", message_id=message.id)
                batch.unreadable.append(message)
                continue
            for send in sends:
                batch.sends.setdefault(send.id, send)
                batch.messages.setdefault(send.id, []).append(message)
        return batch


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a batch: messages that stay, those that only wait for company, and the result of each send."""

    staying: list[Staying]
    for_company: list[Message]
    results: Results


def deliver_all(
    messages: Sequence[Message],
    courier: Courier,
    threads: Executor,
    deadline: Deadline,
    *,
    urgent: bool = False,
    more_waiting: bool = False,
    clock: Callable[[], float] = time.time,
) -> Delivered:
    """Delivers a batch: target by target side by side, for one target call after call.

    `more_waiting` says that the queue holds more than this batch.
    """
    batch = Batch.of(messages)
    narrow(send.correlation_id for send in batch.sends.values())
    plan = planned(batch.sends.values())
    deferred = [_remainder(calls, batch) for calls in plan] if more_waiting and not urgent else []
    for_company = {message.id: message for call in deferred if call for message in _messages(call, batch)}
    under_way = [threads.submit(_one_after_the_other, calls, courier, deadline, urgent) for calls in plan]
    results: Results = {}
    for target in under_way:
        results |= target.result()
    staying = {message.id: Staying(message) for message in batch.unreadable}
    for send_id, result in results.items():
        if not isinstance(result, BundleError):
            continue
        for message in batch.messages[send_id]:
            known = staying.get(message.id, Staying(message))
            staying[message.id] = Staying(message, max(known.wait_seconds, result.retry_after_seconds))
    _report(batch, results, len(for_company), clock())
    return Delivered(list(staying.values()), [m for m in for_company.values() if m.id not in staying], results)


def build(settings: Settings, clock: Callable[[], float] = time.time) -> SqsHandler:
    queue = Queue(aws.sqs(), settings.text("TRIGGER_QUEUE_URL"))
    urgent_queue = Queue(aws.sqs(), settings.text("URGENT_TRIGGER_QUEUE_URL"))
    urgent_arn = settings.text("URGENT_TRIGGER_QUEUE_ARN")
    batch_size = settings.whole_number("TRIGGER_BATCH_SIZE")
    dynamodb = aws.dynamodb_for_transactions()
    cache_table = settings.text("CACHE_TABLE")
    courier = Courier(
        wiring.braze(settings, connections=_SIDE_BY_SIDE),
        Ledger(dynamodb, settings.text("LEDGER_TABLE"), clock),
        Gate(dynamodb, cache_table, "braze", clock),
        Gate(dynamodb, cache_table, "braze-broadcasts", clock),
        Broadcasts(dynamodb, cache_table, clock),
        frozenset(settings.names("BROADCAST_ALLOWED_IDS")),
    )
    threads = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="target")

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        begin_batch(context)
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
        messages = messages_of(event)
        urgent = bool(messages) and messages[0].queue_arn == urgent_arn
        more_waiting = len(messages) >= batch_size
        delivered = deliver_all(
            messages, courier, threads, deadline, urgent=urgent, more_waiting=more_waiting, clock=clock
        )
        own_queue = urgent_queue if urgent else queue
        own_queue.postpone(delivered.staying)
        own_queue.hold(delivered.for_company, _FOR_COMPANY_SECONDS)
        flush()
        return batch_response([*delivered.staying, *map(Staying, delivered.for_company)])

    return handle


def _one_after_the_other(calls: Sequence[Call], courier: Courier, deadline: Deadline, urgent: bool) -> Results:
    """What comes after a call that could not be made waits with it, so that order is kept and Braze left alone."""
    results: Results = {}
    for position, call in enumerate(calls):
        made = courier.deliver(call, deadline, urgent=urgent)
        results |= made
        if stopped := next((each for each in made.values() if _stops_the_rest(each)), None):
            results |= {send.id: stopped for later in calls[position + 1 :] for send in later.sends}
            break
    return results


def _stops_the_rest(result: Result) -> bool:
    return isinstance(result, BundleError) and not isinstance(result, InProgress)


def _remainder(calls: list[Call], batch: Batch) -> Call | None:
    """Takes the last call from a target's, if it is not full, others are, and it did not wait for company before."""
    if len(calls) < 2 or calls[-1].is_full or calls[-1].is_broadcast or not calls[-2].is_full:
        return None
    alone = all(message.receive_count == 1 for message in _messages(calls[-1], batch))
    return calls.pop() if alone else None


def _messages(call: Call, batch: Batch) -> list[Message]:
    return [message for send in call.sends for message in batch.messages[send.id]]


def _report(batch: Batch, results: Results, for_company: int, now: float) -> None:
    outcomes = [result for result in results.values() if isinstance(result, Outcome)]
    repeated = sum(isinstance(result, Repeated) for result in results.values())
    postponed = Counter(result.code for result in results.values() if isinstance(result, BundleError))
    settled = Counter(outcome.state for outcome in outcomes)
    for state, name in _COUNTED_AS.items():
        _count(name, settled[state])
    _count("TriggersRepeated", repeated)
    _count("TriggersPostponed", postponed.total())
    _count("TriggersForCompany", for_company)
    _count("BrazeSends", len({outcome.dispatch_id for outcome in outcomes if outcome.dispatch_id}))
    sent = [
        send_id for send_id, result in results.items() if isinstance(result, Outcome) and result.state is State.SENT
    ]
    for send_id in sent[:: len(sent) // _MOST_WAITS + 1]:
        milliseconds("TriggerWait", max(0.0, now - batch.sends[send_id].accepted_at) * 1000)
    # Braze accepted these, yet the Canvas is paused or archived and nobody gets a message: a ground for an alarm.
    _count("CanvasNotices", sum(bool(outcome.notice) for outcome in outcomes))
    logger.info(
        "triggers delivered",
        messages=len({message.id for each in batch.messages.values() for message in each}),
        settled={state.value: number for state, number in settled.items()},
        repeated=repeated,
        postponed=dict(postponed),
        for_company=for_company,
    )


def _count(name: str, value: int) -> None:
    if value:
        count(name, value)


handle = build(Settings(os.environ))
