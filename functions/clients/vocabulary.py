"""The vendors' terms that functions use without calling a vendor, so that importing them costs no HTTP library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

# Braze throws an answer of 1 MB away. Offers beyond this size are left out, and the answer says so.
MAX_SHOWN_BYTES = 900_000

# What Braze can be triggered to send.
TargetKind = Literal["campaign", "canvas"]

MemberKind = Literal["user_id", "external_id"]


@dataclass(frozen=True, slots=True)
class Member:
    """A SessionM member by SessionM's own user id (a GUID) or by an external id."""

    kind: MemberKind
    id: str


# Fields that several request bodies share, each with its rule and its advice.

UserId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]{1,128}\Z",
        description="Give the SessionM user id: 1 to 128 letters, digits, hyphens or underscores, usually a GUID.",
    ),
]

# Printable ASCII but for the characters that mean something in a URL, and never "." or ".." alone.
ExternalId = Annotated[
    str,
    Meta(
        pattern=r"^(?!\.{1,2}\Z)[A-Za-z0-9_.@:+=|~!$&'()*,;-]{1,255}\Z",
        description="Give the external id: 1 to 255 of A-Z a-z 0-9 _.@:+=|~!$&'()*,;- but not . or .. alone.",
    ),
]

SegmentId = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z", description="Give the API id Braze shows for the segment.")
]

Culture = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z]{2,3}([-_][A-Za-z0-9]{2,4}){0,2})?\Z",
        description="Give a language or culture, as in ko, pt-BR or en-US, or leave it out.",
    ),
]
