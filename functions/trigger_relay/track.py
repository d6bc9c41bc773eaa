"""A SessionM event as custom events and attributes in Braze: what lies in TrackQueue for each member concerned.

Whoever takes in an event hands over its id, its members, its properties and when it was entered; what the rules make
of it is in the queue once `Tracker.note` returns. An event that no rule is for costs nothing. The same event handed
over again makes the same tracks, which delivery tells from new ones by their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared.observability import count
from shared.queues import Queue, body_of
from trigger_relay.fields import snake_case
from trigger_relay.track_rules import EVENT_NAME_NAMES, EVENT_TIME, EVERY_FIELD, Rule, Rules, value_of
from trigger_relay.triggers import Recipient

# Braze's name in users/track for each way a recipient can be addressed.
_IDENTIFIERS = {"external_user_id": "external_id", "user_alias": "user_alias", "braze_id": "braze_id", "email": "email"}

# Where the time of an event stands, best first; otherwise it is the time it was accepted.
_TIME_NAMES = ("event_time", "event_date", "occurred_at", "event_timestamp", "timestamp")

# Braze's limit on a text within the properties of an event; property names Braze keeps for itself.
_LONGEST_TEXT = 255
_RESERVED = frozenset({"time", "event_name"})

_EPOCH_SECONDS = range(10**9, 10**10)


class Track(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of TrackQueue: at most one event object and one attributes object of users/track, for one member."""

    id: str
    event: msgspec.Raw | None = None
    attributes: msgspec.Raw | None = None

    @property
    def objects(self) -> int:
        return (self.event is not None) + (self.attributes is not None)


class Tracker:
    """Puts what the rules make of events into TrackQueue."""

    def __init__(self, rules: Rules, queue: Queue) -> None:
        self._rules = rules
        self._queue = queue

    def note(
        self, event_id: str, recipients: Iterable[Recipient], properties: bytes, accepted_at: float, entered_at: int
    ) -> int:
        """Queues a track for each member, and returns how many; 0 when no rule is for this event.

        `properties` is a JSON object as text in snake_case, and holds for recipients without their own. `entered_at`
        tells this event from an equal one of another week. Raises `StoreUnavailable`.
        """
        if not self._rules:
            return 0
        tracks = [
            track
            for number, recipient in enumerate(recipients)
            if (
                track := track_of(
                    f"{event_id}.{entered_at}.track{number}", recipient, properties, accepted_at, self._rules
                )
            )
        ]
        if tracks:
            self._queue.send(body_of(track) for track in tracks)
            count("TracksAccepted", len(tracks))
        return len(tracks)


def track_of(track_id: str, recipient: Recipient, shared: bytes, accepted_at: float, rules: Rules) -> Track | None:
    """What the rules make of an event for one member; None when that is nothing."""
    own = bytes(recipient.properties)
    fields: dict[str, Any] = msgspec.json.decode(own if own != b"{}" else shared)
    rule = rules.find(_name_of(fields))
    if rule is None:
        return None
    member = {_IDENTIFIERS[name]: value for name, value in recipient.address.items() if name in _IDENTIFIERS}
    if rule.update_existing_only:
        member["_update_existing_only"] = True
    time = _time_of(fields, accepted_at)
    attributes = {
        attribute: value
        for attribute, field in rule.attributes.items()
        if (value := time if field == EVENT_TIME else value_of(fields, field)) is not None
    }
    event = {**member, "name": rule.event, "time": time} if rule.event else None
    if event is not None and (properties := _properties(rule, fields)):
        event["properties"] = properties
    if event is None and not attributes:
        return None
    return Track(track_id, _raw(event), _raw({**member, **attributes} if attributes else None))


def _name_of(fields: Mapping[str, Any]) -> str:
    names = (fields.get(name) for name in EVENT_NAME_NAMES)
    return next((snake_case(name) for name in names if isinstance(name, str) and name.strip()), "")


def _properties(rule: Rule, fields: Mapping[str, Any]) -> dict[str, Any]:
    if EVERY_FIELD in rule.properties:
        names: Iterable[str] = (name for name in fields if name not in _RESERVED)
    else:
        names = rule.properties
    values = ((name, value_of(fields, name)) for name in names)
    return {name: _shortened(value) for name, value in values if value is not None}


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    return [_shortened(inner) for inner in value] if isinstance(value, list) else value


def _time_of(fields: Mapping[str, Any], accepted_at: float) -> str:
    """ISO 8601 with a zone; a time without one is taken for UTC."""
    for name in _TIME_NAMES:
        value = fields.get(name)
        if isinstance(value, int) and value in _EPOCH_SECONDS:
            return _written(datetime.fromtimestamp(value, UTC))
        if isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                continue
            return _written(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return _written(datetime.fromtimestamp(accepted_at, UTC))


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _raw(value: Mapping[str, Any] | None) -> msgspec.Raw | None:
    return None if value is None else msgspec.Raw(msgspec.json.encode(value))
