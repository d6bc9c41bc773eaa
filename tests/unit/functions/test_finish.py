"""What the end of an import is made of: rows merged as they come, a fair draw, and a look that ends in time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import count

from bulk.jobs import ReadBack
from bulk.verdicts import SentSample
from clients.sessionm import Sessionm, SessionmCredentials
from clients.transport import Transport
from member_lists.failures import LINE, cells_of_refused
from member_lists.finish import by_line, csv_pieces, drawn, look_up
from shared.deadline import Deadline
from shared.outcomes import State


def cells(line: int) -> list[str]:
    return cells_of_refused(line, {}, State.FAILED, "code", "reason")


def test_endless_sources_are_merged_in_the_order_of_lines_without_being_read_ahead() -> None:
    even = (cells(line) for line in count(2, 2))
    odd = (cells(line) for line in count(3, 2))

    pieces = csv_pieces(by_line(even, odd))
    first = next(pieces)

    assert [line.split(",")[LINE] for line in first.decode().splitlines()] == [str(line) for line in range(2, 502)]


def test_rows_are_held_a_few_hundred_at_a_time() -> None:
    taken = 0

    def rows() -> Iterator[list[str]]:
        nonlocal taken
        for line in range(10_000):
            taken = line
            yield cells(line)

    next(csv_pieces(by_line(rows(), iter([]))))

    assert taken <= 500


def test_lines_are_compared_as_numbers() -> None:
    merged = by_line(iter([cells(9), cells(100)]), iter([cells(10)]))

    assert [row[LINE] for row in merged] == ["9", "10", "100"]


def test_every_item_is_drawn_as_often_as_any_other() -> None:
    choose = random.Random(7)
    seen = Counter(item for _ in range(2_000) for item in drawn(range(10), 3, choose))

    assert seen.keys() == set(range(10))
    assert all(500 < times < 700 for times in seen.values())


def test_a_draw_of_more_than_there_are_is_all_of_them() -> None:
    assert drawn(iter("abc"), 5, random.Random(1)) == ["a", "b", "c"]


class NoCredentials:
    def current(self) -> SessionmCredentials:
        raise AssertionError("nobody is to be asked")

    refreshed = current


def test_nobody_is_looked_up_once_time_is_over() -> None:
    nowhere = Transport("SessionM Core", "http://127.0.0.1:9", connections=1)
    sessionm = Sessionm(nowhere, nowhere, NoCredentials())
    samples = [SentSample("user_id", f"member-{number}", ("gold",)) for number in range(3)]

    assert look_up(sessionm, samples, Deadline(0)) == ReadBack(asked=3, found=0, missing=0, unreadable=3)
