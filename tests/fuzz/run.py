"""Runs schemathesis, and tells what was answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.local.bundle import LocalBundle
from infra.local.settings import ROOT
from tests.fuzz.hooks import ANSWERS_VARIABLE

DESCRIPTIONS: Final[Mapping[str, str]] = {"ContentApi": "docs/content-api.yaml", "IntakeApi": "docs/intake-api.yaml"}
CONFIG: Final = "tests/fuzz/schemathesis.toml"

PUT_OFF_PERCENT: Final = 3.0


@dataclass(frozen=True)
class Answer:
    """`operation` as in "POST /tags"; `body` is None unless all went well."""

    operation: str
    status: int
    body: Any


@dataclass(frozen=True)
class Outcome:
    """`failed`: whether anything broke its contract, with `report` to read."""

    failed: bool
    report: str
    answers: Sequence[Answer]

    @property
    def put_off_percent(self) -> float:
        """How many requests were told to come again, which a busy machine may do with some."""
        return 100 * sum(answer.status == 503 for answer in self.answers) / max(1, len(self.answers))

    def statuses(self) -> dict[str, Counter[int]]:
        """How often each operation answered each status."""
        counted: dict[str, Counter[int]] = defaultdict(Counter)
        for answer in self.answers:
            counted[answer.operation][answer.status] += 1
        return dict(counted)


def fuzz(bundle: LocalBundle, api: str, scratch: Path, examples: int, seed: int | None = None) -> Outcome:
    """Puts up to `examples` requests for each operation and phase to an API, with all that its links lead to.

    Without a `seed` the requests are the same each time. Raises RuntimeError when schemathesis itself could not work.
    """
    notes = scratch / f"{api}-answers.txt"
    notes.touch()
    url = bundle.content_url if api == "ContentApi" else bundle.intake_url
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run", DESCRIPTIONS[api]),
        *("--url", url, "--header", f"Authorization: {bundle.authorization('operator')}"),
        *("--max-examples", str(examples), "--no-color"),
        *(("--generation-deterministic",) if seed is None else ("--seed", str(seed))),
    ]
    environment = {**os.environ, ANSWERS_VARIABLE: str(notes), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"schemathesis gave up:\n{done.stdout}{done.stderr}")
    return Outcome(done.returncode == 1, done.stdout, tuple(answers_in(notes.read_text(encoding="utf-8"))))


def answers_in(notes: str) -> Iterator[Answer]:
    """The answers that the hooks noted."""
    for line in notes.splitlines():
        yield Answer(*json.loads(line))
