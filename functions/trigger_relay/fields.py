"""From SessionM's field names to Braze's: the table, and how a payload is read with it.

A SessionM template writes names with spaces, underscores or in camel case, flat or in objects; Liquid in Braze wants
snake_case. What addresses the send is taken out, what a SessionM template is known to send gets its one name and form,
and every other field becomes a property of the message as it is.

A field within objects goes by its path as well: `offer: {title}` is `offer_title`, `customer: {identifier}` is
`customer_identifier`. Source: Braze's partner page on SessionM, "triggered messaging".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from shared.errors import ConfigurationError, InvalidInput
from shared.validation import not_json
from trigger_relay.values import KINDS, Kind, converted, kind_by_name

# What each part of the address may be called, best first, in snake_case.
CAMPAIGN_NAMES = ("braze_campaign_id", "campaign_id")
CANVAS_NAMES = ("braze_canvas_id", "canvas_id")
BROADCAST_NAMES = ("broadcast_flag", "broadcast")
URGENT_NAMES = ("urgent", "urgent_flag")
MEMBER_NAMES = ("customer_identifier", "external_user_id", "external_id", "user_id")
MEMBER_KIND_NAMES = ("customer_identifier_type", "identifier_type")
ALIAS_NAMES = ("user_alias",)
ALIAS_NAME_NAMES = ("alias_name",)
ALIAS_LABEL_NAMES = ("alias_label",)
BRAZE_ID_NAMES = ("braze_id",)
EMAIL_NAMES = ("email_address", "email")
PRIORITIZATION_NAMES = ("prioritization",)
RECIPIENTS_NAMES = ("recipients", "customers", "members")
EVENT_NAMES = ("event_id", "trigger_event_id", "schedule_id")

# What a SessionM template is known to send, and the form its value gets.
PROPERTIES: Mapping[str, Kind] = {
    "offer_id": "as_is",
    "offer_title": "as_is",
    "user_offer_id": "as_is",
    "description": "as_is",
    "terms_and_conditions": "as_is",
    "logo": "as_is",
    "pos_discount_id": "as_is",
    "expiration_date": "date",
    "point_award_amount": "number",
    "point_account_name": "as_is",
    "campaign_id": "as_is",
    "campaign_name": "as_is",
    "campaign_runtime": "date",
    "campaign_custom_data": "as_is",
}

# Names nobody would give to anything else: they address the send in whatever object they stand.
_UNMISTAKABLE = {
    *("braze_campaign_id", "braze_canvas_id", "broadcast_flag", "customer_identifier", "external_user_id"),
    *("user_alias", "braze_id", "email_address"),
}
# In these objects the names of a member need no prefix, and in those the names of the table above.
_MEMBER_OBJECTS = {"customer", "user", "member", "profile"}
_MEMBER_FIELDS = {*MEMBER_NAMES, *MEMBER_KIND_NAMES, "alias_name", "alias_label", *BRAZE_ID_NAMES, *EMAIL_NAMES}
_PROPERTY_OBJECTS = {"offer", "user_offer", "point_award", "campaign"}

# Objects whose fields are meant as the message's own, as in a body made for Braze, and texts that hold JSON.
_WRAPPERS = ("payload", "trigger_properties", "context", "canvas_entry_properties")
_JSON_TEXTS = ("campaign_custom_data", "advanced_settings")

# A placeholder of SessionM's or Braze's documentation that nobody filled in is as good as blank.
_PLACEHOLDER = re.compile(r"^\s*\{\{.*\}\}\s*\Z", re.DOTALL)
_CAMEL_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# A JSON string, closed or not, or else a comma that nothing follows: strings are matched so as to be left alone.
_STRING_OR_TRAILING_COMMA = re.compile(rb'("(?:[^"\\]|\\.)*(?:"|\\?\Z))|,(?=\s*[}\]])', re.DOTALL)
# Liquid reaches a few levels down; Python's own limit is far beyond, and a crash.
_DEEPEST = 30

_NOT_WORD = re.compile(r"[^0-9A-Za-z]+")

_RULE = re.compile(r"(?P<source>[^=:]+)=(?P<target>[A-Za-z0-9_]+)(:(?P<kind>\w+))?\Z")

Path = tuple[str, ...]


class _Twice(InvalidInput):
    """Two fields have one name: which of them was meant, nobody can tell."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message, field=field, hint="Send one of them.")


