"""A vendor that fails or is full is spared, by one environment and by all of them together."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.breaker import FAILURES_IN_A_ROW, REST_SECONDS, VOTES, VOTING_SECONDS, Breaker
from shared.bulkhead import HELD_SECONDS, Bulkhead
from shared.errors import (
    BundleError,
    DeadlineExceeded,
    StoreUnavailable,
    UpstreamBusy,
    UpstreamRefused,
    UpstreamResting,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from shared.tally import Tally
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import FaultyAws

DOWN = UpstreamUnavailable("Vendor")


class Clock:
    """A clock that stands still until it is moved, at the beginning of a window."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def breaker(aws: Aws, clock: Clock, table: str = "") -> Breaker:
    """That of a new environment."""
    return Breaker(aws.dynamodb, table or aws.table("cache"), "Vendor", clock)


def rests(one: Breaker) -> bool:
    try:
        one.check()
    except UpstreamResting:
        return True
    return False


def fail(one: Breaker, times: int = FAILURES_IN_A_ROW, error: BundleError = DOWN, given: float = 1.0) -> None:
    for _ in range(times):
        one.record(error, given)


def test_five_failures_in_a_row_rest_the_vendor_for_a_while(aws: Aws, clock: Clock) -> None:
    one = breaker(aws, clock)
    fail(one, FAILURES_IN_A_ROW - 1)
    assert not rests(one)

    fail(one, 1)
    assert rests(one)
    clock.now += REST_SECONDS
    assert not rests(one)


def test_after_a_rest_one_failure_is_enough_and_one_answer_ends_it(aws: Aws, clock: Clock) -> None:
    one = breaker(aws, clock)
    fail(one)
    clock.now += REST_SECONDS
    fail(one, 1)
    assert rests(one)

    clock.now += REST_SECONDS
    one.record(None, 1.0)
    fail(one, FAILURES_IN_A_ROW - 1)
    assert not rests(one)


@pytest.mark.parametrize(
    ("error", "given", "is_a_failure"),
    [
        (UpstreamRefused("Vendor", "user_not_found"), 1.0, False),
        (StoreUnavailable("secret"), 1.0, False),
        (DeadlineExceeded("late"), 1.0, True),
        (DeadlineExceeded("had no time"), 0.2, False),
    ],
    ids=str,
)
def test_only_what_tells_of_the_vendors_health_counts(
    aws: Aws, clock: Clock, error: BundleError, given: float, is_a_failure: bool
) -> None:
    one = breaker(aws, clock)
    fail(one, error=error, given=given)

    assert rests(one) is is_a_failure


@pytest.mark.parametrize(("asked_for", "rest"), [(1, REST_SECONDS), (12, 12), (3600, 30)])
def test_a_vendor_that_asks_for_a_pause_gets_it_within_reason(
    aws: Aws, clock: Clock, asked_for: float, rest: float
) -> None:
    one = breaker(aws, clock)
    fail(one, 1, UpstreamThrottled("Vendor", asked_for))

    clock.now += rest - 0.1
    assert rests(one)
    clock.now += 0.2
    assert not rests(one)


def test_when_several_rest_the_others_do_so_without_having_failed(aws: Aws, clock: Clock) -> None:
    bystander = breaker(aws, clock)
    for _ in range(VOTES - 1):
        fail(breaker(aws, clock))
    assert not rests(bystander)

    fail(breaker(aws, clock))
    assert not rests(bystander)  # it has read the votes just now
    clock.now += 1.0
    assert rests(bystander)
    clock.now += VOTING_SECONDS - 1
    assert not rests(bystander)


def test_without_the_table_each_rests_for_itself(aws: Aws, clock: Clock) -> None:
    one = breaker(aws, clock, "no-such-table")
    assert not rests(one)

    fail(one)
    assert rests(one)


def bulkhead(aws: Aws, clock: Clock, most: int, table: str = "") -> Bulkhead:
    """That of a new environment."""
    return Bulkhead(aws.dynamodb, table or aws.table("cache"), "Vendor", most, clock, random.Random(1), 5)


