"""Trigger delivery while Braze or the tables fail: never sent twice, never lost without a word."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from infra.local.simulators import (
    BrazeSimulator,
    ErrorInside200,
    Fault,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetAfterEffect,
    ResetMidBody,
    Status,
    Throttle,
    WrongShape,
)
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws
from tests.integration.support.sockets import closed_port
from trigger_relay.delivery import build
from trigger_relay.triggers import Recipient, Trigger


def body(number: int = 1, target_id: str = "campaign-1", **more: Any) -> str:
    recipients = [] if more.get("broadcast") else [Recipient({"external_user_id": f"member-{number}"})]
    properties = msgspec.Raw(b'{"offer_title":"Free coffee"}')
    sent = Trigger(f"trg-{number}", "campaign", target_id, recipients, properties, accepted_at=number, **more)
    return msgspec.json.encode(sent).decode()


BODY = body()


class Clock:
    """Epoch seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


def built(aws: Aws, url: str, clock: Callable[[], float] = time.time) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=url, BROADCAST_ALLOWED_IDS="campaign-1"), clock)


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator, clock: Clock) -> Invoked:
    return built(aws, braze.url, clock)


def run(handle: Invoked, *bodies: str, queue: str = "triggers", receive_count: int = 1) -> list[str]:
    """The ids of the messages that stay: message-1 is the first."""
    records = [
        sqs_record(text, f"message-{position}", receive_count) | {"eventSourceARN": f"arn:aws:sqs:x:1:{queue}"}
        for position, text in enumerate(bodies, 1)
    ]
    return failures(handle(sqs_event(records), Context()))


def states(aws: Aws) -> dict[str, str]:
    return {item["id"]: item["state"] for item in aws.items("ledger")}


def stays(handle: Invoked) -> bool:
    return failures(handle(sqs_event([sqs_record(BODY)]), Context())) == ["message-1"]


def state(aws: Aws) -> Any:
    item = aws.item("ledger", "trg-1")
    return item and (item["state"], item.get("reason"))


@pytest.mark.parametrize(
    "fault",
    [
        *(Status(401), Status(403), Status(500), Status(503)),
        *(
            Throttle(9),
            Throttle(9, "x-ratelimit-retry-after"),
            Throttle(9, "reset-epoch"),
            Throttle(9, "reset-delta"),
        ),
    ],
    ids=str,
)
def test_a_trigger_that_was_turned_away_is_sent_later_once(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, clock: Clock, fault: Fault
) -> None:
    braze.faults.add("POST *", fault)
    assert stays(handle)
    assert state(aws) == ("queued", None)

    braze.faults.clear()
    clock.ahead += 10
    assert not stays(handle)
    assert len(braze.sends) == 1
    assert state(aws) == ("sent", None)


@pytest.mark.parametrize(
    "fault",
    [
        *(ResetAfterEffect(), HangAfterAccept(0.05), ResetMidBody(), Reset(), Garbage(), WrongShape()),
        *(Status(408), Status(502), Status(504), Status(529)),
    ],
    ids=str,
)
def test_a_trigger_whose_answer_was_lost_ends_as_unknown_and_is_never_repeated(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, fault: Fault
) -> None:
    braze.faults.add("POST *", fault, times=1)

    assert not stays(handle)
    assert not stays(handle)

    assert len(braze.requests()) == 1
    assert state(aws) in (("unknown", "upstream_no_answer"), ("unknown", "upstream_garbled"))


