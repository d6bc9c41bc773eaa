"""Every size a segment was ever seen to have, also from before the hundred days that Braze tells.

One item of SegmentHistoryTable for each segment and day. Usually all but the last few days are there already, and only
those are written: Braze may still correct them. Whatever else Braze told and is not there is written too, so a
day that DynamoDB did not take is made up for the next time, whichever it was: a batch has no order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clients.braze import Point
from shared.aws import store
from shared.errors import StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_UNSETTLED_DAYS = 3

# As many items as DynamoDB takes in one call.
_BATCH = 25

# What it leaves of a batch, being short of capacity, it usually takes a moment later.
_TRIES = 3
_PAUSE_SECONDS = 0.02


class History:
    """Every method raises `StoreUnavailable` when DynamoDB cannot be asked. Days are written YYYY-MM-DD."""

    def __init__(self, client: DynamoDBClient, table: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._table = table
        self._sleep = sleep

    def add(self, segment_id: str, sizes: Sequence[Point]) -> None:
        """Notes sizes, oldest first; the last days noted before get the newer numbers."""
        latest, before = sizes[-_UNSETTLED_DAYS:], sizes[:-_UNSETTLED_DAYS]
        there = {size.time for size in self.sizes(segment_id, before[0].time, before[-1].time)} if before else set()
        new = [size for size in before if size.time not in there] + list(latest)
        for start in range(0, len(new), _BATCH):
            self._write(segment_id, new[start : start + _BATCH])

    def sizes(self, segment_id: str, first: str, last: str) -> list[Point]:
        """Those noted for the days from `first` to `last`, oldest first; one that cannot be read counts as none."""
        with store("segment history"):
            found = self._client.query(
                TableName=self._table,
                KeyConditionExpression="segment_id = :segment AND #day BETWEEN :first AND :last",
                ExpressionAttributeNames={"#day": "day"},
                ExpressionAttributeValues={":segment": {"S": segment_id}, ":first": {"S": first}, ":last": {"S": last}},
            )
        return [size for item in found["Items"] if (size := _read(item)) is not None]

    def _write(self, segment_id: str, sizes: Sequence[Point]) -> None:
        left: Any = {self._table: [_put(segment_id, size) for size in sizes]}
        for turn in range(_TRIES):
            if turn:
                self._sleep(_PAUSE_SECONDS * 2**turn)
            with store("segment history"):
                left = self._client.batch_write_item(RequestItems=left).get("UnprocessedItems")
            if not left:
                return
        raise StoreUnavailable("segment history: not all of it was taken")


def _put(segment_id: str, size: Point) -> dict[str, Any]:
    item = {"segment_id": {"S": segment_id}, "day": {"S": size.time}, "size": {"N": str(int(size.value))}}
    return {"PutRequest": {"Item": item}}


def _read(item: Mapping[str, Any]) -> Point | None:
    try:
        return Point(item["day"]["S"], int(item["size"]["N"]))
    except (KeyError, ValueError):
        return None
