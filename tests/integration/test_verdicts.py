"""Every row one verdict, counted once: whoever writes, however often, and whatever gets in between."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulk.parcels import Label, Parcel, Row
from bulk.verdicts import COUNTED, SentSample, Settling, Tally, UnsentRow, Verdicts
from shared.aws import dynamodb
from shared.errors import StoreUnavailable
from shared.outcomes import Outcome, State
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import Answer, FaultyAws

GOLD = Label("user_id", ("gold", "spring"), 600)
VISIT = Label("external_id", ("visits",))

SENT = Outcome(State.SENT)
UNKNOWN_MEMBER = Outcome(State.FAILED, "user_not_found", "SessionM has no such member.")


def parcel(rows: int = 3, first_line: int = 2, import_id: str = "csv-1", label: Label = GOLD) -> Parcel:
    lines = range(first_line, first_line + rows)
    return Parcel(import_id, f"{first_line:012d}", [label], [Row(line, f"member-{line}", 0) for line in lines])


def verdicts_of(aws: Aws) -> Verdicts:
    return Verdicts(dynamodb(), aws.table("imports"), 30, sleep=lambda _seconds: None)


@pytest.fixture
def verdicts(aws: Aws) -> Verdicts:
    return verdicts_of(aws)


def opened(verdicts: Verdicts, one: Parcel) -> Settling:
    [settling] = verdicts.open([one])
    return settling


def test_a_parcel_nobody_had_in_hand_waits_with_all_its_rows(verdicts: Verdicts) -> None:
    assert list(opened(verdicts, parcel(3)).waiting()) == [0, 1, 2]
    assert verdicts.tally("csv-1") == Tally()


def test_rows_are_settled_bit_by_bit_and_counted(verdicts: Verdicts) -> None:
    first = opened(verdicts, parcel(3))
    first.settle(0, SENT)
    first.settle(2, UNKNOWN_MEMBER)
    verdicts.record([first])

    second = opened(verdicts, parcel(3))
    assert list(second.waiting()) == [1]
    second.settle(1, Outcome(State.UNKNOWN, "worker_died"))
    verdicts.record([second])

    assert verdicts.tally("csv-1") == Tally(sent=1, failed=1, unknown=1)
    assert verdicts.tally("csv-1").total == 3
    assert list(opened(verdicts, parcel(3)).waiting()) == []


def test_settling_again_changes_nothing(verdicts: Verdicts) -> None:
    settling = opened(verdicts, parcel(2))
    settling.settle(0, SENT)
    verdicts.record([settling])
    verdicts.record([settling])
    verdicts.record([])

    assert verdicts.tally("csv-1") == Tally(sent=1)


def test_of_two_workers_the_first_ones_verdict_stands(verdicts: Verdicts) -> None:
    one, other = opened(verdicts, parcel(2)), opened(verdicts, parcel(2))
    one.settle(0, SENT)
    other.settle(0, UNKNOWN_MEMBER)
    other.settle(1, UNKNOWN_MEMBER)

    verdicts.record([one])
    verdicts.record([other])

    assert verdicts.tally("csv-1") == Tally(sent=1, failed=1)
    assert [row.line for row in verdicts.unsent("csv-1")] == [3]
    assert (one.marks, other.marks) == ("s.", "sf")


def test_many_workers_at_once_count_every_row_once(verdicts: Verdicts) -> None:
    parcels = [parcel(5, first_line=2 + 5 * number) for number in range(12)]

    def work(seed: int) -> None:
        shuffled = random.Random(seed).sample(parcels, len(parcels))
        settlings = verdicts.open(shuffled)
        for settling in settlings:
            for position in settling.waiting():
                settling.settle(position, SENT if position else UNKNOWN_MEMBER)
        for settling in settlings:
            verdicts.record([settling])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))

    assert verdicts.tally("csv-1") == Tally(sent=48, failed=12)
    assert [row.line for row in verdicts.unsent("csv-1")] == [one.rows[0].line for one in parcels]


def test_imports_are_counted_apart_and_many_parcels_are_written_in_several_transactions(verdicts: Verdicts) -> None:
    parcels = [parcel(1, first_line=line, import_id=f"csv-{line % 2}") for line in range(1, 62)]
    settlings = verdicts.open(parcels)
    for settling in settlings:
        settling.settle(0, SENT)
    verdicts.record(settlings)

    assert verdicts.tally("csv-1") == Tally(sent=31)
    assert verdicts.tally("csv-0") == Tally(sent=30)


def test_more_parcels_are_opened_than_one_read_takes(verdicts: Verdicts) -> None:
    parcels = [parcel(1, first_line=line) for line in range(1, 231)]

    assert [settling.parcel for settling in verdicts.open([*parcels, parcels[0]])] == [*parcels, parcels[0]]


def test_what_was_not_sent_is_kept_with_all_it_takes_to_send_it_again(verdicts: Verdicts) -> None:
    settling = opened(verdicts, parcel(1, first_line=9, label=VISIT))
    settling.settle(0, Outcome(State.SKIPPED, "no_external_id", "nothing to know the member by"))
    verdicts.record([settling])

    assert list(verdicts.unsent("csv-1")) == [
        UnsentRow(
            9, "external_id", "member-9", ("visits",), None, State.SKIPPED, "no_external_id",
            "nothing to know the member by",
        )
    ]  # fmt: skip


def test_unsent_rows_of_a_parcel_come_in_the_order_of_their_lines(verdicts: Verdicts) -> None:
    for position in (2, 0, 1):
        settling = opened(verdicts, parcel(3))
        settling.settle(position, UNKNOWN_MEMBER)
        verdicts.record([settling])

    assert [row.line for row in verdicts.unsent("csv-1")] == [2, 3, 4]


def test_one_sent_row_of_each_parcel_is_kept_for_reading_back(verdicts: Verdicts) -> None:
    settlings = verdicts.open([parcel(2), parcel(2, first_line=50), parcel(2, first_line=70)])
    for settling, outcome in zip(settlings, (SENT, SENT, UNKNOWN_MEMBER), strict=True):
        settling.settle(1, outcome)
    verdicts.record(settlings)

    assert list(verdicts.samples("csv-1")) == [
        SentSample("user_id", "member-3", ("gold", "spring")),
        SentSample("user_id", "member-51", ("gold", "spring")),
    ]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rounds=st.lists(st.dictionaries(st.integers(0, 9), st.sampled_from(COUNTED), max_size=6), min_size=1, max_size=5)
)
def test_counts_always_add_up_to_the_rows_that_have_a_verdict(aws: Aws, rounds: list[dict[int, State]]) -> None:
    verdicts = verdicts_of(aws)
    one = parcel(10, import_id=f"csv-{uuid.uuid4()}")
    expected: dict[int, State] = {}
    stale = opened(verdicts, one)
    for outcomes in rounds:
        for position, state in outcomes.items():
            stale.settle(position, Outcome(state, "reason"))
        verdicts.record([stale])
        for position, state in outcomes.items():
            expected.setdefault(position, state)
        stale = Settling(one, "." * 10)  # as another worker saw it before all this

    tally = verdicts.tally(one.import_id)
    assert tally.total == len(expected)
    assert [tally.sent, tally.failed, tally.skipped, tally.unknown] == [
        sum(state is counted for state in expected.values()) for counted in COUNTED
    ]
    assert len(list(verdicts.unsent(one.import_id))) == len(expected) - tally.sent


def test_a_table_that_cannot_be_asked_leaves_rows_without_a_verdict(faulty_aws: FaultyAws, aws: Aws) -> None:
    verdicts = verdicts_of(aws)
    settling = opened(verdicts, parcel(1))
    settling.settle(0, SENT)
    faulty_aws.refuse("TransactWriteItems")

    with pytest.raises(StoreUnavailable):
        verdicts.record([settling])
    assert verdicts.tally("csv-1") == Tally()


def cancelled(*codes: str) -> Callable[[bytes], Answer]:
    body = {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled",
        "CancellationReasons": [{"Code": code} for code in codes],
    }
    return lambda _: (400, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(body).encode())


def test_a_transaction_that_met_another_is_made_again(faulty_aws: FaultyAws, aws: Aws) -> None:
    verdicts = verdicts_of(aws)
    settling = opened(verdicts, parcel(1))
    settling.settle(0, SENT)
    obstacle = cancelled("None", "TransactionConflict")
    left = iter(range(2))
    faulty_aws.answer("TransactWriteItems", lambda body: obstacle(body) if next(left, None) is not None else None)

    verdicts.record([settling])
    assert verdicts.tally("csv-1") == Tally(sent=1)


@pytest.mark.parametrize("code", ["TransactionConflict", "ItemCollectionSizeLimitExceeded"])
def test_a_transaction_that_never_gets_through_is_given_up_and_counts_nothing(
    faulty_aws: FaultyAws, aws: Aws, code: str
) -> None:
    verdicts = verdicts_of(aws)
    settling = opened(verdicts, parcel(1))
    settling.settle(0, SENT)
    faulty_aws.answer("TransactWriteItems", cancelled(code))

    with pytest.raises(StoreUnavailable):
        verdicts.record([settling])
    assert verdicts.tally("csv-1") == Tally()


def test_keys_that_were_left_unread_are_asked_for_again_but_not_for_ever(faulty_aws: FaultyAws, aws: Aws) -> None:
    verdicts = verdicts_of(aws)

    def unread(body: bytes) -> Answer:
        left = {"Responses": {}, "UnprocessedKeys": json.loads(body)["RequestItems"]}
        return 200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(left).encode()

    tries = iter(range(2))
    faulty_aws.answer("BatchGetItem", lambda body: unread(body) if next(tries, None) is not None else None)
    assert list(opened(verdicts, parcel(1)).waiting()) == [0]

    faulty_aws.answer("BatchGetItem", unread)
    with pytest.raises(StoreUnavailable):
        verdicts.open([parcel(1)])
