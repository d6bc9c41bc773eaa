"""A second call beside, or after, a first: the first good answer by the deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

import pytest

from shared.deadline import Deadline
from shared.errors import (
    DeadlineExceeded,
    UpstreamBusy,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnavailable,
    UpstreamUnknown,
)
from shared.retries import REPEATABLE, hedged

Outcome = tuple[float, str | Exception]


def vendor(*outcomes: Outcome) -> tuple[Callable[[], str], Callable[[], int]]:
    """A call with an outcome for each time, (seconds it takes, answer or error), and how often it was made."""
    numbers = count()
    made: list[int] = []

    def call() -> str:
        number = next(numbers)
        made.append(number)
        seconds, outcome = outcomes[number]
        time.sleep(seconds)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return call, lambda: len(made)


def test_a_quick_answer_is_asked_for_once() -> None:
    call, calls = vendor((0, "first"))

    assert hedged(call, REPEATABLE, Deadline(1)) == "first"
    assert calls() == 1


def test_a_blip_is_asked_once_more() -> None:
    call, calls = vendor((0, UpstreamUnavailable("Vendor")), (0, "second"))

    assert hedged(call, REPEATABLE, Deadline(1)) == "second"
    assert calls() == 2


def test_a_slow_call_is_overtaken_by_a_second_one() -> None:
    call, calls = vendor((2, "first"), (0, "second"))

    started = time.monotonic()
    assert hedged(call, REPEATABLE, Deadline(0.5)) == "second"
    assert time.monotonic() - started < 0.5
    assert calls() == 2


def test_a_slow_call_still_wins_when_the_second_is_slower() -> None:
    call, _ = vendor((0.4, "first"), (2, "second"))

    assert hedged(call, REPEATABLE, Deadline(0.8)) == "first"


@pytest.mark.parametrize("of_the_second", [UpstreamUnavailable("Vendor"), UpstreamBusy("Vendor")], ids=str)
def test_a_slow_call_still_wins_when_the_second_fails(of_the_second: Exception) -> None:
    call, _ = vendor((0.4, "first"), (0, of_the_second))

    assert hedged(call, REPEATABLE, Deadline(0.8)) == "first"


def test_what_the_vendor_refuses_is_not_waited_for_twice() -> None:
    call, _ = vendor((2, "first"), (0, UpstreamRefused("Vendor", "user_not_found")))

    with pytest.raises(UpstreamRefused):
        hedged(call, REPEATABLE, Deadline(0.5))


def test_an_error_that_will_not_change_is_raised_at_once() -> None:
    call, calls = vendor((0, UpstreamThrottled("Vendor", 1)))

    with pytest.raises(UpstreamThrottled):
        hedged(call, REPEATABLE, Deadline(1))
    assert calls() == 1


def test_of_two_errors_the_first_tells_more() -> None:
    call, _ = vendor((0, UpstreamUnavailable("Vendor")), (0, UpstreamUnknown("Vendor")))

    with pytest.raises(UpstreamUnavailable):
        hedged(call, REPEATABLE, Deadline(1))


def test_that_no_second_call_was_allowed_tells_least() -> None:
    call, _ = vendor((0.4, UpstreamUnknown("Vendor")), (0, UpstreamBusy("Vendor")))

    with pytest.raises(UpstreamUnknown):
        hedged(call, REPEATABLE, Deadline(0.8))


def test_a_blip_too_late_to_ask_again_is_the_answer() -> None:
    call, calls = vendor((0, UpstreamUnavailable("Vendor")))

    with pytest.raises(UpstreamUnavailable):
        hedged(call, REPEATABLE, Deadline(0.04))
    assert calls() == 1


def test_two_calls_that_hang_are_left_behind_when_time_is_up() -> None:
    call, calls = vendor((2, "first"), (2, "second"))

    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        hedged(call, REPEATABLE, Deadline(0.2))
    assert time.monotonic() - started < 0.6
    assert calls() == 2


def test_nothing_is_asked_when_no_time_is_left() -> None:
    call, calls = vendor()

    with pytest.raises(DeadlineExceeded):
        hedged(call, REPEATABLE, Deadline(0))
    assert calls() == 0
