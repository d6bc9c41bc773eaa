"""Answers worth keeping, shared by all environments of a function. Losing an entry costs a call, nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from shared.aws import store

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True)
class Entry(Generic[Shape]):
    """A cached value and when it was put in, in epoch seconds."""

    value: Shape
    stored_at: float


class Cache(Generic[Shape]):
    """Values of one shape under string keys, each gone `keep_seconds` after it was put in.

    Every method raises `StoreUnavailable` when DynamoDB cannot be asked. `clock` gives epoch seconds.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        shape: type[Shape],
        keep_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._table = table
        self._decoder = msgspec.json.Decoder(shape)
        self._keep_seconds = keep_seconds
        self._clock = clock

    def get(self, key: str) -> Entry[Shape] | None:
        with store("cache"):
            item = self._client.get_item(TableName=self._table, Key={"id": {"S": key}}).get("Item")
        if item is None or float(item["expires_at"]["N"]) < self._clock():
            return None
        try:
            return Entry(self._decoder.decode(item["value"]["S"]), float(item["stored_at"]["N"]))
        except msgspec.DecodeError:
            return None  # of another version of this code

    def put(self, key: str, value: Shape) -> None:
        now = self._clock()
        with store("cache"):
            self._client.put_item(
                TableName=self._table,
                Item={
                    "id": {"S": key},
                    "value": {"S": msgspec.json.encode(value).decode()},
                    "stored_at": {"N": f"{now:.3f}"},
                    "expires_at": {"N": str(int(now) + self._keep_seconds)},
                },
            )
