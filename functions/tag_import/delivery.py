"""From the tag queues to SessionM, each row of an import or a webhook once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import wiring
from bulk.delivery import Storage, deliver
from bulk.dispatch import Dispatch
from bulk.jobs import Jobs
from bulk.pace import Pace
from bulk.verdicts import Verdicts
from shared import aws
from shared.config import Settings
from shared.deadline import Deadline
from shared.ledger import Ledger
from shared.observability import begin_batch
from shared.outcomes import State
from shared.queues import Queue, SqsHandler, batch_response, messages_of
from shared.rate import Rate
from tag_import.sender import Sender

# A call is begun only while this much of the function's time is left, enough to end it and to write it down.
_RESERVE_SECONDS = 30.0

_COUNTED_AS = {
    State.SENT: "TagsSent",
    State.FAILED: "TagsFailed",
    State.SKIPPED: "TagsSkipped",
    State.UNKNOWN: "TagsUnknown",
    "postponed": "TagsPostponed",
    "throttled": "TagCallsThrottled",
    "limit": "TagCallsUnderWayLimit",
}


def build(settings: Settings) -> SqsHandler:
    concurrency = settings.whole_number("TAG_DELIVERY_CONCURRENCY")
    calls_per_second = settings.whole_number("TAG_RATE_PER_SECOND")
    retention_days = settings.whole_number("IMPORT_RETENTION_DAYS")
    imports_table, cache_table = settings.text("IMPORTS_TABLE"), settings.text("CACHE_TABLE")
    dynamodb, sqs = aws.dynamodb(), aws.sqs()
    tags = Queue(sqs, settings.text("TAG_QUEUE_URL"))
    bulk_tags, bulk_arn = Queue(sqs, settings.text("BULK_TAG_QUEUE_URL")), settings.text("BULK_TAG_QUEUE_ARN")
    sender = Sender(wiring.sessionm(settings, connections=concurrency), Ledger(dynamodb, settings.text("LEDGER_TABLE")))
    pace = Pace(concurrency)
    verdicts, jobs = Verdicts(dynamodb, imports_table, retention_days), Jobs(dynamodb, imports_table, retention_days)
    imports = Queue(sqs, settings.text("IMPORT_QUEUE_URL"))

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        begin_batch(context)
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
        rate = Rate(dynamodb, cache_table, "tags", calls_per_second)
        messages = messages_of(event)
        queue = bulk_tags if messages and messages[0].queue_arn == bulk_arn else tags
        dispatch = Dispatch(sender, verdicts, pace, rate, deadline)
        staying = deliver(messages, Storage(verdicts, jobs, imports, queue), dispatch)
        queue.postpone(staying)
        dispatch.figures.report("tags delivered", _COUNTED_AS, pace.limit)
        return batch_response(staying)

    return handle


handle = build(Settings(os.environ))
