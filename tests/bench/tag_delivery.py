"""How many members one delivery worker tags in a second, and what it makes of a SessionM that throttles.

The worker is the deployed function in the Lambda emulator; SessionM is simulated in another process, and moto, in a
third, is its tables and queues. All of them share this machine's processors, which Lambda would not.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tests.bench.emulator import Emulator
from tests.bench.figures import Figure
from tests.bench.ground import Ground
from tests.bench.vendor import SessionmAddress, sessionm

USERS_A_SECOND = 1_200.0
SHARE_OF_RATE = 0.9
SHARE_THROTTLED = 0.02

UPSTREAM_SECONDS = 0.3
TAGS_ROUTE = "POST /priv/*"

# More calls at a time than one processor keeps busy with; and a rate that is in nobody's way.
WIDE, UNBOUND = 512, 100_000
NARROW = 20
VENDOR_RATE = 200

_PARCEL_ROWS = 500
_ids = count()


@dataclass(frozen=True)
class Run:
    """One invocation: members tagged, seconds it took, processor seconds of the worker, and calls throttled."""

    users: int
    seconds: float
    cpu_seconds: float
    calls: int
    throttled: int

    @property
    def per_second(self) -> float:
        return self.users / self.seconds

    @property
    def share_throttled(self) -> float:
        return self.throttled / self.calls


def figures(ground: Ground) -> Iterator[Figure]:
    """Members a second, wide and narrow; processor time of each; and the use made of a rate that is enforced."""
    with sessionm({TAGS_ROUTE: UPSTREAM_SECONDS}, members=2 * WIDE) as vendor:
        ground.put_secret("SessionmSecret", vendor.secret())
        narrow = _measured(ground, vendor, 400, TAG_DELIVERY_CONCURRENCY=NARROW, TAG_RATE_PER_SECOND=UNBOUND)
        wide = _measured(ground, vendor, 12_000, TAG_DELIVERY_CONCURRENCY=WIDE, TAG_RATE_PER_SECOND=UNBOUND)
    yield Figure(
        "members tagged a second by one worker",
        wide.per_second,
        "/s",
        f"{NARROW} calls at a time {narrow.per_second:.0f} /s; both at {UPSTREAM_SECONDS * 1000:.0f} ms an answer",
        at_least=USERS_A_SECOND,
        remark=ground.code.remark,
    )
    yield Figure(
        "  processor time of a member",
        wide.cpu_seconds / wide.users * 1000,
        "ms",
        f"{NARROW} calls at a time {narrow.cpu_seconds / narrow.users * 1000:.2f} ms",
    )
    yield from _throttled(ground, "rate set to it", VENDOR_RATE, SHARE_OF_RATE, SHARE_THROTTLED)
    yield from _throttled(ground, "no rate set", UNBOUND)


def _throttled(
    ground: Ground, name: str, rate: int, at_least: float | None = None, at_most: float | None = None
) -> Iterator[Figure]:
    with sessionm({TAGS_ROUTE: UPSTREAM_SECONDS}, members=2 * WIDE, rate_limit_per_second=VENDOR_RATE) as vendor:
        ground.put_secret("SessionmSecret", vendor.secret())
        run = _measured(ground, vendor, 20 * VENDOR_RATE, TAG_DELIVERY_CONCURRENCY=WIDE, TAG_RATE_PER_SECOND=rate)
    yield Figure(
        f"throttling SessionM, {name}: share reached",
        run.per_second / VENDOR_RATE,
        "",
        f"{run.per_second:.0f} of {VENDOR_RATE} members a second, for {run.seconds:.0f} s",
        at_least=at_least,
        remark=ground.code.remark if at_least else "",
    )
    yield Figure(
        f"throttling SessionM, {name}: calls throttled",
        run.share_throttled,
        "",
        f"{run.throttled} of {run.calls} calls",
        at_most=at_most,
        remark=ground.code.remark if at_most else "",
    )


def _measured(ground: Ground, vendor: SessionmAddress, rows: int, **settings: int) -> Run:
    """One invocation with so many rows, after one that warmed the worker up and let it find its pace."""
    variables = {"SESSIONM_CORE_URL": vendor.url, "SESSIONM_CONNECT_URL": vendor.url}
    variables |= {name: str(value) for name, value in settings.items()}
    with ground.emulator(ground.function("tag-delivery"), variables=variables, quiet=True) as worker:
        _run(worker, vendor, rows // 4)
        return _run(worker, vendor, rows)


def _run(worker: Emulator, vendor: SessionmAddress, rows: int) -> Run:
    event = _event(vendor, rows)
    cpu_before, started = worker.cpu_seconds(), time.perf_counter()
    answer = json.loads(worker.invoke(event))
    seconds, cpu_seconds = time.perf_counter() - started, worker.cpu_seconds() - cpu_before
    told = _last_line(worker.log)
    sent = told["verdicts"].get("sent", 0)
    if sent < rows * 0.9:
        raise RuntimeError(f"the worker answered {answer} and said {told}")
    return Run(sent, seconds, cpu_seconds, told["calls"], told["throttled"])


def _event(vendor: SessionmAddress, rows: int) -> bytes:
    """Messages of TagQueue with rows of which no two are of one member within a parcel, or they would share a call."""
    import_id = f"webhook-bench-{next(_ids)}"
    parcels = [
        {
            "import_id": import_id,
            "id": str(first),
            "labels": [["user_id", ["bench"], 3600]],
            "rows": [[line, vendor.member_ids[line % len(vendor.member_ids)], 0] for line in lines],
        }
        for first in range(0, rows, _PARCEL_ROWS)
        for lines in [range(first, min(first + _PARCEL_ROWS, rows))]
    ]
    records = [
        {
            "messageId": f"message-{number}",
            "receiptHandle": f"handle-{number}",
            "body": json.dumps(parcel),
            "attributes": {"ApproximateReceiveCount": "1"},
            "eventSourceARN": "",
        }
        for number, parcel in enumerate(parcels)
    ]
    return json.dumps({"Records": records}).encode()


def _last_line(log: Path) -> Mapping[str, Any]:
    """What the worker logged of its last batch."""
    lines = re.findall(r'^.*"message":"tags delivered".*$', log.read_text(errors="replace"), re.MULTILINE)
    told: Mapping[str, Any] = json.loads(lines[-1][lines[-1].index("{") :])
    return told