def test_no_more_calls_are_made_at_once_than_there_are_places(aws: Aws, clock: Clock) -> None:
    environments = [bulkhead(aws, clock, 3) for _ in range(4)]
    with environments[0].place(), environments[1].place(), environments[2].place():
        for _ in range(2):  # the second time without asking the table
            with pytest.raises(UpstreamBusy), environments[3].place():
                pass


def test_two_calls_of_one_environment_take_two_places(aws: Aws, clock: Clock) -> None:
    one, other = bulkhead(aws, clock, 2), bulkhead(aws, clock, 2)
    with one.place(), one.place(), pytest.raises(UpstreamBusy), other.place():
        pass


def test_a_place_is_found_among_many(aws: Aws, clock: Clock) -> None:
    environments = [bulkhead(aws, clock, 150) for _ in range(3)]
    with environments[0].place(), environments[1].place(), environments[2].place():
        pass


def test_the_place_of_one_that_died_comes_free(aws: Aws, clock: Clock) -> None:
    dead, other = bulkhead(aws, clock, 1), bulkhead(aws, clock, 1)
    dead.place().__enter__()
    clock.now += HELD_SECONDS + 0.1

    with other.place():
        pass


def test_a_place_is_kept_from_call_to_call_and_renewed_in_time(faulty_aws: FaultyAws, aws: Aws, clock: Clock) -> None:
    one = Bulkhead(Aws.fresh(faulty_aws.url).dynamodb, aws.table("cache"), "Vendor", 1, clock, None, 5)
    for _ in range(3):
        with one.place():
            pass
    assert faulty_aws.calls.count("UpdateItem") == 1

    clock.now += HELD_SECONDS - 1
    with one.place():
        pass
    assert faulty_aws.calls.count("UpdateItem") == 2
    clock.now += 2
    other = bulkhead(aws, clock, 1)
    with pytest.raises(UpstreamBusy), other.place():
        pass


def test_a_place_that_another_has_got_meanwhile_is_not_used(aws: Aws, clock: Clock) -> None:
    one, other = bulkhead(aws, clock, 1), bulkhead(aws, clock, 1)
    with one.place():
        pass
    aws.dynamodb.delete_item(TableName=aws.table("cache"), Key={"id": {"S": "place#Vendor#0"}})
    with other.place():
        clock.now += HELD_SECONDS - 1
        with pytest.raises(UpstreamBusy), one.place():
            pass


def test_a_race_for_a_place_ends(aws: Aws, faulty_aws: FaultyAws, clock: Clock) -> None:
    faulty_aws.answer("UpdateItem", lambda _: (400, {}, b'{"__type": "ConditionalCheckFailedException"}'))
    one = Bulkhead(Aws.fresh(faulty_aws.url).dynamodb, aws.table("cache"), "Vendor", 2, clock, None, 5)

    with pytest.raises(UpstreamBusy), one.place():
        pass
    assert faulty_aws.calls.count("UpdateItem") == 3


def test_without_the_table_calls_are_made_all_the_same(aws: Aws, clock: Clock) -> None:
    with bulkhead(aws, clock, 1, "no-such-table").place():
        pass


def test_a_table_that_hangs_limits_no_calls_and_costs_a_moment(faulty_aws: FaultyAws, aws: Aws, clock: Clock) -> None:
    for operation in ("UpdateItem", "GetItem"):
        faulty_aws.hang(operation, 2)
    client = Aws.fresh(faulty_aws.url).dynamodb
    one, resting = Bulkhead(client, aws.table("cache"), "Vendor", 1, clock), Breaker(client, "cache", "Vendor", clock)

    started = time.monotonic()
    assert not rests(resting)
    fail(resting)
    with one.place():
        pass
    assert time.monotonic() - started < 1.5


