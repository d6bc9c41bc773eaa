"""A rate that several workers keep to together, each with a clock and luck of its own."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.aws import dynamodb
from shared.errors import StoreUnavailable
from shared.rate import SLOT_SECONDS, SLOTS_A_SECOND, Rate
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import FaultyAws


class Clock:
    """In slots since the epoch, so that no test depends on how a tenth is rounded."""

    def __init__(self) -> None:
        self.slot = 17_000_000_000.0

    def __call__(self) -> float:
        return self.slot / SLOTS_A_SECOND


@pytest.fixture
def clock() -> Clock:
    return Clock()


def worker(aws: Aws, clock: Clock, per_second: int = 40) -> Rate:
    return Rate(aws.dynamodb, aws.table("cache"), "tags", per_second, clock)


def ask(rate: Rate, wanted: int, in_a_slot: int = 1_000) -> list[tuple[int, int]]:
    """Reserves all that is due; returns what was asked for."""
    asked = []
    while due := rate.due(wanted, in_a_slot):
        rate.reserve(*due)
        asked.append(due)
    return asked


def taken(rate: Rate) -> int:
    count = 0
    while rate.take():
        count += 1
    return count


@pytest.mark.parametrize("per_second", [3, 40, 101])
def test_three_workers_together_never_exceed_the_rate_and_use_all_of_it(
    aws: Aws, clock: Clock, per_second: int
) -> None:
    rates = [worker(aws, clock, per_second) for _ in range(3)]
    by_slot: Counter[int] = Counter()

    for step in range(2 * SLOTS_A_SECOND):
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda rate: ask(rate, per_second), rates))
        for rate in rates:
            by_slot[step] += taken(rate)
        clock.slot += 1

    for first in range(SLOTS_A_SECOND):
        assert sum(by_slot[first + slot] for slot in range(SLOTS_A_SECOND)) == per_second


def test_a_worker_asks_ahead_but_for_no_more_than_it_can_use(aws: Aws, clock: Clock) -> None:
    rate = worker(aws, clock)
    first = int(clock.slot)

    assert ask(rate, wanted=5) == [(first, 4), (first + 1, 1)]
    assert ask(rate, wanted=5) == [], "what is held is enough"


def test_what_others_left_of_a_slot_is_taken(aws: Aws, clock: Clock) -> None:
    first, second, third = (worker(aws, clock) for _ in range(3))
    slot = int(clock.slot)
    first.reserve(slot, 3)

    second.reserve(slot, 3)
    third.reserve(slot, 3)

    assert [taken(rate) for rate in (first, second, third)] == [3, 1, 0]


def test_a_permit_is_good_for_the_first_three_quarters_of_its_slot(aws: Aws, clock: Clock) -> None:
    rate = worker(aws, clock)
    rate.reserve(int(clock.slot), 3)
    rate.reserve(int(clock.slot) + 1, 1)
    clock.slot += 0.7
    assert rate.take()

    clock.slot += 0.1
    assert not rate.take()
    assert rate.wait_seconds() == pytest.approx(0.2 * SLOT_SECONDS, abs=1e-6)

    clock.slot += 0.3
    assert (rate.take(), rate.take()) == (True, False)


def test_late_in_a_slot_the_next_one_is_asked_for(aws: Aws, clock: Clock) -> None:
    clock.slot += 0.9
    assert ask(worker(aws, clock), wanted=1) == [(int(clock.slot) + 1, 1)]


def test_permits_on_their_way_count(aws: Aws, clock: Clock) -> None:
    rate = worker(aws, clock)
    due = rate.due(3, 1_000)
    assert due == (int(clock.slot), 3)
    assert rate.due(3, 1_000) is None
    assert not rate.take()

    rate.reserve(*due)
    assert rate.take()


def test_a_table_out_of_reach_gives_no_permits_and_does_not_count_on_them(
    aws: Aws, faulty_aws: FaultyAws, clock: Clock
) -> None:
    rate = Rate(dynamodb(), aws.table("cache"), "tags", 40, clock)
    faulty_aws.refuse("UpdateItem")
    due = rate.due(3, 1_000)
    assert due is not None
    with pytest.raises(StoreUnavailable):
        rate.reserve(*due)
    assert not rate.take()

    faulty_aws.heal()
    assert ask(rate, wanted=3) == [(int(clock.slot) + 1, 3)]


def test_a_slot_is_forgotten_by_the_table_after_an_hour(aws: Aws, clock: Clock) -> None:
    worker(aws, clock).reserve(int(clock.slot), 3)

    [item] = aws.items("cache")
    assert item == {"id": f"rate#tags#{int(clock.slot)}", "used": "3", "expires_at": str(int(clock()) + 3600)}


def part_worker(aws: Aws, clock: Clock, per_second: int, share_percent: int) -> Rate:
    table = aws.table("cache")
    return Rate(aws.dynamodb, table, "tags", per_second, clock, part="prefetch", share_percent=share_percent)


@pytest.mark.parametrize(("per_second", "share_percent", "most"), [(40, 50, 20), (100, 33, 33), (3, 10, 1)])
def test_a_part_has_its_share_of_each_slot_among_all_its_workers_and_the_rest_is_left(
    aws: Aws, clock: Clock, per_second: int, share_percent: int, most: int
) -> None:
    parts = [part_worker(aws, clock, per_second, share_percent) for _ in range(2)]
    whole = worker(aws, clock, per_second)
    of_parts = of_whole = 0

    for _ in range(SLOTS_A_SECOND):
        for rate in parts:
            ask(rate, 1_000)
        ask(whole, 1_000)
        of_parts += sum(taken(rate) for rate in parts)
        of_whole += taken(whole)
        clock.slot += 1

    assert (of_parts, of_parts + of_whole) == (most, per_second)


def test_a_part_takes_what_others_have_left_and_no_more(aws: Aws, clock: Clock) -> None:
    whole, part = worker(aws, clock, 40), part_worker(aws, clock, 40, 100)
    whole.reserve(int(clock.slot), 3)

    part.reserve(int(clock.slot), 4)

    assert (taken(whole), taken(part)) == (3, 1)


def test_a_slot_whose_count_cannot_be_read_has_no_permits_and_the_next_one_has(aws: Aws, clock: Clock) -> None:
    rate = worker(aws, clock, 40)
    for slot in (int(clock.slot), int(clock.slot) + 1):
        item = {"id": {"S": f"rate#tags#{slot}"}, "used": {"N": "7.5"}}
        aws.dynamodb.put_item(TableName=aws.table("cache"), Item=item)

    assert ask(rate, 4, in_a_slot=4)
    assert taken(rate) == 0
    clock.slot += 2
    ask(rate, 4, in_a_slot=4)
    assert taken(rate) == 4
