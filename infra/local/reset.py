"""What a local bundle remembers of its callers, and how it is made to forget: for tests that share one.

Queues hold messages and pollers hold batches, which would reach a vendor within the next test. LedgerTable holds what
was sent and what waits for an operator, CacheTable wallets, sizes, and how the vendors fare. The functions that use the
latter also keep the last for themselves, each environment on its own, so where a vendor failed they start anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from infra.local.event_sources import QueuePoller
from infra.local.simulators import Simulator

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CACHE_TABLE: Final = "CACHE_TABLE"
LEDGER_TABLE: Final = "LEDGER_TABLE"

# A worker at its batch for longer than this is killed; its messages are gone from the queue by then.
_PATIENCE_SECONDS: Final = 5.0

_BATCH_WRITE_LIMIT: Final = 25


def has_failed(simulator: Simulator) -> bool:
    """Whether a vendor failed, or was told to, since it last forgot."""
    statuses = [request.status for request in simulator.requests()]
    return bool(simulator.faults.rules()) or any(
        status is None or status in (401, 403, 429) or status >= 500 for status in statuses
    )


def settle(
    pollers: Sequence[QueuePoller],
    purge: Callable[[], None],
    kill: Callable[[str], Any],
    patience_seconds: float = _PATIENCE_SECONDS,
) -> None:
    """Returns once no message is in a queue or in a worker's hand. `kill` takes a function's logical id."""
    purge()
    while _was_busy(pollers, kill, patience_seconds):
        purge()  # what was in hand may have put more into a queue


def _was_busy(pollers: Sequence[QueuePoller], kill: Callable[[str], Any], patience_seconds: float) -> bool:
    deadline, waited = time.monotonic() + patience_seconds, False
    while busy := {poller.function for poller in pollers if not poller.is_idle}:
        if time.monotonic() > deadline:
            for function in busy:
                kill(function)
        time.sleep(0.01)
        waited = True
    return waited


def with_memory_of(vendors: Iterable[str], environments: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The functions, by logical id, that remember how these vendors fare; a vendor is the address it is reached at."""
    addresses = set(vendors)
    return [
        function
        for function, variables in environments.items()
        if CACHE_TABLE in variables and addresses & set(variables.values())
    ]


def empty_tables(dynamodb: DynamoDBClient, environments: Mapping[str, Mapping[str, str]]) -> None:
    """Deletes every item of the cache and of the ledger."""
    for variable in (CACHE_TABLE, LEDGER_TABLE):
        (table,) = {variables[variable] for variables in environments.values() if variable in variables}
        pages = dynamodb.get_paginator("scan").paginate(TableName=table, ProjectionExpression="id")
        keys = [item for page in pages for item in page["Items"]]
        for start in range(0, len(keys), _BATCH_WRITE_LIMIT):
            deletions: Any = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + _BATCH_WRITE_LIMIT]]
            dynamodb.batch_write_item(RequestItems={table: deletions})
