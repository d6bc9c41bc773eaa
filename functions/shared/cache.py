"""Answers worth keeping, shared by all environments of a function. Losing an entry costs a call, nothing else.

An entry is one item of CacheTable. What belongs together, such as one member's wallet in several languages, is one
item with several variants, so that a single delete forgets all of it. Beside each value stands a lease: who holds it is
asking the vendor, everybody else waits (`shared/flight.py`). It is taken by a conditional write, so two never hold it,
and what its holder learned is kept only while the lease is still there: an entry forgotten meanwhile stays forgotten.

A value that was fetched ahead says until when it is fresh, and so does not go by its age.

An entry that nobody here could have written, such as one that was edited by hand, counts as none, and whoever asks the
vendor next writes over it.

Large values are kept compressed, because DynamoDB charges by the kilobyte and takes no item above 400. One that is too
large all the same leaves a note: whoever reads it asks the vendor without waiting for others.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from botocore.exceptions import ClientError

from shared.aws import store
from shared.errors import StoreUnavailable
from shared.observability import count, logger

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Shape = TypeVar("Shape")

# Below this size compressing saves no kilobyte that is paid for.
_COMPRESSED_FROM_BYTES = 1024

# How long an item without a value is kept at least; DynamoDB deletes it some time later.
_KEEP_LEASE_SECONDS = 60

# The last second of the year 9999: whatever is later was not written here, and no calendar has it.
_LATEST = 253_402_300_799

_PARTS = ("value", "stored_at", "fresh_until", "failure", "failed_until", "holder", "held_until", "alone_until")
_AHEAD = ("stored_at", "fresh_until", "failure", "failed_until")


@dataclass(frozen=True, slots=True)
class Entry(Generic[Shape]):
    """A cached value, when the vendor gave it, and until when it was said to be fresh (0: nothing was said).

    Both in epoch seconds.
    """

    value: Shape
    stored_at: float
    fresh_until: float = 0.0


class Failure(msgspec.Struct, frozen=True):
    """Why the vendor gave no value: the `code` of an error, `upstream` and, for a refusal, the vendor's own code."""

    code: str
    upstream: str = ""
    vendor_code: str = ""


