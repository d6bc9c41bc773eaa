"""The calls of one batch: begun as pace and rate allow, followed up, and written down parcel by parcel.

One thread decides; calls, permits and verdicts are waited for by others. A call that met a blip is made once more
after a moment. One that was throttled waits with all others until the vendor has had the time it asked for. If that is
too long to sit out, or nothing succeeds any more, no further call begins, and what is left goes back to its queue.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

from bulk.crew import Crew
from bulk.figures import Figures
from bulk.pace import Pace
from bulk.parcels import Parcel
from bulk.verdicts import WAITING, Settling, Verdicts
from shared.deadline import Deadline
from shared.errors import (
    BundleError,
    InProgress,
    UpstreamError,
    UpstreamThrottled,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from shared.observability import concerning
from shared.outcomes import Outcome, State
from shared.queues import Message
from shared.rate import SLOT_SECONDS, Rate
from shared.retries import PAUSE_SECONDS, TRIES

# A blip is repeated as retries.py says, and a 401 like one, because credentials were read anew after it. A 429 has had
# its wait before it is tried again.
_THROTTLED_TRIES = 3

# The vendor's own wait is sat out up to this long; behind a longer one the worker would only cost money.
LONGEST_PAUSE_SECONDS = 5.0

# So many failures with no success in between are an outage.
_OUTAGE = 20

# Parcels whose verdicts are written in one transaction.
_RECORDED_AT_ONCE = 20


class Call(Protocol):
    """A call that settles some rows of a parcel, named by their positions. `repeatable` are the errors after which it
    may be made once more at once."""

    @property
    def positions(self) -> tuple[int, ...]: ...

    @property
    def tries(self) -> int: ...

    @property
    def repeatable(self) -> tuple[type[UpstreamError], ...]: ...

    def again(self) -> Self: ...


CallT = TypeVar("CallT", bound=Call)


class Answered(NamedTuple):
    """What became of a call's rows, and how long the vendor took; None when it has no part in it or refused."""

    outcome: Outcome
    seconds: float | None


class Continued(NamedTuple, Generic[CallT]):
    """The vendor answered after so many seconds, and what is missing takes another call."""

    call: CallT
    seconds: float


class Sending(Protocol[CallT]):
    """What a capability does for the rows of a parcel: which calls, and how each is made."""

    @property
    def upstream(self) -> str:
        """The vendor API, as in "SessionM Core"."""
        ...

    def calls_of(self, settling: Settling) -> Sequence[CallT]:
        """The calls for all rows without a verdict; rows that need none are settled here."""
        ...

    def split(self, parcel: Parcel, call: CallT, outcome: Outcome) -> Sequence[CallT]:
        """The calls to make in a call's place, should its outcome not be that of each of its rows; none when it is."""
        ...

    def send(self, call: CallT) -> Answered | Continued[CallT]:
        """Makes one request, in any thread. Raises a `BundleError` when its outcome is open."""
        ...


@dataclass(eq=False)
class Load:
    """A parcel in hand, and the messages that brought it. `error` is why rows of it could not be decided."""

    settling: Settling
    messages: list[Message]
    open_calls: int = 0
    error: BundleError | None = None

    @property
    def settled(self) -> bool:
        """Whether every row's verdict is written."""
        return WAITING not in self.settling.marks

    def fail(self, error: BundleError) -> None:
        """Notes why rows stay; of several reasons the one with the longest wait."""
        if self.error is None or error.retry_after_seconds > self.error.retry_after_seconds:
            self.error = error


