"""SessionM for the wallet's figures, simulated in a process of its own, which counts what it is asked and can fail."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from infra.local.simulators import Fault, SessionmSimulator, Slow
from infra.local.simulators.faults import FaultRule

GET_USER_OFFERS = "/offers/api/2.0/offers/get_user_offers"
RICH_MEMBER, RICH_OFFERS = "member-with-a-thousand", 1000
_ROUTE = f"POST {GET_USER_OFFERS}"


@dataclass(frozen=True)
class WalletVendor:
    """Where it listens and what it accepts. Members have eight offers each, `RICH_MEMBER` a thousand."""

    url: str
    authorization: str
    retailer_id: str
    member_ids: Sequence[str]
    _process: Connection

    def secret(self) -> dict[str, str]:
        """What belongs in the SessionM secret."""
        return {
            "core_api_key": "unused",
            "core_api_secret": "unused",
            "connect_authorization": self.authorization,
            "retailer_id": self.retailer_id,
        }

    def variables(self) -> dict[str, str]:
        return {"SESSIONM_CONNECT_URL": self.url, "SESSIONM_CORE_URL": self.url}

    def fail_with(self, fault: Fault) -> None:
        """From now on every wallet fails so; `Slow` is the way to be well again."""
        self._process.send([FaultRule(_ROUTE, fault).to_json()])
        self._process.recv()

    def asked(self) -> int:
        """How often a wallet was asked for."""
        self._process.send(None)
        return int(self._process.recv())


class _Counting(SessionmSimulator):
    wallets_asked = 0

    def answer(self, call: Any, found: Any) -> Any:
        self.wallets_asked += call.path == GET_USER_OFFERS
        return super().answer(call, found)


@contextmanager
def wallet_vendor(seconds: float, members: int) -> Iterator[WalletVendor]:
    """The simulator, until the end; it takes exactly `seconds` for a wallet."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_serve, args=(there, seconds, members), daemon=True)
    process.start()
    there.close()
    try:
        url, authorization, retailer_id, member_ids = here.recv()
        yield WalletVendor(url, authorization, retailer_id, member_ids, here)
    finally:
        here.close()
        process.join()


def _serve(parent: Connection, seconds: float, members: int) -> None:
    with _Counting(latency_scale=0, keep_requests=1) as simulator:
        simulator.faults.add(_ROUTE, Slow(seconds))
        made = simulator.seed(members=members)
        simulator.add_member(RICH_MEMBER)
        for number in range(RICH_OFFERS):
            fields = dict(made[number % len(made)].offers[number % 6].fields)
            simulator.add_offer(RICH_MEMBER, **{**fields, "id": f"user-offer-{number}", "user_offer_id": None})
        parent.send(
            (
                simulator.url,
                simulator.connect_authorization,
                simulator.retailer_id,
                [member.user_id for member in made],
            )
        )
        try:
            while True:
                rules = parent.recv()
                if rules is not None:
                    simulator.faults.replace(FaultRule.from_json(rule) for rule in rules)
                parent.send(simulator.wallets_asked)
        except EOFError:
            return