@dataclass(frozen=True, slots=True)
class Seen(Generic[Shape]):
    """What the table holds under a key: a value, a failure that still counts, and whether somebody is asking now.

    `mark` tells one state of the value from another, for `lease`; `holder` has, or had, the lease. `unreadable` is an
    entry that counts as none, as it stands in the table. `alone` says that the value was too large to keep lately, and
    that it is no use to wait for whoever is asking.
    """

    entry: Entry[Shape] | None = None
    failure: Failure | None = None
    leased: bool = False
    mark: str = ""
    holder: str = ""
    unreadable: Mapping[str, Any] | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What was fetched ahead under a key: a value that is fresh until then, or a failure that counts until then.

    `as_of` is when the vendor gave the value; of a failure it is not known, and 0.
    """

    until: float
    failure: Failure | None = None
    as_of: float = 0.0


class TooLargeToKeep(StoreUnavailable):
    """DynamoDB takes no item of that size, however often it is asked."""


class Cache(Generic[Shape]):
    """Values of one shape under string keys, each gone `keep_seconds` after the vendor gave it.

    One that is said to be fresh until some moment is gone as long after that.

    Every method raises `StoreUnavailable` when DynamoDB cannot be asked. `clock` gives epoch seconds. A `variant` is a
    short name without a `#`.
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
        self.clock = clock

    def get(self, key: str, variant: str = "") -> Entry[Shape] | None:
        """The value, however old, unless it is gone."""
        return self.look(key, variant).entry

    def look(self, key: str, variant: str = "") -> Seen[Shape]:
        """All there is under a key; never an older state than the last write."""
        with store("cache"):
            found = self._client.get_item(TableName=self._table, Key={"id": {"S": key}}, ConsistentRead=True)
        return self._seen(found.get("Item", {}), variant)

    def known(self, wanted: Mapping[str, str]) -> dict[str, Known]:
        """What is known ahead of up to a hundred keys, each with its variant. One or another may be left out."""
        names = {_attribute(part, variant) for part in _AHEAD for variant in wanted.values()}
        aliases = {f"#n{number}": name for number, name in enumerate(sorted(names))}
        request: Any = {
            self._table: {
                "Keys": [{"id": {"S": key}} for key in wanted],
                "ProjectionExpression": ", ".join(["id", *aliases]),
                "ExpressionAttributeNames": aliases,
            }
        }
        with store("cache"):
            answer = self._client.batch_get_item(RequestItems=request)
        items = {item["id"]["S"]: item for item in answer["Responses"].get(self._table, [])}
        known = {key: _known(item, wanted[key]) for key, item in items.items()}
        return {key: each for key, each in known.items() if each is not None}

    def put(self, key: str, value: Shape, *, as_of: float | None = None) -> None:
        """Keeps a value in place of whatever is there, as given by the vendor at `as_of`, by default now."""
        kept = self._kept(value, self.clock() if as_of is None else as_of)
        with store("cache"):
            self._client.put_item(TableName=self._table, Item={"id": {"S": key}, **kept})

    def evict(self, key: str) -> None:
        """Forgets all variants, and what is just being fetched as well."""
        with store("cache"):
            self._client.delete_item(TableName=self._table, Key={"id": {"S": key}})

    def lease(self, key: str, holder: str, seconds: float, seen: Seen[Shape], variant: str = "") -> Seen[Shape] | None:
        """Makes `holder` the one who asks the vendor, for so many seconds; None when that succeeded.

        It does not when another holds the lease, or anything was stored since `seen`: then what there is now is given.
        """
        if seen.unreadable is not None:
            return self._write_over(key, holder, seconds, seen.unreadable, variant)
        condition = "(attribute_not_exists(#held_until) OR #held_until < :now)"
        condition += " AND (attribute_not_exists(#failed_until) OR #failed_until < :now)"
        if not seen.mark:
            return self._take(key, holder, seconds, variant, f"{condition} AND attribute_not_exists(#stored_at)", {})
        mark = {":mark": {"N": seen.mark}}
        return self._take(key, holder, seconds, variant, f"{condition} AND #stored_at = :mark", mark)

    def lease_anyway(self, key: str, holder: str, seconds: float, variant: str = "") -> bool:
        """Makes `holder` the one who asks, whatever is there by now; False while another asks."""
        condition = "NOT attribute_type(#held_until, :number) OR #held_until < :now OR #holder = :holder"
        return self._take(key, holder, seconds, variant, condition, {":number": {"S": "N"}}) is None

    def _take(
        self, key: str, holder: str, seconds: float, variant: str, condition: str, values: Mapping[str, Any]
    ) -> Seen[Shape] | None:
        """Writes the lease if the condition holds, which may speak of `:now`, `:holder` and its own `values`."""
        now = self.clock()
        return self._change(
            key,
            variant,
            "SET #holder = :holder, #held_until = :until, expires_at = if_not_exists(expires_at, :expiry)",
            {
                ":holder": {"S": holder},
                ":until": {"N": f"{now + seconds:.3f}"},
                ":expiry": {"N": str(int(now + seconds) + _KEEP_LEASE_SECONDS)},
                ":now": {"N": f"{now:.3f}"},
                **values,
            },
            condition,
        )

    def settle(
        self, key: str, holder: str, value: Shape, as_of: float, variant: str = "", *, fresh_until: float = 0.0
    ) -> bool:
        """Ends the lease with a value. False, and nothing is kept, when `holder` no longer has the lease.

        Raises `TooLargeToKeep`, among others.
        """
        kept = self._kept(value, as_of)
        values = {f":{name}": kept[name] for name in ("value", "stored_at")}
        update = "#value = :value, #stored_at = :stored_at"
        remove = "#holder, #held_until, #failure, #failed_until, #alone_until"
        if fresh_until:
            values[":fresh_until"] = {"N": f"{fresh_until:.3f}"}
            update += ", #fresh_until = :fresh_until"
        else:
            remove += ", #fresh_until"
        expires_at = int(max(as_of, fresh_until)) + self._keep_seconds
        return self._end_lease(key, holder, update, remove, values, expires_at, variant)

    def give_up(self, key: str, holder: str, failure: Failure | None, seconds: float, variant: str = "") -> bool:
        """Ends the lease without a value; a `failure` counts for everybody for so many seconds. As `settle` else."""
        if failure is None:
            values: dict[str, Any] = {":holder": {"S": holder}}
            return self._change(key, variant, "REMOVE #holder, #held_until", values, "#holder = :holder") is None
        until = self.clock() + seconds
        values = {
            ":failure": {"S": msgspec.json.encode(failure).decode()},
            ":failed_until": {"N": f"{until:.3f}"},
        }
        update = "#failure = :failure, #failed_until = :failed_until"
        return self._end_lease(
            key, holder, update, "#holder, #held_until", values, int(until) + _KEEP_LEASE_SECONDS, variant
        )

    def ask_alone(self, key: str, holder: str, seconds: float, variant: str = "") -> bool:
        """Ends the lease on a value too large to keep: for so many seconds nobody need wait. As `settle` else.

        There is room for the note: it is smaller than the lease in whose place it stands.
        """
        values = {":until": {"N": f"{self.clock() + seconds:.3f}"}, ":holder": {"S": holder}}
        update = "SET #alone_until = :until REMOVE #holder, #held_until"
        return self._change(key, variant, update, values, "#holder = :holder") is None

    def _write_over(
        self, key: str, holder: str, seconds: float, unreadable: Mapping[str, Any], variant: str
    ) -> Seen[Shape] | None:
        """Puts a lease in place of an entry that cannot be read, unless that has changed meanwhile; as `lease` else."""
        now = self.clock()
        compared = [part for part in unreadable if part != "value"]  # which may be large, and is never alone
        removed = ", ".join(f"#{part}" for part in unreadable if part not in ("holder", "held_until"))
        return self._change(
            key,
            variant,
            "SET #holder = :holder, #held_until = :until, expires_at = :expiry"
            + (f" REMOVE {removed}" if removed else ""),
            {
                ":holder": {"S": holder},
                ":until": {"N": f"{now + seconds:.3f}"},
                ":expiry": {"N": str(int(now + seconds) + _KEEP_LEASE_SECONDS)},
                **{f":was_{part}": unreadable[part] for part in compared},
            },
            " AND ".join(f"#{part} = :was_{part}" for part in compared),
        )

    def _end_lease(
        self,
        key: str,
        holder: str,
        update: str,
        remove: str,
        values: dict[str, Any],
        expires_at: int,
        variant: str,
    ) -> bool:
        """The item is kept until `expires_at` at least: another variant may have to be kept for longer."""
        held = {**values, ":holder": {"S": holder}}
        seen = self._change(
            key,
            variant,
            f"SET {update}, expires_at = :expires_at REMOVE {remove}",
            held | {":expires_at": {"N": str(expires_at)}, ":number": {"S": "N"}},
            "#holder = :holder AND (NOT attribute_type(expires_at, :number) OR expires_at <= :expires_at)",
        )
        if seen is None or seen.holder != holder:
            return seen is None
        return self._change(key, variant, f"SET {update} REMOVE {remove}", held, "#holder = :holder") is None

    def _kept(self, value: Shape, as_of: float) -> dict[str, Any]:
        text = msgspec.json.encode(value)
        is_small = len(text) < _COMPRESSED_FROM_BYTES
        return {
            "value": {"S": text.decode()} if is_small else {"B": zlib.compress(text, 1)},
            "stored_at": {"N": f"{as_of:.3f}"},
            "expires_at": {"N": str(int(as_of) + self._keep_seconds)},
        }

    def _change(
        self, key: str, variant: str, update: str, values: Mapping[str, Any], condition: str
    ) -> Seen[Shape] | None:
        """An update on a condition; None when it was made, else what there is instead."""
        wanted = update + condition
        names = {f"#{part}": _attribute(part, variant) for part in _PARTS if f"#{part}" in wanted}
        with store("cache"):
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key={"id": {"S": key}},
                    UpdateExpression=update,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                    ConditionExpression=condition,
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self._client.exceptions.ConditionalCheckFailedException as error:
                return self._seen(error.response.get("Item", {}), variant)  # type: ignore[arg-type]
            except ClientError as error:
                if error.response["Error"]["Code"] == "ValidationException" and ":value" in values:
                    raise TooLargeToKeep("cache: the value is too large") from None
                raise
        return None

    def _seen(self, item: Mapping[str, Any], variant: str) -> Seen[Shape]:
        now = self.clock()
        part = {name: item[_attribute(name, variant)] for name in _PARTS if _attribute(name, variant) in item}
        try:
            stored_at, fresh_until = _moment(part, "stored_at"), _moment(part, "fresh_until")
            return Seen(
                self._entry(part["value"], stored_at, fresh_until) if "stored_at" in part else None,
                _failure(part) if _moment(part, "failed_until") >= now else None,
                _moment(part, "held_until") >= now,
                part["stored_at"]["N"] if "stored_at" in part else "",
                part["holder"]["S"] if "holder" in part else "",
                alone=_moment(part, "alone_until") >= now,
            )
        except (KeyError, ValueError):
            _report_unreadable()
            return Seen(unreadable=part)

    def _entry(self, kept: Mapping[str, Any], stored_at: float, fresh_until: float) -> Entry[Shape] | None:
        """Raises `KeyError` when it is neither text nor bytes."""
        if max(stored_at, fresh_until) + self._keep_seconds < self.clock():
            return None
        try:
            text = zlib.decompress(kept["B"]) if "B" in kept else kept["S"]
            return Entry(self._decoder.decode(text), stored_at, fresh_until)
        except (msgspec.DecodeError, zlib.error):
            return None  # of another version of this code


