"""Something counted by all environments together, afresh in each window of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.aws import store
from shared.errors import StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class Tally:
    """Counts up to `most` in windows of `window_seconds` that are the same for everybody. `clock` gives epoch seconds.

    The count is one item of CacheTable, which takes a thousand writes a second, so it is for what is rare.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        name: str,
        most: int,
        window_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._table = table
        self._name = name
        self._most = most
        self._window_seconds = window_seconds
        self._clock = clock
        self._full_until = 0.0

    def add(self) -> bool:
        """Counts one more; False when that would be too many. Raises `StoreUnavailable`."""
        if self._clock() < self._full_until:
            return False
        with store("tally"):
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key={"id": {"S": self._key()}},
                    UpdateExpression="SET expires_at = :expiry ADD used :one",
                    ConditionExpression="attribute_not_exists(used) OR used < :most",
                    ExpressionAttributeValues={
                        ":one": {"N": "1"},
                        ":most": {"N": str(self._most)},
                        ":expiry": {"N": str(int(self.window_ends_at()) + self._window_seconds)},
                    },
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                self._full_until = self.window_ends_at()
                return False
        return True

    def is_full(self) -> bool:
        """Whether `most` have been counted in this window.

        Raises `StoreUnavailable`, also when what stands there is no count.
        """
        if self._clock() < self._full_until:
            return True
        with store("tally"):
            item = self._client.get_item(TableName=self._table, Key={"id": {"S": self._key()}}).get("Item")
        try:
            if item is None or float(item["used"]["N"]) < self._most:
                return False
        except (KeyError, ValueError):
            raise StoreUnavailable("tally: no count") from None
        self._full_until = self.window_ends_at()
        return True

    def window_ends_at(self) -> float:
        """The end of the present window, in epoch seconds."""
        return float((self._clock() // self._window_seconds + 1) * self._window_seconds)

    def _key(self) -> str:
        return f"tally#{self._name}#{int(self._clock() // self._window_seconds)}"
