"""From TrackQueue to users/track: each track once, many in a call."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.simulators import (
    BrazeSimulator,
    Fault,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetAfterEffect,
    Slow,
    Status,
    Throttle,
)
from shared.ledger import Ledger
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws
from trigger_relay.courier import LEASE_SECONDS
from trigger_relay.track import Track
from trigger_relay.track_calls import body_of, planned
from trigger_relay.track_delivery import build

TIME = "2026-11-22T12:30:00+00:00"


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def track(number: int = 1, *, event: Any = None, attributes: Any = None) -> Track:
    member = {"external_id": f"member-{number}"}
    return Track(
        f"evt-{number}",
        raw({**member, "name": "seen", "time": TIME} | (event or {})),
        raw({**member, **attributes} if attributes else {}),
    )


def text(sent: Track) -> str:
    return msgspec.json.encode(sent).decode()


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=braze.url))


def run(handle: Invoked, *bodies: str, remaining_ms: int = 120_000) -> list[str]:
    records = [sqs_record(body, f"message-{position}") for position, body in enumerate(bodies)]
    return failures(handle(sqs_event(records), Context(remaining_ms)))


def entry(aws: Aws, number: int = 1) -> dict[str, Any]:
    found = aws.item("ledger", f"evt-{number}")
    assert found is not None
    return {name: value for name, value in found.items() if name not in ("id", "expires_at", "entered_at")}


# --- calls ------------------------------------------------------------------------------------------------------------


def test_a_call_holds_seventy_five_objects_of_both_kinds() -> None:
    tracks = [track(number, attributes={"tier": "gold"} if number % 2 else None) for number in range(200)]

    calls = planned(tracks)

    assert [sum(each.objects for each in call) for call in calls] == [75, 75, 75, 75]
    assert [each for call in calls for each in call] == tracks


def test_an_event_and_its_attributes_are_not_torn_apart() -> None:
    tracks = [track(number, attributes={"tier": "gold"}) for number in range(38)]

    assert [len(call) for call in planned(tracks)] == [37, 1]


def test_a_call_stays_below_four_megabytes() -> None:
    tracks = [track(number, event={"properties": {"note": "x" * 100_000}}) for number in range(50)]

    calls = planned(tracks)

    assert [len(call) for call in calls] == [39, 11]
    assert all(len(body_of(call)) < 4_000_100 for call in calls)


# --- delivery ---------------------------------------------------------------------------------------------------------


def test_tracks_go_out_together_and_are_settled(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    assert run(handle, text(track(1, attributes={"tier": "gold"})), text(track(2))) == []

    [request] = braze.requests()
    assert request.json() == {
        "attributes": [{"external_id": "member-1", "tier": "gold"}],
        "events": [
            {"external_id": "member-1", "name": "seen", "time": TIME},
            {"external_id": "member-2", "name": "seen", "time": TIME},
        ],
    }
    assert entry(aws, 1) == entry(aws, 2) == {"state": "sent"}


def test_a_track_of_attributes_alone_is_one(handle: Invoked, braze: BrazeSimulator) -> None:
    assert run(handle, text(Track("evt-1", attributes=raw({"external_id": "m", "tier": "gold"})))) == []

    assert braze.requests()[0].json() == {"attributes": [{"external_id": "m", "tier": "gold"}]}


def test_forty_events_with_their_attributes_are_two_calls(handle: Invoked, braze: BrazeSimulator) -> None:
    assert run(handle, *(text(track(number, attributes={"tier": "gold"})) for number in range(40))) == []

    assert [len(request.json()["events"]) for request in braze.requests()] == [37, 3]
    assert len(braze.tracked) == 80


def test_a_repeated_message_is_not_tracked_again(handle: Invoked, braze: BrazeSimulator) -> None:
    assert run(handle, text(track()), text(track())) == []
    assert run(handle, text(track())) == []

    assert len(braze.tracked) == 1


def test_an_object_braze_leaves_out_fails_and_the_others_are_sent(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    nameless = track(2, event={"name": ""})
    half = track(3, event={"name": ""}, attributes={"tier": "gold"})

    assert run(handle, text(track(1)), text(nameless), text(half)) == []

    assert len(braze.tracked) == 2
    assert entry(aws, 1) == {"state": "sent"}
    assert (entry(aws, 2)["state"], entry(aws, 2)["reason"]) == ("failed", "object_skipped")
    assert entry(aws, 3)["state"] == "sent"
    assert "events" in entry(aws, 3)["detail"]


def test_errors_about_nothing_that_was_sent_are_passed_over(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    errors = [
        {"type": "a", "input_array": "purchases", "index": 0},
        {"type": "a", "input_array": "events", "index": 7},
        {"type": "a", "input_array": "events"},
        "a",
    ]
    braze.faults.add("POST *", Status(201, {"message": "success", "errors": errors}))

    assert run(handle, text(track())) == []
    assert entry(aws) == {"state": "sent"}


def test_what_braze_refuses_is_halved_until_the_culprit_is_alone(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    culprit = Track("evt-9", raw({"external_id": "member-9", "name": 7}))

    assert run(handle, *(text(track(number)) for number in range(5)), text(culprit)) == []

    assert len(braze.tracked) == 5
    assert {entry(aws, number)["state"] for number in range(5)} == {"sent"}
    assert entry(aws, 9)["state"] == "failed"


def test_words_about_a_campaign_are_about_a_track_like_any_others(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    braze.faults.add("POST *", Status(400, {"message": "campaign_id must be a string"}), times=1)

    assert run(handle, text(track(1)), text(track(2))) == []

    assert len(braze.tracked) == 2
    assert entry(aws, 1) == entry(aws, 2) == {"state": "sent"}


def test_a_call_refused_as_a_whole_is_halved(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", Status(400, {"message": "Max Input Length Exceeded"}), times=1)

    assert run(handle, text(track(1)), text(track(2))) == []

    assert len(braze.requests()) == 3
    assert len(braze.tracked) == 2
    assert entry(aws, 1) == entry(aws, 2) == {"state": "sent"}


def test_what_is_left_of_a_halved_call_waits_when_braze_throttles(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    braze.faults.add("POST *", Status(400, {"message": "Max Input Length Exceeded"}), times=1)
    braze.faults.add("POST *", Throttle(9), times=1)

    assert run(handle, text(track(1)), text(track(2))) == ["message-0", "message-1"]

    assert len(braze.requests()) == 2
    assert entry(aws, 1) == entry(aws, 2) == {"state": "queued"}


def test_what_is_left_of_a_halved_call_waits_when_time_is_up(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", Status(400, {"message": "Max Input Length Exceeded"}), times=1)
    braze.faults.add("POST *", Slow(0.3), times=1)

    assert run(handle, *(text(track(number)) for number in range(4)), remaining_ms=60_200) == ["message-2", "message-3"]

    assert [entry(aws, number)["state"] for number in range(4)] == ["sent", "sent", "queued", "queued"]


def test_an_answer_without_success_is_a_refusal_or_no_answer(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("POST *", Status(201, {"message": "nothing was valid"}), times=1)
    assert run(handle, text(track(1))) == []
    braze.faults.add("POST *", Status(201, {"msg": "odd"}), times=1)
    assert run(handle, text(track(2))) == []

    assert (entry(aws, 1)["state"], entry(aws, 1)["detail"]) == ("failed", "nothing was valid")
    assert (entry(aws, 2)["state"], entry(aws, 2)["reason"]) == ("unknown", "upstream_garbled")


@pytest.mark.parametrize(
    "fault",
    [Reset(), ResetAfterEffect(), HangAfterAccept(0.05), Garbage(), Status(502, "<html>"), Status(504, "<html>")],
    ids=str,
)
def test_without_a_clear_answer_a_track_is_unknown_and_not_sent_again(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, fault: Fault
) -> None:
    braze.faults.add("POST *", fault)
    assert run(handle, text(track())) == []
    braze.faults.clear()

    assert run(handle, text(track())) == []

    assert (entry(aws)["state"], entry(aws)["unresolved"]) == ("unknown", "yes")
    assert msgspec.json.decode(entry(aws)["payload"], type=Track) == track()
    assert len(braze.requests()) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 405, 415, 500, 503])
def test_what_was_not_done_stays_in_the_queue(aws: Aws, handle: Invoked, braze: BrazeSimulator, status: int) -> None:
    braze.faults.add("POST *", Status(status, {"message": "no"}))
    assert run(handle, text(track(1)), text(track(2))) == ["message-0", "message-1"]
    braze.faults.clear()

    assert entry(aws) == {"state": "queued"}
    assert run(handle, text(track(1)), text(track(2))) == []
    assert len(braze.tracked) == 2


def test_a_429_holds_every_later_call_until_brazes_reset(aws: Aws, braze: BrazeSimulator) -> None:
    now = [1_795_350_600.0]
    first, second = (build(aws.settings(BRAZE_REST_URL=braze.url), lambda: now[0]) for _ in range(2))
    braze.faults.add("POST *", Throttle(120, "retry-after"))

    assert len(run(first, *(text(track(number, attributes={"tier": "gold"})) for number in range(40)))) == 40
    assert run(second, text(track(200))) == ["message-0"]
    assert len(braze.requests()) == 1

    braze.faults.clear()
    now[0] += 121
    assert run(second, text(track(200))) == []


def test_a_429_without_a_wait_holds_for_a_minute(aws: Aws, braze: BrazeSimulator) -> None:
    now = [1_795_350_600.0]
    handle = build(aws.settings(BRAZE_REST_URL=braze.url), lambda: now[0])
    braze.faults.add("POST *", Status(429, {"message": "slow"}, {"x-ratelimit-reset": "soon"}), times=1)

    assert run(handle, text(track())) == ["message-0"]
    now[0] += 61
    assert run(handle, text(track())) == []


def test_without_time_nothing_is_begun(handle: Invoked, braze: BrazeSimulator) -> None:
    assert run(handle, text(track()), remaining_ms=59_000) == ["message-0"]
    assert braze.requests() == []


@pytest.mark.parametrize(
    "poison",
    ["{", '{"more": ' + "[" * 100_000 + "]" * 100_000 + "}", text(Track("")), text(Track("e" * 3000))],
    ids=lambda poison: poison[:40],
)
def test_an_unreadable_message_stays_and_holds_up_no_other(handle: Invoked, braze: BrazeSimulator, poison: str) -> None:
    assert run(handle, poison, text(track())) == ["message-0"]
    assert len(braze.tracked) == 1


def test_a_track_in_another_workers_hand_waits_and_the_others_go(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    Ledger(aws.dynamodb, aws.table("ledger")).claim("evt-1", LEASE_SECONDS)

    assert run(handle, text(track(1)), text(track(2))) == ["message-0"]
    assert [each.member for each in braze.tracked] == ["external_id:member-2"]


def test_a_dead_workers_track_is_unknown(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    Ledger(aws.dynamodb, aws.table("ledger")).claim("evt-1", -1)

    assert run(handle, text(track())) == []
    assert (entry(aws)["state"], entry(aws)["reason"]) == ("unknown", "worker_died")
    assert braze.requests() == []


def test_outcomes_that_cannot_be_written_leave_the_message(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator
) -> None:
    handle = build(aws.settings(BRAZE_REST_URL=braze.url))
    faulty_aws.refuse_after("TransactWriteItems", 1)

    assert run(handle, text(track())) == ["message-0"]

    assert entry(aws)["state"] == "sending"
    assert len(braze.tracked) == 1


def test_a_ledger_that_takes_its_time_leaves_no_doubt(aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator) -> None:
    handle = build(aws.settings(BRAZE_REST_URL=braze.url))
    faulty_aws.answer("TransactWriteItems", lambda _: time.sleep(1.1))

    assert run(handle, text(track())) == []
    assert entry(aws)["state"] == "sent"
    assert len(braze.tracked) == 1


def test_what_cannot_be_released_is_told_and_left_to_its_lease(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator
) -> None:
    handle = build(aws.settings(BRAZE_REST_URL=braze.url))
    braze.faults.add("POST *", Status(503, {"message": "no"}))
    faulty_aws.refuse_after("TransactWriteItems", 1)

    assert run(handle, text(track())) == ["message-0"]
    assert entry(aws)["state"] == "sending"


def test_without_the_ledger_nothing_is_sent(aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator) -> None:
    handle = build(aws.settings(BRAZE_REST_URL=braze.url))
    faulty_aws.refuse("TransactWriteItems")

    assert run(handle, text(track())) == ["message-0"]
    assert braze.requests() == []


# --- whatever goes wrong ----------------------------------------------------------------------------------------------

FAULTS: list[Fault] = [
    *(Status(500, {"message": "no"}), Status(503, {"message": "no"}), Status(502, "<html>"), Reset(), Garbage()),
    *(ResetAfterEffect(), HangAfterAccept(0.02), Throttle(1, "retry-after"), Status(400, {"message": "no"})),
]


@given(
    rounds=st.lists(
        st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.none() | st.sampled_from(FAULTS)),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_event_is_stored_twice_and_each_ends_in_one_outcome(
    aws: Aws, braze: BrazeSimulator, rounds: list[tuple[list[int], Fault | None]]
) -> None:
    aws, now = Aws.fresh(aws.url), [1_795_350_600.0]
    worker = build(aws.settings(BRAZE_REST_URL=braze.url), lambda: now[0])
    braze.forget()
    sent = set()
    for numbers, fault in rounds:
        if fault is not None:
            braze.faults.add("POST *", fault, times=1)
        run(worker, *(text(track(number)) for number in numbers))
        sent |= set(numbers)
        now[0] += LEASE_SECONDS + 1
        braze.faults.clear()
    assert run(worker, *(text(track(number)) for number in sorted(sent))) == []

    stored = [each.member.rpartition("-")[2] for each in braze.tracked]
    assert len(stored) == len(set(stored))
    states = {number: entry(aws, number)["state"] for number in sent}
    assert set(states.values()) <= {"sent", "failed", "unknown"}
    assert {number for number, state in states.items() if state == "sent"} <= {int(each) for each in stored}
    assert not {number for number, state in states.items() if state == "failed"} & {int(each) for each in stored}
