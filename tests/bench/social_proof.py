"""How many calls to Braze the messages of a send cost that each show how much of a product was sold.

Braze grants 1,000 calls an hour for purchases. Several environments answer at once, as they do during a send, and share
nothing but the cache table; Braze is simulated with that very limit and its usual time for an answer.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median

from infra.local.http_events import HttpRequest, proxy_event
from infra.local.simulators import BrazeSimulator
from tests.bench.emulator import Emulator, answer_of
from tests.bench.figures import Figure
from tests.bench.ground import Ground

# Calls to Braze for each product in each stretch of CountFreshSeconds.
CALLS_A_PRODUCT_AND_INTERVAL = 1.0

GRANTED_AN_HOUR = 1_000
PRODUCTS = [f"product-{number}" for number in range(10)]
ENVIRONMENTS = 3
MESSAGES = 1_500
FRESH_SECONDS = 4
ROUTE = "GET /products/{product}/sold"


@dataclass(frozen=True)
class Braze:
    """The simulator in a process of its own."""

    url: str
    pipe: Connection

    def calls(self) -> int:
        """How many requests for purchases it has had."""
        self.pipe.send("calls")
        counted: int = self.pipe.recv()
        return counted


@dataclass(frozen=True)
class Send:
    """`milliseconds` of each message's answer, `without` a number how many were, and what it took of Braze."""

    milliseconds: list[float]
    without: int
    calls: int
    seconds: float

    @property
    def intervals(self) -> int:
        """Stretches of CountFreshSeconds that the send touched."""
        return int(self.seconds // FRESH_SECONDS) + 1


def figures(ground: Ground) -> Iterator[Figure]:
    send = _sent(ground)
    each = send.calls / (len(PRODUCTS) * send.intervals)
    yield Figure(
        "Braze calls per product and refresh interval",
        each,
        "calls",
        f"{send.calls} for {MESSAGES:,} messages, {len(PRODUCTS)} products, {ENVIRONMENTS} environments,"
        f" {send.intervals} intervals",
        at_most=CALLS_A_PRODUCT_AND_INTERVAL,
    )
    yield Figure(
        "  a million messages about them in an hour",
        each * len(PRODUCTS),
        "calls",
        f"Braze grants {GRANTED_AN_HOUR:,}; a template that asks Braze itself makes 1,000,000",
        at_most=GRANTED_AN_HOUR,
    )
    yield Figure("  messages without a number", float(send.without), "", f"of {MESSAGES:,}", at_most=0)
    yield Figure(
        "  answer from the cache, p50",
        median(send.milliseconds),
        "ms",
        f"{ENVIRONMENTS} at once, emulators of Lambda and DynamoDB included; Braze itself takes 80 ms",
    )


def _sent(ground: Ground) -> Send:
    with ExitStack() as stack:
        braze = stack.enter_context(_braze())
        ground.put_secret("BrazeSecret", {"rest_api_key": "local-braze-key"})
        variables = {"BRAZE_REST_URL": braze.url, "COUNT_FRESH_SECONDS": str(FRESH_SECONDS)}
        function = ground.function("segment-size")
        environments = [
            stack.enter_context(ground.emulator(function, variables=variables, quiet=True)) for _ in range(ENVIRONMENTS)
        ]
        with ThreadPoolExecutor(ENVIRONMENTS) as pool:
            list(pool.map(_warmed, environments))
            before, started = braze.calls(), time.perf_counter()
            results = list(pool.map(_messages, environments, range(ENVIRONMENTS)))
            seconds = time.perf_counter() - started
        milliseconds = [each for times, _ in results for each in times]
        return Send(milliseconds, sum(without for _, without in results), braze.calls() - before, seconds)


def _warmed(environment: Emulator) -> None:
    environment.invoke(_event("warm-up"))


def _messages(environment: Emulator, number: int) -> tuple[list[float], int]:
    """The messages of one environment, the products in turn."""
    times, without = [], 0
    for message in range(number, MESSAGES, ENVIRONMENTS):
        event = _event(PRODUCTS[message % len(PRODUCTS)])
        started = time.perf_counter()
        result = environment.invoke(event)
        times.append((time.perf_counter() - started) * 1000)
        without += not json.loads(answer_of(json.loads(result)))["ok"]
    return times, without


def _event(product: str) -> bytes:
    request = HttpRequest("GET", f"/products/{product}/sold?window=24h", (("host", "content.example.com"),))
    event = proxy_event(request, "content", ROUTE, {"product": product}, {"caller": "braze-connected-content"})
    return json.dumps(event).encode()


@contextmanager
def _braze() -> Iterator[Braze]:
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    try:
        yield Braze(here.recv(), here)
    finally:
        here.close()
        process.join()


def _serve(parent: Connection) -> None:
    with BrazeSimulator(purchase_reads_per_hour=GRANTED_AN_HOUR) as simulator:
        for product in (*PRODUCTS, "warm-up"):
            simulator.add_product(product)
        parent.send(simulator.url)
        try:
            while parent.recv():
                parent.send(sum(request.path.startswith("/purchases/") for request in simulator.requests()))
        except EOFError:
            return
