"""The one vocabulary for what became of something that was to be sent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    QUEUED = "queued"  # accepted and durable
    SENDING = "sending"  # a worker has it in hand
    SENT = "sent"  # the vendor accepted it
    FAILED = "failed"  # the vendor refused it for good
    SKIPPED = "skipped"  # we had a reason not to send it
    UNKNOWN = "unknown"  # the vendor may or may not have acted; never repeated by itself


def seen_from_outside(state: State) -> State:
    """What a caller is told: an entry a worker has in hand is still to be sent, as far as anybody else can tell."""
    return State.QUEUED if state is State.SENDING else state


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` is a code, as in "user_not_found"; `detail` a sentence; `dispatch_id` and `notice` are Braze's."""

    state: State
    reason: str = ""
    detail: str = ""
    dispatch_id: str = ""
    notice: str = ""
