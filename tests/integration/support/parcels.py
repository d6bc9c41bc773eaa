"""Messages of the tag queues as the webhook and the import write them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from bulk.parcels import Label, Packer, Parcel
from clients.vocabulary import MemberKind
from shared.queues import body_of


@dataclass(frozen=True)
class Wanted:
    """A row as a test names it; without `ttl_seconds` it is a counter."""

    line: int
    member_id: str = "member-1"
    tags: Sequence[str] = ("gold",)
    ttl_seconds: int | None = 600
    kind: MemberKind = "user_id"


EXPIRING = Wanted(2)
COUNTER = Wanted(3, tags=("visits",), ttl_seconds=None)

_numbers = itertools.count()


def parcel_of(*rows: Wanted, import_id: str = "import-1", parcel_id: str = "", once: str = "") -> Parcel:
    """The rows as one parcel, of an id that no other has unless one is given."""
    packer = Packer(import_id, lambda _: parcel_id or f"parcel-{next(_numbers)}", once)
    for row in rows:
        assert packer.add(row.line, row.member_id, Label(row.kind, tuple(row.tags), row.ttl_seconds)) is None
    packed = packer.rest()
    assert packed is not None
    return packed


def parcel(*rows: Wanted, import_id: str = "import-1", parcel_id: str = "", once: str = "") -> str:
    return body_of(parcel_of(*rows, import_id=import_id, parcel_id=parcel_id, once=once))
