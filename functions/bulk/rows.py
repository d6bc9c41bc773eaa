"""Rows: one member, some tags, for how long. The same whether they came by webhook, in a list, a CSV or a segment."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from bulk.parcels import Label
from clients.vocabulary import ExternalId, Member, MemberKind, UserId
from shared.errors import InvalidInput

# SessionM publishes no limits for tags. These are far above any use we know of, and keep a row below a queue message.
Tag = Annotated[
    str,
    Meta(
        pattern=r"^(?=.*\S)[^\x00-\x1f\x7f-\x9f\ufffd]{1,255}\Z",
        description="Give each tag as 1 to 255 characters, not all spaces, without line breaks or control characters.",
    ),
]
MAX_TTL_SECONDS = 315_360_000
Tags = Annotated[list[Tag], Meta(min_length=1, max_length=100, description="Give a list of 1 to 100 tag names.")]
Ttl = Annotated[
    int,
    Meta(
        ge=1,
        le=MAX_TTL_SECONDS,
        description="Give whole seconds from 1 to 315360000 (ten years), as a number: 2592000 is 30 days.",
    ),
]

_DURATION = re.compile(r"(?P<number>[0-9]{1,9}) ?(?P<unit>[smhdw]?)\Z", re.ASCII)
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class TagFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What SessionM's tag endpoint takes, plus `counter`, which says that a missing ttl is meant."""

    tags: Tags
    ttl: Ttl | None = None
    counter: bool = False


class MemberFields(TagFields, frozen=True, forbid_unknown_fields=True):
    """The same with the member in it: exactly one of `user_id` and `external_id`."""

    user_id: UserId | None = None
    external_id: ExternalId | None = None


def ttl_seconds_of(text: str) -> int:
    """Seconds from a text such as 2592000, 30d, 12h, 45m or 2w; raises `InvalidInput` outside the bounds of `Ttl`."""
    found = _DURATION.match(text.strip().lower())
    seconds = int(found["number"]) * _UNIT_SECONDS[found["unit"]] if found else 0
    if not 1 <= seconds <= MAX_TTL_SECONDS:
        raise InvalidInput(
            "this is no time to live",
            field="ttl",
            hint="Give whole seconds, or a number with its unit, as in 30d, 12h, 45m or 2w; ten years at most.",
        )
    return seconds


def label_of(fields: TagFields, kind: MemberKind, *, at: str = "") -> Label:
    """What the fields ask for. `at` prefixes field names in errors.

    Raises `InvalidInput` when neither ttl nor counter is given, or both are.
    """
    if fields.ttl is None and not fields.counter:
        raise InvalidInput(
            "a tag without ttl is a counter in SessionM, which every repeat increments",
            code="missing_field",
            field=f"{at}ttl",
            hint="Give ttl in seconds, or counter: true if counting is meant.",
        )
    if fields.ttl is not None and fields.counter:
        raise InvalidInput(
            "a tag has a ttl or a count, never both", field=f"{at}counter", hint="Leave out ttl or counter."
        )
    return Label(kind, tuple(fields.tags), fields.ttl)


def member_of(fields: MemberFields, *, at: str = "") -> Member:
    """The member the fields name; exactly one of `user_id` and `external_id`, else `InvalidInput`."""
    if (fields.user_id is None) == (fields.external_id is None):
        raise InvalidInput(
            "exactly one of user_id and external_id is needed",
            code="missing_field" if fields.user_id is None else "invalid_field",
            field=f"{at}user_id",
            hint="Give user_id (SessionM's own) or external_id.",
        )
    if fields.user_id is not None:
        return Member("user_id", fields.user_id)
    return Member("external_id", fields.external_id or "")
