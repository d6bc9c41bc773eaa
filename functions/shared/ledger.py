"""What must happen once: claimed before it is tried, settled after.

Vendors have no idempotency keys, so an effect that hurts when repeated (a message, a counter tag) passes through here:

    enter ──> queued ──claim──> sending ──settle──> sent | failed | skipped | unknown
                 ^                 │
                 └────release──────┘   (it certainly did not happen)

A worker that dies between claim and settle leaves `sending` behind. Once its lease is over nobody can say whether the
vendor acted, so the next claim settles the entry as `unknown` instead of trying again.

What goes to the vendor in one call is claimed and settled together, in a transaction of one request, by the methods
that end in `_all`.

An entry that ends as unknown with its payload waits for an operator's word. Until that is spoken it never expires, and
the same content entered again, however late, is a repeat of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from shared.aws import store
from shared.errors import BundleError, InProgress, StoreUnavailable
from shared.ledger_items import (
    KEEP_SECONDS,
    UNRESOLVED,
    Entry,
    Payloads,
    Updates,
    entry_of,
    item_of,
    key_of,
    outcome_of,
    part_id,
    whole_of,
)
from shared.observability import logger
from shared.outcomes import Outcome, State

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = ["KEEP_SECONDS", "Claims", "Entry", "Ledger", "OtherContent", "Payloads", "part_id"]

# The same content entered again within this time is a repeat of the first; later it is a new event.
REPEAT_SECONDS = 2 * 86_400

# DynamoDB takes 100 items in a transaction, of 4 MB together; an unknown trigger is kept with its payload.
_AT_ONCE = 100
_AT_ONCE_WITH_PAYLOAD = 25

# DynamoDB reads 100 items a call, and may hand back a part of them to be asked for again.
_READ_AT_ONCE = 100
_READ_TRIES = 5

_UNHEARD_OF_OR_LONG_SETTLED = (
    "attribute_not_exists(id) OR (entered_at < :old AND attribute_not_exists(parts)"
    f" AND attribute_not_exists({UNRESOLVED}) AND NOT #state IN (:queued, :sending))"
)

WORKER_DIED = Outcome(State.UNKNOWN, "worker_died", "a worker died while the call was under way")
NO_LONGER_KEPT = Outcome(State.UNKNOWN, "no_longer_kept", "it was settled more than 30 days ago")

_STILL_QUEUED = Outcome(State.QUEUED)


@dataclass(frozen=True, slots=True)
class Claims:
    """What became of claiming several entries: ours now, settled already, or in another worker's hand."""

    ours: set[str] = field(default_factory=set)
    settled: dict[str, Outcome] = field(default_factory=dict)
    in_progress: set[str] = field(default_factory=set)


class OtherContent(BundleError):
    """An entry was claimed for something else than it is claimed for now."""

    code = "other_content"


