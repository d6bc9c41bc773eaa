"""What the functions of the trigger relay are for."""

from __future__ import annotations

import json
import uuid
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared.ledger import Ledger
from tests.faults.support.scenario import Asked, Delivered, Read
from tests.integration.support.events import JSON, Invoked, http_event
from trigger_relay.track import Track
from trigger_relay.triggers import Recipient, Trigger


class TriggerIntake(Asked):
    function, module = "TriggerIntakeFunction", "trigger_relay.intake"
    stores = ("SQS", "DynamoDB", "Secrets Manager")
    settings: ClassVar[Mapping[str, str]] = {"TRACKED_EVENTS": "points_awarded"}
    has_clock = True

    def event(self) -> dict[str, Any]:
        body = {
            "braze_campaign_id": "campaign-1",
            "customer identifier": "member-1",
            "event name": "points_awarded",
            "point award amount": "250",
        }
        return http_event("POST /triggers", headers=JSON, body=json.dumps(body))

    def outcome(self) -> str:
        # Twice in the queue under one id is once at Braze: delivery claims the id.
        triggers = {body["trigger_id"] for body in self.queued("triggers")}
        tracks = {body["id"] for body in self.queued("tracks")}
        if not triggers or not tracks:
            return "nothing"
        return "done" if len(triggers) == len(tracks) == 1 else "twice"


class TriggerStatus(Read):
    function, module = "TriggerStatusFunction", "trigger_relay.status"
    stores = ("DynamoDB",)
    entry_id = f"trg-{uuid.UUID(int=1).hex}"

    def prepare(self) -> None:
        Ledger(self.ground.aws.dynamodb, self.ground.aws.table("ledger")).enter(self.entry_id)

    def event(self) -> dict[str, Any]:
        return http_event("GET /triggers/{trigger_id}", path={"trigger_id": self.entry_id})


class EventIntake(Asked):
    function, title, module = "EventIntakeFunction", "an event", "trigger_relay.events"
    stores = ("SQS", "DynamoDB", "Secrets Manager")
    settings: ClassVar[Mapping[str, str]] = {"TRACKED_EVENTS": "points_awarded"}
    has_clock = True

    def event(self) -> dict[str, Any]:
        body = {"event name": "points_awarded", "customer identifier": "member-1", "point award amount": "250"}
        return http_event("POST /events", headers=JSON, body=json.dumps(body))

    def outcome(self) -> str:
        ids = {body["id"] for body in self.queued("tracks")}
        return {0: "nothing", 1: "done"}.get(len(ids), "twice")


class EventStatus(TriggerStatus):
    function, title, module = "EventIntakeFunction", "its outcome", "trigger_relay.events"
    entry_id = f"evt-{uuid.UUID(int=1).hex}"

    def event(self) -> dict[str, Any]:
        return http_event("GET /events/{event_id}", path={"event_id": self.entry_id})


class Relayed(Delivered):
    """What triggers and tracks have in common: an entry of the ledger, and a gate that a 429 shuts."""

    stores = ("SQS", "DynamoDB", "Secrets Manager")
    vendor = "braze"
    has_clock = True

    @abstractmethod
    def entry_id(self) -> str: ...

    @abstractmethod
    def times(self) -> int:
        """How often Braze has acted on it."""

    def outcome(self) -> str:
        entry = self.ground.aws.item("ledger", self.entry_id())
        if self.times() > 1:
            return "twice"
        if entry is not None and entry["state"] == "unknown":
            return "unknown"
        return "done" if self.times() and entry is not None and entry["state"] == "sent" else "nothing"

    def later(self) -> None:
        self.clock.ahead += 200  # longer than a lease


class TriggerDelivery(Relayed):
    function, module = "TriggerDeliveryFunction", "trigger_relay.delivery"

    def entry_id(self) -> str:
        return f"trg-{self.number}"

    def body(self) -> str:
        recipients = [Recipient({"external_user_id": f"member-{self.number}"})]
        properties = msgspec.Raw(b'{"offer_title":"Free coffee"}')
        sent = Trigger(self.entry_id(), "campaign", "campaign-1", recipients, properties, accepted_at=self.number)
        return msgspec.json.encode(sent).decode()

    def times(self) -> int:
        return sum(sent.recipient == f"member-{self.number}" for sent in self.ground.braze.sends)


class TrackDelivery(Relayed):
    function, module = "TrackDeliveryFunction", "trigger_relay.track_delivery"

    def entry_id(self) -> str:
        return f"evt-{self.number}"

    def body(self) -> str:
        event = {"external_id": f"member-{self.number}", "name": "seen", "time": "2026-11-22T12:30:00+00:00"}
        return msgspec.json.encode(Track(self.entry_id(), msgspec.Raw(msgspec.json.encode(event)))).decode()

    def times(self) -> int:
        return sum(each.member == f"external_id:member-{self.number}" for each in self.ground.braze.tracked)


class PassedOn(Asked):
    function, title, module = "TriggerPassthroughFunction", "a broadcast", "trigger_relay.passthrough"
    stores = ("DynamoDB", "Secrets Manager")
    vendor = "braze"
    settings: ClassVar[Mapping[str, str]] = {"BROADCAST_ALLOWED_IDS": "campaign-1"}
    has_clock = True

    def event(self) -> dict[str, Any]:
        body = '{"campaign_id": "campaign-1", "broadcast": true}'
        return http_event("POST /campaigns/trigger/send", headers=JSON, body=body)

    def run(self, handle: Invoked) -> str:
        self.sees = super().run(handle)
        return self.sees

    def comes_again(self, sees: str) -> bool:
        return sees.startswith(("429", "5"))

    def outcome(self) -> str:
        # Nothing is written down here: what the answer says is all there is.
        if self.sees.startswith("409"):
            return "unknown"
        return {0: "nothing", 1: "done"}.get(len(self.ground.braze.sends), "twice")


class PassedOnRead(Read):
    function, title, module = "TriggerPassthroughFunction", "a read", "trigger_relay.passthrough"
    stores = ("Secrets Manager",)
    vendor = "braze"

    def event(self) -> dict[str, Any]:
        return http_event("GET /campaigns/details", query={"campaign_id": "campaign-1"})
