"""The vendors' terms that functions use without calling a vendor, so that importing them costs no HTTP library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What Braze can be triggered to send.
TargetKind = Literal["campaign", "canvas"]

MemberKind = Literal["user_id", "external_id"]


@dataclass(frozen=True, slots=True)
class Member:
    """A SessionM member by SessionM's own user id (a GUID) or by an external id."""

    kind: MemberKind
    id: str
