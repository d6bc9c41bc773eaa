"""The time between two runs is never taken for shorter than it can be."""

from __future__ import annotations

import pytest

from infra.commands.periods import Unclear, default_ttl_seconds, longest_period_seconds, spelled

HOUR, DAY = 3_600, 86_400


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("rate(30 minutes)", HOUR / 2),
        ("rate(1 hour)", HOUR),
        ("rate(3 days)", 3 * DAY),
        ("cron(*/10 * * * ? *)", HOUR),
        ("cron(0 4 * * ? *)", DAY),
        ("cron(0 */6 * * ? *)", DAY),
        ("cron(0 4 ? * MON *)", 7 * DAY),
        ("cron(0 4 ? * MON-FRI *)", 7 * DAY),
        ("cron(0 4 ? * 6#1 *)", 35 * DAY),
        ("cron(0 4 ? * 6L *)", 35 * DAY),
        ("cron(0 4 ? * 6#5 *)", 98 * DAY),
        ("cron(0 4 1,15 * ? *)", 31 * DAY),
        ("cron(0 4 L * ? *)", 31 * DAY),
        ("cron(0 4 31 * ? *)", 62 * DAY),
        ("cron(0 4 1-30 * ? *)", 62 * DAY),
        ("cron(0 4 1 JAN ? *)", 366 * DAY),
    ],
)
def test_a_schedules_longest_pause(expression: str, seconds: float) -> None:
    assert longest_period_seconds(expression) == seconds


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "daily",
        "rate(0 days)",
        "rate(1 week)",
        "at(2026-11-22T04:00:00)",
        "cron(0 4 * * ?)",
        "cron(0 4 * * ? 2027)",
        "cron(0 4 * * * *)",
        "cron(0 4 1 * MON *)",
        "cron(0 4 ? * ? *)",
    ],
)
def test_what_does_not_repeat_for_ever_is_no_schedule(expression: str) -> None:
    with pytest.raises(Unclear):
        longest_period_seconds(expression)


def test_by_default_a_tag_outlives_a_run_that_fails() -> None:
    assert default_ttl_seconds(DAY) == 2 * DAY


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(DAY, "1 day"), (14 * DAY, "14 days"), (36 * HOUR, "36 hours"), (60, "1 minute"), (61, "61 seconds")],
)
def test_durations_are_written_for_people(seconds: int, words: str) -> None:
    assert spelled(seconds) == words
