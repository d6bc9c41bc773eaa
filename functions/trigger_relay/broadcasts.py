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

from shared.aws import store

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
        minute = int(now // _MINUTE_SECONDS)
        next_minute = (minute + 1) * _MINUTE_SECONDS
        for name, limit in ((target_id, PER_MINUTE_AND_AUDIENCE), ("", PER_MINUTE)):
            if not self._counted(f"broadcasts#{name}#{minute}", limit, next_minute):
                return next_minute - now
        return 0.0

    def _counted(self, item_id: str, limit: int, until: int) -> bool:
        with store("broadcasts"):
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key={"id": {"S": item_id}},
                    UpdateExpression="SET expires_at = :expiry ADD #count :one",
                    ConditionExpression="attribute_not_exists(#count) OR #count < :limit",
                    ExpressionAttributeNames={"#count": "count"},
                    ExpressionAttributeValues={
                        ":one": {"N": "1"},
                        ":limit": {"N": str(limit)},
                        ":expiry": {"N": str(until + 3600)},
                    },
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
        return True
