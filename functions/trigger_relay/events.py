"""POST /events and GET /events/{event_id}: SessionM events that become custom events in Braze and trigger nothing.

Read as a trigger is, without a campaign or Canvas, and acknowledged once what the rules make of it is in TrackQueue.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable

import msgspec

from shared import aws
from shared.config import Settings
from shared.errors import InvalidInput, NotFound
from shared.http import Answer, Handler, Request, http_handler
from shared.ledger import Ledger, part_id
from shared.members import MemberHashes
from shared.observability import correlation_id, count, note
from shared.outcomes import State
from shared.queues import Queue
from trigger_relay import fields
from trigger_relay.evictions import Evictions
from trigger_relay.reading import Reader
from trigger_relay.standing import standing_of
from trigger_relay.track import Tracker, event_name_in
from trigger_relay.track_rules import EVENT_NAME_NAMES, Rules
from trigger_relay.triggers import names_of

_EVENT_ID = re.compile(r"evt-[0-9a-f]{32}\Z")


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Handler:
    ledger = Ledger(aws.dynamodb_for_requests(), settings.text("LEDGER_TABLE"), clock)
    reader = Reader(
        rules=fields.rules_of(settings.names("TRIGGER_FIELDS")),
        member_kind=settings.text("TRIGGER_CUSTOMER_IDENTIFIER"),
    )
    hashes = MemberHashes(aws.secretsmanager(), settings.text("LOG_KEY_SECRET_ID"))
    evictions = Evictions(aws.dynamodb_for_reads(), settings.text("CACHE_TABLE"))
    queue = Queue(aws.sqs_for_requests(), settings.text("TRACK_QUEUE_URL"))
    tracker = Tracker(Rules.of(settings.names("TRACKED_EVENTS")), queue)

    def accept(request: Request) -> Answer:
        payload = fields.parse(request.json_bytes())
        event = reader.read_event(payload, request.idempotency_key, request.caller)
        if not event_name_in(event.properties):
            raise InvalidInput(
                "the event has no name", code="missing_field", field=EVENT_NAME_NAMES[0], hint="Say which event it is."
            )
        evictions.of(event.recipients)
        tracks = tracker.tracks_of(event.recipients, msgspec.json.encode(event.properties), clock())
        if not tracks:
            count("EventsSkipped")
            return Answer(202, {"ok": True, "event_id": None, "state": State.SKIPPED.value, "repeated": False})
        entry = ledger.enter(event.event_id, len(tracks), correlation_id())
        state = State.QUEUED if entry.is_new else standing_of(event.event_id, entry, ledger).state
        if state is State.QUEUED:
            # Also for a repeat: the first request may have died before this line. Delivery sends once.
            ids = (part_id(event.event_id, entry.entered_at, number) for number in range(1, len(tracks) + 1))
            tracker.send(zip(ids if len(tracks) > 1 else [event.event_id], tracks, strict=True))
        names = (name for member in event.recipients for name in names_of(member))
        note(event_id=event.event_id, members=len(tracks), member_hashes=hashes.of(names))
        return Answer(202, {"ok": True, "event_id": event.event_id, "state": state.value, "repeated": not entry.is_new})

    def status(request: Request) -> Answer:
        event_id = request.path["event_id"]
        entry = ledger.find(event_id) if _EVENT_ID.match(event_id) else None
        if entry is None:
            raise NotFound(
                "no such event", field="event_id", hint="Ids are kept for 30 days; see the answer of POST /events."
            )
        standing = standing_of(event_id, entry, ledger)
        return Answer(
            200,
            {
                "ok": True,
                "event_id": event_id,
                "state": standing.state.value,
                "reason": standing.outcome.reason or None,
                "detail": standing.outcome.detail or None,
                "members": standing.counts() if standing.recipients else None,
                "correlation_id": entry.correlation_id or None,
            },
        )

    return http_handler({"POST /events": accept, "GET /events/{event_id}": status})


handle = build(Settings(os.environ))
