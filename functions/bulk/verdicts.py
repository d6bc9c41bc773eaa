"""One verdict for each row: written once, counted once, whatever dies and whatever comes twice.

ImportsTable holds an item for each parcel, with a mark for each of its rows, and eight counters for each import. Marks
and counter change in one transaction, so a row counts exactly when its mark is written, and a mark is written once.
Eight counters, because several workers write at a time and a transaction that meets another has to be repeated.

Sources: DynamoDB's pages on TransactWriteItems (conflicts, 100 items) and on sharded counters.
"""

from __future__ import annotations

import random
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from bulk.parcels import Parcel
from clients.vocabulary import MemberKind
from shared.aws import store
from shared.errors import StoreUnavailable
from shared.outcomes import Outcome, State

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WAITING = "."
_MARKS = {State.SENT: "s", State.FAILED: "f", State.SKIPPED: "k", State.UNKNOWN: "u"}
_STATES = {mark: state for state, mark in _MARKS.items()}

COUNTED = (State.SENT, State.FAILED, State.SKIPPED, State.UNKNOWN)

_SHARDS = 8
_PARCEL_ITEM = "parcel#"
_COUNTER_ITEM = "verdicts#"

# A transaction that met another one, or lost a race for a parcel, is made anew from what the other left.
_PASSING = frozenset(
    {"TransactionConflict", "ConditionalCheckFailed", "ThrottlingError", "ProvisionedThroughputExceeded"}
)
_TRIES = 8
_PAUSE_SECONDS = 0.02

# BatchGetItem takes 100 keys; TransactWriteItems takes 100 items and 4 MB, and parcels with failures can be 100 kB.
_READ_AT_ONCE = 100
_WRITE_AT_ONCE = 20


class UnsentRow(msgspec.Struct, frozen=True, array_like=True):
    """A row that came to nothing, with all that is needed to correct and repeat it; `ttl_seconds` None: counter.

    One of a prefetch has no tags.
    """

    line: int
    kind: MemberKind
    member_id: str
    tags: tuple[str, ...]
    ttl_seconds: int | None
    state: State
    code: str
    reason: str


class SentSample(msgspec.Struct, frozen=True, array_like=True):
    """One sent row of a parcel, kept for reading back."""

    kind: MemberKind
    member_id: str
    tags: tuple[str, ...]


@dataclass
class Settling:
    """A parcel in hand: which rows had their verdict before, and what this worker adds. One thread at a time.

    `outcomes` is by position in `parcel.rows`.
    """

    parcel: Parcel
    marks: str
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def waiting(self) -> Iterator[int]:
        """Positions of rows that have no verdict yet."""
        return (position for position, mark in enumerate(self.marks) if mark == WAITING)

    def settle(self, position: int, outcome: Outcome) -> None:
        self.outcomes[position] = outcome


@dataclass(frozen=True, slots=True)
class Tally:
    """How many rows of an import have which verdict."""

    sent: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        return self.sent + self.failed + self.skipped + self.unknown


