"""Which sends go to Braze in one call."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trigger_relay.calls import MAX_BODY_BYTES, Call, planned
from trigger_relay.triggers import MAX_PROPERTIES_BYTES, MAX_RECIPIENTS, Send, Trigger, again


def send(number: int, member: Any = None, target: str = "c-1", size: int = 0, **more: Any) -> Send:
    address = {"external_user_id": member or f"member-{number}"} if member != "" else None
    properties = json.dumps({"n": number, "text": "x" * size}, separators=(",", ":")).encode()
    return Send(f"trg-{number}", "campaign", target, address, properties, more.get("accepted_at", float(number)))


def ids(calls: list[Call]) -> list[list[str]]:
    return [[each.id for each in call.sends] for call in calls]


def test_a_call_has_up_to_50_recipients() -> None:
    [calls] = planned([send(number) for number in range(120)])

    assert [len(call.sends) for call in calls] == [50, 50, 20]
    assert [call.is_full for call in calls] == [True, True, False]


def test_each_target_has_calls_of_its_own_in_the_order_of_their_first_trigger() -> None:
    plan = planned([send(1, target="b"), send(2, target="a"), send(3, target="b")])

    assert [ids(calls) for calls in plan] == [[["trg-1", "trg-3"]], [["trg-2"]]]


def test_a_campaign_and_a_canvas_of_one_id_are_two_targets() -> None:
    canvas = Send("trg-2", "canvas", "c-1", {"external_user_id": "m"}, b"{}", 2.0)

    assert len(planned([send(1), canvas])) == 2


def test_triggers_are_taken_in_the_order_they_were_accepted_whatever_the_queue_made_of_it() -> None:
    [calls] = planned([send(3), send(1), send(2)])

    assert ids(calls) == [["trg-1", "trg-2", "trg-3"]]


def test_a_members_second_message_begins_a_new_call_and_nothing_overtakes_it() -> None:
    [calls] = planned([send(1, "a"), send(2, "b"), send(3, "a"), send(4, "c")])

    assert ids(calls) == [["trg-1", "trg-2"], ["trg-3", "trg-4"]]


def test_one_email_address_is_one_member_however_it_is_written() -> None:
    emails: list[dict[str, Any]] = [
        {"email": "Ada@Example.com", "prioritization": ["identified"]},
        {"email": "ada@example.com"},
    ]
    sends = [Send(f"trg-{at}", "campaign", "c", address, b"{}", float(at)) for at, address in enumerate(emails)]

    [calls] = planned(sends)
    assert len(calls) == 2


def test_a_broadcast_is_alone() -> None:
    [calls] = planned([send(1), send(2, ""), send(3)])

    assert ids(calls) == [["trg-1"], ["trg-2"], ["trg-3"]]
    assert [call.is_broadcast for call in calls] == [False, True, False]


def test_a_body_stays_below_what_braze_takes() -> None:
    long = "m" * 255
    sends = [send(number, f"{long}{number}", size=MAX_PROPERTIES_BYTES - 40) for number in range(200)]

    [calls] = planned(sends)

    assert all(len(call.body()) < 4 * 1024 * 1024 for call in calls)
    assert sum(len(call.sends) for call in calls) == 200
    assert MAX_RECIPIENTS * (MAX_PROPERTIES_BYTES + 400) < MAX_BODY_BYTES, "50 of the largest fit anyhow"


def test_properties_that_are_empty_are_left_out() -> None:
    bare = Send("trg-1", "canvas", "c-1", {"external_user_id": "m"}, b"{}", 1.0)

    assert json.loads(Call((bare,)).body()) == {"canvas_id": "c-1", "recipients": [{"external_user_id": "m"}]}


def test_halves_have_everybody_in_order() -> None:
    first, second = Call(tuple(send(number) for number in range(5))).halves()

    assert ids([first, second]) == [["trg-0", "trg-1"], ["trg-2", "trg-3", "trg-4"]]


sends_of_few = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["t-1", "t-2"]), st.booleans()), max_size=130
)


@given(sends_of_few)
def test_every_send_is_in_one_call_with_nobody_twice_and_in_order(drawn: list[tuple[str, str, bool]]) -> None:
    sends = [send(number, member if common else None, target) for number, (member, target, common) in enumerate(drawn)]

    plan = planned(sends)

    for calls in plan:
        numbers = [int(each.id.removeprefix("trg-")) for call in calls for each in call.sends]
        assert numbers == sorted(numbers)
        for call in calls:
            assert len({each.member for each in call.sends}) == len(call.sends) <= MAX_RECIPIENTS
            assert len(json.loads(call.body())["recipients"]) == len(call.sends)
    assert sorted(each.id for calls in plan for call in calls for each in call.sends) == sorted(
        each.id for each in sends
    )


def test_what_an_operator_sends_again_is_the_same_send() -> None:
    part = Send("trg-1.1795000000.7", "canvas", "c-1", {"external_user_id": "m"}, b'{"a":1}', 5.0)
    broadcast = Send("trg-2", "campaign", "c-1", None, b'{"a":1}', 5.0)

    for each in (part, broadcast, send(1)):
        assert list(again(each).sends()) == [each]
        assert isinstance(again(each), Trigger)
