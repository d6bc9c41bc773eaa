"""The load of `make load`, for twenty seconds: that it works, and that nothing accepted is lost on a busy machine."""

from __future__ import annotations

import re
import site
import sys
from pathlib import Path

import pytest

from infra.local.settings import ROOT
from tests.bench.load import ROWS_A_SECOND, judged, run
from tests.bench.load_traffic import TAGGED_EVERY, TRIGGERED_EVERY, WALLETS_A_RECIPIENT

RATE, SECONDS = 1.0, 20.0
RECIPIENTS = round(RATE * SECONDS)
KINDS = ("webhook", "trigger")

# Where processors are few and tests are many, a read says in time that it has no answer, and a write to come again.
LATE = re.compile(
    "(wallet|segment size): (deadline_exceeded|in_progress|circuit_open|upstream_[a-z]+)|(webhook|trigger): 503 .*"
)


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
    assert {error for error in tally.errors if not LATE.fullmatch(error)} == set()
    assert {kind: len(times) for kind, times in tally.milliseconds.items()} == {
        "wallet": WALLETS_A_RECIPIENT * RECIPIENTS,
        "segment size": RECIPIENTS,
        "webhook": RECIPIENTS // TAGGED_EVERY,
        "trigger": RECIPIENTS // TRIGGERED_EVERY,
    }
    refused = {kind: sum(tally.errors[error] for error in tally.errors if error.startswith(kind)) for kind in KINDS}
    assert len(tally.tags) + refused["webhook"] == RECIPIENTS // TAGGED_EVERY
    assert len(tally.triggers) + refused["trigger"] == RECIPIENTS // TRIGGERED_EVERY
    assert tally.tags
    assert tally.triggers
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
