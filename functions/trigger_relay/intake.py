"""POST /triggers: what a SessionM template sends, understood, recorded, queued, and only then acknowledged."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from shared import aws
from shared.config import Settings
from shared.http import Answer, Handler, Request, http_handler
from shared.ledger import Ledger
from shared.members import MemberHashes
from shared.observability import correlation_id, count, note
from shared.outcomes import State
from shared.queues import Queue
from trigger_relay import fields
from trigger_relay.evictions import Evictions
from trigger_relay.reading import Reader
from trigger_relay.standing import standing_of
from trigger_relay.track import Tracker
from trigger_relay.track_rules import Rules
from trigger_relay.triggers import names_of


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Handler:
    sqs = aws.sqs_for_requests()
    queue = Queue(sqs, settings.text("TRIGGER_QUEUE_URL"))
    urgent_queue = Queue(sqs, settings.text("URGENT_TRIGGER_QUEUE_URL"))
    ledger = Ledger(aws.dynamodb_for_requests(), settings.text("LEDGER_TABLE"), clock)
    reader = Reader(
        broadcast_allowed=frozenset(settings.names("BROADCAST_ALLOWED_IDS")),
        rules=fields.rules_of(settings.names("TRIGGER_FIELDS")),
        member_kind=settings.text("TRIGGER_CUSTOMER_IDENTIFIER"),
    )

    hashes = MemberHashes(aws.secretsmanager(), settings.text("LOG_KEY_SECRET_ID"))
    evictions = Evictions(aws.dynamodb_for_reads(), settings.text("CACHE_TABLE"))
    tracker = Tracker(Rules.of(settings.names("TRACKED_EVENTS")), Queue(sqs, settings.text("TRACK_QUEUE_URL")))

    def accept(request: Request) -> Answer:
        payload = fields.parse(request.json_bytes())
        reading = reader.read(payload, request.idempotency_key, request.caller)
        entry = ledger.enter(reading.trigger_id, reading.parts, correlation_id())
        state = State.QUEUED if entry.is_new else standing_of(reading.trigger_id, entry, ledger).state
        if state is State.QUEUED:
            # Also for a repeat: the first request may have died before this line. Delivery sends once.
            evictions.of(reading.members)
            tracked_as = f"{reading.trigger_id}.{entry.entered_at}"
            tracker.note(tracked_as, reading.recipients, reading.properties, clock())
            messages = reading.messages(clock(), entry.entered_at, correlation_id())
            (urgent_queue if reading.urgent else queue).send(messages)
        count("TriggersAccepted" if entry.is_new else "TriggersRepeatedByCaller")
        note(
            trigger_id=reading.trigger_id,
            recipients=len(reading.recipients),
            member_hashes=hashes.of(name for member in reading.members for name in names_of(member)),
        )
        return Answer(
            202,
            {"ok": True, "trigger_id": reading.trigger_id, "state": state.value, "repeated": not entry.is_new},
        )

    return http_handler({"POST /triggers": accept})


handle = build(Settings(os.environ))
