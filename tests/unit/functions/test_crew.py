"""Threads that wait, and the one that decides."""

from __future__ import annotations

import threading

import pytest

from bulk.crew import Crew
from shared.errors import BundleError, StoreUnavailable


def test_work_is_done_beside_and_followed_up_here() -> None:
    done_by: list[int] = []
    followed_up_by: list[int] = []
    together = threading.Barrier(3)

    def work() -> None:
        together.wait(5)
        done_by.append(threading.get_ident())

    with Crew() as crew:
        for _ in range(3):
            crew.start(work, lambda _: followed_up_by.append(threading.get_ident()))
        while crew.under_way:
            crew.go_on(5)

    assert len(set(done_by)) == 3
    assert followed_up_by == [threading.get_ident()] * 3


def test_an_error_of_ours_is_a_result_and_any_other_is_raised() -> None:
    results: list[object] = []
    with Crew() as crew:

        def unavailable() -> None:
            raise StoreUnavailable("no table")

        crew.start(unavailable, results.append)
        crew.go_on(5)
        assert isinstance(results[0], BundleError)

        crew.start(lambda: 1 // 0, results.append)
        with pytest.raises(ZeroDivisionError):
            crew.go_on(5)
    assert (len(results), crew.under_way) == (1, 0)


def test_waiting_ends_when_nothing_comes() -> None:
    with Crew() as crew:
        crew.go_on(0.01)
        assert crew.under_way == 0
