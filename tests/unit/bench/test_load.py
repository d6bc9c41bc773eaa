"""What the load makes of what it saw."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.bench.figures import Figure
from tests.bench.load import (
    Watched,
    growth_bytes,
    judged,
    memory_figures,
    recipients_per_second,
    slope_bytes_per_second,
)
from tests.bench.load_traffic import Tally

MIB = 1_048_576
RATE, SECONDS = 2.0, 10.0

TALLY = Tally(
    milliseconds={"wallet": [10.0] * 60, "trigger": [20.0] * 5},
    tags={"load-0": "member-1"},
    triggers={"load-2": "trg-1"},
    took_seconds=10.0,
)
FINE = Watched(
    tally=TALLY,
    memory={"wallet-1": [(float(second), 60 * MIB) for second in range(10)]},
    drained_seconds=1.0,
    left_in_queues={"TagQueue": 0},
    missing=0,
    sent_twice=0,
    rows=200,
    waiting=0,
    not_sent=0,
    wallets_asked=20,
    tags_asked=201,
    backlog=[3],
)


def failed(seen: Watched) -> set[str]:
    return {figure.name.removeprefix("load: ") for figure in figures(seen) if figure.verdict == "FAIL"}


def figures(seen: Watched) -> list[Figure]:
    return list(judged(seen, RATE, SECONDS, "scaled"))


def test_two_processors_take_so_much_of_a_send_as_they_are_of_an_account_s() -> None:
    assert recipients_per_second(2) == pytest.approx(3.84, abs=0.01)
    assert recipients_per_second(4) == 2 * recipients_per_second(2)


def test_a_run_without_fault_keeps_every_target() -> None:
    assert failed(FINE) == set()
    assert {figure.verdict for figure in figures(FINE)} == {"pass", "info"}


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        (replace(FINE, tally=replace(TALLY, took_seconds=11.0)), "of that rate kept"),
        (replace(FINE, tally=replace(TALLY, errors=Counter({"wallet: 503": 1}))), "errors"),
        (replace(FINE, wallets_asked=21), "SessionM calls a recipient"),
        (replace(FINE, drained_seconds=61.0), "backlog drained after"),
        (replace(FINE, missing=1), "told as sent and missing at the vendors"),
        (replace(FINE, sent_twice=1), "messages sent twice"),
        (replace(FINE, waiting=1), "without a verdict, or not sent"),
        (replace(FINE, not_sent=1), "without a verdict, or not sent"),
        (
            replace(FINE, memory={"wallet-1": [(float(second), second * MIB) for second in range(10)]}),
            "memory grown in the second half, worst",
        ),
    ],
)
def test_each_fault_of_a_run_misses_a_target(seen: Watched, name: str) -> None:
    assert failed(seen) == {name}


def test_what_failed_is_told_with_the_time_it_happened_at() -> None:
    tally = Tally(milliseconds={"wallet": [1.0]}, took_seconds=10.0)
    tally.fail("wallet", "in_progress", 4.4)
    tally.fail("wallet", "in_progress", 7.6)

    [errors] = [figure for figure in figures(replace(FINE, tally=tally)) if figure.name == "load: errors"]

    assert (errors.value, errors.compared_with) == (2, "of 1 answers; 2 x wallet: in_progress; between 4 and 8 s")


def test_memory_that_grew_at_the_start_and_stayed_is_flat() -> None:
    samples = [(float(second), min(second, 40) * MIB) for second in range(100)]

    assert growth_bytes(samples) == 0
    assert slope_bytes_per_second(samples) == 0


def test_memory_that_grows_all_along_has_its_growth_and_slope_told() -> None:
    samples = [(float(second), second * MIB) for second in range(101)]

    assert slope_bytes_per_second(samples) == pytest.approx(MIB)
    assert growth_bytes(samples) == pytest.approx(46 * MIB)


def test_the_environment_that_grew_most_is_named_and_each_function_has_its_most() -> None:
    flat, grown = [(0.0, 50 * MIB), (1.0, 50 * MIB)], [(float(second), (60 + second) * MIB) for second in range(20)]

    worst, *functions = memory_figures({"wallet-1": flat, "wallet-2": grown, "authorizer-1": flat})

    assert "wallet-2" in worst.compared_with
    assert [(figure.name, round(figure.value)) for figure in functions] == [
        ("  memory of authorizer", 50),
        ("  memory of wallet", 79),
    ]


def test_a_run_in_which_no_environment_was_seen_has_no_memory_to_judge() -> None:
    assert list(memory_figures({})) == []
