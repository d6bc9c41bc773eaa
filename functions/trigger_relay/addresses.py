"""Whom a payload or one of its recipients names, in Braze's shape."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared.errors import InvalidInput
from shared.validation import convert
from trigger_relay import fields

# Who gets the message when an email address belongs to several profiles. Source: Braze's recipient object.
_EMAIL_PRIORITIZATION = ["identified", "most_recently_updated"]

_Prioritization = Literal["identified", "unidentified", "most_recently_updated", "least_recently_updated"]

_Prioritizations = Annotated[list[_Prioritization], Meta(max_length=4)]

# What names somebody, best first.
_NAMES = (
    *(*fields.MEMBER_NAMES, *fields.ALIAS_NAMES, *fields.ALIAS_NAME_NAMES),
    *(*fields.BRAZE_ID_NAMES, *fields.EMAIL_NAMES),
)

MEMBER_KIND = re.compile(r"external_id|braze_id|alias(:(?P<label>[^\x00-\x1f\x7f]{1,255}))?")

_Text = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,255}\Z")]
_ExternalId = Annotated[
    str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,255}\Z", description="Give the member's external id in Braze.")
]


class _Alias(msgspec.Struct):
    """An alias as Braze has it."""

    alias_name: _Text
    alias_label: _Text


class _Labelled(msgspec.Struct):
    label: Annotated[
        str,
        Meta(
            pattern=r"^[^\x00-\x1f\x7f]{1,255}\Z",
            description="Give the alias's label here, or in the parameter TriggerCustomerIdentifier: alias:LABEL.",
        ),
    ]


class _External(msgspec.Struct):
    member: _ExternalId


class _Email(msgspec.Struct):
    member: Annotated[
        str,
        Meta(
            pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\Z",
            max_length=254,
            description="Give one email address.",
        ),
    ]


def address_of(sent: fields.Payload, member_kind: str) -> dict[str, Any] | None:
    """The recipient in Braze's shape; None when nobody is named. All names are taken, the best one counts."""
    member = sent.take_first(fields.MEMBER_NAMES)
    alias = sent.take_first(fields.ALIAS_NAMES)
    alias_name = sent.take_first(fields.ALIAS_NAME_NAMES)
    alias_label = sent.take_first(fields.ALIAS_LABEL_NAMES)
    braze_id = sent.take_first(fields.BRAZE_ID_NAMES)
    email = sent.take_first(fields.EMAIL_NAMES)
    prioritization = sent.take_first(fields.PRIORITIZATION_NAMES)
    if member.value is not None:
        return _member(member, alias_label, member_kind)
    if alias.value is not None:
        return {"user_alias": msgspec.to_builtins(_checked_alias(alias))}
    if alias_name.value is not None:
        return {"user_alias": _alias(alias_name, alias_label.value)}
    if braze_id.value is not None:
        return {"braze_id": checked({"member": braze_id}, _External).member}
    if email.value is not None:
        address = checked({"member": email}, _Email).member
        return {"email": address, "prioritization": _prioritization(prioritization)}
    return None


def nobody(sent: fields.Payload) -> InvalidInput | None:
    """What to say when `address_of` found nobody since what names somebody is blank; None when nothing does."""
    blank = next((sent.blank[name] for name in _NAMES if name in sent.blank), None)
    if blank is None:
        return None
    return InvalidInput(
        "this names the member, and is blank or a placeholder that nobody filled in",
        code="no_recipients",
        field=blank,
        hint="See what the template puts here; a member without this identifier needs another, or an email address.",
    )


def _prioritization(given: fields.Taken) -> list[str]:
    if given.value is None:
        return _EMAIL_PRIORITIZATION
    try:
        return [str(word) for word in convert(given.value, _Prioritizations)]
    except InvalidInput:
        raise InvalidInput(
            "not what Braze sorts by", field=given.name, hint="Give a list of the words Braze knows, or leave it out."
        ) from None


def _member(member: fields.Taken, label: fields.Taken, member_kind: str) -> dict[str, Any]:
    """A customer identifier is of the kind the payload or the deployment says; other names are external ids."""
    if isinstance(member.value, dict):
        if {"alias_name", "alias_label"} <= member.value.keys():
            return {"user_alias": msgspec.to_builtins(_checked_alias(member))}
        inner = address_of(fields.Payload(dict(member.value)), "external_id")
        if inner is None:
            raise InvalidInput("nobody is named in this object", field=member.name, hint="Give an external_id.")
        return inner
    if not member.name.replace(".", "_").endswith(fields.MEMBER_NAMES[0]):
        member_kind = "external_id"
    kind, _, default_label = member_kind.partition(":")
    if kind == "alias":
        return {"user_alias": _alias(member, label.value or default_label)}
    value = checked({"member": member}, _External).member
    return {"braze_id" if kind == "braze_id" else "external_user_id": value}


def _alias(name: fields.Taken, label: Any) -> dict[str, Any]:
    return {
        "alias_name": checked({"member": name}, _External).member,
        "alias_label": checked({"label": fields.Taken(fields.ALIAS_LABEL_NAMES[0], label)}, _Labelled).label,
    }


def _checked_alias(taken: fields.Taken) -> _Alias:
    try:
        return convert(taken.value, _Alias)
    except InvalidInput:
        raise InvalidInput("no alias", field=taken.name, hint="Give alias_name and alias_label.") from None


def checked(sent_as: dict[str, fields.Taken], shape: Any) -> Any:
    """Checks a value; an error names the field as it was sent."""
    try:
        return convert({name: taken.value for name, taken in sent_as.items()}, shape)
    except InvalidInput as error:
        error.field = sent_as[error.field or ""].name
        raise
