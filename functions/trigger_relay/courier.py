"""The courier: brings calls to Braze, and every item in them once.

A call is claimed in the ledger, made, and every item in it settled. What Braze refuses as a whole is halved until the
culprit is alone, and everybody else is sent. What Braze may or may not have done is `unknown`, and kept with its
payload for an operator. How a call is made, and what Braze's answer says of each item, is the endpoint's affair:
`sending` for messages, `track_calls` for events.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

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
from shared.ledger import WORKER_DIED, Ledger
from shared.observability import concerning, logger
from shared.outcomes import Outcome, State
from shared.retries import ONLY_IF_NOT_DONE, repeated
from trigger_relay.refusals import About, about
from trigger_relay.track import Track
from trigger_relay.triggers import Send

TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=15)

# A call is begun only while this much of the function's time is left: two tries with these time-outs, and two of five
# seconds each to claim it and to settle it.
RESERVE_SECONDS = 60.0

# Longer than any worker lives (template.yaml: 120 s), so that a lease that is over belongs to a dead one.
LEASE_SECONDS = 180.0

# A 429 that does not say for how long.
_UNSAID_WAIT_SECONDS = 60.0


# What is delivered once: it has an entry of its own in the ledger, under its id.
ItemT = TypeVar("ItemT", Send, Track)


@dataclass(frozen=True, slots=True)
class CallOf(ABC, Generic[ItemT]):
    """Items that go to Braze in one request, in their order."""

    items: Sequence[ItemT]

    @property
    def ids(self) -> list[str]:
        return [item.id for item in self.items]

    @property
    def correlation_ids(self) -> list[str]:
        """Of the requests that its items came with, each once."""
        return list(dict.fromkeys(item.correlation_id for item in self.items))

    @property
    @abstractmethod
    def named(self) -> dict[str, Any]:
        """What a line of the log says of it: ids, and never whom it is for."""

    @abstractmethod
    def payload(self, item_id: str) -> str:
        """The message that brings this one item again."""

    def item(self, item_id: str) -> ItemT:
        return next(item for item in self.items if item.id == item_id)

    def only(self, ids: Collection[str]) -> Self:
        return type(self)([item for item in self.items if item.id in ids])

    def halves(self) -> tuple[Self, Self]:
        middle = len(self.items) // 2
        return type(self)(self.items[:middle]), type(self)(self.items[middle:])


CallT = TypeVar("CallT", bound=CallOf[Any])
CallT_contra = TypeVar("CallT_contra", bound=CallOf[Any], contravariant=True)


class Endpoint(Protocol[CallT_contra]):
    """What is particular to one of Braze's endpoints.

    `halved` is what a refusal must be about for one item to be the culprit; `unsure` is said of what is unknown.
    """

    halved: ClassVar[Collection[About]]
    unsure: ClassVar[str]

    def wait_seconds(self, call: CallT_contra, urgent: bool) -> float:
        """Until the call may be made; 0 when it may now. Raises `StoreUnavailable` when that cannot be known."""

    def gate_of(self, call: CallT_contra) -> Gate:
        """What a 429 to this call shuts."""

    def ask(self, call: CallT_contra) -> dict[str, Outcome]:
        """Makes the call once: the outcome of each item. Raises as `clients.braze` does, and not once Braze took it."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """An outcome that was reached earlier."""

    outcome: Outcome


# For each item the outcome reached now or earlier, or the error for which it is to be tried again later.
Result = Outcome | Repeated | BundleError
Results = dict[str, Result]


@dataclass(frozen=True, slots=True)
class Courier(Generic[CallT]):
    """Makes calls to one endpoint; safe to use from many threads."""

    endpoint: Endpoint[CallT]
    ledger: Ledger
    sleep: Callable[[float], None] = time.sleep

    def deliver(self, calls: Sequence[CallT], deadline: Deadline, *, urgent: bool = False) -> Results:
        """Makes calls one after the other, without what in them is settled already or in another worker's hand.

        What comes after a call that could not be made waits with it, so that order is kept and Braze left alone.
        """
        results: Results = {}
        for position, call in enumerate(calls, 1):
            made = self._claimed_and_made(call, deadline, urgent)
            results |= made
            if stopped := _stopped(made):
                return results | {item_id: stopped for later in calls[position:] for item_id in later.ids}
        return results

    def _claimed_and_made(self, call: CallT, deadline: Deadline, urgent: bool) -> Results:
        try:
            if deadline.passed():
                raise DeadlineExceeded("the worker's time is up")
            if wait := self.endpoint.wait_seconds(call, urgent):
                raise UpstreamThrottled("Braze", wait)
            claims = self.ledger.claim_all(call.ids, LEASE_SECONDS, call.payload)
        except BundleError as error:
            _tell_of("call postponed", call, error)
            return dict.fromkeys(call.ids, error)
        results: Results = {
            item_id: outcome if outcome == WORKER_DIED else Repeated(outcome)
            for item_id, outcome in claims.settled.items()
        }
        results |= {item_id: InProgress("another worker has it in hand") for item_id in claims.in_progress}
        return results | (self._made(call.only(claims.ours), deadline) if claims.ours else {})

    def _made(self, call: CallT, deadline: Deadline) -> Results:
        """Makes a call whose every item is claimed, and settles or releases each."""
        try:
            with concerning(call.correlation_ids):
                outcomes = repeated(lambda: self.endpoint.ask(call), ONLY_IF_NOT_DONE, deadline, self.sleep)
        except (UpstreamUnknown, UpstreamGarbled) as error:
            _tell_of("call unknown", call, error)
            outcomes = dict.fromkeys(call.ids, Outcome(State.UNKNOWN, error.code, self.endpoint.unsure))
        except UpstreamRefused as error:
            if about(error) is About.CALLER:
                return self._released(call, error)
            if len(call.items) > 1 and about(error) in self.endpoint.halved:
                return self._halved(call, error, deadline)
            _tell_of("call refused", call, error)
            outcomes = dict.fromkeys(call.ids, Outcome(State.FAILED, error.vendor_code, error.vendor_message))
        except BundleError as error:
            if isinstance(error, UpstreamThrottled):
                wait = error.retry_after_seconds or _UNSAID_WAIT_SECONDS
                self.endpoint.gate_of(call).shut(wait, urgent_too=True)
            return self._released(call, error)
        return self._settled(call, outcomes)

    def _halved(self, call: CallT, refused: UpstreamRefused, deadline: Deadline) -> Results:
        first, second = call.halves()
        logger.info("call halved", sends=len(call.items), reason=refused.vendor_code, **call.named)
        results = self._made(first, deadline)
        if stopped := _stopped(results):
            return results | self._released(second, stopped)
        if deadline.passed():
            return results | self._released(second, DeadlineExceeded("the worker's time is up"))
        return results | self._made(second, deadline)

    def _settled(self, call: CallT, outcomes: dict[str, Outcome]) -> Results:
        try:
            self.ledger.settle_all(outcomes, call.payload)
        except BundleError as error:
            # The lease runs out, and whoever finds the entry then settles it as unknown.
            _tell_of("outcomes not written", call, error)
            return dict.fromkeys(outcomes, error)
        return {**outcomes}

    def _released(self, call: CallT, error: BundleError) -> Results:
        _tell_of("call postponed", call, error)
        try:
            self.ledger.release_all(call.ids)
        except BundleError as unreleased:
            _tell_of("not released", call, unreleased)
        return dict.fromkeys(call.ids, error)


def _stopped(results: Results) -> BundleError | None:
    """Why what comes after these is to wait, if it is: not for what another worker is about to finish."""
    errors = (result for result in results.values() if isinstance(result, BundleError))
    return next((error for error in errors if not isinstance(error, InProgress)), None)


def _tell_of(what: str, call: CallOf[Any], error: BundleError) -> None:
    """Logs what became of a call that was not taken, and of which items."""
    reason = error.vendor_code if isinstance(error, UpstreamRefused) else error.code
    logger.warning(what, code=reason, detail=str(error), **call.named)