def test_a_place_that_comes_too_late_is_there_for_the_next_call(
    faulty_aws: FaultyAws, aws: Aws, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty_aws.answer("UpdateItem", lambda _: time.sleep(0.4))
    one = Bulkhead(Aws.fresh(faulty_aws.url).dynamodb, aws.table("cache"), "Vendor", 1, clock, None, 0.1)
    with one.place():
        assert "no answer in time" in capsys.readouterr().out
    wait_for(lambda: holders(aws) == 1)
    clock.now += HELD_SECONDS - 1
    with one.place():  # is late to be renewed
        assert "no answer in time" in capsys.readouterr().out
    time.sleep(0.5)

    faulty_aws.heal()
    with one.place(), pytest.raises(UpstreamBusy), bulkhead(aws, clock, 1).place():
        pass
    assert faulty_aws.calls.count("UpdateItem") == 2


def test_that_all_places_were_taken_counts_for_nothing_when_it_is_heard_late(
    faulty_aws: FaultyAws, aws: Aws, clock: Clock
) -> None:
    one = Bulkhead(Aws.fresh(faulty_aws.url).dynamodb, aws.table("cache"), "Vendor", 1, clock, None, 0.1)
    with bulkhead(aws, clock, 1).place():
        faulty_aws.answer("BatchGetItem", lambda _: time.sleep(0.4))
        with one.place():
            time.sleep(0.6)
    faulty_aws.heal()
    clock.now += 0.1
    asked = faulty_aws.calls.count("UpdateItem")

    with pytest.raises(UpstreamBusy), one.place():
        pass
    assert faulty_aws.calls.count("UpdateItem") == asked + 1, "it looks whether one is free by now"


def holders(aws: Aws) -> int:
    return len(aws.dynamodb.scan(TableName=aws.table("cache"))["Items"])


def wait_for(state: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not state():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_tally_is_full_at_its_number_and_empty_in_the_next_window(aws: Aws, clock: Clock) -> None:
    one, other = (Tally(aws.dynamodb, aws.table("cache"), "answers", 3, 60, clock) for _ in range(2))

    assert [one.add(), other.add(), one.is_full(), other.add()] == [True, True, False, True]
    assert [one.is_full(), one.is_full(), one.add(), other.add(), other.add()] == [True, True, False, False, False]

    clock.now += 60
    assert [one.is_full(), one.add()] == [False, True]


@pytest.mark.parametrize("used", [None, {"S": "3"}, {"NULL": True}], ids=["missing", "text", "nothing"])
def test_votes_that_are_no_count_rest_nobody(aws: Aws, clock: Clock, used: Any) -> None:
    one = breaker(aws, clock)
    fail(one)
    [item] = aws.dynamodb.scan(TableName=aws.table("cache"))["Items"]
    assert item["id"]["S"].startswith("tally#breaker Vendor#")
    item = {name: value for name, value in item.items() if name != "used"} | ({} if used is None else {"used": used})
    aws.dynamodb.put_item(TableName=aws.table("cache"), Item=item)

    assert not rests(breaker(aws, clock))
    with pytest.raises(StoreUnavailable):
        Tally(aws.dynamodb, aws.table("cache"), "breaker Vendor", VOTES, VOTING_SECONDS, clock).is_full()


@pytest.mark.parametrize("held_until", [None, {"S": "9999999999"}, {"BOOL": True}], ids=["missing", "text", "truth"])
def test_a_place_whose_holder_cannot_be_read_is_free(aws: Aws, clock: Clock, held_until: Any) -> None:
    with bulkhead(aws, clock, most=1).place():
        pass
    [item] = aws.dynamodb.scan(TableName=aws.table("cache"))["Items"]
    item = {name: value for name, value in item.items() if name != "held_until"}
    item |= {} if held_until is None else {"held_until": held_until}
    aws.dynamodb.put_item(TableName=aws.table("cache"), Item=item)

    with bulkhead(aws, clock, most=1).place():
        [taken] = aws.dynamodb.scan(TableName=aws.table("cache"))["Items"]
    assert float(taken["held_until"]["N"]) > clock.now


def test_a_search_for_a_free_place_bears_one_that_cannot_be_read(aws: Aws, clock: Clock) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(7):
            held.enter_context(bulkhead(aws, clock, most=8).place())
        numbers = {item["id"]["S"] for item in aws.dynamodb.scan(TableName=aws.table("cache"))["Items"]}
        [free] = {f"place#Vendor#{number}" for number in range(8)} - numbers
        broken = {"id": {"S": free}, "held_until": {"S": "soon"}}
        aws.dynamodb.put_item(TableName=aws.table("cache"), Item=broken)

        held.enter_context(bulkhead(aws, clock, most=8).place())
        with pytest.raises(UpstreamBusy):
            held.enter_context(bulkhead(aws, clock, most=8).place())
