"""What the relay is measured between: Braze simulated, and a ledger kept in memory, each in a process of its own.

The ledger answers what the relay asks of DynamoDB, conditions included, and nothing else. moto would take a multiple of
the worker's time for it and be what is measured.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import Any

from infra.local.simulators import BrazeSimulator, Fault, Slow

# Braze's usual time for an answer.
ANSWER_SECONDS = 0.08

_SPAWNING = multiprocessing.get_context("spawn")
_QUEUED = "queued"
_SECRET = {"SecretString": '{"rest_api_key":"local-braze-key"}', "VersionId": "1", "CreatedDate": 1_795_000_000}


@dataclass(frozen=True)
class Braze:
    """The simulator, and what it is asked for through a pipe."""

    url: str
    pipe: Connection

    def sent(self) -> tuple[int, list[str]]:
        """Requests made, and the recipient of each message in the order they went out."""
        self.pipe.send("sent")
        answered: tuple[int, list[str]] = self.pipe.recv()
        return answered


@contextmanager
def braze(
    targets: Sequence[str], requests_per_hour: int = 250_000, faults: Sequence[tuple[Fault, float]] = ()
) -> Iterator[Braze]:
    """The simulator, until the end; each fault strikes its share of the calls, all others take Braze's usual time."""
    with _served(_serve_braze, list(targets), requests_per_hour, list(faults)) as (url, pipe):
        yield Braze(url, pipe)


@contextmanager
def ledger() -> Iterator[tuple[str, Connection]]:
    """An endpoint that plays DynamoDB, and a pipe that answers anything with the state of every entry."""
    with _served(_serve_ledger) as (url, pipe):
        yield url, pipe


@contextmanager
def _served(target: Any, *arguments: Any) -> Iterator[tuple[str, Connection]]:
    here, there = _SPAWNING.Pipe()
    process = _SPAWNING.Process(target=target, args=(there, *arguments), daemon=True)
    process.start()
    there.close()
    try:
        yield here.recv(), here
    finally:
        here.close()
        process.join()


def _serve_braze(
    parent: Connection, targets: list[str], requests_per_hour: int, faults: list[tuple[Fault, float]]
) -> None:
    hour = time.time() // 3600 * 3600 + 60  # an hour that does not end while it is measured
    with BrazeSimulator(
        latency_scale=0, keep_requests=1, requests_per_hour=requests_per_hour, clock=lambda: hour
    ) as simulator:
        for target in targets:
            simulator.add_campaign(target)
        for fault, share in faults:
            simulator.faults.add("POST *", fault, share=share)
        simulator.faults.add("POST *", Slow(ANSWER_SECONDS))
        parent.send(simulator.url)
        try:
            while parent.recv():
                sends = simulator.sends
                parent.send((len({send.dispatch_id for send in sends}), [send.recipient for send in sends]))
        except EOFError:
            return


@dataclass
class _Ledger:
    states: dict[str, str] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def answer(self, operation: str, asked: Any) -> tuple[int, Any]:
        if operation not in ("TransactWriteItems", "UpdateItem"):
            return 200, {}  # a gate that stands open, a message that is hidden
        updates = [item["Update"] for item in asked["TransactItems"]] if operation == "TransactWriteItems" else [asked]
        with self.lock:
            refused = [self._refuses(update) for update in updates]
            if any(refused):
                return 400, self._refusal(updates, refused)
            for update in updates:
                values = update["ExpressionAttributeValues"]
                state = values.get(":state") or values.get(":sending") or values.get(":queued")
                self.states[update["Key"]["id"]["S"]] = state["S"] if state else ""
        return 200, {}

    def _refuses(self, update: Any) -> bool:
        known = self.states.get(update["Key"]["id"]["S"], _QUEUED)
        return ":lease" in update["ExpressionAttributeValues"] and known != _QUEUED

    def _refusal(self, updates: list[Any], refused: list[bool]) -> Any:
        reasons: list[Any] = []
        for update, is_refused in zip(updates, refused, strict=True):
            key = update["Key"]["id"]["S"]
            old = {"id": {"S": key}, "state": {"S": self.states.get(key, _QUEUED)}, "lease_until": {"N": "9999999999"}}
            reasons.append({"Code": "ConditionalCheckFailed", "Item": old} if is_refused else {"Code": "None"})
        return {"__type": "TransactionCanceledException", "CancellationReasons": reasons}


def _serve_ledger(parent: Connection) -> None:
    kept = _Ledger()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            if operation == "GetSecretValue":
                status, answer = 200, _SECRET
            else:
                status, answer = kept.answer(operation, asked)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    parent.send(f"http://127.0.0.1:{server.server_port}")
    try:
        while parent.recv():
            parent.send(kept.states)
    except EOFError:
        return