class Ledger:
    """Items of one DynamoDB table: `id` (key), `state`, `entered_at`, `lease_until`, `expires_at` and the outcome.

    What a request entered has its `correlation_id`, if that was given.

    Times are epoch seconds. Every method raises `StoreUnavailable` when DynamoDB cannot be asked. `payload_of`, where
    a method takes it, gives what is kept with an entry that ends as unknown, for an operator to send again.
    """

    def __init__(self, client: DynamoDBClient, table: str, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._updates = Updates(table, clock)

    def enter(self, entry_id: str, parts: int = 1, correlation_id: str = "") -> Entry:
        """Makes the entry `queued` if it was unheard of or settled long ago; returns it as it then stands.

        Of several parts each has an entry of its own, `part_id`, and the whole has no outcome. What waits for an
        operator is not settled. A client that had no answer writes again, and may find what it wrote the first time:
        the item says by which call it was entered, and so that is no repeat.
        """
        now = int(self._clock())
        values = {
            ":old": {"N": str(now - REPEAT_SECONDS)},
            ":queued": {"S": State.QUEUED.value},
            ":sending": {"S": State.SENDING.value},
        }
        item = {
            "id": {"S": entry_id},
            "state": {"S": State.QUEUED.value},
            "entered_at": {"N": str(now)},
            "expires_at": self._updates.expiry(),
            "entered_by": {"S": uuid4().hex},
            **({"parts": {"N": str(parts)}} if parts > 1 else {}),
            **({"correlation_id": {"S": correlation_id}} if correlation_id else {}),
        }
        found = self._enter(item, _UNHEARD_OF_OR_LONG_SETTLED, values)
        if found.is_new or found.parts == 1 or found.entered_at >= now - REPEAT_SECONDS or self._waits(entry_id, found):
            return found
        seen = {":seen": {"N": str(found.entered_at)}}
        return self._enter(item, "attribute_not_exists(#state) OR entered_at = :seen", seen)

    def _enter(self, item: dict[str, Any], condition: str, values: dict[str, Any]) -> Entry:
        with store("ledger"):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression=condition,
                    ExpressionAttributeNames={"#state": "state"},
                    ExpressionAttributeValues=values,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                return entry_of(item)._replace(is_new=True)
            except self._client.exceptions.ConditionalCheckFailedException as error:
                there = item_of(error)
                return entry_of(there)._replace(is_new=there.get("entered_by") == item["entered_by"])

    def _waits(self, entry_id: str, whole: Entry) -> bool:
        """Whether a part waits for an operator."""
        ids = _part_ids(entry_id, whole)
        return any(UNRESOLVED in item for item in self._read(ids, ProjectionExpression=f"id, {UNRESOLVED}"))

    def find(self, entry_id: str) -> Entry | None:
        with store("ledger"):
            item = self._client.get_item(TableName=self._table, Key=key_of(entry_id), ConsistentRead=True)
        return entry_of(item["Item"]) if "Item" in item else None

    def find_all(self, entry_ids: Sequence[str]) -> dict[str, Outcome]:
        """Outcomes of those that were ever claimed or entered."""
        return {item["id"]["S"]: outcome_of(item) for item in self._read(entry_ids)}

    def find_parts(self, entry_id: str, whole: Entry) -> list[Outcome]:
        """The outcomes of all parts of an entry, in their order."""
        found = self.find_all(ids := _part_ids(entry_id, whole))
        # Only of a whole that outlived them are parts missing that were claimed once.
        missing = _STILL_QUEUED if self._clock() < whole.entered_at + KEEP_SECONDS else NO_LONGER_KEPT
        return [found.get(each, missing) for each in ids]

    def _read(self, entry_ids: Sequence[str], **projection: str) -> Iterator[Mapping[str, Any]]:
        for ids in _chunks(entry_ids, _READ_AT_ONCE):
            keys = [key_of(entry_id) for entry_id in ids]
            wanted: Any = {self._table: {"Keys": keys, "ConsistentRead": True, **projection}}
            for _ in range(_READ_TRIES):
                with store("ledger"):
                    answer = self._client.batch_get_item(RequestItems=wanted)
                yield from answer["Responses"].get(self._table, [])
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    break
            else:
                raise StoreUnavailable("ledger: some entries could not be read")

    def claim(
        self, entry_id: str, lease_seconds: float, payload_of: Payloads | None = None, digest: str = ""
    ) -> Outcome | None:
        """Takes the entry in hand: None when it is now ours, else its final outcome.

        An entry never entered is entered. Raises `InProgress` while another worker's lease runs. `lease_seconds` must
        exceed the time a worker may still live. When it raises `StoreUnavailable`, a claim whose answer was lost is
        given back, as by `claim_all`.

        `digest` is that of what is to be done: an entry that was claimed with another raises `OtherContent`, unless it
        was given back.
        """
        token = uuid4().hex
        try:
            return self._claim(entry_id, lease_seconds, payload_of, token, digest)
        except StoreUnavailable:
            self._give_back([entry_id], token)
            raise

    def _claim(
        self, entry_id: str, lease_seconds: float, payload_of: Payloads | None, token: str, digest: str = ""
    ) -> Outcome | None:
        with store("ledger"):
            try:
                self._client.update_item(
                    **self._updates.claiming(entry_id, lease_seconds, token, digest),
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                return None
            except self._client.exceptions.ConditionalCheckFailedException as error:
                item = item_of(error)
        if item.get("digest", {"S": digest})["S"] != digest:
            raise OtherContent("it was claimed for something else")
        return self._standing(entry_id, item, payload_of)

    def claim_all(self, entry_ids: Sequence[str], lease_seconds: float, payload_of: Payloads | None = None) -> Claims:
        """The same for entries that go to the vendor together; none may be named twice.

        When it raises, what was claimed is given back: the vendor was not asked, and nothing of it is unknown.
        """
        claims = Claims()
        token = uuid4().hex
        try:
            for ids in _chunks(entry_ids, _AT_ONCE):
                self._claim_together(ids, lease_seconds, payload_of, claims, token)
        except StoreUnavailable:
            self._give_back(entry_ids, token)
            raise
        return claims

    def settle(self, entry_id: str, outcome: Outcome, payload_of: Payloads | None = None) -> Outcome:
        """Writes the final outcome, and returns it."""
        if outcome.state is State.UNKNOWN:
            self._keep_wholes([entry_id], payload_of)
        with store("ledger"):
            self._client.update_item(**self._updates.settling(entry_id, outcome, payload_of))
        return outcome

    def settle_all(self, outcomes: Mapping[str, Outcome], payload_of: Payloads | None = None) -> None:
        unknown = [entry_id for entry_id, outcome in outcomes.items() if outcome.state is State.UNKNOWN]
        known = [entry_id for entry_id in outcomes if entry_id not in set(unknown)]
        self._keep_wholes(unknown, payload_of)
        for ids in (*_chunks(known, _AT_ONCE), *_chunks(unknown, _AT_ONCE_WITH_PAYLOAD)):
            self._together([self._updates.settling(entry_id, outcomes[entry_id], payload_of) for entry_id in ids])

    def release(self, entry_id: str) -> None:
        """Gives a claimed entry back to be tried again; only for what certainly did not happen."""
        with store("ledger"):
            self._client.update_item(**self._updates.releasing(entry_id))

    def release_all(self, entry_ids: Sequence[str]) -> None:
        for ids in _chunks(entry_ids, _AT_ONCE):
            self._together([self._updates.releasing(entry_id) for entry_id in ids])

    def _claim_together(
        self,
        entry_ids: Sequence[str],
        lease_seconds: float,
        payload_of: Payloads | None,
        claims: Claims,
        token: str,
    ) -> None:
        """Claims those that can be; the transaction is tried again without those that cannot, then one by one."""
        waiting = list(entry_ids)
        for _ in range(2):
            refused: dict[str, Any] = {}
            with store("ledger"):
                try:
                    updates = [
                        {
                            "Update": {
                                **self._updates.claiming(entry_id, lease_seconds, token),
                                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                            }
                        }
                        for entry_id in waiting
                    ]
                    self._client.transact_write_items(TransactItems=updates)  # type: ignore[arg-type]
                except self._client.exceptions.TransactionCanceledException as error:
                    reasons: Any = error.response.get("CancellationReasons", [])
                    refused = {
                        entry_id: reason["Item"]
                        for entry_id, reason in zip(waiting, reasons, strict=False)
                        if reason.get("Code") == "ConditionalCheckFailed" and "Item" in reason
                    }
                else:
                    claims.ours.update(waiting)
                    return
            for entry_id, item in refused.items():
                self._note(claims, entry_id, partial(self._standing, entry_id, item, payload_of))
            waiting = [entry_id for entry_id in waiting if entry_id not in refused]
            if not waiting:
                return
        for entry_id in waiting:
            self._note(claims, entry_id, partial(self._claim, entry_id, lease_seconds, payload_of, token))

    def _give_back(self, entry_ids: Sequence[str], token: str) -> None:
        """Releases what this claim took, also where its answer was lost, until the table is out of reach again."""
        for entry_id in entry_ids:
            releasing = self._updates.releasing(entry_id)
            releasing["ExpressionAttributeValues"][":token"] = {"S": token}
            try:
                with store("ledger"):
                    try:
                        self._client.update_item(**releasing, ConditionExpression="claimed_by = :token")
                    except self._client.exceptions.ConditionalCheckFailedException:
                        continue
            except StoreUnavailable as error:
                logger.error("not given back", detail=str(error), entry_id=entry_id)
                return

    @staticmethod
    def _note(claims: Claims, entry_id: str, claim: Callable[[], Outcome | None]) -> None:
        try:
            settled = claim()
        except InProgress:
            claims.in_progress.add(entry_id)
            return
        if settled is None:
            claims.ours.add(entry_id)
        else:
            claims.settled[entry_id] = settled

    def _standing(self, entry_id: str, item: Mapping[str, Any], payload_of: Payloads | None) -> Outcome:
        """The final outcome of an entry that cannot be claimed; raises `InProgress` while its lease runs."""
        found = outcome_of(item)
        if found.state is not State.SENDING:
            return found
        if float(item["lease_until"]["N"]) > self._clock():
            raise InProgress("another worker has it in hand")
        self._keep_wholes([entry_id], payload_of)
        settling = self._updates.settling(entry_id, WORKER_DIED, payload_of)
        settling["ExpressionAttributeValues"] |= {":sending": {"S": State.SENDING.value}, ":seen": item["lease_until"]}
        with store("ledger"):
            try:
                self._client.update_item(
                    **settling,
                    ConditionExpression="#state = :sending AND lease_until = :seen",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                return WORKER_DIED
            except self._client.exceptions.ConditionalCheckFailedException as error:
                found = outcome_of(item_of(error))  # its worker lived after all, and had the last word
        if found.state in (State.SENDING, State.QUEUED):
            raise InProgress("it was given back, for another worker to take in hand")
        return found

    def _keep_wholes(self, unknown: Sequence[str], payload_of: Payloads | None) -> None:
        """A whole outlives its parts that wait for an operator: by it a repeat is known, and told where they stand."""
        if payload_of is None:
            return
        for whole in dict.fromkeys(whole_of(entry_id) for entry_id in unknown if whole_of(entry_id) != entry_id):
            with store("ledger"), suppress(self._client.exceptions.ConditionalCheckFailedException):
                self._client.update_item(
                    TableName=self._table,
                    Key=key_of(whole),
                    UpdateExpression="REMOVE expires_at",
                    ConditionExpression="attribute_exists(parts)",
                )

    def _together(self, updates: Sequence[dict[str, Any]]) -> None:
        """Unconditional updates in one transaction; one by one when another transaction stands in its way."""
        with store("ledger"):
            try:
                self._client.transact_write_items(TransactItems=[{"Update": update} for update in updates])  # type: ignore[typeddict-item]
            except self._client.exceptions.TransactionCanceledException:
                for update in updates:
                    self._client.update_item(**update)


def _chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _part_ids(entry_id: str, whole: Entry) -> list[str]:
    return [part_id(entry_id, whole.entered_at, number) for number in range(1, whole.parts + 1)]
