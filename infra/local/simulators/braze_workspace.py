"""What a Braze workspace knows: campaigns, Canvases, segments, users, and the messages it was asked to send."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from infra.local.simulators.messages import Json

CanvasState = Literal["active", "paused", "archived"]

# A "message" is one of messages/send: no campaign or Canvas makes it.
SendKind = Literal["campaign", "canvas", "message"]

# What a Canvas that is not running adds to an answer that otherwise says success.
NOTICES: dict[CanvasState, str] = {
    "paused": "The Canvas is paused. Resume the Canvas to ensure trigger requests take effect.",
    "archived": "The Canvas is archived. Unarchive the Canvas to ensure trigger requests take effect.",
}


@dataclass(frozen=True, slots=True)
class Campaign:
    """An API-triggered campaign."""

    id: str
    name: str
    created_at: float = 0.0
    archived: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Canvas:
    """An API-triggered Canvas."""

    id: str
    name: str
    state: CanvasState = "active"
    created_at: float = 0.0
    tags: tuple[str, ...] = ()

    @property
    def archived(self) -> bool:
        return self.state == "archived"


@dataclass(slots=True)
class Segment:
    """A segment.

    `size` is the users around which the made-up series swings; `exact` replaces that series day by day.
    """

    id: str
    name: str
    size: int
    analytics: bool = True
    created_at: float = 0.0
    exact: dict[date, int] | None = None
    archived: bool = False

    def size_on(self, day: date) -> int | None:
        """Users on a day, None where an exact series has no such day.

        Made up from the id and the day alone, hence the same in every call: a slow swell of 6 %, a weekly one of 2 %
        and 0.5 % of scatter around `size`.
        """
        if self.exact is not None:
            return self.exact.get(day)
        digest = hashlib.sha256(f"{self.id} {day.isoformat()}".encode()).digest()
        scatter = int.from_bytes(digest[:4], "big") / 2**32 - 0.5
        phase = int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:4], "big") % 120
        ordinal = day.toordinal()
        swell = 0.06 * math.sin(2 * math.pi * (ordinal + phase) / 120)
        week = 0.02 * math.sin(2 * math.pi * (ordinal % 7) / 7)
        return max(0, round(self.size * (1 + swell + week + 0.01 * scatter)))

    def series(self, last_day: date, length: int) -> list[dict[str, Json]]:
        """`[{"time": "YYYY-MM-DD", "size": users}]`, oldest first, ending with `last_day`."""
        days = [last_day - timedelta(days=back) for back in range(length - 1, -1, -1)]
        sized = [(day, self.size_on(day)) for day in days]
        return [{"time": day.isoformat(), "size": size} for day, size in sized if size is not None]


@dataclass(frozen=True, slots=True)
class User:
    """A user profile, as far as triggers and exports need one."""

    external_id: str
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Tracked:
    """One object that users/track stored: from which array, for whom (`type:value`), and as it was sent."""

    array: str
    member: str
    data: Mapping[str, Json]
    at: float

    def to_json(self) -> dict[str, Json]:
        return asdict(self)


@dataclass(slots=True)
class EmailTemplate:
    """An email template; `fields` are those of its create and update calls."""

    id: str
    fields: dict[str, Json]
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Send:
    """One message Braze was asked to send to one recipient, or to an audience (`recipient_type` `broadcast`).

    `recipient_type`: external_user_id, user_alias (`recipient` is `label:name`), email, braze_id or broadcast
    (`recipient` is empty). `properties`: the recipient's own laid over those of the call. `at`: epoch seconds.
    """

    dispatch_id: str
    kind: SendKind
    target_id: str
    recipient_type: str
    recipient: str
    properties: Mapping[str, Json]
    attributes: Mapping[str, Json]
    send_id: str | None
    at: float

    def to_json(self) -> dict[str, Json]:
        return asdict(self)


@dataclass(slots=True)
class Workspace:
    """Everything above, by id."""

    campaigns: dict[str, Campaign] = field(default_factory=dict)
    canvases: dict[str, Canvas] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    sends: list[Send] = field(default_factory=list)
    tracked: list[Tracked] = field(default_factory=list)
    templates: dict[str, EmailTemplate] = field(default_factory=dict)

    def knows(self, identifier: str, value: str) -> bool:
        """Whether a profile answers to this; aliases and Braze's own ids are taken to exist."""
        if identifier == "external_user_id":
            return value in self.users
        if identifier == "email":
            return any(user.email == value for user in self.users.values())
        return True


def iso_offset(epoch_seconds: float) -> str:
    """A time as Braze prints it: ISO 8601, UTC, whole seconds, with an offset."""
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat(timespec="seconds")
