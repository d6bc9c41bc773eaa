"""From PrefetchQueue to SessionM Connect and into CacheTable: many members at a time, beside tags and messages.

A prefetch can wait, and nothing waits for it. So it keeps to a share of the rate that tags have, and to the same share
of the places that messages have at SessionM Connect; what is left of both is never its.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import wiring
from bulk.delivery import Storage, deliver
from bulk.dispatch import Dispatch
from bulk.jobs import Jobs
from bulk.pace import Pace
from bulk.verdicts import Verdicts
from clients.wallet import Wallet
from shared import aws
from shared.breaker import Breaker
from shared.bulkhead import Bulkhead
from shared.cache import Cache
from shared.config import Settings
from shared.deadline import Deadline
from shared.observability import begin_batch
from shared.outcomes import State
from shared.queues import Queue, SqsHandler, batch_response, messages_of
from shared.rate import Rate, share_of
from shared.upstream import Upstream
from wallet_prefetch.fetching import Wallets

# A call is begun only while this much of the function's time is left, enough to end it and to write it down.
_RESERVE_SECONDS = 30.0

# How many workers there are at most (template.yaml).
_WORKERS = 2

# More would only wait for permits: at 300 ms a call these are 800 wallets a second.
_MOST_AT_ONCE = 128

_COUNTED_AS = {
    State.SENT: "WalletsFetched",
    State.FAILED: "WalletsNotFetched",
    State.SKIPPED: "WalletsStillFresh",
    "postponed": "WalletsPostponed",
    "throttled": "WalletCallsThrottled",
    "limit": "WalletCallsUnderWayLimit",
}


def build(settings: Settings) -> SqsHandler:
    share_percent = settings.whole_number("PREFETCH_SHARE_PERCENT")
    calls_per_second = settings.whole_number("TAG_RATE_PER_SECOND")
    retention_days = settings.whole_number("IMPORT_RETENTION_DAYS")
    imports_table, cache_table = settings.text("IMPORTS_TABLE"), settings.text("CACHE_TABLE")
    places = share_of(settings.whole_number("SESSIONM_MAX_CONCURRENT_CALLS"), share_percent)
    concurrency = min(_MOST_AT_ONCE, max(1, places // _WORKERS))
    fresh_seconds = settings.whole_number("WALLET_FRESH_SECONDS")
    dynamodb, sqs = aws.dynamodb(), aws.sqs()
    verdicts, jobs = Verdicts(dynamodb, imports_table, retention_days), Jobs(dynamodb, imports_table, retention_days)
    storage = Storage(
        verdicts, jobs, Queue(sqs, settings.text("IMPORT_QUEUE_URL")), Queue(sqs, settings.text("PREFETCH_QUEUE_URL"))
    )
    sessionm = wiring.sessionm(settings, connections=concurrency)
    upstream = Upstream(
        Breaker(dynamodb, cache_table, "SessionM Connect"),
        Bulkhead(dynamodb, cache_table, "SessionM Connect", places),
    )
    wallets = Cache(dynamodb, cache_table, Wallet, fresh_seconds + settings.whole_number("WALLET_STALE_SECONDS"))
    answers = Cache(dynamodb, cache_table, str, fresh_seconds)
    pace = Pace(concurrency)

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        begin_batch(context)
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
        rate = Rate(dynamodb, cache_table, "tags", calls_per_second, part="prefetch", share_percent=share_percent)
        dispatch = Dispatch(Wallets(sessionm, upstream, jobs, wallets, answers), verdicts, pace, rate, deadline)
        staying = deliver(messages_of(event), storage, dispatch)
        storage.queue.postpone(staying)
        dispatch.figures.report("wallets fetched", _COUNTED_AS, pace.limit)
        return batch_response(staying)

    return handle


handle = build(Settings(os.environ))
