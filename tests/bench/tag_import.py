"""A file of 200,000 rows, the whole way: uploaded, read, queued, delivered, and every row's verdict told.

The bundle runs with AWS emulated and SessionM simulated, all on this machine's processors, so the figure says how fast
that goes here and, above all, that the counts come out right.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import requests

from infra.local.bundle import BundleSettings, LocalBundle
from tests.bench.figures import Figure
from tests.bench.ground import Ground
from tests.bench.vendor import sessionm

ROWS = 200_000
STRANGERS = 2_000
UNREADABLE = 1_000

UPSTREAM_SECONDS = 0.1
_LONGEST_SECONDS = 900.0


def figures(ground: Ground) -> Iterator[Figure]:
    """Rows a second from upload to the last verdict, and rows whose verdict is not what it should be."""
    with sessionm({"POST /priv/*": UPSTREAM_SECONDS}, members=ROWS - STRANGERS - UNREADABLE) as vendor:
        settings = BundleSettings(
            state_dir=ground.scratch / "bundle",
            code_root=ground.code.folder,
            parameters={"SessionmCoreUrl": vendor.url, "TagRatePerSecond": "10000", "TagDeliveryConcurrency": "200"},
        )
        with LocalBundle(settings) as bundle:
            bundle.put_secret("SessionmSecret", vendor.secret())
            shown, seconds = _imported(bundle, _file(vendor.member_ids))
    expected = {
        "rows_read": ROWS,
        "sent": ROWS - STRANGERS - UNREADABLE,
        "failed": STRANGERS + UNREADABLE,
        "skipped": 0,
        "unknown": 0,
        "waiting": 0,
    }
    yield Figure(
        f"a file of {ROWS:,} rows, from upload to verdicts",
        ROWS / seconds,
        "rows/s",
        f"{seconds:.0f} s, SessionM at {UPSTREAM_SECONDS * 1000:.0f} ms, everything on this machine",
    )
    yield Figure(
        "  rows with another verdict than they should have",
        sum(abs(shown[name] - number) for name, number in expected.items()),
        "rows",
        f"{shown['sent']:,} sent, {shown['failed']:,} failed, {shown['unknown']:,} unknown",
        at_most=0,
    )


def _file(member_ids: Sequence[str]) -> bytes:
    """Members, one row in a hundred a stranger's, one in two hundred without a tag."""
    lines = ["user_id,tags,ttl"]
    lines += [f"{user_id},bench,30d" for user_id in member_ids]
    for number in range(STRANGERS):
        lines.insert(1 + number * 100, f"stranger-{number},bench,30d")
    for number in range(UNREADABLE):
        lines.insert(1 + number * 200, "member,,30d")
    return "\n".join(lines).encode()


def _imported(bundle: LocalBundle, content: bytes) -> tuple[dict[str, Any], float]:
    """The import's last status, and the seconds it took from the upload on."""
    headers = {"Authorization": bundle.authorization("analyst")}
    url = f"{bundle.intake_url}/tag-imports"
    submitted = requests.post(url, json={}, headers=headers, timeout=30).json()
    started = time.monotonic()
    requests.put(submitted["upload"]["url"], data=content, timeout=60).raise_for_status()
    while time.monotonic() - started < _LONGEST_SECONDS:
        answer = requests.get(f"{url}/{submitted['import_id']}", headers=headers, timeout=30)
        if answer.ok and answer.json()["finished_at"]:
            return answer.json(), time.monotonic() - started
        time.sleep(1)
    raise RuntimeError(f"not done after {_LONGEST_SECONDS:g} s: {answer.text}")