class Dispatch(Generic[CallT]):
    """Carries one batch out; afterwards each load is settled, has an error, or was not reached in time."""

    def __init__(
        self,
        sender: Sending[CallT],
        verdicts: Verdicts,
        pace: Pace,
        rate: Rate,
        deadline: Deadline,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sender = sender
        self._verdicts = verdicts
        self._pace = pace
        self._rate = rate
        self._deadline = deadline
        self._clock = clock
        self._waiting: deque[tuple[Load, CallT]] = deque()
        self._blips: deque[tuple[float, Load, CallT]] = deque()
        self._calls_under_way = 0
        self._failures_in_a_row = 0
        self._hopeless: BundleError | None = None
        self._unrecorded: deque[Load] = deque()
        self._recording = False
        self.figures = Figures()

    def run(self, loads: Sequence[Load]) -> None:
        """Returns once nothing is under way any more; raises nothing that a vendor or a store can cause."""
        for load in loads:
            try:
                calls = self._sender.calls_of(load.settling)
            except BundleError as error:
                load.fail(error)
                continue
            load.open_calls = len(calls)
            self._waiting.extend((load, call) for call in calls)
            settled = load.settling.outcomes.values()
            self.figures.verdicts.update(outcome.state for outcome in settled)
            if settled and not calls:
                self._unrecorded.append(load)
        with Crew() as crew:
            while True:
                seconds = self._begin(crew)
                self._record(crew)
                if not crew.under_way and not self._waiting and not self._blips:
                    return
                crew.go_on(seconds)

    # --- beginning calls --------------------------------------------------------------------------------------------

    def _begin(self, crew: Crew) -> float | None:
        """Begins what may begin; returns the seconds until more may, None when only an answer can bring that about."""
        while self._blips and (self._blips[0][0] <= self._clock() or self._ended()):
            _, load, call = self._blips.popleft()
            self._waiting.appendleft((load, call))
        while self._waiting and not self._ended():
            if pause := self._pace.pause_seconds():
                return self._no_longer_than(pause)
            if self._calls_under_way >= self._pace.limit:
                return self._no_longer_than(None)
            self._ask_for_permits(crew)
            if not self._rate.take():
                return self._no_longer_than(self._rate.wait_seconds())
            load, call = self._waiting.popleft()
            self._calls_under_way += 1
            self.figures.calls += 1
            crew.start(partial(self._sent, load, call), partial(self._followed_up, load, call, self._pace.begin()))
        if self._waiting:
            self._leave_the_rest()
        return self._no_longer_than(None)

    def _sent(self, load: Load, call: CallT) -> Answered | Continued[CallT]:
        with concerning([load.settling.parcel.correlation_id]):
            return self._sender.send(call)

    def _ended(self) -> bool:
        """Whether no further call is to begin: time is up, or the vendor wants to be left alone for long."""
        if self._hopeless is None and self._pace.pause_seconds() > LONGEST_PAUSE_SECONDS:
            self._hopeless = UpstreamThrottled(self._sender.upstream, self._pace.pause_seconds())
        return self._hopeless is not None or self._deadline.passed()

    def _no_longer_than(self, seconds: float | None) -> float | None:
        if self._waiting:
            seconds = min(self._deadline.remaining_seconds(), float("inf") if seconds is None else seconds)
        if self._blips:
            until_blip = max(0.0, self._blips[0][0] - self._clock())
            seconds = until_blip if seconds is None else min(seconds, until_blip)
        return seconds

    def _ask_for_permits(self, crew: Crew) -> None:
        in_a_slot = self._pace.calls_within(SLOT_SECONDS)
        while asked := self._rate.due(len(self._waiting), in_a_slot):
            crew.start(partial(self._rate.reserve, *asked), self._permitted)

    def _permitted(self, error: BundleError | None) -> None:
        if error is not None:
            self._hopeless = error

    def _leave_the_rest(self) -> None:
        while self._waiting:
            load, call = self._waiting.popleft()
            if self._hopeless is not None:
                self._postpone(load, call, self._hopeless)
            else:
                self.figures.not_reached += len(call.positions)
                self._close(load)

    # --- following up -----------------------------------------------------------------------------------------------

    def _followed_up(
        self, load: Load, call: CallT, number: int, answered: Answered | Continued[CallT] | BundleError
    ) -> None:
        news = self._tell_pace(number, answered)
        self._calls_under_way -= 1
        if isinstance(answered, BundleError):
            self._failures_in_a_row += news
            if self._failures_in_a_row >= _OUTAGE:
                self._hopeless = answered
            self._try_again(load, call.again(), answered)
            return
        self._failures_in_a_row = 0
        if isinstance(answered, Continued):
            self._waiting.appendleft((load, answered.call))
            return
        if singles := self._sender.split(load.settling.parcel, call, answered.outcome):
            load.open_calls += len(singles) - 1
            self._waiting.extendleft((load, single) for single in singles)
            return
        for position in call.positions:
            load.settling.settle(position, answered.outcome)
        self.figures.verdicts[answered.outcome.state] += len(call.positions)
        self._close(load)

    def _tell_pace(self, number: int, answered: Answered | Continued[CallT] | BundleError) -> bool:
        """Returns whether something failed that had not been seen to fail just now."""
        match answered:
            case UpstreamThrottled():
                self.figures.throttled += 1
                return self._pace.throttled(number, answered.retry_after_seconds)
            case UpstreamError():
                overloaded = isinstance(answered, UpstreamUnavailable) and answered.overloaded
                return self._pace.failed(number, overloaded=overloaded)
            case BundleError():
                return not isinstance(answered, InProgress)
            case Answered(outcome, _) if outcome.state is State.UNKNOWN:
                return self._pace.failed(number, overloaded=False)
            case _:
                self._pace.succeeded(number, self._calls_under_way, answered.seconds)
                return False

    def _try_again(self, load: Load, call: CallT, error: BundleError) -> None:
        wait = error.retry_after_seconds
        if isinstance(error, UpstreamThrottled) and call.tries < _THROTTLED_TRIES and wait <= LONGEST_PAUSE_SECONDS:
            self._waiting.appendleft((load, call))
        elif isinstance(error, (*call.repeatable, UpstreamUnauthorized)) and call.tries < TRIES:
            self._blips.append((self._clock() + PAUSE_SECONDS, load, call))
        else:
            self._postpone(load, call, error)

    def _postpone(self, load: Load, call: CallT, error: BundleError) -> None:
        load.fail(error)
        self.figures.postponed[error.code] += len(call.positions)
        self._close(load)

    # --- writing down -----------------------------------------------------------------------------------------------

    def _close(self, load: Load) -> None:
        load.open_calls -= 1
        if load.open_calls == 0:
            self._unrecorded.append(load)

    def _record(self, crew: Crew) -> None:
        if self._recording or not self._unrecorded:
            return
        loads = [self._unrecorded.popleft() for _ in range(min(_RECORDED_AT_ONCE, len(self._unrecorded)))]
        self._recording = True
        crew.start(partial(self._verdicts.record, [load.settling for load in loads]), partial(self._recorded, loads))

    def _recorded(self, loads: Sequence[Load], error: BundleError | None) -> None:
        self._recording = False
        if error is not None:
            for load in loads:
                load.fail(error)
