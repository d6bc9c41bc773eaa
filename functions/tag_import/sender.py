"""One call to SessionM: which rows go into it, how it is made, and what its answer means for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bulk.dispatch import Answered
from bulk.parcels import Parcel
from bulk.verdicts import Settling
from clients.sessionm import Sessionm
from clients.transport import Timeouts
from clients.vocabulary import Member
from shared.errors import BundleError, UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamUnknown
from shared.ledger import Ledger
from shared.outcomes import Outcome, State
from shared.retries import ONLY_IF_NOT_DONE, REPEATABLE

# SessionM answers in about 300 ms; ten seconds without an answer is an outage, not slowness.
_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=10)

# Longer than any worker lives (template.yaml: 120 s), so that a lease that is over belongs to a dead one.
_LEASE_SECONDS = 180.0

# As many as one row may have; SessionM publishes no limit.
_TAGS_A_CALL = 100

# Refusals that concern the member, and so every row of a call alike.
_OF_THE_MEMBER = frozenset({"user_not_found", "requires_registered_user"})

_ADVICE = {
    "user_not_found": "SessionM has no such member; correct the id, or import the row again once the member exists",
    "requires_registered_user": "SessionM tags registered members only; import the row again after registration",
    "validation": "SessionM found a value it does not take; a tag that counts cannot be given a ttl, nor the reverse",
    "argument_error": "SessionM could not make sense of the row; compare its tags and ttl with rows that went through",
    "missing_data": "SessionM misses a value; see that the row has tags",
    "not_found": "SessionM knows no such address; see that the id is of the kind its column says",
}
_OTHER_ADVICE = "SessionM refused the row for good; look the code up in its documentation"
_UNKNOWN = "SessionM's answer was lost, so the tag may have been counted or not; look at the member before repeating it"


@dataclass(frozen=True, slots=True)
class Call:
    """Rows (by position in their parcel) whose tags go out together. `entry_id` is the ledger's, empty without."""

    positions: tuple[int, ...]
    member: Member
    tags: tuple[str, ...]
    ttl_seconds: int | None
    entry_id: str = ""
    tries: int = 0

    @property
    def repeatable(self) -> tuple[type[UpstreamError], ...]:
        """A counter that is sent again counts again."""
        return ONLY_IF_NOT_DONE if self.entry_id else REPEATABLE

    def again(self) -> Call:
        return replace(self, tries=self.tries + 1)


def calls_of(settling: Settling) -> list[Call]:
    """The calls for all rows without a verdict: rows of one member that expire alike go together."""
    parcel = settling.parcel
    open_calls: dict[tuple[Member, int], int] = {}
    calls: list[Call] = []
    for position in settling.waiting():
        call = _call_of(parcel, position)
        if call.ttl_seconds is None:
            calls.append(call)
            continue
        together = open_calls.get((call.member, call.ttl_seconds))
        tags = tuple(dict.fromkeys((*calls[together].tags, *call.tags))) if together is not None else ()
        if together is None or len(tags) > _TAGS_A_CALL:
            open_calls[call.member, call.ttl_seconds] = len(calls)
            calls.append(call)
        else:
            calls[together] = replace(calls[together], positions=(*calls[together].positions, position), tags=tags)
    return calls


def split(parcel: Parcel, call: Call, outcome: Outcome) -> list[Call]:
    """The rows of a call, each in a call of its own, when the outcome could be due to another row's tags."""
    if len(call.positions) == 1 or outcome.state is not State.FAILED or outcome.reason in _OF_THE_MEMBER:
        return []
    return [_call_of(parcel, position) for position in call.positions]


class Sender:
    """Makes calls; safe to use from many threads. `clock` measures SessionM's time."""

    upstream = "SessionM Core"
    calls_of = staticmethod(calls_of)
    split = staticmethod(split)

    def __init__(self, sessionm: Sessionm, ledger: Ledger, clock: Callable[[], float] = time.perf_counter) -> None:
        self._sessionm = sessionm
        self._ledger = ledger
        self._clock = clock

    def send(self, call: Call) -> Answered:
        """What became of the call for good. Raises a `BundleError` when that is open and it is to be made again."""
        if call.entry_id:
            return self._send_counter(call)
        try:
            return Answered(Outcome(State.SENT), self._add_tags(call))
        except UpstreamRefused as error:
            return Answered(_refused(error), None)

    def _send_counter(self, call: Call) -> Answered:
        settled = self._ledger.claim(call.entry_id, _LEASE_SECONDS)
        if settled is not None:
            return Answered(settled, None)
        seconds = None
        try:
            seconds = self._add_tags(call)
            outcome = Outcome(State.SENT)
        except (UpstreamUnknown, UpstreamGarbled) as error:
            outcome = Outcome(State.UNKNOWN, error.code, _UNKNOWN)
        except UpstreamRefused as error:
            outcome = _refused(error)
        except BundleError:
            self._ledger.release(call.entry_id)
            raise
        return Answered(self._ledger.settle(call.entry_id, outcome), seconds)

    def _add_tags(self, call: Call) -> float:
        begun_at = self._clock()
        self._sessionm.add_tags(call.member, call.tags, call.ttl_seconds, _TIMEOUTS)
        return self._clock() - begun_at


def _call_of(parcel: Parcel, position: int) -> Call:
    row = parcel.rows[position]
    label = parcel.label(row)
    entry_id = "" if label.ttl_seconds is not None else f"tag#{parcel.effect(row)}"
    return Call((position,), parcel.member(row), label.tags, label.ttl_seconds, entry_id)


def _refused(error: UpstreamRefused) -> Outcome:
    return Outcome(State.FAILED, error.vendor_code, _ADVICE.get(error.vendor_code, _OTHER_ADVICE))
