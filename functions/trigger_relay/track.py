"""A SessionM event as custom events and attributes in Braze: what lies in TrackQueue for each member concerned.

Whoever takes in an event hands over its members and properties; what the rules make of it is in the queue once
`Tracker.note` returns. An event that no rule is for costs nothing. The same event handed over again makes the same
tracks, which delivery tells from new ones by their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared.ledger_items import EntryId
from shared.observability import correlation_id, count
from shared.queues import Queue, body_of
from shared.values import date_of, number_of
from trigger_relay.fields import is_blank, snake_case
from trigger_relay.track_rules import EVENT_NAME_NAMES, EVENT_TIME, EVERY_FIELD, Rule, Rules, value_of
from trigger_relay.triggers import Recipient

# Braze's name in users/track for each way a recipient can be addressed.
_IDENTIFIERS = {"external_user_id": "external_id", "user_alias": "user_alias", "braze_id": "braze_id", "email": "email"}

# Where the time of an event stands, best first; otherwise it is the time it was accepted.
_TIME_NAMES = ("event_time", "event_date", "occurred_at", "event_timestamp", "timestamp")

# Braze's limit on a text within the properties of an event; property names Braze keeps for itself.
_LONGEST_TEXT = 255
_RESERVED = frozenset({"time", "event_name"})

# "20261101": too small for epoch seconds, and a date in ISO 8601.
_EIGHT_DIGITS = range(10**7, 10**8)

_NOTHING = msgspec.Raw(b"{}")


class Track(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of TrackQueue: at most one event object and one attributes object of users/track, for one member."""

    id: EntryId
    event: msgspec.Raw = _NOTHING
    attributes: msgspec.Raw = _NOTHING
    correlation_id: str = ""

    @property
    def events(self) -> list[msgspec.Raw]:
        return [self.event] if bytes(self.event) != b"{}" else []

    @property
    def attribute_objects(self) -> list[msgspec.Raw]:
        return [self.attributes] if bytes(self.attributes) != b"{}" else []

    @property
    def objects(self) -> int:
        return len(self.events) + len(self.attribute_objects)


class Tracker:
    """Puts what the rules make of events into TrackQueue."""

    def __init__(self, rules: Rules, queue: Queue) -> None:
        self._rules = rules
        self._queue = queue

    def note(self, entry_id: str, recipients: Iterable[Recipient], properties: bytes, accepted_at: float) -> None:
        """Queues a track for each member of something else that was accepted, if a rule is for it.

        `entry_id` is the same for the same event handed over again, and for no other. `properties` is a JSON object as
        text in snake_case, and holds for recipients without their own. Raises `StoreUnavailable`.
        """
        tracks = self.tracks_of(recipients, properties, accepted_at)
        self.send((f"{entry_id}.t{number}", track) for number, track in enumerate(tracks, 1))

    def tracks_of(self, recipients: Iterable[Recipient], properties: bytes, accepted_at: float) -> list[Track]:
        """What the rules make of an event, member by member; those for whom that is nothing are left out."""
        if not self._rules:
            return []
        tracks = (track_of(recipient, properties, accepted_at, self._rules) for recipient in recipients)
        return [track for track in tracks if track is not None]

    def send(self, tracks: Iterable[tuple[str, Track]]) -> None:
        """Returns once every track is in the queue under its id. Raises `StoreUnavailable`."""
        request = correlation_id()
        bodies = [
            body_of(msgspec.structs.replace(track, id=track_id, correlation_id=request)) for track_id, track in tracks
        ]
        if bodies:
            self._queue.send(bodies)
            count("TracksAccepted", len(bodies))


def track_of(recipient: Recipient, shared: bytes, accepted_at: float, rules: Rules) -> Track | None:
    """What the rules make of an event for one member; None when that is nothing. It has no id yet."""
    own = bytes(recipient.properties)
    fields: dict[str, Any] = msgspec.json.decode(own if own != b"{}" else shared)
    rule = rules.find(event_name_in(fields))
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
    event: dict[str, Any] = {**member, "name": rule.event, "time": time} if rule.event else {}
    if event and (properties := _properties(rule, fields)):
        event["properties"] = properties
    if not event and not attributes:
        return None
    return Track("", _raw(event), _raw({**member, **attributes} if attributes else {}))


def event_name_in(fields: Mapping[str, Any]) -> str:
    """SessionM's name for the event, in snake_case; empty when there is none."""
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
    """ISO 8601 with a zone. What cannot be read is counted and passed over."""
    for name in _TIME_NAMES:
        value = fields.get(name)
        if is_blank(value):
            continue
        if moment := _moment_of(value):
            return _written(moment)
        count("EventTimesUnread")
    return _written(datetime.fromtimestamp(accepted_at, UTC))


def _moment_of(value: Any) -> datetime | None:
    """A moment without a zone is taken for UTC; None when it is in no form that is known."""
    read = date_of(number_of(value))
    if isinstance(value, str) and isinstance(read, int) and read in _EIGHT_DIGITS:
        read = str(read)
    if not isinstance(read, str):
        return None
    try:
        moment = datetime.fromisoformat(read)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _raw(value: Mapping[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
