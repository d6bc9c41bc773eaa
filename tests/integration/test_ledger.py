"""What must happen once: entries, leases and outcomes in a real table."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import aws as clients
from shared.errors import InProgress, StoreUnavailable
from shared.ledger import KEEP_SECONDS, REPEAT_SECONDS, WORKER_DIED, Ledger, part_id
from shared.outcomes import Outcome, State
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import LOST, Answer, FaultyAws, refusal

SENT = Outcome(State.SENT, "reason", "detail", "dispatch-1", "notice")

CALLS: dict[str, Callable[[Ledger], object]] = {
    "enter": lambda ledger: ledger.enter("e"),
    "find": lambda ledger: ledger.find("e"),
    "find_all": lambda ledger: ledger.find_all(["e"]),
    "claim": lambda ledger: ledger.claim("e", 1),
    "claim_all": lambda ledger: ledger.claim_all(["e"], 1),
    "settle": lambda ledger: ledger.settle("e", SENT),
    "settle_all": lambda ledger: ledger.settle_all({"e": SENT}),
    "release": lambda ledger: ledger.release("e"),
    "release_all": lambda ledger: ledger.release_all(["e"]),
}


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


def standing(ledger: Ledger, entry_id: str = "e") -> Outcome | None:
    found = ledger.find(entry_id)
    return found and found.outcome


def test_an_entry_is_new_once(ledger: Ledger) -> None:
    first, second = ledger.enter("e"), ledger.enter("e")

    assert (first.is_new, second.is_new) == (True, False)
    assert first.outcome == second.outcome == Outcome(State.QUEUED)
    assert first.entered_at == second.entered_at == 1_795_000_000


@pytest.mark.parametrize("age", [None, REPEAT_SECONDS + 1], ids=["unheard of", "settled long ago"])
@pytest.mark.parametrize("parts", [1, 3])
def test_an_entry_is_new_also_when_the_answer_to_that_was_lost(
    aws: Aws, faulty_aws: FaultyAws, clock: Clock, parts: int, age: int | None
) -> None:
    ledger = Ledger(clients.dynamodb(), aws.table("ledger"), clock)
    if age is not None:
        ledger.enter("e", parts)
        ledger.settle("e", SENT)
        clock.now += age
    faulty_aws.calls.clear()
    # The second write of a whole is the one that is made.
    lost_at = 2 if parts > 1 and age is not None else 1
    faulty_aws.answer("PutItem", lambda _: LOST if faulty_aws.calls.count("PutItem") == lost_at else None)

    assert ledger.enter("e", parts).is_new is True
    assert faulty_aws.calls.count("PutItem") == lost_at + 1
    again = ledger.enter("e", parts)
    assert (again.is_new, again.entered_at) == (False, int(clock.now))


def test_an_entry_never_entered_is_not_found(ledger: Ledger) -> None:
    assert ledger.find("e") is None


def test_an_outcome_is_kept_whole(ledger: Ledger) -> None:
    ledger.enter("e")
    ledger.claim("e", 180)

    assert ledger.settle("e", SENT) == SENT
    assert standing(ledger) == SENT
    assert ledger.enter("e").outcome == SENT
    assert ledger.claim("e", 180) == SENT


def test_a_claimed_entry_is_in_progress_until_its_lease_is_over(ledger: Ledger, clock: Clock) -> None:
    assert ledger.claim("e", 180) is None
    clock.now += 179

    with pytest.raises(InProgress):
        ledger.claim("e", 180)
    assert standing(ledger) == Outcome(State.SENDING)


def test_an_entry_of_a_dead_worker_becomes_unknown_and_is_never_tried_again(ledger: Ledger, clock: Clock) -> None:
    ledger.claim("e", 180)
    clock.now += 180

    found = ledger.claim("e", 180)

    assert found is not None
    assert (found.state, found.reason) == (State.UNKNOWN, "worker_died")
    assert ledger.claim("e", 180) is not None
    assert standing(ledger) == found


def test_a_released_entry_can_be_claimed_again(ledger: Ledger) -> None:
    ledger.claim("e", 180)
    ledger.release("e")

    assert standing(ledger) == Outcome(State.QUEUED)
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

    assert found.is_new is is_new
    assert standing(ledger) == (Outcome(State.QUEUED) if is_new else found.outcome)


def test_entries_outlive_the_longest_life_of_a_queued_message(aws: Aws, ledger: Ledger, clock: Clock) -> None:
    assert KEEP_SECONDS > 14 * 86_400  # template.yaml, MessageRetentionPeriod
    ledger.enter("e")
    clock.now += 100
    ledger.claim("e", 180)

    item = aws.item("ledger", "e")
    assert item is not None
    assert float(item["expires_at"]) == clock.now + KEEP_SECONDS


MONTHS_SECONDS = 3 * KEEP_SECONDS
UNKNOWN = Outcome(State.UNKNOWN, "upstream_no_answer")


@pytest.mark.parametrize("age", [REPEAT_SECONDS + 1, MONTHS_SECONDS])
def test_what_waits_for_an_operator_is_a_repeat_however_late_and_never_expires(
    aws: Aws, ledger: Ledger, clock: Clock, age: float
) -> None:
    first = ledger.enter("e")
    ledger.claim("e", 180)
    ledger.settle("e", UNKNOWN, lambda _: "what it was")
    clock.now += age

    assert ledger.enter("e") == first._replace(outcome=UNKNOWN, is_new=False)
    item = aws.item("ledger", "e")
    assert item is not None
    assert (item["payload"], "expires_at" in item) == ("what it was", False)


def test_one_that_is_sent_again_and_settled_expires_like_any_other(aws: Aws, ledger: Ledger, clock: Clock) -> None:
    ledger.claim("e", 180)
    ledger.settle("e", UNKNOWN, lambda _: "what it was")
    clock.now += MONTHS_SECONDS
    ledger.settle("e", SENT)

    item = aws.item("ledger", "e")
    assert item is not None
    assert float(item["expires_at"]) == clock.now + KEEP_SECONDS


@pytest.mark.parametrize("death", [False, True], ids=["no answer", "worker died"])
@pytest.mark.parametrize("age", [REPEAT_SECONDS + 1, MONTHS_SECONDS])
def test_a_whole_waits_with_any_of_its_parts_and_tells_what_is_known_of_the_others(
    aws: Aws, ledger: Ledger, clock: Clock, age: float, death: bool
) -> None:
    first = ledger.enter("e", 3)
    one, two, _ = (part_id("e", first.entered_at, number) for number in (1, 2, 3))
    ledger.claim_all([one, two], 180)
    if death:
        ledger.settle(one, SENT)
        clock.now += 181
        ledger.claim_all([two], 180, lambda _: "what it was")
    else:
        ledger.settle_all({one: SENT, two: UNKNOWN}, lambda _: "what it was")
    clock.now += age

    again = ledger.enter("e", 3)

    assert (again.is_new, again.entered_at) == (False, first.entered_at)
    whole = aws.item("ledger", "e")
    assert whole is not None
    assert "expires_at" not in whole
    last = State.QUEUED if age < KEEP_SECONDS else State.UNKNOWN
    assert [each.state for each in ledger.find_parts("e", again)] == [State.SENT, State.UNKNOWN, last]


def test_of_two_that_enter_a_whole_anew_one_makes_it(aws: Aws, faulty_aws: FaultyAws, clock: Clock) -> None:
    ledger = Ledger(aws.dynamodb, aws.table("ledger"), clock)
    ledger.enter("e", 3)
    clock.now += REPEAT_SECONDS + 1
    other = Ledger(clients.dynamodb(), aws.table("ledger"), clock)

    def meanwhile(_: bytes) -> None:
        ledger.enter("e", 3)

    faulty_aws.answer("BatchGetItem", meanwhile)

    assert other.enter("e", 3).is_new is False


def test_an_entry_of_parts_of_which_none_waits_is_a_new_event_after_two_days(ledger: Ledger, clock: Clock) -> None:
    assert ledger.enter("e", 3).parts == 3
    clock.now += REPEAT_SECONDS
    assert ledger.enter("e", 3).is_new is False
    clock.now += 2
    again = ledger.enter("e", 3)
    assert (again.is_new, again.entered_at) == (True, int(clock.now))


def test_entries_that_go_together_are_claimed_together_without_those_that_cannot_be(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.claim("dead", 10)
    clock.now += 11
    ledger.claim("busy", 180)
    ledger.claim("sent", 180)
    ledger.settle("sent", SENT)
    ledger.enter("queued")

    claims = ledger.claim_all(["new", "queued", "busy", "sent", "dead"], 180, lambda entry_id: f"what {entry_id} was")

    assert claims.ours == {"new", "queued"}
    assert claims.in_progress == {"busy"}
    assert claims.settled == {"sent": SENT, "dead": WORKER_DIED}
    assert standing(ledger, "new") == standing(ledger, "queued") == Outcome(State.SENDING)


@pytest.mark.parametrize("operation", ["UpdateItem", "TransactWriteItems"])
def test_a_claim_whose_answer_was_lost_is_still_ours(aws: Aws, faulty_aws: FaultyAws, operation: str) -> None:
    ledger = Ledger(clients.dynamodb(), aws.table("ledger"))

    def broken_off_once(body: bytes) -> Answer | None:
        if faulty_aws.calls.count(operation) > 1:
            return None
        _passed_on(aws, operation, body)
        return 500, {"Content-Type": "application/x-amz-json-1.0"}, b'{"__type":"InternalServerError"}'

    faulty_aws.answer(operation, broken_off_once)

    if operation == "UpdateItem":
        assert ledger.claim("e", 180) is None
    else:
        assert ledger.claim_all(["e", "f"], 180).ours == {"e", "f"}
    assert faulty_aws.calls.count(operation) == 2


def _passed_on(aws: Aws, operation: str, body: bytes) -> None:
    asked = json.loads(body)
    asked.pop("ClientRequestToken", None)
    call = aws.dynamodb.update_item if operation == "UpdateItem" else aws.dynamodb.transact_write_items
    call(**asked)


@pytest.mark.parametrize("is_claimed_again", [True, False])
def test_an_entry_given_back_while_it_was_taken_for_a_dead_workers_is_not_unknown(
    aws: Aws, faulty_aws: FaultyAws, clock: Clock, is_claimed_again: bool
) -> None:
    """Its worker lived on behind its lease, gave the entry back, and another may have it in hand since."""
    theirs, ours = (
        Ledger(aws.dynamodb, aws.table("ledger"), clock),
        Ledger(clients.dynamodb(), aws.table("ledger"), clock),
    )
    theirs.claim("e", 10)
    clock.now += 11

    def given_back_before_the_second(_: bytes) -> None:
        if faulty_aws.calls.count("UpdateItem") == 2:
            theirs.release("e")
            if is_claimed_again:
                theirs.claim("e", 180)

    faulty_aws.answer("UpdateItem", given_back_before_the_second)

    with pytest.raises(InProgress):
        ours.claim("e", 180)

    assert standing(theirs) == Outcome(State.SENDING if is_claimed_again else State.QUEUED)


def test_more_entries_than_a_transaction_takes_are_claimed_settled_released_and_found(ledger: Ledger) -> None:
    ids = [f"e-{number}" for number in range(230)]

    assert ledger.claim_all(ids, 180).ours == set(ids)
    ledger.settle_all(dict.fromkeys(ids[:115], SENT))
    ledger.release_all(ids[115:])

    assert ledger.find_all([*ids, "never"]) == {
        **dict.fromkeys(ids[:115], SENT),
        **dict.fromkeys(ids[115:], Outcome(State.QUEUED)),
    }


def test_an_unknown_entry_is_kept_with_its_payload_until_it_is_resolved(aws: Aws, ledger: Ledger) -> None:
    unknown = Outcome(State.UNKNOWN, "upstream_no_answer")
    ledger.claim_all(["a", "b"], 180)

    ledger.settle_all({"a": unknown, "b": SENT}, lambda entry_id: f"what {entry_id} was")

    kept, other = aws.item("ledger", "a"), aws.item("ledger", "b")
    assert kept is not None
    assert other is not None
    assert (kept["payload"], kept["unresolved"]) == ("what a was", "yes")
    assert "payload" not in other
    ledger.settle("a", SENT)
    resolved = aws.item("ledger", "a")
    assert resolved is not None
    assert not {"payload", "unresolved"} & resolved.keys()


def test_the_last_word_of_a_worker_taken_for_dead_counts(aws: Aws, faulty_aws: FaultyAws, clock: Clock) -> None:
    ledger = Ledger(aws.dynamodb, aws.table("ledger"), clock)
    ledger.claim("e", 10)
    clock.now += 11
    other = Ledger(clients.dynamodb(), aws.table("ledger"), clock)

    def meanwhile(body: bytes) -> None:
        if b"worker_died" in body:
            ledger.settle("e", SENT)

    faulty_aws.answer("UpdateItem", meanwhile)

    assert other.claim("e", 10) == SENT
    assert standing(ledger) == SENT


@pytest.mark.parametrize("operation", ["claim_all", "settle_all", "release_all"])
def test_a_transaction_in_conflict_with_another_is_taken_apart(aws: Aws, faulty_aws: FaultyAws, operation: str) -> None:
    conflict = {"__type": "TransactionCanceledException", "CancellationReasons": [{"Code": "TransactionConflict"}] * 2}
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    faulty_aws.answer("TransactWriteItems", lambda _: (400, headers, json.dumps(conflict).encode()))
    ledger = Ledger(clients.dynamodb(), aws.table("ledger"))

    if operation == "claim_all":
        assert ledger.claim_all(["a", "b"], 180).ours == {"a", "b"}
    elif operation == "settle_all":
        ledger.settle_all({"a": SENT, "b": SENT})
    else:
        ledger.release_all(["a", "b"])

    wanted = {"claim_all": "sending", "settle_all": "sent", "release_all": "queued"}[operation]
    assert {item["id"]: item["state"] for item in aws.items("ledger")} == {"a": wanted, "b": wanted}


def test_entries_dynamodb_keeps_handing_back_are_out_of_reach(aws: Aws, faulty_aws: FaultyAws) -> None:
    table = aws.table("ledger")
    keys = {table: {"Keys": [{"id": {"S": "e"}}]}}
    answer = {"Responses": {}, "UnprocessedKeys": keys}
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    faulty_aws.answer("BatchGetItem", lambda _: (200, headers, json.dumps(answer).encode()))

    with pytest.raises(StoreUnavailable, match="could not be read"):
        Ledger(clients.dynamodb(), table).find_all(["e"])


@pytest.mark.parametrize("call", [*CALLS])
def test_a_table_out_of_reach_is_said_so(aws: Aws, faulty_aws: FaultyAws, call: str) -> None:
    for operation in ("PutItem", "GetItem", "UpdateItem", "TransactWriteItems", "BatchGetItem"):
        faulty_aws.answer(operation, lambda _: refusal("ResourceNotFoundException"))
    ledger = Ledger(clients.dynamodb(), aws.table("ledger"))

    with pytest.raises(StoreUnavailable, match="ledger: ResourceNotFoundException"):
        CALLS[call](ledger)


def test_what_was_claimed_before_the_table_gave_way_is_given_back(
    aws: Aws, faulty_aws: FaultyAws, clock: Clock
) -> None:
    ledger = Ledger(clients.dynamodb(), aws.table("ledger"), clock)
    ledger.claim("theirs", 900)
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    throttled = {"__type": "TransactionCanceledException", "CancellationReasons": [{"Code": "ThrottlingError"}] * 4}
    faulty_aws.answer("TransactWriteItems", lambda _: (400, headers, json.dumps(throttled).encode()))

    def third_claim(body: bytes) -> Answer | None:
        return refusal("AccessDeniedException") if b'"c"' in body and b"lease_until = " in body else None

    faulty_aws.answer("UpdateItem", third_claim)
    with pytest.raises(StoreUnavailable):
        ledger.claim_all(["a", "theirs", "b", "c"], 180)

    clock.now += 200
    faulty_aws.heal()
    assert ledger.claim_all(["a", "b", "c"], 180).ours == {"a", "b", "c"}
    assert standing(ledger, "theirs") == Outcome(State.SENDING)


@pytest.mark.parametrize("reachable", [True, False])
def test_a_claim_whose_answer_was_lost_for_good_is_given_back_if_it_can_be(
    aws: Aws, faulty_aws: FaultyAws, clock: Clock, capsys: pytest.CaptureFixture[str], reachable: bool
) -> None:
    ledger = Ledger(clients.dynamodb(), aws.table("ledger"), clock)

    def done_and_then_refused(body: bytes) -> Answer:
        aws.dynamodb.transact_write_items(**json.loads(body))
        return refusal("AccessDeniedException")

    faulty_aws.answer("TransactWriteItems", done_and_then_refused)
    if not reachable:
        faulty_aws.refuse("UpdateItem")
    with pytest.raises(StoreUnavailable):
        ledger.claim_all(["a"], 180)

    assert ("not given back" in capsys.readouterr().out) is not reachable
    assert standing(ledger, "a") == Outcome(State.QUEUED if reachable else State.SENDING)
