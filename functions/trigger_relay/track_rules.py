"""Which SessionM events become custom events and attributes in Braze: the table in event_rules.json, and its reading.

A rule has a name, by which the parameter TrackedEvents switches it on, and says

- `names`: the names SessionM gives the event, in snake_case; without them its own
- `event`: the custom event in Braze; without it only attributes are set
- `properties`: fields that go into the custom event, by their names in snake_case; `["*"]` is all of them
- `attributes`: for each attribute of the profile the field whose value it gets; `@time` is the time of the event
- `update_existing_only`: false if a member Braze does not know is to get a profile

A field that is missing or blank is left out. Sources: Braze's pages on users/track and on its event and attributes
objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.errors import ConfigurationError

PACKAGED = Path(__file__).with_name("event_rules.json")

# Where the name of an event stands in what SessionM sends, best first, in snake_case.
EVENT_NAME_NAMES = ("event_name", "event_type", "trigger_event_name", "event")

# In place of a field: the time of the event.
EVENT_TIME = "@time"

EVERY_FIELD = "*"

_SnakeCase = Annotated[str, Meta(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*\Z", max_length=255)]
# Braze refuses names that begin with a dollar sign, and keeps these for itself.
_BrazeName = Annotated[str, Meta(pattern=r"^(?!\$|(time|event_name|external_id|braze_id)\Z).{1,255}\Z")]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the table, as the docstring of this module describes it."""

    names: list[_SnakeCase] = []
    event: _BrazeName | None = None
    properties: list[Annotated[str, Meta(pattern=r"^(\*|[a-z0-9]+(_[a-z0-9]+)*)\Z")]] = []
    attributes: dict[_BrazeName, Annotated[str, Meta(pattern=r"^(@time|[a-z0-9]+(_[a-z0-9]+)*)\Z")]] = {}
    update_existing_only: bool = True


class Rules:
    """The rules that are switched on. Raises `ConfigurationError` when two are for the same event."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._by_event_name: dict[str, Rule] = {}
        for name, rule in rules.items():
            for event_name in rule.names or [name]:
                if self._by_event_name.setdefault(event_name, rule) is not rule:
                    raise ConfigurationError(f"two rules of TrackedEvents are for the event {event_name}")

    @classmethod
    def of(cls, switched_on: Sequence[str], table: Path = PACKAGED) -> Rules:
        """Reads the table, if any rule is switched on. Raises `ConfigurationError` for a fault in either."""
        if not switched_on:
            return cls({})
        try:
            rules = msgspec.json.decode(table.read_bytes(), type=dict[_SnakeCase, Rule])
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigurationError(f"{table.name} cannot be used: {error}") from None
        if unknown := sorted(set(switched_on) - rules.keys()):
            raise ConfigurationError(f"TrackedEvents names {unknown[0]}, which is no rule of {table.name}")
        return cls({name: rules[name] for name in switched_on})

    def __bool__(self) -> bool:
        return bool(self._by_event_name)

    def find(self, event_name: str) -> Rule | None:
        """The rule for an event by SessionM's name for it, in snake_case."""
        return self._by_event_name.get(event_name)


def value_of(fields: Mapping[str, Any], name: str) -> Any:
    """A field's value, None when there is none or it is blank."""
    value = fields.get(name)
    return None if isinstance(value, str) and not value.strip() else value
