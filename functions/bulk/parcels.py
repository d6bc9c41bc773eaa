"""Parcels: some hundred members of one import in one queue message, and how they are packed."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256

import msgspec

from clients.vocabulary import Member, MemberKind
from shared.queues import body_of

# The id of the import that everything sent by HTTP on one day belongs to.
_WEBHOOK_DAY = "webhook-%Y-%m-%d"

# Goes up by one whenever a file would be packed into other parcels than before: by the numbers below, by how a file is
# divided into intervals, or by which lines are rows. A reader that takes over must make the same parcels again.
PACKING = 1

# A message of TagQueue. SQS takes ten messages and 256 KiB a call, so ten full messages still fit one.
PARCEL_ROWS = 500
_PARCEL_BYTES = 25_000

# DynamoDB takes items of 400 kB, and a parcel's lists all rows that came to nothing, each with all of its tags. So what
# a row spells out beyond so many bytes counts as a quarter in its message: no parcel spells out more than 300 kB.
_SHORT_LABEL_BYTES = 200
_SPELLED_OUT_SHARE = 4


class Label(msgspec.Struct, frozen=True, array_like=True):
    """What a row asks for: which kind of id names its member, which tags, and for how long.

    A tag with `ttl_seconds` expires, and sending it again merely refreshes it. Without, it is a counter: each call adds
    one in SessionM, so it is sent under a ledger entry.
    """

    kind: MemberKind
    tags: tuple[str, ...]
    ttl_seconds: int | None = None


class Row(msgspec.Struct, frozen=True, array_like=True):
    """`line` is the row's line in its file or position in its request; `label` an index of its parcel's labels."""

    line: int
    member_id: str
    label: int


class Parcel(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of TagQueue: rows of one import that lie together, each with a verdict of its own in the end.

    `id` tells it apart within its import and is the same when the same part of a file is read again. `once` names the
    effect of its counters (together with line, member and tags); empty, the import's id does. `correlation_id` is that
    of the request that brought the rows, or asked for the import.
    """

    import_id: str
    id: str
    labels: list[Label]
    rows: list[Row]
    once: str = ""
    correlation_id: str = ""

    def label(self, row: Row) -> Label:
        return self.labels[row.label]

    def member(self, row: Row) -> Member:
        return Member(self.label(row).kind, row.member_id)

    def effect(self, row: Row) -> str:
        """The ledger's name for what a counter row does."""
        label = self.label(row)
        return _fingerprint(self.once or self.import_id, str(row.line), label.kind, row.member_id, *label.tags)


class Packer:
    """Packs rows into parcels, in their order. `parcel_id` makes the id from the first line of a parcel."""

    def __init__(
        self,
        import_id: str,
        parcel_id: Callable[[int], str] = "{:012d}".format,
        once: str = "",
        correlation_id: str = "",
    ) -> None:
        self._import_id = import_id
        self._parcel_id = parcel_id
        self._once = once
        self._correlation_id = correlation_id
        self._start()

    def add(self, line: int, member_id: str, label: Label) -> Parcel | None:
        """Takes a row; returns the parcel it did not fit into any more."""
        full = None
        if len(self._rows) == PARCEL_ROWS or self._size_bytes > _PARCEL_BYTES:
            full = self.rest()
        known = self._labels.get(label)
        if known is None:
            known = self._labels[label] = len(self._labels)
            label_bytes = len(body_of(label).encode())
            self._size_bytes += label_bytes
            self._row_bytes.append(20 + max(0, label_bytes - _SHORT_LABEL_BYTES) // _SPELLED_OUT_SHARE)
        self._rows.append(Row(line, member_id, known))
        self._size_bytes += len(member_id) + self._row_bytes[known]
        return full

    def rest(self) -> Parcel | None:
        """What has been added since the last parcel; None when that is nothing."""
        if not self._rows:
            return None
        parcel_id = self._parcel_id(self._rows[0].line)
        parcel = Parcel(self._import_id, parcel_id, list(self._labels), self._rows, self._once, self._correlation_id)
        self._start()
        return parcel

    def _start(self) -> None:
        self._labels: dict[Label, int] = {}
        self._row_bytes: list[int] = []
        self._rows: list[Row] = []
        self._size_bytes = 0


def webhook_import_id(now: float) -> str:
    """The import that everything sent by HTTP on the day of `now` (epoch seconds, UTC) belongs to."""
    return time.strftime(_WEBHOOK_DAY, time.gmtime(now))


def is_webhook_import(import_id: str) -> bool:
    """Whether it is such a day."""
    try:
        day = time.strptime(import_id, _WEBHOOK_DAY)
    except ValueError:
        return False
    return time.strftime(_WEBHOOK_DAY, day) == import_id


def _fingerprint(*parts: str) -> str:
    return sha256(msgspec.json.encode(parts)).hexdigest()[:40]
