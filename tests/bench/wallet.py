"""What a warm wallet call takes beside SessionM's own answer time, out of the cache and into it; then its limits."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import TypeVar

from clients.wallet import wallet_of
from tests.bench.emulator import Emulator, direct
from tests.bench.figures import Figure, percentile
from tests.bench.ground import Ground
from tests.bench.wallet_calls import answered_wallet, wallet_event
from tests.bench.wallet_limits import burst_figures, fault_figures, size_figures
from tests.bench.wallet_table import WalletTable
from tests.bench.wallet_vendor import GET_USER_OFFERS, WalletVendor, wallet_vendor

# A wallet out of the cache less a direct call, medians: below nothing, for the cache is nearer than SessionM.
CACHED_OVER_DIRECT_P50_MS = 0.0

# A wallet that has to be fetched less a direct call, medians, without what the emulated table itself takes: its three
# requests are measured beside it. The Lambda emulator's own time is in it.
FETCHED_OVER_DIRECT_P50_MS = 5.0

Question = TypeVar("Question")

UPSTREAM_SECONDS = 0.05
BLOCKS = 4
CALLS_A_BLOCK = 80
WARM_UP_CALLS = 20
CULTURE = "en-US"


@dataclass(frozen=True)
class Block:
    """Milliseconds of each call, the kinds having taken turns so that each met the same load.

    `fetched` is a member's first wallet, `cached` the second, `direct` SessionM's own answer to the library the
    function uses, `table` the three requests that the table gets for a fetched one, sent by the plainest
    client in the wallet's rhythm, for a table that stood still a while answers slower: after a pause, and around the
    direct call. `emulated` is a handler that merely waits as long as SessionM does, through the same emulator.
    """

    fetched: list[float]
    cached: list[float]
    direct: list[float]
    table: list[float]
    emulated: list[float]

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """All of their calls as one block."""
        return cls(*([ms for block in blocks for ms in getattr(block, kind.name)] for kind in fields(cls)))

    def own(self) -> float:
        """The median of what a fetched wallet adds, without the table's time."""
        return median(self.fetched) - median(self.table) - median(self.direct)


def figures(ground: Ground) -> Iterator[Figure]:
    """Latency first. It is judged on the calmest block: the one in which the handler that only waits was fastest.

    Other work on the machine only adds time, to the wallet's dozen switches between processes far more than to the
    direct call's two; and as the block is not chosen by the figure itself, the choice does not flatter it.
    """
    members = 2 * WARM_UP_CALLS + BLOCKS * CALLS_A_BLOCK
    with wallet_vendor(UPSTREAM_SECONDS, members) as vendor:
        ground.put_secret("SessionmSecret", vendor.secret())
        blocks = _blocks(ground, vendor)
        calmest = min(blocks, key=lambda block: median(block.emulated))
        every = Block.joined(blocks)
        yield Figure(
            "cached wallet over direct call, p50",
            median(calmest.cached) - median(calmest.direct),
            "ms",
            f"cached {median(calmest.cached):.1f} ms less direct call {median(calmest.direct):.1f} ms, "
            f"{CALLS_A_BLOCK} calls each, calmest of {BLOCKS} blocks",
            at_most=CACHED_OVER_DIRECT_P50_MS,
            remark=ground.code.remark,
        )
        yield Figure(
            "fetched wallet over direct call, p50",
            calmest.own(),
            "ms",
            f"fetched {median(calmest.fetched):.1f} ms less direct call {median(calmest.direct):.1f} ms less the "
            f"emulated table's three requests {median(calmest.table):.1f} ms, same block",
            at_most=FETCHED_OVER_DIRECT_P50_MS,
            remark=ground.code.remark,
        )
        yield Figure(
            "  the emulator's own part of it, p50",
            median(calmest.emulated) - median(calmest.direct),
            "ms",
            f"only waiting {median(calmest.emulated):.1f} ms less direct call {median(calmest.direct):.1f} ms",
        )
        direct_p99 = percentile(every.direct, 0.99)
        for name, samples in (("cached", every.cached), ("fetched", every.fetched)):
            p99 = percentile(samples, 0.99)
            yield Figure(
                f"{name} wallet over direct call, p99 of all blocks",
                p99 - direct_p99,
                "ms",
                f"{name} {p99:.1f} ms less direct call {direct_p99:.1f} ms, {len(samples)} calls each; "
                f"the table's part is up to {percentile(every.table, 0.99):.1f} ms",
            )
        yield from size_figures(ground, vendor)
        yield from burst_figures(ground, vendor)
        yield from fault_figures(ground, vendor)


def _blocks(ground: Ground, vendor: WalletVendor) -> list[Block]:
    with ground.emulator(ground.function("wallet"), variables=vendor.variables(), quiet=True) as wallet:
        members = iter(vendor.member_ids)
        answer_bytes = len(json.dumps(answered_wallet(wallet, next(members))))
        wait = {"ANSWER_BYTES": str(answer_bytes), "WAIT_SECONDS": str(UPSTREAM_SECONDS)}
        with ground.added_handler("waiting", wait, quiet=True) as waiting:
            table = WalletTable(ground.aws_url, ground.deployment.environments["WalletFunction"]["CACHE_TABLE"])
            _block(wallet, waiting, table, vendor, list(itertools.islice(members, WARM_UP_CALLS)))
            blocks = [
                _block(wallet, waiting, table, vendor, list(itertools.islice(members, CALLS_A_BLOCK)))
                for _ in range(BLOCKS)
            ]
            answered_wallet(wallet, next(members))  # still answers well after all of that
    return blocks


def _block(
    wallet: Emulator, waiting: Emulator, table: WalletTable, vendor: WalletVendor, members: Sequence[str]
) -> Block:
    headers = {"Authorization": vendor.authorization, "Content-Type": "application/json"}
    page = {"skip": 0, "take": 200, "include_pending_extended_data": False, "culture": CULTURE}
    block = Block([], [], [], [], [])
    with direct(vendor.url) as pool:

        def ask(body: bytes) -> bytes:
            return pool.urlopen("POST", GET_USER_OFFERS, body=body, headers=headers, timeout=5).data

        question = json.dumps({"retailer_id": vendor.retailer_id, "user_id": members[0]} | page).encode()
        kept = wallet_of([json.loads(ask(question))["payload"]])
        for member in members:
            block.fetched.append(_timed(wallet.invoke, wallet_event(member)))
            block.cached.append(_timed(wallet.invoke, wallet_event(member)))
            time.sleep(UPSTREAM_SECONDS)
            *before, after = table.requests_of(f"bench {member}", CULTURE, kept)
            table_ms = _timed(table.ask, before)
            block.direct.append(_timed(ask, question))
            block.table.append(table_ms + _timed(table.ask, [after]))
            block.emulated.append(_timed(waiting.invoke, wallet_event(member)))
    return block


def _timed(call: Callable[[Question], object], question: Question) -> float:
    started = time.perf_counter()
    call(question)
    return (time.perf_counter() - started) * 1000
