"""Where a trigger stands: as its one send does, or as its recipients' sends do together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from shared.ledger import Entry, Ledger
from shared.outcomes import Outcome, State, seen_from_outside

# Of several recipients the trigger is in the first of these states that one of them is in.
_TELLING = (State.QUEUED, State.UNKNOWN, State.FAILED, State.SENT)


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a trigger, its outcome if it is one send, and else the outcomes of its recipients in their order."""

    state: State
    outcome: Outcome
    recipients: list[Outcome]

    def counts(self) -> dict[str, int]:
        found = Counter(seen_from_outside(outcome.state) for outcome in self.recipients)
        return {state.value: found[state] for state in _TELLING}


def standing_of(trigger_id: str, entry: Entry, ledger: Ledger) -> Standing:
    """Raises `StoreUnavailable` when the recipients' entries cannot be read."""
    if entry.parts == 1:
        return Standing(seen_from_outside(entry.outcome.state), entry.outcome, [])
    outcomes = ledger.find_parts(trigger_id, entry)
    states = {seen_from_outside(outcome.state) for outcome in outcomes}
    return Standing(next(state for state in _TELLING if state in states), entry.outcome, outcomes)
