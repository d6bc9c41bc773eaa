"""What the ledger writes, and how it reads it back: the items of its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from shared.outcomes import Outcome, State

# A message lives for 14 days in its queue and, put back from the dead-letter queue, for as long again.
KEEP_SECONDS = 30 * 86_400

# What waits for an operator's word carries this attribute, and so stands in the sparse index of the same name. Before
# that word is spoken it has no `expires_at`.
UNRESOLVED = "unresolved"

_OUTCOME_FIELDS = ("reason", "detail", "dispatch_id", "notice")

_NOT_FOR_EVERY_OUTCOME = (*_OUTCOME_FIELDS, "lease_until", "claimed_by", "payload", UNRESOLVED, "expires_at")

Payloads = Callable[[str], str]

# An id as a message brings it. DynamoDB takes no empty key and none above 2,048 bytes, and refuses with it all entries
# that are claimed together; a part's id has two numbers more.
EntryId = Annotated[str, Meta(min_length=1, max_length=255)]
PartNumber = Annotated[int, Meta(ge=0, le=2**53)]


class Entry(NamedTuple):
    """Where an entry stands, when it was entered (whole epoch seconds), of how many parts it is, and by which request.

    `correlation_id` is empty where nobody said so.
    """

    outcome: Outcome
    entered_at: int
    parts: int
    is_new: bool = False
    correlation_id: str = ""


def part_id(entry_id: str, entered_at: int, number: int) -> str:
    """The entry of one of several parts, numbered from 1; `entered_at` tells it from that of an equal one later."""
    return f"{entry_id}.{entered_at}.{number}"


def whole_of(entry_id: str) -> str:
    """The entry that a part belongs to; itself, if it is none."""
    return entry_id.partition(".")[0]


class Updates:
    """Parameters of UpdateItem, for one entry each; `clock` gives epoch seconds."""

    def __init__(self, table: str, clock: Callable[[], float]) -> None:
        self._table = table
        self._clock = clock

    def claiming(self, entry_id: str, lease_seconds: float, token: str, digest: str = "") -> dict[str, Any]:
        """A claim that may be made again with the same `token`: the answer to the first may have been lost.

        `digest` is kept with it, if there is one.
        """
        now = self._clock()
        return {
            "TableName": self._table,
            "Key": key_of(entry_id),
            "UpdateExpression": "SET #state = :sending, lease_until = :lease, claimed_by = :token,"
            " expires_at = :expiry, entered_at = if_not_exists(entered_at, :now)"
            + (", digest = :digest" if digest else ""),
            "ConditionExpression": "attribute_not_exists(id) OR #state = :queued"
            " OR (#state = :sending AND claimed_by = :token)",
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": {
                ":sending": {"S": State.SENDING.value},
                ":queued": {"S": State.QUEUED.value},
                ":token": {"S": token},
                ":lease": {"N": f"{now + lease_seconds:.3f}"},
                ":expiry": self.expiry(),
                ":now": {"N": str(int(now))},
                **({":digest": {"S": digest}} if digest else {}),
            },
        }

    def settling(self, entry_id: str, outcome: Outcome, payload_of: Payloads | None) -> dict[str, Any]:
        facts = {name: {"S": value} for name in _OUTCOME_FIELDS if (value := getattr(outcome, name))}
        if outcome.state is State.UNKNOWN and payload_of is not None:
            facts |= {"payload": {"S": payload_of(entry_id)}, UNRESOLVED: {"S": "yes"}}
        else:
            facts["expires_at"] = self.expiry()
        # Also what an earlier attempt left, before an operator had it sent again.
        gone = [name for name in _NOT_FOR_EVERY_OUTCOME if name not in facts]
        return {
            "TableName": self._table,
            "Key": key_of(entry_id),
            "UpdateExpression": "SET #state = :state"
            + "".join(f", {name} = :{name}" for name in facts)
            + f" REMOVE {', '.join(gone)}",
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": {
                ":state": {"S": outcome.state.value},
                **{f":{name}": value for name, value in facts.items()},
            },
        }

    def releasing(self, entry_id: str) -> dict[str, Any]:
        return {
            "TableName": self._table,
            "Key": key_of(entry_id),
            "UpdateExpression": "SET #state = :queued REMOVE lease_until, claimed_by",
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": {":queued": {"S": State.QUEUED.value}},
        }

    def expiry(self) -> Any:
        return {"N": str(int(self._clock()) + KEEP_SECONDS)}


def key_of(entry_id: str) -> Any:
    return {"id": {"S": entry_id}}


def item_of(error: Any) -> Mapping[str, Any]:
    item: Mapping[str, Any] = error.response["Item"]
    return item


def entry_of(item: Mapping[str, Any]) -> Entry:
    return Entry(
        outcome_of(item),
        int(float(item.get("entered_at", {"N": "0"})["N"])),
        int(item.get("parts", {"N": "1"})["N"]),
        correlation_id=item.get("correlation_id", {"S": ""})["S"],
    )


def outcome_of(item: Mapping[str, Any]) -> Outcome:
    facts = {name: item[name]["S"] for name in _OUTCOME_FIELDS if name in item}
    return Outcome(State(item["state"]["S"]), **facts)
