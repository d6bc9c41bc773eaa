"""What a batch came to, in the log and in metrics."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bulk.figures import Figures
from shared.outcomes import State


def test_a_batch_is_told_in_one_line_and_counted_under_the_names_it_is_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = Figures(
        Counter({State.SENT: 7, State.UNKNOWN: 1}), Counter({"upstream_busy": 2, "store_unavailable": 3}), 4, 9, 5
    )
    names = {State.SENT: "WalletsFetched", State.FAILED: "WalletsNotFetched", "postponed": "WalletsPostponed"}

    figures.report("wallets fetched", names | {"throttled": "WalletCallsThrottled", "limit": "WalletCallsLimit"}, 16)

    told, metrics = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert {name: told[name] for name in ("message", "verdicts", "postponed", "not_reached", "calls")} == {
        "message": "wallets fetched",
        "verdicts": {"sent": 7, "unknown": 1},
        "postponed": {"upstream_busy": 2, "store_unavailable": 3},
        "not_reached": 4,
        "calls": 9,
    }
    assert (told["throttled"], told["limit"]) == (5, 16)
    counted = {name: metrics[name] for name in metrics if name.startswith("Wallet")}
    assert counted == {
        "WalletsFetched": [7],
        "WalletsNotFetched": [0],
        "WalletsPostponed": [5],
        "WalletCallsThrottled": [5],
        "WalletCallsLimit": [16],
    }


def test_a_figure_there_is_none_of_is_no_metric() -> None:
    with pytest.raises(ValueError, match="sond"):
        Figures().report("tags delivered", {"sond": "TagsSent"}, 16)
