"""From TriggerQueue and UrgentTriggerQueue to Braze: each trigger once, up to 50 of them in one call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

import wiring
from shared import aws
from shared.config import Settings
from shared.deadline import Deadline
from shared.gate import Gate
from shared.ledger import Ledger
from shared.observability import begin_batch, count, flush, logger, milliseconds
from shared.outcomes import Outcome, State
from shared.queues import Message, Queue, SqsHandler, Staying, batch_response, messages_of
from trigger_relay.batches import Batch, summary
from trigger_relay.broadcasts import Broadcasts
from trigger_relay.calls import Call, planned
from trigger_relay.courier import RESERVE_SECONDS, Courier, Results
from trigger_relay.sending import Sending
from trigger_relay.triggers import Send, Trigger

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
    "repeated": "TriggersRepeated",
    "postponed": "TriggersPostponed",
}


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a batch: messages that stay, those that only wait for company, and the result of each send."""

    staying: list[Staying]
    for_company: list[Message]
    results: Results


def deliver_all(
    messages: Sequence[Message],
    courier: Courier[Call],
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
    decoder = msgspec.json.Decoder(Trigger)
    batch = Batch.of(messages, lambda body: decoder.decode(body).sends())
    plan = planned(batch.items.values())
    deferred = [_remainder(calls, batch) for calls in plan] if more_waiting and not urgent else []
    for_company = {message.id: message for call in deferred if call for message in _messages(call, batch)}
    under_way = [threads.submit(courier.deliver, calls, deadline, urgent=urgent) for calls in plan]
    results: Results = {}
    for target in under_way:
        results |= target.result()
    _report(batch, results, len(for_company), clock())
    staying = batch.staying(results)
    return Delivered(list(staying.values()), [m for m in for_company.values() if m.id not in staying], results)


def build(settings: Settings, clock: Callable[[], float] = time.time) -> SqsHandler:
    queue = Queue(aws.sqs(), settings.text("TRIGGER_QUEUE_URL"))
    urgent_queue = Queue(aws.sqs(), settings.text("URGENT_TRIGGER_QUEUE_URL"))
    urgent_arn = settings.text("URGENT_TRIGGER_QUEUE_ARN")
    batch_size = settings.whole_number("TRIGGER_BATCH_SIZE")
    dynamodb = aws.dynamodb_for_transactions()
    cache_table = settings.text("CACHE_TABLE")
    sending = Sending(
        wiring.braze(settings, connections=_SIDE_BY_SIDE),
        Gate(dynamodb, cache_table, "braze", clock),
        Gate(dynamodb, cache_table, "braze-broadcasts", clock),
        Broadcasts(dynamodb, cache_table, clock),
        frozenset(settings.names("BROADCAST_ALLOWED_IDS")),
    )
    courier = Courier(sending, Ledger(dynamodb, settings.text("LEDGER_TABLE"), clock))
    threads = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="target")

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        begin_batch(context)
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
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


def _remainder(calls: list[Call], batch: Batch[Send]) -> Call | None:
    """Takes the last call from a target's, if it is not full, others are, and it did not wait for company before."""
    if len(calls) < 2 or calls[-1].is_full or calls[-1].is_broadcast or not calls[-2].is_full:
        return None
    alone = all(message.receive_count == 1 for message in _messages(calls[-1], batch))
    return calls.pop() if alone else None


def _messages(call: Call, batch: Batch[Send]) -> list[Message]:
    return [message for send in call.sends for message in batch.messages[send.id]]


def _report(batch: Batch[Send], results: Results, for_company: int, now: float) -> None:
    outcomes = {send_id: result for send_id, result in results.items() if isinstance(result, Outcome)}
    _count("TriggersForCompany", for_company)
    _count("BrazeSends", len({outcome.dispatch_id for outcome in outcomes.values() if outcome.dispatch_id}))
    sent = [send_id for send_id, outcome in outcomes.items() if outcome.state is State.SENT]
    for send_id in sent[:: len(sent) // _MOST_WAITS + 1]:
        milliseconds("TriggerWait", max(0.0, now - batch.items[send_id].accepted_at) * 1000)
    # Braze accepted these, yet the Canvas is paused or archived and nobody gets a message: a ground for an alarm.
    _count("CanvasNotices", sum(bool(outcome.notice) for outcome in outcomes.values()))
    logger.info(
        "triggers delivered",
        messages=len({message.id for each in batch.messages.values() for message in each}),
        for_company=for_company,
        **summary(results, _COUNTED_AS),
    )


def _count(name: str, value: int) -> None:
    if value:
        count(name, value)


handle = build(Settings(os.environ))
