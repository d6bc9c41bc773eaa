"""A SessionM payload made into one Braze send."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import InvalidInput, NotAllowed, TooLarge
from trigger_relay.intake import trigger_of
from trigger_relay.triggers import MAX_PROPERTIES_BYTES, Trigger, check_audience, check_properties

ALLOWED = frozenset({"campaign-1"})


def trigger(identity: str = "", /, **fields: Any) -> Trigger:
    payload = {"braze_campaign_id": "campaign-1", "customer_identifier": "member-1"} | fields
    return trigger_of({name: value for name, value in payload.items() if value is not ...}, identity, ALLOWED)


def test_the_documented_fields_of_a_sessionm_template_become_a_campaign_send() -> None:
    found = trigger(
        **{
            "email address": "ann@example.com",
            "broadcast flag": "false",
            "offer title": "Free coffee",
            "pointAwardAmount": 50,
        }
    )

    assert found.body() == {
        "campaign_id": "campaign-1",
        "recipients": [{"external_user_id": "member-1"}],
        "trigger_properties": {"offer_title": "Free coffee", "point_award_amount": 50},
    }


def test_a_canvas_gets_its_properties_as_context() -> None:
    found = trigger(braze_campaign_id="", braze_canvas_id="canvas-1", offer_id="1")

    assert found.body() == {
        "canvas_id": "canvas-1",
        "recipients": [{"external_user_id": "member-1"}],
        "context": {"offer_id": "1"},
    }


def test_a_send_without_properties_has_none() -> None:
    assert "trigger_properties" not in trigger().body()


@pytest.mark.parametrize("name", ["customer identifier", "external_user_id", "ExternalId", "user_id"])
def test_the_member_goes_by_each_of_its_names(name: str) -> None:
    assert trigger(customer_identifier=..., **{name: "member-2"}).recipients == [{"external_user_id": "member-2"}]


@pytest.mark.parametrize("blank", ["", None, "{{customer_identifier}}", ...])
def test_an_email_address_stands_in_for_a_member_without_identifier(blank: Any) -> None:
    found = trigger(customer_identifier=blank, email="ann@example.com")

    assert found.recipients == [{"email": "ann@example.com", "prioritization": ["identified", "most_recently_updated"]}]


def test_beside_an_id_of_brazes_campaign_id_is_sessionms_own_and_mere_data() -> None:
    assert trigger(campaign_id="sessionm-7").properties == {"campaign_id": "sessionm-7"}


@pytest.mark.parametrize(("field", "kind"), [("campaign_id", "campaign"), ("canvas id", "canvas")])
def test_without_an_id_of_brazes_the_plain_names_count(field: str, kind: str) -> None:
    found = trigger(braze_campaign_id="{{CAMPAIGN ID}}", **{field: "target-1"})

    assert (found.kind, found.target_id) == (kind, "target-1")


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"braze_campaign_id": ...}, "missing_field", "braze_campaign_id"),
        ({"braze_campaign_id": "{{CAMPAIGN ID}}"}, "missing_field", "braze_campaign_id"),
        ({"braze_canvas_id": "canvas-1"}, "invalid_field", "braze_canvas_id"),
        ({"braze_campaign_id": ..., "campaign_id": "a", "canvas_id": "b"}, "invalid_field", "canvas_id"),
        ({"braze_campaign_id": "../x"}, "invalid_field", "braze_campaign_id"),
        ({"braze_campaign_id": "x" * 65}, "invalid_field", "braze_campaign_id"),
        ({"braze_campaign_id": 7}, "invalid_field", "braze_campaign_id"),
        ({"braze_campaign_id": ["campaign-1"]}, "invalid_field", "braze_campaign_id"),
        ({"customer_identifier": 7}, "invalid_field", "customer_identifier"),
        ({"customer_identifier": "m" * 256}, "invalid_field", "customer_identifier"),
        ({"customer_identifier": "a\nb"}, "invalid_field", "customer_identifier"),
        ({"customer_identifier": ..., "email": "no at sign"}, "invalid_field", "email"),
        ({"customer_identifier": ..., "email": "a@b@c"}, "invalid_field", "email"),
        ({"customer_identifier": ..., "email": "a" * 251 + "@b.c"}, "invalid_field", "email"),
        ({"customer_identifier": ...}, "no_recipients", "recipients"),
        ({"broadcast_flag": "maybe"}, "invalid_field", "broadcast_flag"),
        ({"broadcast_flag": 1.0}, "invalid_field", "broadcast_flag"),
        ({"broadcast_flag": 0.0}, "invalid_field", "broadcast_flag"),
        ({"broadcast_flag": 2}, "invalid_field", "broadcast_flag"),
        ({"broadcast_flag": [True]}, "invalid_field", "broadcast_flag"),
    ],
)
def test_a_payload_that_does_not_say_what_to_send_to_whom_is_refused(
    fields: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        trigger(**fields)
    assert (error.value.code, error.value.field) == (code, field)
    assert error.value.hint


@pytest.mark.parametrize("flag", [True, "true", "True ", 1, "1"])
def test_a_broadcast_goes_to_an_allowed_id_only(flag: Any) -> None:
    found = trigger(broadcast_flag=flag)
    assert found.body() == {"campaign_id": "campaign-1", "broadcast": True}

    with pytest.raises(NotAllowed) as error:
        trigger(broadcast_flag=flag, braze_campaign_id="campaign-2")
    assert error.value.code == "broadcast_not_allowed"


@pytest.mark.parametrize("flag", [..., None, False, "false", "FALSE", 0, "0", "", "{{broadcast}}"])
def test_no_broadcast_unless_it_is_said(flag: Any) -> None:
    assert trigger(broadcast_flag=flag).body()["recipients"] == [{"external_user_id": "member-1"}]


def test_the_callers_own_key_is_the_identity_of_an_event_for_this_target_and_member() -> None:
    first = trigger("key", points=1, event_id="1").trigger_id

    assert trigger("key", points=2, event_id="2").trigger_id == first
    assert trigger("other").trigger_id != first
    assert trigger("key", braze_campaign_id="campaign-2").trigger_id != first
    assert trigger("key", customer_identifier="member-2").trigger_id != first
    assert trigger("key", email="ann@example.com").trigger_id != first


@pytest.mark.parametrize("name", ["event_id", "Trigger Event Id", "schedule_id"])
def test_without_a_key_an_event_id_is_for_this_target_and_member(name: str) -> None:
    first = trigger(**{name: "event-1", "at": "noon"}).trigger_id

    assert trigger(**{name: "event-1", "at": "later"}).trigger_id == first
    assert trigger(**{name: "event-2"}).trigger_id != first
    assert trigger(**{name: "event-1", "customer_identifier": "member-2"}).trigger_id != first
    assert trigger(**{name: "event-1", "braze_campaign_id": "campaign-2"}).trigger_id != first


def test_without_either_the_content_is_the_identity_whatever_its_order_and_spelling() -> None:
    one = trigger_of({"campaign_id": "c", "user_id": "m", "Offer Id": "1"}, "", ())
    same = trigger_of({"offer_id": "1", "user_id": "m", "campaign_id": "c"}, "", ())
    other = trigger_of({"offer_id": "2", "user_id": "m", "campaign_id": "c"}, "", ())

    assert one.trigger_id == same.trigger_id != other.trigger_id


def test_a_placeholder_left_in_an_event_id_does_not_make_two_events_one() -> None:
    first, second = (trigger(event_id="{{event.id}}", points=points) for points in (1, 2))

    assert first.trigger_id != second.trigger_id


def test_properties_of_exactly_braze_s_limit_pass_and_one_byte_more_does_not() -> None:
    text = "x" * (MAX_PROPERTIES_BYTES - len('{"text":""}'))

    assert trigger(text=text).properties == {"text": text}
    with pytest.raises(TooLarge) as error:
        trigger(text=text + "x")
    assert error.value.field == "trigger_properties"


def test_the_limit_counts_bytes_and_names_the_field_of_a_canvas() -> None:
    with pytest.raises(TooLarge) as error:
        check_properties("canvas", {"text": "☕" * (MAX_PROPERTIES_BYTES // 3)}, "recipients[4].")
    assert error.value.field == "recipients[4].context"


@pytest.mark.parametrize(
    ("recipients", "broadcast", "code"),
    [
        (None, False, "no_recipients"),
        ([], False, "no_recipients"),
        ([{}], True, "invalid_field"),
        ([{}] * 51, False, "invalid_field"),
    ],
)
def test_an_audience_is_either_up_to_50_recipients_or_a_broadcast(
    recipients: list[Any] | None, broadcast: bool, code: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        check_audience("campaign", "campaign-1", recipients, broadcast, ALLOWED)
    assert error.value.code == code


@pytest.mark.parametrize(("recipients", "broadcast"), [([{}], False), ([{}] * 50, False), (None, True), ([], True)])
def test_every_right_audience_passes(recipients: list[Any] | None, broadcast: bool) -> None:
    check_audience("campaign", "campaign-1", recipients, broadcast, ALLOWED)
