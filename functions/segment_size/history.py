"""Every size a segment was ever seen to have, also from before the hundred days that Braze tells.

One item of SegmentHistoryTable for each segment and day. Usually all but the last few days are there already, and only
those are written: Braze may still correct them. After a gap, or the first time, all that Braze told is written, oldest
first; what is written until something fails is whole, so the next time finds where to go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clients.braze import Point
from shared.aws import store
from shared.errors import StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_UNSETTLED_DAYS = 3

# As many items as DynamoDB takes in one call.
_BATCH = 25


class History:
    """Every method raises `StoreUnavailable` when DynamoDB cannot be asked. Days are written YYYY-MM-DD."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def add(self, segment_id: str, sizes: Sequence[Point]) -> None:
        """Notes sizes, oldest first; the last days noted before get the newer numbers."""
        latest, before = sizes[-_UNSETTLED_DAYS:], sizes[:-_UNSETTLED_DAYS]
        if before and not self._has(segment_id, before[-1]):
            latest = sizes
        for start in range(0, len(latest), _BATCH):
            self._write(segment_id, latest[start : start + _BATCH])

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

    def _has(self, segment_id: str, size: Point) -> bool:
        with store("segment history"):
            found = self._client.get_item(
                TableName=self._table, Key={"segment_id": {"S": segment_id}, "day": {"S": size.time}}
            )
        return "Item" in found

    def _write(self, segment_id: str, sizes: Sequence[Point]) -> None:
        with store("segment history"):
            answer = self._client.batch_write_item(
                RequestItems={
                    self._table: [
                        {
                            "PutRequest": {
                                "Item": {
                                    "segment_id": {"S": segment_id},
                                    "day": {"S": size.time},
                                    "size": {"N": str(int(size.value))},
                                }
                            }
                        }
                        for size in sizes
                    ]
                }
            )
        if answer.get("UnprocessedItems"):
            raise StoreUnavailable("segment history: not all of it was taken")


def _read(item: Mapping[str, Any]) -> Point | None:
    try:
        return Point(item["day"]["S"], int(item["size"]["N"]))
    except (KeyError, ValueError):
        return None
