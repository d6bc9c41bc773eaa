"""Events at Braze's door: users/track, up to 75 objects in one call.

Braze stores an event as often as it is sent, so a track goes out once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from clients.braze import Braze, Skipped
from shared.gate import Gate
from shared.observability import logger
from shared.outcomes import Outcome, State
from shared.queues import body_of as message_of
from trigger_relay.courier import TIMEOUTS, CallOf
from trigger_relay.refusals import About
from trigger_relay.track import Track

# Braze's newest contracts take 75 objects a call, of all kinds together, and 4 MB.
MAX_OBJECTS = 75
MAX_BODY_BYTES = 4_000_000


class TrackCall(CallOf[Track]):
    __slots__ = ()

    @property
    def named(self) -> dict[str, Any]:
        return {"track_ids": self.ids, "correlation_ids": self.correlation_ids}

    def payload(self, track_id: str) -> str:
        return message_of(self.item(track_id))


def planned(tracks: Iterable[Track]) -> list[list[Track]]:
    """Calls that fill Braze's limits, in the order given."""
    calls: list[list[Track]] = []
    objects = size_bytes = 0
    for track in tracks:
        track_bytes = len(bytes(track.event)) + len(bytes(track.attributes)) + 2
        if not calls or objects + track.objects > MAX_OBJECTS or size_bytes + track_bytes > MAX_BODY_BYTES:
            calls.append([])
            objects = size_bytes = 0
        calls[-1].append(track)
        objects += track.objects
        size_bytes += track_bytes
    return calls


def body_of(tracks: Sequence[Track]) -> bytes:
    """The request body of users/track, as JSON."""
    attributes = [each for track in tracks for each in track.attribute_objects]
    events = [each for track in tracks for each in track.events]
    return msgspec.json.encode(
        ({"attributes": attributes} if attributes else {}) | ({"events": events} if events else {})
    )


@dataclass(frozen=True, slots=True)
class Tracking:
    """The courier's `Endpoint` for calls of tracks."""

    braze: Braze
    gate: Gate

    # There is no campaign to be at fault: words about one are about what was sent.
    halved: ClassVar[Collection[About]] = {About.CONTENT, About.TARGET}
    unsure: ClassVar[str] = "Braze may or may not have stored this event"

    def wait_seconds(self, _: TrackCall, urgent: bool) -> float:
        return self.gate.wait_seconds(urgent)

    def gate_of(self, _: TrackCall) -> Gate:
        return self.gate

    def ask(self, call: TrackCall) -> dict[str, Outcome]:
        skipped = self.braze.track(body_of(call.items), TIMEOUTS)
        logger.info("call made", **call.named)
        return _outcomes(call.items, skipped)


def _outcomes(tracks: Sequence[Track], skipped: Sequence[Skipped]) -> dict[str, Outcome]:
    """A track of which Braze left out everything has failed; one of which it took a part is sent, and says so."""
    owners = {
        "attributes": [track.id for track in tracks if track.attribute_objects],
        "events": [track.id for track in tracks if track.events],
    }
    left_out: dict[str, list[Skipped]] = {}
    for each in skipped:
        if each.index in range(len(owners.get(each.array, ()))):
            left_out.setdefault(owners[each.array][each.index], []).append(each)
    return {track.id: _outcome(track, left_out.get(track.id, [])) for track in tracks}


def _outcome(track: Track, left_out: Sequence[Skipped]) -> Outcome:
    detail = ", ".join(f"Braze left out its {each.array}: {each.reason}" for each in left_out)
    if len({each.array for each in left_out}) == track.objects:
        return Outcome(State.FAILED, "object_skipped", detail)
    return Outcome(State.SENT, detail=detail)
