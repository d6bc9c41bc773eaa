"""From TagQueue to SessionM: many users at a time, each row to one outcome or back to the queue."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import msgspec

import wiring
from clients.sessionm import Sessionm
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
from shared.retries import REPEATABLE, repeated
from tag_import.imports import Imports
from tag_import.rows import Parcel, Row

# SessionM answers in about 300 ms; ten seconds without an answer is an outage, not slowness.
_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=10)

# A row is begun only while this much of the function's time is left, enough to end it and to report.
_RESERVE_SECONDS = 30.0

# Longer than any worker lives (template.yaml: 120 s), so that a lease that is over belongs to a dead one.
_LEASE_SECONDS = 180.0

SqsHandler = Callable[[Mapping[str, Any], Any], dict[str, Any]]


class TagSender:
    """Sends single rows; safe to use from many threads."""

    def __init__(self, sessionm: Sessionm, ledger: Ledger) -> None:
        self._sessionm = sessionm
        self._ledger = ledger

    def send(self, row: Row, deadline: Deadline) -> Outcome:
        """The row's final outcome. Raises a `BundleError` when it has none yet and is to be tried again later."""
        if deadline.passed():
            raise DeadlineExceeded("the worker's time is up")
        return self._send_expiring(row, deadline) if row.ttl_seconds is not None else self._send_counter(row)

    def _send_expiring(self, row: Row, deadline: Deadline) -> Outcome:
        try:
            repeated(lambda: self._add_tags(row), REPEATABLE, deadline)
        except UpstreamRefused as error:
            return Outcome(State.FAILED, error.vendor_code)
        return Outcome(State.SENT)

    def _send_counter(self, row: Row) -> Outcome:
        entry_id = f"tag#{row.once}"
        settled = self._ledger.claim(entry_id, _LEASE_SECONDS)
        if settled is not None:
            return settled
        try:
            self._add_tags(row)
            outcome = Outcome(State.SENT)
        except (UpstreamUnknown, UpstreamGarbled) as error:
            outcome = Outcome(State.UNKNOWN, error.code)
        except UpstreamRefused as error:
            outcome = Outcome(State.FAILED, error.vendor_code)
        except BundleError:
            self._ledger.release(entry_id)
            raise
        return self._ledger.settle(entry_id, outcome)

    def _add_tags(self, row: Row) -> None:
        self._sessionm.add_tags(row.member, row.tags, row.ttl_seconds, _TIMEOUTS)


def deliver(
    messages: Sequence[Message], sender: TagSender, imports: Imports, threads: Executor, deadline: Deadline
) -> list[Staying]:
    """Sends every row of every message; returns the messages that must stay in the queue."""

    def send(import_id: str, row: Row) -> Outcome:
        outcome = sender.send(row, deadline)
        if outcome.state is not State.SENT:
            imports.refuse(import_id, row, outcome)
        return outcome

    readable, unreadable = _open(messages)
    under_way = [
        (message, [threads.submit(send, parcel.import_id, row) for row in parcel.rows]) for message, parcel in readable
    ]
    staying = [Staying(message) for message in unreadable]
    settled: Counter[State] = Counter()
    postponed: Counter[str] = Counter()
    for message, rows in under_way:
        errors: list[BundleError] = []
        for row in rows:
            try:
                settled[row.result().state] += 1
            except BundleError as error:
                errors.append(error)
        if errors:
            staying.append(Staying(message, max(error.retry_after_seconds for error in errors)))
            postponed.update(error.code for error in errors)
    _report(settled, postponed, unreadable)
    return staying


def build(settings: Settings) -> SqsHandler:
    concurrency = settings.whole_number("TAG_DELIVERY_CONCURRENCY")
    dynamodb = aws.dynamodb()
    queue = Queue(aws.sqs(), settings.text("TAG_QUEUE_URL"))
    imports = Imports(dynamodb, settings.text("IMPORTS_TABLE"), settings.whole_number("IMPORT_RETENTION_DAYS"))
    sender = TagSender(
        wiring.sessionm(settings, connections=concurrency), Ledger(dynamodb, settings.text("LEDGER_TABLE"))
    )
    threads = ThreadPoolExecutor(concurrency, thread_name_prefix="row")

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
        staying = deliver(messages_of(event), sender, imports, threads, deadline)
        queue.postpone(staying)
        flush()
        return batch_response(staying)

    return handle


def _open(messages: Sequence[Message]) -> tuple[list[tuple[Message, Parcel]], list[Message]]:
    readable: list[tuple[Message, Parcel]] = []
    unreadable: list[Message] = []
    for message in messages:
        try:
            readable.append((message, msgspec.json.decode(message.body, type=Parcel)))
        except msgspec.DecodeError:
            unreadable.append(message)
    return readable, unreadable


def _report(settled: Counter[State], postponed: Counter[str], unreadable: Sequence[Message]) -> None:
    for message in unreadable:
        logger.error("unreadable message", message_id=message.id)
    count("TagsSent", settled[State.SENT])
    count("TagsFailed", settled[State.FAILED])
    count("TagsUnknown", settled[State.UNKNOWN])
    count("TagsPostponed", postponed.total())
    logger.info("tags delivered", settled=dict(settled), postponed=dict(postponed))


handle = build(Settings(os.environ))
