"""How long a read may take, from its arrival at API Gateway to its answer.

Connected Content gives up after two seconds, so a read has 1.5. The first read of a new environment has waited for the
environment to start, which is part of its time; it gets 1.8, or it would rarely have an answer. A caller with less
patience says so: a refresh of Banners shares two seconds among ten of them, so each asks for 250 ms.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.config import Settings
from shared.deadline import Deadline
from shared.http import Request

# Time kept for shaping and for the way back to Braze, but never more than a fifth of all.
_ANSWER_RESERVE_SECONDS = 0.1
_ANSWER_RESERVE_SHARE = 0.2

# An option of reads: the time they may take, in milliseconds.
BudgetMilliseconds = Annotated[
    int, Meta(ge=100, le=1900, description="Give the time the read may take, 100 to 1900 milliseconds.")
]


class ReadBudget:
    """The time reads have, of one environment."""

    def __init__(self, settings: Settings) -> None:
        self._usual_seconds = settings.milliseconds_as_seconds("READ_BUDGET_MILLISECONDS")
        self._next_seconds = settings.milliseconds_as_seconds("READ_COLD_BUDGET_MILLISECONDS")

    def deadline(self, request: Request, asked_for_milliseconds: int | None = None) -> Deadline:
        """When a read's answer must be at hand: what is configured, or less when that was asked for."""
        seconds, self._next_seconds = self._next_seconds, self._usual_seconds
        if asked_for_milliseconds is not None:
            seconds = min(seconds, asked_for_milliseconds / 1000)
        return request.deadline(seconds - min(_ANSWER_RESERVE_SECONDS, seconds * _ANSWER_RESERVE_SHARE))
