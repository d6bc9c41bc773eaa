"""The load of `make load`, for twenty seconds: that it works, and that nothing accepted is lost on a busy machine."""

from __future__ import annotations

import site
import sys
from pathlib import Path

import pytest

from infra.local.settings import ROOT
from tests.bench.load import ROWS_A_SECOND, judged, run
from tests.bench.load_traffic import TAGGED_EVERY, TRIGGERED_EVERY, WALLETS_A_RECIPIENT

RATE, SECONDS = 1.0, 20.0
RECIPIENTS = round(RATE * SECONDS)

# Where processors are few and tests are many, a read says in time that it has no answer.
LATE = ("deadline_exceeded", "in_progress", "upstream_no_answer")


@pytest.mark.skipif(sys.platform != "linux", reason="Lambda's emulator is a Linux program")
def test_whatever_is_accepted_under_load_arrives_once_and_has_its_verdict(tmp_path: Path) -> None:
    seen = run(
        ROOT / "functions",
        Path(site.getsitepackages()[0]),
        tmp_path,
        RATE,
        SECONDS,
        {"members": 500, "max_environments": 2, "latency_scale": 0.2},
    )

    tally = seen.tally
    assert {error for error in tally.errors if not error.endswith(LATE)} == set()
    assert {kind: len(times) for kind, times in tally.milliseconds.items()} == {
        "wallet": WALLETS_A_RECIPIENT * RECIPIENTS,
        "segment size": RECIPIENTS,
        "webhook": RECIPIENTS // TAGGED_EVERY,
        "trigger": RECIPIENTS // TRIGGERED_EVERY,
    }
    assert (len(tally.tags), len(tally.triggers)) == (RECIPIENTS // TAGGED_EVERY, RECIPIENTS // TRIGGERED_EVERY)
    assert seen.rows == ROWS_A_SECOND * SECONDS
    assert seen.tags_asked >= seen.rows + len(tally.tags)
    assert not any(seen.left_in_queues.values())
    assert (seen.missing, seen.sent_twice, seen.waiting) == (0, 0, 0)
    assert {name.rpartition("-")[0] for name in seen.memory} >= {"wallet", "segment-size", "tag-webhook", "authorizer"}
    assert {figure.name for figure in judged(seen, RATE, SECONDS, "a short form") if figure.verdict == "FAIL"} <= {
        "load: of that rate kept",
        "load: errors",
        "load: SessionM calls a recipient",
        "load: without a verdict, or not sent",  # unknown, when Braze had no time to answer
        "load: backlog drained after",
        "load: memory grown in the second half, worst",
    }
