"""What must happen once: entries, leases and outcomes in a real table."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import aws as clients
from shared.errors import InProgress, StoreUnavailable
from shared.ledger import KEEP_SECONDS, REPEAT_SECONDS, Ledger
from shared.outcomes import Outcome, State
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import FaultyAws, refusal

SENT = Outcome(State.SENT, "reason", "detail", "dispatch-1", "notice")


class Clock:
    def __init__(self, now: float = 1_795_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(aws: Aws, clock: Clock) -> Ledger:
    return Ledger(aws.dynamodb, aws.table("ledger"), clock)


def test_an_entry_is_new_once(ledger: Ledger) -> None:
    assert ledger.enter("e") is None
    assert ledger.enter("e") == Outcome(State.QUEUED)


def test_an_entry_never_entered_is_not_found(ledger: Ledger) -> None:
    assert ledger.find("e") is None


def test_an_outcome_is_kept_whole(ledger: Ledger) -> None:
    ledger.enter("e")
    ledger.claim("e", 180)

    assert ledger.settle("e", SENT) == SENT
    assert ledger.find("e") == SENT
    assert ledger.enter("e") == SENT
    assert ledger.claim("e", 180) == SENT


def test_a_claimed_entry_is_in_progress_until_its_lease_is_over(ledger: Ledger, clock: Clock) -> None:
    assert ledger.claim("e", 180) is None
    clock.now += 179

    with pytest.raises(InProgress):
        ledger.claim("e", 180)
    assert ledger.find("e") == Outcome(State.SENDING)


def test_an_entry_of_a_dead_worker_becomes_unknown_and_is_never_tried_again(ledger: Ledger, clock: Clock) -> None:
    ledger.claim("e", 180)
    clock.now += 180

    found = ledger.claim("e", 180)

    assert found is not None
    assert (found.state, found.reason) == (State.UNKNOWN, "worker_died")
    assert ledger.claim("e", 180) is not None
    assert ledger.find("e") == found


def test_a_released_entry_can_be_claimed_again(ledger: Ledger) -> None:
    ledger.claim("e", 180)
    ledger.release("e")

    assert ledger.find("e") == Outcome(State.QUEUED)
    assert ledger.claim("e", 180) is None


def test_of_many_workers_one_claims_an_entry(ledger: Ledger) -> None:
    ledger.enter("e")

    def claimed(_: int) -> bool:
        try:
            return ledger.claim("e", 180) is None
        except InProgress:
            return False

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(claimed, range(32))) == 1


@pytest.mark.parametrize(
    ("state", "age", "is_new"),
    [
        (State.SENT, REPEAT_SECONDS, False),
        (State.SENT, REPEAT_SECONDS + 1, True),
        (State.FAILED, REPEAT_SECONDS + 1, True),
        (State.UNKNOWN, REPEAT_SECONDS + 1, True),
        (State.QUEUED, REPEAT_SECONDS + 1, False),
        (State.SENDING, REPEAT_SECONDS + 1, False),
    ],
)
def test_the_same_content_is_a_new_event_only_long_after_the_first_was_settled(
    ledger: Ledger, clock: Clock, state: State, age: float, is_new: bool
) -> None:
    ledger.enter("e")
    if state is not State.QUEUED:
        ledger.claim("e", 180)
    if state not in (State.QUEUED, State.SENDING):
        ledger.settle("e", Outcome(state, "reason"))
    clock.now += age

    found = ledger.enter("e")

    assert (found is None) is is_new
    assert ledger.find("e") == (Outcome(State.QUEUED) if is_new else found)


def test_entries_outlive_the_longest_life_of_a_queued_message(aws: Aws, ledger: Ledger, clock: Clock) -> None:
    assert KEEP_SECONDS > 14 * 86_400  # template.yaml, MessageRetentionPeriod
    ledger.enter("e")
    clock.now += 100
    ledger.claim("e", 180)

    item = aws.item("ledger", "e")
    assert item is not None
    assert float(item["expires_at"]) == clock.now + KEEP_SECONDS


@pytest.mark.parametrize("call", ["enter", "find", "claim", "settle", "release"])
def test_a_table_out_of_reach_is_said_so(aws: Aws, faulty_aws: FaultyAws, call: str) -> None:
    for operation in ("PutItem", "GetItem", "UpdateItem"):
        faulty_aws.answer(operation, lambda _: refusal("ResourceNotFoundException"))
    ledger = Ledger(clients.dynamodb(), aws.table("ledger"))
    calls: dict[str, Callable[[], object]] = {
        "enter": lambda: ledger.enter("e"),
        "find": lambda: ledger.find("e"),
        "claim": lambda: ledger.claim("e", 1),
        "settle": lambda: ledger.settle("e", SENT),
        "release": lambda: ledger.release("e"),
    }

    with pytest.raises(StoreUnavailable, match="ledger: ResourceNotFoundException"):
        calls[call]()
