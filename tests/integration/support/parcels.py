"""Messages of TagQueue as the webhook and the import write them."""

from __future__ import annotations

from tag_import.rows import Row, parcels

EXPIRING = Row("user_id", "member-1", ["gold"], "000000000002", ttl_seconds=600)
COUNTER = Row("user_id", "member-1", ["visits"], "000000000003", once="once-1")


def parcel(*rows: Row, import_id: str = "import-1") -> str:
    [body] = parcels(import_id, rows)
    return body
