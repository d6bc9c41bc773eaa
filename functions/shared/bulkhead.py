"""A ceiling on the calls a vendor has from us at once, however many environments there are.

The ceiling is a number of places, each an item of CacheTable. Who wants to call takes a place for some seconds by a
conditional write, so no place is taken twice, and one whose holder died comes free by itself. An environment keeps its
place from call to call and renews it now and then, so that a busy one writes every few seconds and not with each call.
When all places are taken the call is not made, rather than made to wait: whoever reads has something older to show.

Without the table there is no ceiling: an environment has one call under way at a time, two when the first is slow.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from shared.aws import store
from shared.deadline import Deadline, within
from shared.errors import DeadlineExceeded, StoreUnavailable, UpstreamBusy
from shared.observability import count, logger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# A place is taken for this long, and renewed when a call might outlast it.
HELD_SECONDS = 6.0
LONGEST_CALL_SECONDS = 2.5

# How many free places are tried before giving up, others being quicker each time.
_TRIES = 3

# After all places were found taken, the table is not asked again for a moment.
_FULL_SECONDS = 0.2

# The table answers in this time, or calls are made without a place.
STORE_SECONDS = 0.25

# DynamoDB reads at most so many items at once.
_LOOKED_AT = 100


@dataclass(slots=True)
class _Place:
    number: int
    held_until: float


class Bulkhead:
    """This environment's part in the ceiling of `most` calls to `upstream`. `clock` gives epoch seconds."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        upstream: str,
        most: int,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        store_seconds: float = STORE_SECONDS,
    ) -> None:
        self._client = client
        self._table = table
        self._upstream = upstream
        self._most = most
        self._clock = clock
        self._rng = rng or random.Random()
        self._store_seconds = store_seconds
        self._holder = os.urandom(8).hex()
        self._idle: list[_Place] = []
        self._full_until = 0.0
        self._lock = Lock()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place; raises `UpstreamBusy` when there is none."""
        try:
            place = self._ours()
        except (StoreUnavailable, DeadlineExceeded) as error:
            count("BulkheadUnavailable")
            logger.warning("calls are not limited", upstream=self._upstream, detail=str(error))
            place = None
        try:
            yield
        finally:
            if place is not None:
                with self._lock:
                    self._idle.append(place)

    def _ours(self) -> _Place:
        """A place for a call, for long enough: kept, renewed or newly taken; raises `UpstreamBusy`.

        Whoever takes or renews one puts it with those that are not in use. So one that comes too late for this call,
        from a table that is slow, is there for the next.
        """
        while True:
            with self._lock:
                place = self._idle.pop() if self._idle else None
            deadline = Deadline(self._store_seconds)
            if place is None:
                within(deadline, partial(self._take_free, deadline))
            elif (left := place.held_until - self._clock()) > LONGEST_CALL_SECONDS:
                return place
            elif left > 0:
                within(deadline, partial(self._take, place, "holder = :holder"))

    def _take_free(self, deadline: Deadline) -> None:
        """Takes a place that is free; raises `UpstreamBusy`."""
        if self._clock() < self._full_until:
            raise UpstreamBusy(self._upstream)
        free: Sequence[int] = [self._rng.randrange(self._most)]
        for _ in range(_TRIES):
            if self._take(
                _Place(self._rng.choice(free), 0.0), "NOT attribute_type(held_until, :number) OR held_until < :now"
            ):
                return
            free = self._free()
            if not free:
                break
        if not deadline.passed():  # else it may long have changed
            self._full_until = self._clock() + _FULL_SECONDS
        raise UpstreamBusy(self._upstream)

    def _take(self, place: _Place, condition: str) -> bool:
        now = self._clock()
        values = {
            ":holder": {"S": self._holder},
            ":until": {"N": f"{now + HELD_SECONDS:.3f}"},
            ":expiry": {"N": str(int(now + HELD_SECONDS) + 60)},
        }
        if ":now" in condition:
            values |= {":now": {"N": f"{now:.3f}"}, ":number": {"S": "N"}}
        with store("bulkhead"):
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key={"id": {"S": self._key(place.number)}},
                    UpdateExpression="SET holder = :holder, held_until = :until, expires_at = :expiry",
                    ConditionExpression=condition,
                    ExpressionAttributeValues=values,
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
        place.held_until = now + HELD_SECONDS
        with self._lock:
            self._idle.append(place)
        return True

    def _free(self) -> list[int]:
        """The free ones among a hundred places, or all if they are fewer."""
        numbers = self._rng.sample(range(self._most), min(self._most, _LOOKED_AT))
        keys = [{"id": {"S": self._key(number)}} for number in numbers]
        with store("bulkhead"):
            found = self._client.batch_get_item(RequestItems={self._table: {"Keys": keys}})
        now = self._clock()
        taken = {
            item["id"]["S"]
            for item in found["Responses"].get(self._table, [])
            if float(item.get("held_until", {}).get("N", "0")) >= now
        }
        return [number for number in numbers if self._key(number) not in taken]

    def _key(self, number: int) -> str:
        return f"place#{self._upstream}#{number}"