def _known(item: Mapping[str, Any], variant: str) -> Known | None:
    """None when it cannot be read."""
    part = {name: item[_attribute(name, variant)] for name in _AHEAD if _attribute(name, variant) in item}
    try:
        fresh_until, failed_until = _moment(part, "fresh_until"), _moment(part, "failed_until")
        if "failure" not in part or failed_until <= fresh_until:
            return Known(fresh_until, as_of=_moment(part, "stored_at"))
        return Known(failed_until, _failure(part))
    except (KeyError, ValueError):
        _report_unreadable()
        return None


def _moment(part: Mapping[str, Any], name: str) -> float:
    """Epoch seconds; 0 when there are none. Raises `KeyError` or `ValueError` when that is no moment."""
    if name not in part:
        return 0.0
    moment = float(part[name]["N"])
    if not 0 <= moment <= _LATEST:
        raise ValueError(name)
    return moment


def _failure(part: Mapping[str, Any]) -> Failure:
    """Raises `KeyError` or `ValueError` when there is none to be read."""
    return msgspec.json.decode(part["failure"]["S"], type=Failure)


def _report_unreadable() -> None:
    count("CacheEntriesUnreadable")
    logger.warning("cache entry cannot be read")


def _attribute(part: str, variant: str) -> str:
    return f"{part}#{variant}" if variant else part
