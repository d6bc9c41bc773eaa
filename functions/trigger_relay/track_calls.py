"""One call to users/track: claimed in the ledger, made, and every track in it settled.

Braze stores an event as often as it is sent, so a track goes out once: what Braze may or may not have stored is
`unknown`, and kept for an operator. What Braze refuses as a whole is halved until the culprit is alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from clients.braze import Braze, Skipped
from clients.transport import Timeouts
from shared.deadline import Deadline
from shared.errors import (
    BundleError,
    DeadlineExceeded,
    InProgress,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnknown,
)
from shared.gate import Gate
from shared.ledger import WORKER_DIED, Ledger, Payloads
from shared.observability import concerning, logger
from shared.outcomes import Outcome, State
from shared.queues import body_of as message_of
from shared.retries import ONLY_IF_NOT_DONE, repeated
from trigger_relay.refusals import About, about
from trigger_relay.sending import Repeated
from trigger_relay.track import Track

# Braze's newest contracts take 75 objects a call, of all kinds together, and 4 MB.
MAX_OBJECTS = 75
MAX_BODY_BYTES = 4_000_000

_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=15)

# Longer than any worker lives (template.yaml: 120 s), so that a lease that is over belongs to a dead one.
LEASE_SECONDS = 180.0

# A 429 that does not say for how long.
_UNSAID_WAIT_SECONDS = 60.0

# For each track the outcome reached now or earlier, or the error for which it is to be tried again later.
Results = dict[str, Outcome | Repeated | BundleError]


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
class TrackCourier:
    """Makes calls, and keeps the other workers from Braze's door after a 429."""

    braze: Braze
    ledger: Ledger
    gate: Gate
    sleep: Callable[[float], None] = time.sleep

    def deliver(self, tracks: Sequence[Track], deadline: Deadline) -> Results:
        """Makes the call, without what in it is settled already or in another worker's hand."""
        try:
            if deadline.passed():
                raise DeadlineExceeded("the worker's time is up")
            if wait := self.gate.wait_seconds(urgent=False):
                raise UpstreamThrottled("Braze", wait)
            kept = _payloads(tracks)
            claims = self.ledger.claim_all([track.id for track in tracks], LEASE_SECONDS, kept)
        except BundleError as error:
            _tell_of("call postponed", tracks, error)
            return dict.fromkeys((track.id for track in tracks), error)
        results: Results = {
            track_id: outcome if outcome == WORKER_DIED else Repeated(outcome)
            for track_id, outcome in claims.settled.items()
        }
        results |= {track_id: InProgress("another worker has it in hand") for track_id in claims.in_progress}
        ours = [track for track in tracks if track.id in claims.ours]
        return results | (self._made(ours, kept, deadline) if ours else {})

    def _made(self, tracks: Sequence[Track], kept: Payloads, deadline: Deadline) -> Results:
        """Makes a call whose every track is claimed, and settles or releases each."""
        try:
            outcomes = self._outcomes(tracks, deadline)
        except UpstreamRefused as refused:
            if about(refused) is About.CALLER:
                return self._released(tracks, refused)
            middle = len(tracks) // 2
            results = self._made(tracks[:middle], kept, deadline)
            stopped = next((each for each in results.values() if isinstance(each, BundleError)), None)
            if stopped is None and not deadline.passed():
                return results | self._made(tracks[middle:], kept, deadline)
            return results | self._released(tracks[middle:], stopped or DeadlineExceeded("the worker's time is up"))
        except BundleError as error:
            return self._released(tracks, error)
        try:
            self.ledger.settle_all(outcomes, kept)
        except BundleError as error:
            # The lease runs out, and whoever finds the entry then settles it as unknown.
            _tell_of("outcomes not written", tracks, error)
            return dict.fromkeys(outcomes, error)
        return {**outcomes}

    def _outcomes(self, tracks: Sequence[Track], deadline: Deadline) -> dict[str, Outcome]:
        """What became of each track.

        Raises `UpstreamRefused` when the call is to be halved or to wait, and other errors when nothing was done.
        """
        body = body_of(tracks)
        try:
            with concerning(track.correlation_id for track in tracks):
                skipped = repeated(lambda: self.braze.track(body, _TIMEOUTS), ONLY_IF_NOT_DONE, deadline, self.sleep)
        except (UpstreamUnknown, UpstreamGarbled) as error:
            _tell_of("call unknown", tracks, error)
            unknown = Outcome(State.UNKNOWN, error.code, "Braze may or may not have stored this event")
            return dict.fromkeys((track.id for track in tracks), unknown)
        except UpstreamRefused as error:
            if len(tracks) > 1 or about(error) is About.CALLER:
                raise
            _tell_of("call refused", tracks, error)
            return {tracks[0].id: Outcome(State.FAILED, error.vendor_code, error.vendor_message)}
        except UpstreamThrottled as error:
            self.gate.shut(error.retry_after_seconds or _UNSAID_WAIT_SECONDS, urgent_too=True)
            raise
        logger.info("call made", **_named(tracks))
        return _settled(tracks, skipped)

    def _released(self, tracks: Sequence[Track], error: BundleError) -> Results:
        ids = [track.id for track in tracks]
        _tell_of("call postponed", tracks, error)
        try:
            self.ledger.release_all(ids)
        except BundleError as unreleased:
            _tell_of("not released", tracks, unreleased)
        return dict.fromkeys(ids, error)


def _named(tracks: Sequence[Track]) -> dict[str, Any]:
    """Which tracks, and of which requests: their ids, and never whom they are about."""
    return {
        "track_ids": [track.id for track in tracks],
        "correlation_ids": list(dict.fromkeys(track.correlation_id for track in tracks)),
    }


def _tell_of(what: str, tracks: Sequence[Track], error: BundleError) -> None:
    reason = error.vendor_code if isinstance(error, UpstreamRefused) else error.code
    logger.warning(what, code=reason, detail=str(error), **_named(tracks))


def _settled(tracks: Sequence[Track], skipped: Sequence[Skipped]) -> dict[str, Outcome]:
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


def _payloads(tracks: Sequence[Track]) -> Payloads:
    by_id = {track.id: track for track in tracks}
    return lambda track_id: message_of(by_id[track_id])
