"""`python -m tests.bench [AREA ...]`: measures, prints a line per figure, writes .bench/latest.json.

The exit status is 1 when a figure misses its target, and 0 else, also when something cannot be measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from infra.build import ROOT
from tests.bench import cold_start, load, social_proof, tag_delivery, tag_import, tag_reading, trigger_relay, wallet
from tests.bench.emulator import emulator_path
from tests.bench.figures import Figure, NotMeasured
from tests.bench.ground import Ground, laid

LATEST = ROOT / ".bench" / "latest.json"

AREAS: Mapping[str, Callable[[Ground], Iterator[Figure]]] = {
    "cold-start": cold_start.figures,
    "wallet": wallet.figures,
    "tag-delivery": tag_delivery.figures,
    "tag-reading": tag_reading.figures,
    "tag-import": tag_import.figures,
    "trigger-relay": trigger_relay.figures,
    "social-proof": social_proof.figures,
    "load": load.figures,
}


def main() -> int:
    """Reads the command line, measures, returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(AREAS)}; default: all")
    wanted = parser.parse_args().areas or list(AREAS)
    if unknown := sorted(set(wanted) - set(AREAS)):
        parser.error(f"there is no area {', '.join(unknown)}")

    started = time.monotonic()
    figures: list[Figure] = []
    not_measured: dict[str, str] = {}
    busy = os.getloadavg()[0]
    try:
        emulator_path()  # before anything is built for nothing
        with tempfile.TemporaryDirectory() as scratch, laid(Path(scratch)) as ground:
            for area in list(wanted):
                for figure in AREAS[area](ground):
                    print(figure.line(), flush=True)
                    figures.append(figure)
                wanted.remove(area)
                if area != "load":  # which makes the machine busy itself
                    busy = max(busy, os.getloadavg()[0])
    except NotMeasured as why:
        not_measured = dict.fromkeys(wanted, str(why))
        print(f"Not measured ({', '.join(wanted)}): {why}")
    _write(figures, not_measured, busy)

    missed = [figure for figure in figures if figure.verdict == "FAIL"]
    print(f"{len(figures)} figures in {time.monotonic() - started:.0f} s, also in {LATEST.relative_to(ROOT)}")
    if busy > (os.cpu_count() or 1):
        print(f"The machine was busy: {busy:.1f} runnable programs on {os.cpu_count()} processors. Measure again.")
    for figure in missed:
        print(f"Missed: {figure.name} is {figure.value:.2f} {figure.unit}, its target {figure.target}")
    return 1 if missed else 0


def _write(figures: list[Figure], not_measured: Mapping[str, str], busy: float) -> None:
    LATEST.parent.mkdir(exist_ok=True)
    report = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_average": round(busy, 2),
        "processors": os.cpu_count(),
        "figures": [figure.to_json() for figure in figures],
        "not_measured": not_measured,
    }
    LATEST.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
