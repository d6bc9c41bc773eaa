"""What became of imports: one item per import, and one per row that was refused, kept until their files are deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from shared.aws import store
from shared.outcomes import Outcome
from tag_import.rows import Row

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class Summary:
    """How reading a file ended. `rows_read` is always `rows_queued` + `rows_refused`.

    `file` is its key. One that cannot be read at all has `state` "failed", and its `failure_file` says why.
    """

    file: str
    state: str
    reason: str
    rows_read: int
    rows_queued: int
    rows_refused: int
    failure_file: str


class Imports:
    """Items of one DynamoDB table: `import_id`, `item` ("summary", or "row#" and the row's ref), and their facts.

    Every method raises `StoreUnavailable` when DynamoDB cannot be asked. `clock` gives epoch seconds.
    """

    def __init__(
        self, client: DynamoDBClient, table: str, retention_days: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._table = table
        self._retention_seconds = retention_days * 86_400
        self._clock = clock

    def finished(self, import_id: str) -> bool:
        """Whether this import has a summary, so that its file has been read to the end."""
        with store("imports"):
            answer = self._client.get_item(
                TableName=self._table,
                Key={"import_id": {"S": import_id}, "item": {"S": _SUMMARY}},
                ConsistentRead=True,
            )
        return "Item" in answer

    def finish(self, import_id: str, summary: Summary) -> None:
        self._put(import_id, _SUMMARY, asdict(summary))

    def refuse(self, import_id: str, row: Row, outcome: Outcome) -> None:
        """Keeps a row that did not become tags, with enough to correct and repeat it."""
        facts: dict[str, Any] = {
            "state": outcome.state.value,
            "reason": outcome.reason,
            "member_kind": row.kind,
            "member_id": row.id,
            "tags": "|".join(row.tags),
        }
        if row.ttl_seconds is not None:
            facts["ttl"] = row.ttl_seconds
        self._put(import_id, f"row#{row.ref}", facts)

    def _put(self, import_id: str, item: str, facts: dict[str, Any]) -> None:
        attributes: dict[str, Any] = {
            name: {"N": str(value)} if isinstance(value, int) else {"S": value}
            for name, value in facts.items()
            if value != ""
        }
        attributes |= {
            "import_id": {"S": import_id},
            "item": {"S": item},
            "expires_at": {"N": str(int(self._clock()) + self._retention_seconds)},
        }
        with store("imports"):
            self._client.put_item(TableName=self._table, Item=attributes)
