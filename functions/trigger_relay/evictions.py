"""The wallets of those an event is about: SessionM has newer ones, so what is cached of them is forgotten.

It happens before the event goes on to Braze, so that the message it triggers shows the new wallet. It must not cost the
event: whatever goes wrong is counted and logged, and an old wallet is shown until it is no longer fresh, at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from shared.deadline import Deadline
from shared.errors import DeadlineExceeded, StoreUnavailable
from shared.observability import count, logger
from shared.wallets import evict
from trigger_relay.triggers import Recipient

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# A table answers a delete in a few milliseconds. A caller waits no longer than this for its acknowledgement, be it for
# a thousand members or for a table that hangs.
BUDGET_SECONDS = 0.5

_AT_ONCE = 8


class Evictions:
    """Forgets wallets in CacheTable, several at a time; `clock` gives seconds that only grow."""

    def __init__(self, client: DynamoDBClient, table: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="evictions")

    def of(self, members: Iterable[Recipient]) -> None:
        """Forgets the wallets of `members`, as far as that is done within the budget. Raises nothing."""
        ids = list(dict.fromkeys(user_id for member in members if (user_id := _user_id(member))))
        if not ids:
            return
        deadline = Deadline(BUDGET_SECONDS, self._clock)
        shares = [ids[first::_AT_ONCE] for first in range(min(_AT_ONCE, len(ids)))]
        under_way = [self._threads.submit(self._evict, share, deadline) for share in shares]
        ended, _ = wait(under_way, deadline.remaining_seconds())
        for future in under_way:
            future.cancel()
        evicted = sum(future.result()[0] for future in ended)
        if evicted:
            count("WalletsEvicted", evicted)
        if evicted < len(ids):
            causes = {future.result()[1] for future in ended} - {""} or {DeadlineExceeded.code}
            count("WalletsNotEvicted", len(ids) - evicted)
            logger.warning("wallets not evicted", wallets=len(ids) - evicted, detail=", ".join(sorted(causes)))

    def _evict(self, ids: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """How many were forgotten, and why no more."""
        for done, user_id in enumerate(ids):
            if deadline.passed():
                return done, DeadlineExceeded.code
            try:
                evict(self._client, self._table, user_id)
            except StoreUnavailable as error:
                return done, str(error)
        return len(ids), ""


def _user_id(member: Recipient) -> str:
    """What messages ask for this member's wallet by, if the address says so: an external id or an alias."""
    address = member.address
    alias = address.get("user_alias", {})
    return str(address.get("external_user_id") or alias.get("alias_name") or "")