def test_a_2xx_that_says_why_it_did_nothing_is_a_failure(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", ErrorInside200("Out of order"))

    assert not stays(handle)
    assert state(aws) == ("failed", "no_success")


def test_a_2xx_of_another_shape_is_unknown(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", WrongShape("types"))

    assert not stays(handle)
    assert state(aws) == ("unknown", "upstream_garbled")


def test_a_blip_is_over_before_the_queue_hears_of_it(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", Status(503), times=1)

    assert not stays(handle)
    assert (len(braze.requests()), len(braze.sends)) == (2, 1)


def test_a_throttled_braze_is_not_asked_again_at_once(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", Throttle(9))

    assert stays(handle)
    assert len(braze.requests()) == 1


def test_without_a_connection_a_trigger_waits(aws: Aws) -> None:
    assert stays(built(aws, f"http://127.0.0.1:{closed_port()}"))
    assert state(aws) == ("queued", None)


def test_a_trigger_is_not_sent_while_the_ledger_is_out_of_reach(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator
) -> None:
    faulty_aws.refuse("TransactWriteItems")

    assert stays(built(aws, braze.url))
    assert braze.requests() == []


def test_a_trigger_whose_outcome_could_not_be_written_is_not_sent_again(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator
) -> None:
    faulty_aws.refuse_after("TransactWriteItems", 1)
    handle = built(aws, braze.url)
    assert stays(handle)

    faulty_aws.heal()
    assert stays(handle), "the lease still runs"
    assert len(braze.sends) == 1


@pytest.mark.parametrize("missing", [True, False], ids=["no value", "out of reach"])
def test_a_trigger_that_was_never_sent_for_want_of_a_key_can_be_claimed_again(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, missing: bool
) -> None:
    if missing:
        aws.leave_empty("braze")
    else:
        faulty_aws.refuse("GetSecretValue")

    assert stays(built(aws, braze.url))
    assert state(aws) == ("queued", None)


@pytest.mark.parametrize("form", ["retry-after", "x-ratelimit-retry-after", "reset-epoch", "reset-delta"])
def test_a_throttled_trigger_waits_as_long_as_braze_asked(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, form: Any
) -> None:
    waits: list[int] = []
    faulty_aws.answer(
        "ChangeMessageVisibilityBatch",
        lambda body: waits.extend(entry["VisibilityTimeout"] for entry in json.loads(body)["Entries"]),
    )
    braze.faults.add("POST *", Throttle(600, form))

    assert stays(built(aws, braze.url))
    assert waits[0] >= 600


# --- calls of many ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("culprit", [1, 26, 50])
def test_one_recipient_braze_chokes_on_fails_alone_and_the_other_49_are_sent(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, culprit: int
) -> None:
    bodies = [body(number) for number in range(1, 51)]
    bodies[culprit - 1] = bodies[culprit - 1].replace('"external_user_id"', '"phone"')

    assert run(handle, *bodies) == []

    assert states(aws) == {f"trg-{number}": "failed" if number == culprit else "sent" for number in range(1, 51)}
    assert sorted(sent.recipient for sent in braze.sends) == sorted(
        f"member-{number}" for number in range(1, 51) if number != culprit
    )
    assert len(braze.requests()) <= 13, "halving, not one by one"


def test_a_campaign_braze_does_not_know_is_refused_once_for_all(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    assert run(handle, *(body(number, "unheard-of") for number in range(1, 51))) == []

    assert set(states(aws).values()) == {"failed"}
    assert len(braze.requests()) == 1


CULPRIT = "member-3"

# The answer to a call that holds the culprit, and what then becomes of it and of the others.
ANSWERS: list[tuple[int, Any, str, str]] = [
    (400, {"message": "Bad Request"}, "failed", "sent"),
    (400, {"message": "recipients[2] is not valid"}, "failed", "sent"),
    (400, {"message": "Error while parsing request body. Please check your syntax."}, "failed", "sent"),
    (413, {"message": "Payload too large"}, "failed", "sent"),
    (413, "<html>too large</html>", "failed", "sent"),
    (422, {"message": "Unprocessable"}, "failed", "sent"),
    (201, {"message": "Max Input Length Exceeded", "errors": []}, "failed", "sent"),
    (400, {"message": "Invalid Campaign ID"}, "failed", "failed"),
    (400, {"message": "Message Variant Unspecified"}, "failed", "failed"),
    (201, {"message": "The campaign is archived"}, "failed", "failed"),
    *((status, {"message": "no"}, "queued", "queued") for status in (401, 403, 404, 405, 409, 410, 415, 429, 500, 503)),
    *((status, "<html>no</html>", "queued", "queued") for status in (301, 400, 401, 404, 415, 422)),
    *((status, {"message": "no"}, "unknown", "unknown") for status in (408, 502, 504)),
]


@pytest.mark.parametrize(
    ("status", "answer", "culprit", "others"), ANSWERS, ids=[f"{each[0]} {str(each[1])[:40]}" for each in ANSWERS]
)
def test_only_what_is_about_one_of_many_is_halved_and_what_is_about_us_loses_nothing(
    aws: Aws, braze: BrazeSimulator, status: int, answer: Any, culprit: str, others: str
) -> None:
    braze.faults.add("POST *", Status(status, answer), holding=CULPRIT)

    staying = run(built(aws, braze.url), *(body(number) for number in range(1, 9)))

    assert states(aws) == {f"trg-{number}": culprit if number == 3 else others for number in range(1, 9)}
    assert staying == ([f"message-{number}" for number in range(1, 9)] if others == "queued" else [])
    assert len(braze.sends) == (7 if others == "sent" else 0)
    if others != "sent":
        assert len(braze.requests()) <= 2, "not halved; at most repeated"


def test_a_complaint_about_one_members_property_fails_nobody_else(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    braze.faults.add("POST *", Status(400, {"message": "trigger_properties.campaign_id is not valid"}), times=1)

    assert run(handle, *(body(number) for number in range(1, 5))) == []
    assert set(states(aws).values()) == {"sent"}


def test_what_is_left_of_a_halved_call_waits_when_braze_throttles(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, clock: Clock
) -> None:
    braze.faults.add("POST *", Status(400, {"message": "Something about a recipient"}), times=1)
    braze.faults.add("POST *", Throttle(9), times=1)

    assert run(handle, *(body(number) for number in range(1, 5))) == [f"message-{number}" for number in range(1, 5)]
    assert set(states(aws).values()) == {"queued"}
    assert len(braze.requests()) == 2

    clock.ahead += 10
    assert run(handle, *(body(number) for number in range(1, 5))) == []
    assert len(braze.sends) == 4


def test_a_recipient_braze_left_out_is_told_apart_from_those_it_took(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    skipped = {"type": "EXTERNAL_USER_ID_TOO_LARGE", "input_array": "recipients", "index": 1}
    braze.faults.add("POST *", Status(201, {"dispatch_id": "d", "message": "success", "errors": [skipped]}))

    assert run(handle, *(body(number) for number in range(1, 4))) == []

    assert states(aws) == {"trg-1": "sent", "trg-2": "failed", "trg-3": "sent"}
    found = aws.item("ledger", "trg-2")
    assert found is not None
    assert (found["reason"], "EXTERNAL_USER_ID_TOO_LARGE" in found["detail"]) == ("recipient_skipped", True)


def test_a_call_whose_answer_was_lost_leaves_each_of_its_triggers_unknown_with_its_payload(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    braze.faults.add("POST *", ResetAfterEffect(), times=1)

    assert run(handle, *(body(number) for number in range(1, 31))) == []
    assert run(handle, *(body(number) for number in range(1, 31))) == []

    assert len(braze.requests()) == 1
    for item in aws.items("ledger"):
        assert (item["state"], item["unresolved"]) == ("unknown", "yes")
        [send] = msgspec.json.decode(item["payload"], type=Trigger).sends()
        assert send.id == item["id"]


def test_after_a_call_that_could_not_be_made_the_next_of_its_campaign_wait_with_it(
    handle: Invoked, braze: BrazeSimulator
) -> None:
    braze.faults.add("POST *", Status(503))

    assert len(run(handle, *(body(number) for number in range(1, 121)))) == 120
    assert len(braze.requests()) == 2, "one call and its one repeat"


def test_two_messages_to_one_member_both_arrive_in_their_order(handle: Invoked, braze: BrazeSimulator) -> None:
    first = body(1).replace("Free coffee", "Free tea")
    second = body(1).replace("trg-1", "trg-2")

    assert run(handle, first, second) == []
    assert [sent.properties["offer_title"] for sent in braze.sends] == ["Free tea", "Free coffee"]


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["retry-after", "x-ratelimit-retry-after", "reset-epoch", "reset-delta"])
def test_one_429_holds_back_every_worker_and_burns_no_call(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, clock: Clock, form: Any
) -> None:
    braze.faults.add("POST *", Throttle(600, form), times=1)
    assert len(run(handle, *(body(number) for number in range(1, 200)))) == 199
    assert len(braze.requests()) == 1

    other = built(aws, braze.url, clock)
    assert run(other, body(300)) == ["message-1"]
    clock.ahead += 590
    assert run(handle, body(301)) == ["message-1"]
    assert len(braze.requests()) == 1

    clock.ahead += 20
    assert run(handle, *(body(number) for number in range(1, 200))) == []
    assert run(other, body(300)) == []


def test_a_429_that_names_no_time_holds_back_for_a_minute(handle: Invoked, braze: BrazeSimulator, clock: Clock) -> None:
    braze.faults.add("POST *", Status(429, {"message": "Rate limit exceeded"}, {"x-ratelimit-reset": ""}), times=1)

    assert run(handle, body()) == ["message-1"]
    clock.ahead += 50
    assert run(handle, body()) == ["message-1"]
    clock.ahead += 15
    assert run(handle, body()) == []


def test_a_reset_days_away_is_not_believed(handle: Invoked, braze: BrazeSimulator, clock: Clock) -> None:
    braze.faults.add("POST *", Throttle(10 * 86_400), times=1)

    assert run(handle, body()) == ["message-1"]
    clock.ahead += 2 * 3600
    assert run(handle, body()) == []


def test_the_last_twentieth_of_an_hour_is_kept_for_what_is_urgent(aws: Aws) -> None:
    with BrazeSimulator(latency_scale=0, requests_per_hour=40) as braze:
        braze.add_campaign("campaign-1")
        handle = built(aws, braze.url)
        urgent = f"{aws.name}-urgent-triggers"
        arn = {"eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{urgent}"}

        one_by_one = [run(handle, body(number)) for number in range(1, 45)]
        assert one_by_one.count([]) == 39  # then one of forty is left
        pressing = [sqs_record(body(100), "message-1") | arn]
        assert failures(handle(sqs_event(pressing), Context())) == []
        assert failures(handle(sqs_event([sqs_record(body(101), "message-1") | arn]), Context())) == ["message-1"]
        assert len(braze.requests()) == 40, "nobody was ever told 429"


def test_broadcasts_keep_to_ten_a_minute_for_one_audience_and_hold_back_nothing_else(
    handle: Invoked, braze: BrazeSimulator, clock: Clock
) -> None:
    clock.ahead = 60 - time.time() % 60  # the beginning of a minute
    bodies = [body(number, broadcast=True) for number in range(1, 13)]

    assert run(handle, *bodies) == ["message-11", "message-12"]
    assert run(handle, body(50)) == []
    assert len(braze.sends) == 11
    assert all(request.status == 201 for request in braze.requests())


def test_broadcasts_that_cannot_be_counted_do_not_go(aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator) -> None:
    faulty_aws.refuse("UpdateItem")

    assert run(built(aws, braze.url), body(1, broadcast=True)) == ["message-1"]
    assert braze.requests() == []


def test_a_throttled_broadcast_holds_back_broadcasts_only(handle: Invoked, braze: BrazeSimulator, clock: Clock) -> None:
    braze.faults.add("POST *", Throttle(600), times=1)

    assert run(handle, body(1, broadcast=True)) == ["message-1"]
    assert run(handle, body(2, broadcast=True)) == ["message-1"]
    assert run(handle, body(3)) == []
    clock.ahead += 601
    assert run(handle, body(1, broadcast=True)) == []


def test_a_gate_that_cannot_be_read_or_written_stands_open(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty_aws.refuse("GetItem")
    faulty_aws.refuse("UpdateItem")
    handle = built(aws, braze.url)
    braze.faults.add("POST *", Throttle(600), times=1)

    assert run(handle, body(1)) == ["message-1"]
    assert run(built(aws, braze.url), body(1)) == [], "another worker does not know"
    said = capsys.readouterr().out
    assert "gate not read" in said
    assert "gate not shut for others" in said


def test_the_few_that_would_make_a_small_call_wait_for_company_once_while_many_are_waiting(
    aws: Aws, braze: BrazeSimulator
) -> None:
    handle = build(aws.settings(BRAZE_REST_URL=braze.url, TRIGGER_BATCH_SIZE="60"))
    bodies = [body(number) for number in range(1, 61)]

    assert run(handle, *bodies) == [f"message-{number}" for number in range(51, 61)]
    assert [len(request.json()["recipients"]) for request in braze.requests()] == [50]

    assert run(handle, *bodies, receive_count=2) == []
    assert [len(request.json()["recipients"]) for request in braze.requests()] == [50, 10]


def test_nobody_waits_for_company_where_no_call_was_full(aws: Aws, braze: BrazeSimulator) -> None:
    handle = build(aws.settings(BRAZE_REST_URL=braze.url, TRIGGER_BATCH_SIZE="10"))

    assert run(handle, *(body(number) for number in range(1, 11))) == []


def test_messages_whose_delay_cannot_be_set_stay_all_the_same(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty_aws.refuse("ChangeMessageVisibilityBatch")
    braze.faults.add("POST *", Status(503))

    assert len(run(built(aws, braze.url), *(body(number) for number in range(1, 13)))) == 12
    assert '"messages":2' in capsys.readouterr().out


def test_a_trigger_that_could_not_be_released_is_not_sent_by_guess(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty_aws.refuse_after("TransactWriteItems", 1)
    braze.faults.add("POST *", Status(503))

    assert stays(built(aws, braze.url))
    assert "not released" in capsys.readouterr().out
    assert state(aws) == ("sending", None)


def test_a_gate_stays_shut_as_long_as_the_worker_says_that_was_told_the_longest(
    aws: Aws, braze: BrazeSimulator, clock: Clock
) -> None:
    first, second = built(aws, braze.url, clock), built(aws, braze.url, clock)
    assert run(first, body(1)) == run(second, body(2)) == []  # both know it is open
    braze.faults.add("POST *", Throttle(900), times=1)
    braze.faults.add("POST *", Throttle(60), times=1)

    assert run(first, body(3)) == run(second, body(4)) == ["message-1"]

    clock.ahead += 120
    assert run(built(aws, braze.url, clock), body(5)) == ["message-1"]