class Taken(NamedTuple):
    """A field under the name it was sent by; the value is None when it was not, and the name then its usual one."""

    name: str
    value: Any


class Rule(NamedTuple):
    """What a deployment adds to the table: the field at `source` is called `target`, and has this form."""

    source: Path
    target: str
    kind: Kind


def rules_of(lines: Sequence[str]) -> list[Rule]:
    """Rules as in `loyalty card=customer_identifier` or `event data.points=points_earned:number`."""
    return [_rule(line) for line in lines]


def _rule(line: str) -> Rule:
    found = _RULE.match(line)
    source = tuple(snake_case(part) for part in found["source"].split(".")) if found else ()
    if found is None or not all(source) or (found["kind"] or "as_is") not in KINDS:
        raise ConfigurationError("TRIGGER_FIELDS wants rules such as loyalty card=customer_identifier or a.b=c:number")
    target = snake_case(found["target"])
    kind: Any = found["kind"] or PROPERTIES.get(target, "as_is")
    return Rule(source, target, kind)


def parse(body: bytes) -> dict[str, Any]:
    """The payload as an object. A comma before a closing brace is let pass, for SessionM's own sample has one.

    Raises `InvalidInput`, also for an object that has a name twice.
    """
    try:
        payload = _decode(body)
    except (msgspec.DecodeError, ValueError):
        try:
            payload = _decode(_STRING_OR_TRAILING_COMMA.sub(rb"\1", body))
        except (msgspec.DecodeError, ValueError):
            raise not_json() from None
    if not isinstance(payload, dict):
        raise InvalidInput("expected an object", code="not_an_object", field="body", hint="Send one JSON object.")
    return payload