class Verdicts:
    """Every method raises `StoreUnavailable` when DynamoDB cannot be asked."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        retention_days: int,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table = table
        self._retention_seconds = retention_days * 86_400
        self._clock = clock
        self._sleep = sleep

    def open(self, parcels: Sequence[Parcel]) -> list[Settling]:
        """The parcels with the marks their rows already have, in the same order."""
        found = self._read([(parcel.import_id, _PARCEL_ITEM + parcel.id) for parcel in parcels])
        return [
            Settling(parcel, _text(found.get((parcel.import_id, _PARCEL_ITEM + parcel.id)), "marks", _unmarked(parcel)))
            for parcel in parcels
        ]

    def record(self, settlings: Sequence[Settling]) -> None:
        """Writes the outcomes of rows that have no verdict yet, and counts them; then `marks` says what is written.

        Of two workers that settle one row the first one's verdict stands.
        """
        by_import: dict[str, list[Settling]] = {}
        for settling in settlings:
            if settling.outcomes:
                by_import.setdefault(settling.parcel.import_id, []).append(settling)
        for import_id, together in by_import.items():
            for start in range(0, len(together), _WRITE_AT_ONCE):
                self._record(import_id, together[start : start + _WRITE_AT_ONCE])

    def tally(self, import_id: str) -> Tally:
        keys = [(import_id, f"{_COUNTER_ITEM}{shard}") for shard in range(_SHARDS)]
        counters = self._read(keys).values()
        return Tally(*(sum(int(item.get(state.value, {"N": "0"})["N"]) for item in counters) for state in COUNTED))

    def unsent(self, import_id: str) -> Iterator[UnsentRow]:
        """Rows of an import that were not sent, in the order of their lines."""
        decoder = msgspec.json.Decoder(list[UnsentRow])
        for item in self._parcels(import_id, "unsent"):
            rows: list[UnsentRow] = []
            for packed in item["unsent"]["L"]:
                rows += decoder.decode(zlib.decompress(packed["B"]))
            yield from sorted(rows, key=lambda row: row.line)

    def samples(self, import_id: str) -> Iterator[SentSample]:
        """One sent row of each parcel that has any."""
        for item in self._parcels(import_id, "example"):
            yield msgspec.json.decode(item["example"]["S"], type=SentSample)

    # --- details ----------------------------------------------------------------------------------------------------

    def _record(self, import_id: str, together: Sequence[Settling]) -> None:
        for attempt in range(_TRIES):
            added = {id(settling): _marked(settling) for settling in together}
            changed = [settling for settling in together if added[id(settling)] != settling.marks]
            if not changed:
                return
            obstacles = self._write(import_id, changed, added)
            if not obstacles:
                for settling in changed:
                    settling.marks = added[id(settling)]
                return
            if not obstacles & _PASSING:
                raise StoreUnavailable(f"imports: {', '.join(sorted(obstacles))}")
            self._sleep(_PAUSE_SECONDS * 2**attempt * random.random())
            for settling, fresh in zip(changed, self.open([each.parcel for each in changed]), strict=True):
                settling.marks = fresh.marks
        raise StoreUnavailable("imports: other workers kept writing")

    def _write(self, import_id: str, changed: Sequence[Settling], added: Mapping[int, str]) -> set[str]:
        """Returns why the transaction was cancelled, as DynamoDB's codes; nothing when it was not."""
        counts: Counter[State] = Counter()
        items: list[Any] = []
        for settling in changed:
            after = added[id(settling)]
            for before, mark in zip(settling.marks, after, strict=True):
                if before != mark:
                    counts[_STATES[mark]] += 1
            items.append({"Update": self._parcel_update(settling, after)})
        items.append({"Update": self._counter_update(import_id, counts)})
        with store("imports"):
            try:
                self._client.transact_write_items(TransactItems=items)
            except self._client.exceptions.TransactionCanceledException as error:
                return {reason.get("Code", "None") for reason in error.response["CancellationReasons"]} - {"None"}
        return set()

    def _parcel_update(self, settling: Settling, after: str) -> dict[str, Any]:
        parcel = settling.parcel
        values: dict[str, Any] = {":after": {"S": after}, ":expiry": self._expiry()}
        changes = "SET marks = :after, expires_at = :expiry"
        new = [position for position, mark in enumerate(settling.marks) if mark != after[position]]
        unsent = [_unsent(parcel, at, settling.outcomes[at]) for at in new if after[at] != _MARKS[State.SENT]]
        if unsent:
            values |= {":unsent": {"L": [{"B": zlib.compress(msgspec.json.encode(unsent))}]}, ":none": {"L": []}}
            changes += ", unsent = list_append(if_not_exists(unsent, :none), :unsent)"
        sent = next((at for at in new if after[at] == _MARKS[State.SENT]), None)
        if sent is not None:
            row = parcel.rows[sent]
            label = parcel.label(row)
            sample = SentSample(label.kind, row.member_id, label.tags)
            values[":example"] = {"S": msgspec.json.encode(sample).decode()}
            changes += ", example = if_not_exists(example, :example)"
        condition = "attribute_not_exists(marks)"
        if settling.marks != _unmarked(parcel):
            condition = "marks = :before"
            values[":before"] = {"S": settling.marks}
        return {
            "TableName": self._table,
            "Key": _key(parcel.import_id, _PARCEL_ITEM + parcel.id),
            "UpdateExpression": changes,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }

    def _counter_update(self, import_id: str, counts: Mapping[State, int]) -> dict[str, Any]:
        names = {f"#{state.value}": state.value for state in counts}
        return {
            "TableName": self._table,
            "Key": _key(import_id, f"{_COUNTER_ITEM}{random.randrange(_SHARDS)}"),
            "UpdateExpression": "SET expires_at = :expiry ADD "
            + ", ".join(f"#{state.value} :{state.value}" for state in counts),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {":expiry": self._expiry()}
            | {f":{state.value}": {"N": str(number)} for state, number in counts.items()},
        }

    def _read(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
        found: dict[tuple[str, str], Any] = {}
        distinct = list(dict.fromkeys(keys))
        for start in range(0, len(distinct), _READ_AT_ONCE):
            wanted: Any = {
                self._table: {
                    "Keys": [_key(*each) for each in distinct[start : start + _READ_AT_ONCE]],
                    "ConsistentRead": True,
                    "ProjectionExpression": "import_id, #item, marks, sent, failed, skipped, #unknown",
                    "ExpressionAttributeNames": {"#item": "item", "#unknown": "unknown"},
                }
            }
            for attempt in range(_TRIES):
                with store("imports"):
                    answer = self._client.batch_get_item(RequestItems=wanted)
                for item in answer["Responses"].get(self._table, []):
                    found[item["import_id"]["S"], item["item"]["S"]] = item
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    break
                self._sleep(_PAUSE_SECONDS * 2**attempt)
            else:
                raise StoreUnavailable("imports: DynamoDB kept leaving keys unread")
        return found

    def _parcels(self, import_id: str, attribute: str) -> Iterator[Any]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="import_id = :id AND begins_with(#item, :prefix)",
            FilterExpression=f"attribute_exists({attribute})",
            ProjectionExpression=attribute,
            ExpressionAttributeNames={"#item": "item"},
            ExpressionAttributeValues={":id": {"S": import_id}, ":prefix": {"S": _PARCEL_ITEM}},
            ConsistentRead=True,
        )
        with store("imports"):
            for page in pages:
                yield from page["Items"]

    def _expiry(self) -> dict[str, str]:
        return {"N": str(int(self._clock()) + self._retention_seconds)}


def _marked(settling: Settling) -> str:
    """The marks with the outcomes of rows that have none yet."""
    marks = list(settling.marks)
    for position, outcome in settling.outcomes.items():
        if marks[position] == WAITING:
            marks[position] = _MARKS[outcome.state]
    return "".join(marks)


def _unmarked(parcel: Parcel) -> str:
    return WAITING * len(parcel.rows)


def _unsent(parcel: Parcel, position: int, outcome: Outcome) -> UnsentRow:
    row = parcel.rows[position]
    label = parcel.label(row)
    return UnsentRow(
        row.line,
        label.kind,
        row.member_id,
        label.tags,
        label.ttl_seconds,
        outcome.state,
        outcome.reason,
        outcome.detail,
    )


def _key(import_id: str, item: str) -> Any:
    return {"import_id": {"S": import_id}, "item": {"S": item}}


def _text(item: Any, name: str, otherwise: str) -> str:
    return str(item[name]["S"]) if item and name in item else otherwise
