"""What a warm wallet call adds to SessionM's own answer time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from statistics import median

from infra.local.http_events import HttpRequest, proxy_event
from tests.bench.emulator import Emulator, answer_of, direct
from tests.bench.figures import Figure, percentile
from tests.bench.ground import Ground
from tests.bench.vendor import SessionmAddress, sessionm

# A wallet call's median less that of the direct call. The emulator's own time is in it.
WALLET_OVER_DIRECT_P50_MS = 3.0

UPSTREAM_SECONDS = 0.05
BLOCKS = 4
CALLS_A_BLOCK = 120
WARM_UP_CALLS = 20

GET_USER_OFFERS = "/offers/api/2.0/offers/get_user_offers"
CALLER_HEADERS = (
    ("host", "content.example.com"),
    ("user-agent", "Braze Sender 1.0"),
    ("authorization", f"Basic {'c' * 88}"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip, deflate"),
)


@dataclass(frozen=True)
class Block:
    """Milliseconds of each call, the three kinds having taken turns so that each met the same load.

    `wallet` and `emulated` are made with the plainest client, `direct` with urllib3 as the function makes it: what is
    left of the difference is what the proxy adds, the emulator included and a caller's HTTP library not.

    `emulated` is a handler that merely waits as long as SessionM does, through the same emulator, with the wallet's
    event and as long an answer.
    """

    wallet: list[float]
    direct: list[float]
    emulated: list[float]

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """All of their calls as one block."""
        return cls(*([ms for block in blocks for ms in getattr(block, kind.name)] for kind in fields(cls)))

    def over_direct(self, share: float) -> float:
        return percentile(self.wallet, share) - percentile(self.direct, share)

    def emulator_itself(self, share: float) -> float:
        """The emulator's time alone: its own call in place of one to SessionM, which is the slower server of the two.

        So this takes off too little rather than too much.
        """
        return percentile(self.emulated, share) - percentile(self.direct, share)


def figures(ground: Ground) -> Iterator[Figure]:
    """Wallet over direct call: p50 as the target has it, p50 without the emulator's own time, and p99.

    The target is judged on the calmest block: the one in which the handler that only waits was fastest.
    Other work on the machine only adds time, to the wallet's dozen switches between processes far more than to the
    direct call's two; and as the block is not chosen by the figure itself, the choice does not flatter it.
    """
    blocks = _blocks(ground)
    calmest = min(blocks, key=lambda block: median(block.emulated))
    every = Block.joined(blocks)
    calls = len(every.wallet)

    yield Figure(
        "warm wallet over direct call, p50",
        calmest.over_direct(0.5),
        "ms",
        f"{_in_words(calmest, 0.5)}, {CALLS_A_BLOCK} calls each, calmest of {BLOCKS} blocks",
        at_most=WALLET_OVER_DIRECT_P50_MS,
        remark=ground.code.remark,
    )
    yield Figure(
        "  the emulator's own part of it, p50",
        calmest.emulator_itself(0.5),
        "ms",
        f"only waiting {median(calmest.emulated):.1f} ms less direct call {median(calmest.direct):.1f} ms, same block",
    )
    yield Figure(
        "  the same without the emulator, p50",
        calmest.over_direct(0.5) - calmest.emulator_itself(0.5),
        "ms",
        "the first of these less the second",
    )
    for share, name in ((0.5, "p50 of all blocks"), (0.99, "p99 of all blocks")):
        yield Figure(
            f"warm wallet over direct call, {name}",
            every.over_direct(share),
            "ms",
            f"{_in_words(every, share)}, {calls} calls each; only waiting {percentile(every.emulated, share):.1f} ms",
        )


def _in_words(block: Block, share: float) -> str:
    wallet, direct = percentile(block.wallet, share), percentile(block.direct, share)
    return f"wallet {wallet:.1f} ms less direct call {direct:.1f} ms"


def _blocks(ground: Ground) -> list[Block]:
    with sessionm({f"POST {GET_USER_OFFERS}": UPSTREAM_SECONDS}) as vendor:
        ground.put_secret("SessionmSecret", vendor.secret())
        variables = {"SESSIONM_CONNECT_URL": vendor.url, "SESSIONM_CORE_URL": vendor.url}
        with ground.emulator(ground.function("wallet"), variables=variables, quiet=True) as wallet:
            answer_bytes = len(_wallet_answer(wallet, vendor))
            wait = {"ANSWER_BYTES": str(answer_bytes), "WAIT_SECONDS": str(UPSTREAM_SECONDS)}
            with ground.added_handler("waiting", wait, quiet=True) as waiting:
                _block(wallet, waiting, vendor, WARM_UP_CALLS)
                blocks = [_block(wallet, waiting, vendor, CALLS_A_BLOCK) for _ in range(BLOCKS)]
                _wallet_answer(wallet, vendor)  # still answers well after all of that
    return blocks


def _block(wallet: Emulator, waiting: Emulator, vendor: SessionmAddress, calls: int) -> Block:
    headers = {"Authorization": vendor.connect_authorization, "Content-Type": "application/json"}
    page = {"skip": 0, "take": 1000, "include_pending_extended_data": False, "culture": "en-US"}
    question = json.dumps({"retailer_id": vendor.retailer_id, "user_id": vendor.user_id} | page).encode()
    block = Block([], [], [])
    with direct(vendor.url) as pool:

        def ask(body: bytes) -> bytes:
            return pool.urlopen("POST", GET_USER_OFFERS, body=body, headers=headers, timeout=5).data

        ask(question)  # connects
        for _ in range(calls):
            block.wallet.append(_timed(wallet.invoke, _event(vendor.user_id)))
            block.direct.append(_timed(ask, question))
            block.emulated.append(_timed(waiting.invoke, _event(vendor.user_id)))
    return block


def _timed(call: Callable[[bytes], bytes], question: bytes) -> float:
    started = time.perf_counter()
    call(question)
    return (time.perf_counter() - started) * 1000


def _wallet_answer(wallet: Emulator, vendor: SessionmAddress) -> str:
    answer = answer_of(json.loads(wallet.invoke(_event(vendor.user_id))))
    if not json.loads(answer)["ok"]:
        raise RuntimeError(f"the wallet answered {answer}")
    return answer


def _event(user_id: str) -> bytes:
    """`GET /wallet/{user_id}`, arriving now: the wallet counts its time from there."""
    request = HttpRequest("GET", f"/wallet/{user_id}?culture=en", CALLER_HEADERS)
    caller = {"caller": "braze-connected-content"}
    event = proxy_event(request, "content", "GET /wallet/{user_id}", {"user_id": user_id}, caller)
    return json.dumps(event).encode()
