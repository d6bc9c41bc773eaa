"""What SessionM knows: members, their tags, their wallets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from infra.local.simulators.messages import Json


class MixedTag(Exception):
    """A call would give a tag both a count and an expiry."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A count or an expiry (epoch seconds), never both. Source: docs.sessionm.com, customer tags."""

    count: int | None = None
    expires_at: float | None = None

    def to_json(self, name: str) -> dict[str, Json]:
        if self.expires_at is None:
            return {"name": name, "count": self.count}
        return {"name": name, "expires_at": iso(self.expires_at)}


@dataclass(frozen=True, slots=True)
class UserOffer:
    """An offer in a member's wallet.

    `fields` go out as they are, overlaid with those of the asked culture, if it has any. Only offers whose `state` is
    `issued` are in the wallet answer (Braze's SessionM page).
    """

    fields: Mapping[str, Json]
    state: str = "issued"
    translations: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)

    def shown(self, culture: str) -> dict[str, Json]:
        return {**self.fields, **self.translations.get(culture, {})}


@dataclass(slots=True)
class Member:
    """A customer. Points are whole numbers."""

    user_id: str
    external_id: str | None = None
    available_points: int = 100
    total_points: int = 1000
    opted_in: bool = True
    activated: bool = True
    created_at: float = 0.0
    tags: dict[str, Tag] = field(default_factory=dict)
    offers: list[UserOffer] = field(default_factory=list)

    def live_tags(self, now: float) -> dict[str, Tag]:
        """The tags that have not expired; the expired ones are gone for good."""
        self.tags = {name: tag for name, tag in self.tags.items() if tag.expires_at is None or tag.expires_at > now}
        return dict(self.tags)

    def tag(self, names: list[str], ttl_seconds: int | None, now: float) -> None:
        """Count each tag up by one, or, with a ttl, set each expiry to `now` plus the ttl.

        Raises MixedTag, changing nothing. That the ttl is in seconds is an inference (2592000 in the printed example is
        thirty days); that a call is refused as a whole, and that a name repeated inside one call counts once, are
        assumptions.
        """
        live = self.live_tags(now)
        changed: dict[str, Tag] = {}
        for name in names:
            present = live.get(name)
            if ttl_seconds is None:
                if present is not None and present.count is None:
                    raise MixedTag(f"tag {name} has a ttl and cannot be counted")
                changed[name] = Tag(count=(present.count or 0) + 1 if present else 1)
            else:
                if present is not None and present.count is not None:
                    raise MixedTag(f"tag {name} is a counter and cannot have a ttl")
                changed[name] = Tag(expires_at=now + ttl_seconds)
        self.tags.update(changed)

    def issued(self) -> list[UserOffer]:
        return [offer for offer in self.offers if offer.state == "issued"]


class Members:
    """All members, found by SessionM's own id or by an external id; ids are compared to the letter."""

    def __init__(self) -> None:
        self.by_user_id: dict[str, Member] = {}
        self._user_id_of: dict[str, str] = {}

    def add(self, member: Member) -> None:
        """Add a member, or replace the one with the same `user_id`."""
        former = self.by_user_id.get(member.user_id)
        if former is not None and former.external_id is not None:
            self._user_id_of.pop(former.external_id, None)
        self.by_user_id[member.user_id] = member
        if member.external_id is not None:
            self._user_id_of[member.external_id] = member.user_id

    def find(self, user_id: str) -> Member | None:
        return self.by_user_id.get(user_id)

    def find_external(self, external_id: str) -> Member | None:
        return self.by_user_id.get(self._user_id_of.get(external_id, ""))


def iso(epoch_seconds: float) -> str:
    """A time as SessionM is assumed to print it: ISO 8601, UTC, whole seconds, Z."""
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
