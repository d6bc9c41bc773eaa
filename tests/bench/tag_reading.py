"""How many rows of a CSV a second get from bytes in S3 to messages in SQS, and how much memory that takes.

A fresh process reads with the deployed code, and moto, in another, is its bucket and table. Its queue is a third that
acknowledges messages and forgets them: moto takes tens of times as long for a message as its sender does, and keeps
every one. What is judged is processor time of the reading process, the SDK's share included, so that no part of it is
an emulator's. A smaller file goes to moto's queue as well, for the time by the clock.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from threading import Thread

from infra.local.environment import Settings, worker_variables
from tests.bench.figures import Figure
from tests.bench.ground import Ground

ROWS_A_PROCESSOR_SECOND = 200_000.0
GROWTH_MB = 20.0

FEW, MANY = 1_000_000, 5_000_000
TO_MOTO = 200_000

_PROGRAM = "read_import.py"
_ROWS_AT_ONCE = 50_000
_ROWS_A_BATCH = 4_500  # ten messages of 25 kB


@dataclass(frozen=True)
class Run:
    """`bare_seconds` is what moto takes for as many messages when nothing else is done."""

    rows: int
    seconds: float
    cpu_seconds: float
    idle_mb: float
    peak_mb: float
    bare_seconds: float

    @property
    def per_cpu_second(self) -> float:
        return self.rows / self.cpu_seconds


def figures(ground: Ground) -> Iterator[Figure]:
    """Rows a processor second and by the clock, and how the peak of memory grows with the file."""
    with _forgetful_queue() as url:
        few, many = _read(ground, FEW, url), _read(ground, MANY, url)
    emulated = _read(ground, TO_MOTO, ground.aws_url)
    yield Figure(
        "rows from S3 to SQS, a second of one processor",
        few.per_cpu_second,
        "rows/s",
        f"{FEW:,} rows in {few.cpu_seconds:.1f} s of processor time, {few.seconds:.1f} s by the clock",
        at_least=ROWS_A_PROCESSOR_SECOND,
        remark=ground.code.remark,
    )
    yield Figure(
        f"  the same of {MANY:,} rows",
        many.per_cpu_second,
        "rows/s",
        f"{many.cpu_seconds:.1f} s of processor time, {many.seconds:.1f} s by the clock",
    )
    yield Figure(
        f"  {TO_MOTO:,} rows by the clock, moto's queue included",
        emulated.rows / emulated.seconds,
        "rows/s",
        f"{emulated.seconds:.1f} s, {emulated.cpu_seconds:.1f} s of it ours; "
        f"moto takes {emulated.bare_seconds:.1f} s for as many messages without a reader",
    )
    yield Figure(
        f"peak memory, from {FEW:,} to {MANY:,} rows",
        many.peak_mb - few.peak_mb,
        "MB",
        f"{few.peak_mb:.0f} and {many.peak_mb:.0f} MB, of which {few.idle_mb:.0f} before reading",
        at_most=GROWTH_MB,
        remark=ground.code.remark,
    )


def _read(ground: Ground, rows: int, queue_endpoint: str) -> Run:
    function = ground.function("tag-import")
    own = ground.deployment.environments[function.logical_id]
    bucket, key = own["IMPORT_BUCKET"], f"imports/{rows}.csv"
    _put_file(ground, rows, bucket, key)
    batches = rows // _ROWS_A_BATCH if queue_endpoint == ground.aws_url else 0
    finished = subprocess.run(
        [sys.executable, "-S", _PROGRAM, key, str(batches)],
        cwd=ground.code.folder,
        env=worker_variables(function, own, Settings(ground.code.folder, ground.scratch, ground.aws_url))
        | {"PYTHONPATH": str(ground.runtime), "AWS_ENDPOINT_URL_SQS": queue_endpoint},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"the reader did not come to an end:\n{finished.stderr}")
    told = json.loads(finished.stdout.splitlines()[-1])
    if told["state"] != "delivering" or told["rows"] != rows:
        raise RuntimeError(f"the reader said {told}")
    ground.clients.s3.delete_object(Bucket=bucket, Key=key)
    return Run(
        rows,
        told["seconds"],
        told["cpu_seconds"],
        told["idle_kb"] / 1024,
        told["peak_kb"] / 1024,
        told["bare_seconds"],
    )


def _put_file(ground: Ground, rows: int, bucket: str, key: str) -> None:
    path = ground.scratch / "members.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("user_id,tags,ttl\n")
        for start in range(0, rows, _ROWS_AT_ONCE):
            numbers = range(start, start + _ROWS_AT_ONCE)
            file.write("".join(f"{n:08x}-7a1c-4e52-9f1d-{n * 7919:012x},gold_lapsing|spring,30d\n" for n in numbers))
    ground.clients.s3.upload_file(str(path), bucket, key)
    path.unlink()


class _Acknowledges(BaseHTTPRequestHandler):
    """Answers what SQS answers to SendMessageBatch; nobody reads the digests and ids."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        entries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["Entries"]
        accepted = [{"Id": entry["Id"], "MessageId": "1", "MD5OfMessageBody": "1"} for entry in entries]
        content = json.dumps({"Successful": accepted}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def _forgetful_queue() -> Iterator[str]:
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        here.close()
        process.join()


def _serve(parent: Connection) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Acknowledges) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        parent.send(f"http://127.0.0.1:{server.server_port}")
        try:
            parent.recv()
        except EOFError:
            server.shutdown()
