"""Where a member's wallet lies in CacheTable, for those who show it and those who see it change."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from shared.aws import store

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def key_of(user_id: str) -> str:
    """The key of a member's wallet, all cultures together. No member can be told from it."""
    return "wallet#" + sha256(user_id.encode()).hexdigest()[:40]


def vendor_variant(request: Mapping[str, Any]) -> str:
    """The variant of SessionM's own answer to its own request; that of the short dialect is the culture alone."""
    return "vendor " + sha256(msgspec.json.encode(request, order="sorted")).hexdigest()[:16]


def evict(client: DynamoDBClient, table: str, user_id: str) -> None:
    """Forgets a member's wallet, so that the next message shows SessionM's; also one that is just being fetched.

    For whoever learns that a member's offers or points changed. `user_id` is SessionM's; one without a wallet is no
    error. Raises `StoreUnavailable`, after which the former wallet may be shown until it is no longer fresh.
    """
    with store("cache"):
        client.delete_item(TableName=table, Key={"id": {"S": key_of(user_id)}})