def in_snake_case(payload: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """The payload with every name in snake_case, also inside; raises `InvalidInput` when two names become one.

    Within an object in a list a path counts as a name as well; the payload's own are compared by `unwrapped`.
    """
    if depth > _DEEPEST:
        raise InvalidInput(
            f"objects and lists nested more than {_DEEPEST} deep", field="body", hint="Send what the message shows."
        )
    renamed: dict[str, Any] = {}
    for name, value in payload.items():
        new_name = snake_case(name)
        if not new_name:
            raise InvalidInput("a name without letters or digits", field="body", hint="Give every field a name.")
        if new_name in renamed:
            raise _Twice("two fields have this name once spaces and case are set aside", new_name)
        renamed[new_name] = _inside(value, depth)
    return renamed


def snake_case(name: str) -> str:
    """`offer title`, `offerTitle` and `OfferTitle` are all `offer_title`."""
    return _NOT_WORD.sub("_", _CAMEL_BORDER.sub("_", name)).strip("_").lower()


def unwrapped(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload in snake_case, with the fields of wrappers as its own, and JSON within texts read.

    Raises `InvalidInput` when a field stands both in a wrapper and beside it, or both in an object and by its path, as
    do `offer: {title}` and `offer_title`.
    """
    fields = in_snake_case(payload)
    for path in list(_paths(fields)):
        if _names_of(path).isdisjoint(_JSON_TEXTS):
            continue
        holder: Any = fields
        for name in path[:-1]:
            holder = holder[name]
        holder[path[-1]] = _json_in(holder[path[-1]], path)
    for name in _WRAPPERS:
        if not isinstance(inner := fields.get(name), dict):
            continue
        del fields[name]
        if twice := sorted(inner.keys() & fields.keys()):
            raise _Twice("this field is there twice", f"{name}.{twice[0]}")
        fields |= inner
    _check_paths(fields)
    return fields


def _check_paths(fields: Mapping[str, Any]) -> None:
    """Raises `InvalidInput` when two fields have one name once each goes by its path."""
    known: set[str] = set()
    for path in _paths(fields):
        name = "_".join(path)
        if name in known:
            raise _Twice(f"this is {name}, as another field is", ".".join(path))
        known.add(name)


def _json_in(value: Any, path: Path) -> Any:
    """The object within a text, or the value itself if there is none; `InvalidInput` when it has a name twice."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return in_snake_case(parse(value.encode()))
    except _Twice as error:
        error.field = ".".join((*path, error.field or ""))
        raise
    except InvalidInput:
        return value


class Payload:
    """One payload or recipient, from which fields are taken. What is left at the end are its properties.

    `blank` are those that were taken though nobody had filled them in: their name in the table, and as it was sent.
    """

    def __init__(self, fields: dict[str, Any], rules: Sequence[Rule] = ()) -> None:
        self._fields = fields
        self._kinds = {**PROPERTIES, **{rule.target: rule.kind for rule in rules}}
        for rule in rules:
            if rule.target not in fields and not is_blank(value := self._at(rule.source)):
                self._remove(rule.source)
                fields[rule.target] = value
        self.blank: dict[str, str] = {}
        self._places: dict[str, list[Path]] = {}
        for path in _paths(fields):
            for name in _names_of(path):
                self._places.setdefault(name, []).append(path)

    def take_first(self, names: Sequence[str]) -> Taken:
        """Removes and returns the first of these fields that is filled in; blank ones before it are removed as well."""
        for name in names:
            for path in self._places.get(name, ()):
                value = self._at(path)
                self._remove(path)
                if not is_blank(value):
                    return Taken(".".join(path), value)
                self.blank.setdefault(name, ".".join(path))
        return Taken(names[0], None)

    def find_first(self, names: Sequence[str]) -> Any:
        """The value of the first of these fields that is filled in, left where it is; None when none is."""
        values = (self._at(path) for name in names for path in self._places.get(name, ()))
        return next((value for value in values if not is_blank(value)), None)

    def properties(self) -> dict[str, Any]:
        """What is left, the fields of the table under their names, and each in its form."""
        for name in PROPERTIES:
            for path in self._places.get(name, ()):
                value = self._at(path)
                if len(path) > 1 and name not in self._fields and value is not None:
                    self._remove(path)
                    self._fields[name] = value
        return {
            name: converted(value, self._kinds.get(name) or kind_by_name(name)) for name, value in self._fields.items()
        }

    def _at(self, path: Path) -> Any:
        value: Any = self._fields
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def _remove(self, path: Path) -> None:
        """Removes a field, and the objects that are empty without it."""
        holder = self._at(path[:-1])
        if isinstance(holder, dict):
            holder.pop(path[-1], None)
            if not holder and len(path) > 1:
                self._remove(path[:-1])


def _paths(fields: Mapping[str, Any]) -> Iterator[Path]:
    """The path of every field, those further out first; lists are left alone."""
    layer: list[tuple[Path, Mapping[str, Any]]] = [((), fields)]
    while layer:
        inner: list[tuple[Path, Mapping[str, Any]]] = []
        for path, holder in layer:
            for name, value in holder.items():
                yield (*path, name)
                if isinstance(value, dict):
                    inner.append(((*path, name), value))
        layer = inner


def _names_of(path: Path) -> set[str]:
    """Every name by which a field is known to the table."""
    *holders, own = path
    names = {"_".join(path)}
    if (
        own in _UNMISTAKABLE
        or (holders and holders[-1] in _MEMBER_OBJECTS and own in _MEMBER_FIELDS)
        or (holders and holders[-1] in _PROPERTY_OBJECTS and own in PROPERTIES)
    ):
        names.add(own)
    return names


def is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and (not value.strip() or bool(_PLACEHOLDER.match(value))))


def _inside(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        return in_snake_case(value, depth + 1)
    if isinstance(value, list):
        return [_item(item, depth + 1) for item in value]
    return value


def _item(item: Any, depth: int) -> Any:
    renamed = in_snake_case({"item": item}, depth)["item"]
    if isinstance(renamed, dict):
        _check_paths(renamed)
    return renamed


def _decode(body: bytes) -> Any:
    try:
        payload = msgspec.json.decode(body)
        _NAMES_ONCE.decode(body.decode())
    except RecursionError:
        raise not_json() from None
    return payload


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    known: set[str] = set()
    for name, _ in pairs:
        if name in known:
            raise _Twice("an object has this name twice", snake_case(name) or "body")
        known.add(name)


# msgspec keeps the last of two equal names and does not say so. This reads no values, only the names of each object.
_NAMES_ONCE = json.JSONDecoder(object_pairs_hook=_each_once, parse_int=str, parse_float=str, strict=False)
