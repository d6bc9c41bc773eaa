"""SessionM, simulated, in a process of its own: it must not share an interpreter with who measures."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from infra.local.simulators import SessionmSimulator, Slow


@dataclass(frozen=True)
class SessionmAddress:
    """Where the simulator listens, what it accepts, and one member it knows, who has eight offers."""

    url: str
    connect_authorization: str
    retailer_id: str
    user_id: str

    def secret(self) -> dict[str, str]:
        """What belongs in the SessionM secret."""
        return {
            "core_api_key": "unused",
            "core_api_secret": "unused",
            "connect_authorization": self.connect_authorization,
            "retailer_id": self.retailer_id,
        }


@contextmanager
def sessionm(seconds: Mapping[str, float]) -> Iterator[SessionmAddress]:
    """The simulator, until the end. It takes exactly the given time per route ("POST /offers/*"), and none on others.

    Exactly: its usual answer times scatter by a tenth, more than the differences measured here.
    """
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_serve, args=(there, dict(seconds)), daemon=True)
    process.start()
    there.close()
    try:
        address: SessionmAddress = here.recv()
        yield address
    finally:
        here.close()
        process.join()


def _serve(parent: Connection, seconds: Mapping[str, float]) -> None:
    with SessionmSimulator(latency_scale=0, keep_requests=1) as simulator:
        for route, wait in seconds.items():
            simulator.faults.add(route, Slow(wait))
        (member,) = simulator.seed(members=1)
        parent.send(
            SessionmAddress(
                simulator.url, simulator.connect_authorization, simulator.retailer_id, user_id=member.user_id
            )
        )
        try:
            parent.recv()
        except EOFError:
            return
