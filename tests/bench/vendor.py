"""SessionM, simulated, in a process of its own: it must not share an interpreter with who measures."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from infra.local.simulators import SessionmSimulator, Slow

CORE_KEY, CORE_SECRET = "bench-core-key", "bench-core-secret"


@dataclass(frozen=True)
class SessionmAddress:
    """Where the simulator listens, what it accepts, and members it knows, of whom the first has eight offers."""

    url: str
    connect_authorization: str
    retailer_id: str
    core_api_key: str
    core_api_secret: str
    member_ids: tuple[str, ...]

    @property
    def user_id(self) -> str:
        return self.member_ids[0]

    def secret(self) -> dict[str, str]:
        """What belongs in the SessionM secret."""
        return {
            "core_api_key": self.core_api_key,
            "core_api_secret": self.core_api_secret,
            "connect_authorization": self.connect_authorization,
            "retailer_id": self.retailer_id,
        }


@contextmanager
def sessionm(
    seconds: Mapping[str, float], members: int = 1, rate_limit_per_second: int | None = None
) -> Iterator[SessionmAddress]:
    """The simulator, until the end. It takes exactly the given time per route ("POST /offers/*"), and none on others.

    Exactly: its usual answer times scatter by a tenth, more than the differences measured here.
    """
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_serve, args=(there, dict(seconds), members, rate_limit_per_second), daemon=True)
    process.start()
    there.close()
    try:
        address: SessionmAddress = here.recv()
        yield address
    finally:
        here.close()
        process.join()


def _serve(parent: Connection, seconds: Mapping[str, float], members: int, rate_limit_per_second: int | None) -> None:
    with SessionmSimulator(
        latency_scale=0,
        keep_requests=1,
        core_api_key=CORE_KEY,
        core_api_secret=CORE_SECRET,
        rate_limit_per_second=rate_limit_per_second,
    ) as simulator:
        for route, wait in seconds.items():
            simulator.faults.add(route, Slow(wait))
        (first,) = simulator.seed(members=1)
        others = [simulator.add_member(f"member-{number}") for number in range(1, members)]
        parent.send(
            SessionmAddress(
                url=simulator.url,
                connect_authorization=simulator.connect_authorization,
                retailer_id=simulator.retailer_id,
                core_api_key=CORE_KEY,
                core_api_secret=CORE_SECRET,
                member_ids=tuple(member.user_id for member in (first, *others)),
            )
        )
        try:
            parent.recv()
        except EOFError:
            return
