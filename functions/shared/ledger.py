"""What must happen once: claimed before it is tried, settled after.

Vendors have no idempotency keys, so an effect that hurts when repeated (a message, a counter tag) passes through here:

    enter ──> queued ──claim──> sending ──settle──> sent | failed | skipped | unknown
                 ^                 │
                 └────release──────┘   (it certainly did not happen)

A worker that dies between claim and settle leaves `sending` behind. Once its lease is over nobody can say whether the
vendor acted, so the next claim settles the entry as `unknown` instead of trying again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shared.aws import store
from shared.errors import InProgress
from shared.outcomes import Outcome, State

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# A message lives for 14 days in its queue and, put back from the dead-letter queue, for as long again.
KEEP_SECONDS = 30 * 86_400

# The same content entered again within this time is a repeat of the first; later it is a new event.
REPEAT_SECONDS = 2 * 86_400

_UNKNOWN_OR_LONG_SETTLED = "attribute_not_exists(id) OR (entered_at < :old AND NOT #state IN (:queued, :sending))"

_OUTCOME_FIELDS = ("reason", "detail", "dispatch_id", "notice")


class Ledger:
    """Items of one DynamoDB table: `id` (key), `state`, `entered_at`, `lease_until`, `expires_at` and the outcome.

    Times are epoch seconds. Every method raises `StoreUnavailable` when DynamoDB cannot be asked.
    """

    def __init__(self, client: DynamoDBClient, table: str, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._table = table
        self._clock = clock

    def enter(self, entry_id: str) -> Outcome | None:
        """Makes the entry `queued`: None when it was unknown or settled long ago, else where it already stands."""
        now = self._clock()
        with store("ledger"):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item={
                        "id": {"S": entry_id},
                        "state": {"S": State.QUEUED.value},
                        "entered_at": {"N": f"{now:.3f}"},
                        "expires_at": self._expiry(),
                    },
                    ConditionExpression=_UNKNOWN_OR_LONG_SETTLED,
                    ExpressionAttributeNames={"#state": "state"},
                    ExpressionAttributeValues={
                        ":old": {"N": f"{now - REPEAT_SECONDS:.3f}"},
                        ":queued": {"S": State.QUEUED.value},
                        ":sending": {"S": State.SENDING.value},
                    },
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                return None
            except self._client.exceptions.ConditionalCheckFailedException as error:
                return _outcome(_item_of(error))

    def find(self, entry_id: str) -> Outcome | None:
        with store("ledger"):
            item = self._client.get_item(TableName=self._table, Key={"id": {"S": entry_id}}, ConsistentRead=True)
        return _outcome(item["Item"]) if "Item" in item else None

    def claim(self, entry_id: str, lease_seconds: float) -> Outcome | None:
        """Takes the entry in hand: None when it is now ours, else its final outcome.

        An entry never entered is entered. Raises `InProgress` while another worker's lease runs. `lease_seconds` must
        exceed the time a worker may still live.
        """
        now = self._clock()
        with store("ledger"):
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key={"id": {"S": entry_id}},
                    UpdateExpression="SET #state = :sending, lease_until = :lease, expires_at = :expiry",
                    ConditionExpression="attribute_not_exists(id) OR #state = :queued",
                    ExpressionAttributeNames={"#state": "state"},
                    ExpressionAttributeValues={
                        ":sending": {"S": State.SENDING.value},
                        ":queued": {"S": State.QUEUED.value},
                        ":lease": {"N": f"{now + lease_seconds:.3f}"},
                        ":expiry": self._expiry(),
                    },
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                return None
            except self._client.exceptions.ConditionalCheckFailedException as error:
                item = _item_of(error)
        found = _outcome(item)
        if found.state is not State.SENDING:
            return found
        if float(item["lease_until"]["N"]) > now:
            raise InProgress("another worker has it in hand")
        return self.settle(
            entry_id, Outcome(State.UNKNOWN, "worker_died", "a worker died while the call was under way")
        )

    def settle(self, entry_id: str, outcome: Outcome) -> Outcome:
        """Writes the final outcome, and returns it."""
        facts = {name: value for name in _OUTCOME_FIELDS if (value := getattr(outcome, name))}
        with store("ledger"):
            self._client.update_item(
                TableName=self._table,
                Key={"id": {"S": entry_id}},
                UpdateExpression="SET #state = :state, expires_at = :expiry"
                + "".join(f", {name} = :{name}" for name in facts)
                + " REMOVE lease_until",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues={
                    ":state": {"S": outcome.state.value},
                    ":expiry": self._expiry(),
                    **{f":{name}": {"S": value} for name, value in facts.items()},
                },
            )
        return outcome

    def release(self, entry_id: str) -> None:
        """Gives a claimed entry back to be tried again; only for what certainly did not happen."""
        with store("ledger"):
            self._client.update_item(
                TableName=self._table,
                Key={"id": {"S": entry_id}},
                UpdateExpression="SET #state = :queued REMOVE lease_until",
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues={":queued": {"S": State.QUEUED.value}},
            )

    def _expiry(self) -> Any:
        return {"N": str(int(self._clock()) + KEEP_SECONDS)}


def _item_of(error: Any) -> Mapping[str, Any]:
    item: Mapping[str, Any] = error.response["Item"]
    return item


def _outcome(item: Mapping[str, Any]) -> Outcome:
    facts = {name: item[name]["S"] for name in _OUTCOME_FIELDS if name in item}
    return Outcome(State(item["state"]["S"]), **facts)
