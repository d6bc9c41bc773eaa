"""A rate that all workers together keep to, however many there are and whatever becomes of them.

Time is cut into slots of a tenth of a second, the same for everybody: slot n begins n/10 seconds after the epoch. A
slot has a tenth of the rate as permits, and one item of CacheTable counts those given out. A worker takes some by a
single conditional update, ADD where the count stays within the slot's permits, so the count never exceeds them: not by
two workers asking at once, and not by one that dies, which takes its permits with it. A permit is good for the first
three quarters of its slot and lapses unused after that; the last quarter is for the way to the vendor, so that what
was sent in a slot also arrives in it.

So in any second of the vendor's clock no more arrives than the rate and, if its seconds do not begin with our slots,
one slot's tenth of it. Workers whose clocks differ by d use a slot's permits d apart: then the same holds for a second
and d. Lambda keeps its clocks within milliseconds.

Work that others must not wait for takes a part of the rate: of each slot no more than the part's share, counted beside
the whole by the same update. So what is left of every slot is for the others.

Permits are asked for up to three slots ahead, and no more than can be used, so that neither does work wait for the
table nor do permits lapse that another worker could use.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from shared.aws import store
from shared.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SLOTS_A_SECOND = 10
SLOT_SECONDS = 1 / SLOTS_A_SECOND

_GOOD_FOR = 0.75
_AHEAD = 3

# Long after any worker could still mean the slot.
_KEEP_SECONDS = 3600


class Rate:
    """One worker's part in the rate `name` of `per_second` calls (at least 1). `clock` gives epoch seconds.

    Workers of `part`, unless that is empty, have `share_percent` of it among them, and at least one call a second.

    `due` and `take` are for one thread, which lets `reserve` run in others.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        name: str,
        per_second: int,
        clock: Callable[[], float] = time.time,
        *,
        part: str = "",
        share_percent: int = 100,
    ) -> None:
        self._client = client
        self._table = table
        self._name = name
        self._per_second = per_second
        self._part = part
        self._part_per_second = share_of(per_second, share_percent) if part else per_second
        self._clock = clock
        self._lock = Lock()
        self._held: dict[int, int] = {}
        self._asked: dict[int, int] = {}
        self._next = 0

    def take(self) -> bool:
        """Uses up a permit that is good now; False when none is held."""
        now = self._clock() * SLOTS_A_SECOND
        slot = int(now)
        with self._lock:
            for past in [held for held in self._held if held < slot]:
                del self._held[past]
            if now - slot > _GOOD_FOR or not self._held.get(slot):
                return False
            self._held[slot] -= 1
            return True

    def wait_seconds(self) -> float:
        """How long until a permit that is held or can be asked for is good; for after `take` said no."""
        now = self._clock() * SLOTS_A_SECOND
        with self._lock:
            ahead = [slot for slot, permits in self._held.items() if permits and slot > now]
        return (min(ahead, default=int(now) + 1) - now) * SLOT_SECONDS

    def due(self, wanted: int, in_a_slot: int) -> tuple[int, int] | None:
        """The slot to ask for next and how many permits, for `wanted` calls of which `in_a_slot` fit one slot.

        None when what is held and asked for is enough, or the time to ask for more has not come.
        """
        now = self._clock() * SLOTS_A_SECOND
        first = int(now) + (now % 1 > _GOOD_FOR)
        with self._lock:
            missing = wanted - sum(permits for slot, permits in self._held.items() if slot >= first)
            missing -= sum(self._asked.values())
            slot = max(self._next, first)
            while slot <= first + _AHEAD and missing > 0:
                self._next = slot + 1
                permits = min(missing, in_a_slot, self._permits(slot))
                if permits:
                    self._asked[slot] = permits
                    return slot, permits
                slot += 1
        return None

    def reserve(self, slot: int, wanted: int) -> None:
        """Takes up to `wanted` permits of a slot. Raises `StoreUnavailable` when DynamoDB cannot be asked."""
        try:
            given = self._given(slot, wanted)
        finally:
            with self._lock:
                self._asked.pop(slot, None)
        with self._lock:
            self._held[slot] = given

    def _given(self, slot: int, wanted: int) -> int:
        left, whole, parted = self._permits(slot), _permits(self._per_second, slot), "ADD used :permits"
        condition = "(attribute_not_exists(used) OR used <= :most)"
        names: Any = {}
        if self._part:
            parted += ", #part :permits"
            condition += " AND (attribute_not_exists(#part) OR #part <= :part_most)"
            names = {"ExpressionAttributeNames": {"#part": f"used by {self._part}"}}
        while (permits := min(wanted, left)) > 0:
            most = {":most": {"N": str(whole - permits)}}
            if self._part:
                most[":part_most"] = {"N": str(self._permits(slot) - permits)}
            with store("rate"):
                try:
                    self._client.update_item(
                        TableName=self._table,
                        Key={"id": {"S": f"rate#{self._name}#{slot}"}},
                        UpdateExpression=f"SET expires_at = :expiry {parted}",
                        ConditionExpression=condition,
                        ExpressionAttributeValues={
                            ":permits": {"N": str(permits)},
                            ":expiry": {"N": str(int(self._clock()) + _KEEP_SECONDS)},
                            **most,
                        },
                        **names,
                        ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    )
                    return permits
                except self._client.exceptions.ConditionalCheckFailedException as error:
                    found: Any = error.response["Item"]  # type: ignore[typeddict-item]
            try:
                left = whole - int(found["used"]["N"])
                if self._part:
                    left = min(left, self._permits(slot) - int(found.get(f"used by {self._part}", {"N": "0"})["N"]))
            except (KeyError, ValueError):
                logger.warning("rate not readable")  # nobody here wrote that; the slot is given up, not the rate
                return 0
        return 0

    def _permits(self, slot: int) -> int:
        """What the slot has for us."""
        return min(_permits(self._per_second, slot), _permits(self._part_per_second, slot))


def share_of(per_second: int, percent: int) -> int:
    """So many percent of a rate, at least one call a second."""
    return max(1, per_second * percent // 100)


def _permits(per_second: int, slot: int) -> int:
    """The slot's share of a rate: the shares of ten slots that begin with a full second make the rate."""
    return (slot + 1) * per_second // SLOTS_A_SECOND - slot * per_second // SLOTS_A_SECOND
