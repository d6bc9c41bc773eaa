"""Braze's limits on broadcasts, kept across all workers: 250 a minute, and 10 a minute to one audience.

Those from the queue and those that are passed on to Braze at once count together; an audience is that of a campaign or
Canvas, or a segment. Both counts are items of the cache table that start anew with the clock minute, as Braze's do; a
worker whose clock is off by a few seconds may find Braze's minute not over yet, and then meets a 429, which is no harm:
nothing was sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.tally import Tally

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PER_MINUTE = 250
PER_MINUTE_AND_AUDIENCE = 10

_MINUTE_SECONDS = 60


class Broadcasts:
    """Counters in the cache table; `clock` gives epoch seconds."""

    def __init__(self, client: DynamoDBClient, table: str, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._table = table
        self._clock = clock

    def take(self, target_id: str) -> float:
        """Counts one broadcast: 0 when it may go, else the seconds until the next minute.

        Raises `StoreUnavailable` when it cannot be counted; then it must not go.
        """
        now = self._clock()
        for name, most in ((f"broadcasts {target_id}", PER_MINUTE_AND_AUDIENCE), ("broadcasts", PER_MINUTE)):
            counted = Tally(self._client, self._table, name, most, _MINUTE_SECONDS, lambda: now)
            if not counted.add():
                return counted.window_ends_at() - now
        return 0.0
