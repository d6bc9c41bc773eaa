"""From SessionM's field names to Braze's.

A SessionM template writes names with spaces, underscores or in camel case; Liquid in Braze wants snake_case. Names that
address the send are taken out by the table below; every other field becomes a property of the message.
Source: Braze's partner page on SessionM, "triggered messaging".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from shared.errors import InvalidInput
from shared.validation import not_json

# What each part of the address may be called, best first, in snake_case.
CAMPAIGN_NAMES = ("braze_campaign_id", "campaign_id")
CANVAS_NAMES = ("braze_canvas_id", "canvas_id")
BROADCAST_NAMES = ("broadcast_flag", "broadcast")
MEMBER_NAMES = ("customer_identifier", "external_user_id", "external_id", "user_id")
EMAIL_NAMES = ("email_address", "email")
EVENT_NAMES = ("event_id", "trigger_event_id", "schedule_id")

# A placeholder of SessionM's or Braze's documentation that nobody filled in is as good as blank.
_PLACEHOLDER = re.compile(r"^\s*\{\{.*\}\}\s*\Z", re.DOTALL)
_CAMEL_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# A JSON string, closed or not, or else a comma that nothing follows: strings are matched so as to be left alone.
_STRING_OR_TRAILING_COMMA = re.compile(rb'("(?:[^"\\]|\\.)*(?:"|\\?\Z))|,(?=\s*[}\]])', re.DOTALL)
# Liquid reaches a few levels down; Python's own limit is far beyond, and a crash.
_DEEPEST = 30

_NOT_WORD = re.compile(r"[^0-9A-Za-z]+")


class Taken(NamedTuple):
    """A field under the name it was sent by; the value is None when it was not, and the name then its usual one."""

    name: str
    value: Any


def parse(body: bytes) -> dict[str, Any]:
    """The payload as an object. A comma before a closing brace is let pass, for SessionM's own sample has one."""
    try:
        payload = _decode(body)
    except (msgspec.DecodeError, UnicodeError):
        try:
            payload = _decode(_STRING_OR_TRAILING_COMMA.sub(rb"\1", body))
        except (msgspec.DecodeError, UnicodeError):
            raise not_json() from None
    if not isinstance(payload, dict):
        raise InvalidInput("expected an object", code="not_an_object", field="body", hint="Send one JSON object.")
    return payload


def in_snake_case(payload: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """The payload with every name in snake_case, also inside; raises `InvalidInput` when two names become one."""
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
            raise InvalidInput(
                "two fields have this name once spaces and case are set aside", field=new_name, hint="Send one of them."
            )
        renamed[new_name] = _inside(value, depth)
    return renamed


def snake_case(name: str) -> str:
    """`offer title`, `offerTitle` and `OfferTitle` are all `offer_title`."""
    return _NOT_WORD.sub("_", _CAMEL_BORDER.sub("_", name)).strip("_").lower()


def take_first(payload: dict[str, Any], names: tuple[str, ...]) -> Taken:
    """Removes and returns the first of these fields that is filled in; blank ones before it are removed as well."""
    for name in names:
        value = payload.get(name)
        if name in payload and is_blank(value):
            del payload[name]
        elif name in payload:
            return Taken(name, payload.pop(name))
    return Taken(names[0], None)


def is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and (not value.strip() or bool(_PLACEHOLDER.match(value))))


def _inside(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        return in_snake_case(value, depth + 1)
    if isinstance(value, list):
        return [in_snake_case({"item": item}, depth + 1)["item"] for item in value]
    return value


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise not_json() from None
