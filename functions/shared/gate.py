"""A gate all workers stand before: one 429 shuts it for every one of them until the vendor's own reset.

The vendor is authoritative: nobody here predicts a limit. What it says of its limit, in a 429 or in the headers of any
answer, is kept in one item that every worker reads, so that messages wait in their queue and not at the vendor's door.

The gate has a wide half and a narrow one. When little is left of the hour the wide half is shut, and only what is
urgent goes on, through the narrow one, until nothing is left at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from shared.aws import store
from shared.errors import StoreUnavailable
from shared.observability import count, logger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Vendors' windows are an hour at most. A reset further away is a mistake, and must not stop everything for a day.
LONGEST_SECONDS = 3_900.0

# How long a worker trusts what it last read. Another worker's 429 stops this one within that time.
_TRUST_SECONDS = 1.0

_WIDE, _NARROW = "wide_until", "narrow_until"


class Gate:
    """One item of the cache table. Safe to use from many threads; `clock` gives epoch seconds.

    A gate that cannot be read stands open: the vendor's 429 is then all there is, as it would be without a gate.
    """

    def __init__(self, client: DynamoDBClient, table: str, name: str, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._table = table
        self._key: Any = {"id": {"S": f"gate#{name}"}}
        self._clock = clock
        self._until = {_WIDE: 0.0, _NARROW: 0.0}
        self._read_at = float("-inf")
        self._lock = Lock()

    def wait_seconds(self, urgent: bool) -> float:
        """Seconds until it opens; 0 when it is open."""
        now = self._clock()
        with self._lock:
            if now - self._read_at > _TRUST_SECONDS:
                self._read()
                self._read_at = now
            return max(0.0, self._until[_NARROW if urgent else _WIDE] - now)

    def shut(self, seconds: float, *, urgent_too: bool) -> None:
        """Shuts it for so long from now, unless it is shut for longer already."""
        until = self._clock() + min(seconds, LONGEST_SECONDS)
        halves = (_WIDE, _NARROW) if urgent_too else (_WIDE,)
        with self._lock:
            news = [half for half in halves if until > self._until[half]]
            self._until |= dict.fromkeys(news, until)
        if news:
            count("GatesShut")
        for half in news:
            self._write(half, until)

    def _read(self) -> None:
        try:
            with store("gate"):
                item: Mapping[str, Any] = self._client.get_item(TableName=self._table, Key=self._key).get("Item", {})
        except StoreUnavailable as error:
            logger.warning("gate not read", detail=str(error))
            return
        for half, known in self._until.items():
            try:
                self._until[half] = max(known, float(item.get(half, {"N": "0"})["N"]))
            except KeyError:
                logger.warning("gate not readable", half=half)

    def _write(self, half: str, until: float) -> None:
        try:
            with store("gate"):
                try:
                    self._client.update_item(
                        TableName=self._table,
                        Key=self._key,
                        UpdateExpression="SET #half = :until, expires_at = :expiry",
                        ConditionExpression="NOT attribute_type(#half, :number) OR #half < :until",
                        ExpressionAttributeNames={"#half": half},
                        ExpressionAttributeValues={
                            ":until": {"N": f"{until:.3f}"},
                            ":number": {"S": "N"},
                            ":expiry": {"N": str(int(until) + 86_400)},
                        },
                    )
                except self._client.exceptions.ConditionalCheckFailedException:
                    return  # another worker shut it for longer
        except StoreUnavailable as error:
            logger.warning("gate not shut for others", detail=str(error))
