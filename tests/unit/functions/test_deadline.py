"""Deadlines: what is left, and never later."""

from __future__ import annotations

import threading
import time

import pytest

from shared.deadline import Deadline, within
from shared.errors import DeadlineExceeded


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_deadline_tells_what_is_left_and_never_less_than_nothing() -> None:
    clock = Clock()
    deadline = Deadline(2.0, clock)
    assert (deadline.remaining_seconds(), deadline.passed()) == (2.0, False)

    clock.now += 1.5
    assert (deadline.remaining_seconds(), deadline.passed()) == (0.5, False)

    clock.now += 5
    assert (deadline.remaining_seconds(), deadline.passed()) == (0.0, True)


def test_a_part_of_the_time_ends_sooner_and_never_later() -> None:
    clock = Clock()
    deadline = Deadline(2.0, clock)

    assert deadline.sooner(0.5).remaining_seconds() == 0.5
    assert deadline.sooner(5.0).remaining_seconds() == 2.0


def test_a_call_in_time_gives_its_result() -> None:
    assert within(Deadline(5), lambda: "wallet") == "wallet"


def test_a_call_that_returns_nothing_is_a_result_too() -> None:
    within(Deadline(5), lambda: None)


def test_an_error_of_the_call_is_raised_to_the_caller() -> None:
    def call() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        within(Deadline(5), call)


def test_a_call_that_hangs_is_left_behind_when_time_is_up() -> None:
    started = time.perf_counter()

    with pytest.raises(DeadlineExceeded, match="no answer in time"):
        within(Deadline(0.05), lambda: time.sleep(1))

    assert time.perf_counter() - started < 0.5


def test_a_call_is_not_begun_when_no_time_is_left() -> None:
    begun: list[bool] = []

    with pytest.raises(DeadlineExceeded, match="no time was left"):
        within(Deadline(0), lambda: begun.append(True))

    assert begun == []


def test_calls_that_end_in_time_share_a_thread() -> None:
    assert within(Deadline(5), threading.get_ident) == within(Deadline(5), threading.get_ident)


def test_a_thread_left_behind_serves_nobody_else_and_ends_with_its_call() -> None:
    threads: list[threading.Thread] = []
    answered = threading.Event()

    def hang() -> None:
        threads.append(threading.current_thread())
        answered.wait(5)

    with pytest.raises(DeadlineExceeded):
        within(Deadline(0.05), hang)

    assert within(Deadline(5), threading.get_ident) != threads[0].ident
    answered.set()
    threads[0].join(5)
    assert not threads[0].is_alive()
