"""A SessionM payload made into Braze sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.errors import ConfigurationError, InvalidInput, NotAllowed, TooLarge
from trigger_relay import fields
from trigger_relay.calls import Call, planned
from trigger_relay.reading import MAX_RECIPIENTS_A_TRIGGER, Reader, Reading
from trigger_relay.triggers import MAX_PROPERTIES_BYTES, Trigger, check_audience, check_properties

ALLOWED = frozenset({"campaign-1"})
GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "triggers").glob("*.sent.json"))


def trigger(identity: str = "", /, member_kind: str = "external_id", **fields: Any) -> Reading:
    payload = {"braze_campaign_id": "campaign-1", "customer_identifier": "member-1"} | fields
    given = {name: value for name, value in payload.items() if value is not ...}
    return Reader(ALLOWED, member_kind=member_kind).read(given, identity)


def properties(reading: Reading) -> Any:
    return json.loads(reading.properties)


def addresses(reading: Reading) -> list[dict[str, Any]]:
    return [recipient.address for recipient in reading.recipients]


def calls(reading: Reading) -> list[Call]:
    """What goes to Braze, through the queue and back."""
    bodies = reading.messages(1_795_000_000.0, 1_795_000_000)
    sends = [send for body in bodies for send in msgspec.json.decode(body, type=Trigger).sends()]
    return [call for target in planned(sends) for call in target]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name.removesuffix(".sent.json"))
def test_what_a_template_sends_becomes_what_braze_documents(path: Path) -> None:
    expected = json.loads(path.with_name(path.name.replace(".sent.", ".braze.")).read_text(encoding="utf-8"))
    settings = expected.get("settings", {})
    reader = Reader(ALLOWED, fields.rules_of(settings.get("fields", [])), settings.get("identifier", "external_id"))

    reading = reader.read(fields.parse(path.read_bytes()))

    assert [json.loads(call.body()) for call in calls(reading)] == expected["calls"]
    assert reading.urgent is expected.get("urgent", False)


def test_there_are_golden_files_and_each_has_its_other_half() -> None:
    assert len(GOLDEN) >= 12
    assert all(path.with_name(path.name.replace(".sent.", ".braze.")).exists() for path in GOLDEN)


@pytest.mark.parametrize("name", ["customer identifier", "external_user_id", "ExternalId", "user_id"])
def test_the_member_goes_by_each_of_its_names(name: str) -> None:
    assert addresses(trigger(customer_identifier=..., **{name: "member-2"})) == [{"external_user_id": "member-2"}]


@pytest.mark.parametrize("blank", ["", None, "{{customer_identifier}}", ...])
def test_an_email_address_stands_in_for_a_member_without_identifier(blank: Any) -> None:
    found = trigger(customer_identifier=blank, email="ann@example.com")

    assert addresses(found) == [{"email": "ann@example.com", "prioritization": ["identified", "most_recently_updated"]}]


def test_beside_an_id_of_brazes_campaign_id_is_sessionms_own_and_mere_data() -> None:
    assert properties(trigger(campaign_id="sessionm-7")) == {"campaign_id": "sessionm-7"}


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
        ({"customer_identifier": ..., "customer": {"identifier": 7}}, "invalid_field", "customer.identifier"),
        ({"customer_identifier": {"tier": 1}}, "invalid_field", "customer_identifier"),
        ({"customer_identifier": {"alias_name": 1, "alias_label": "x"}}, "invalid_field", "customer_identifier"),
        ({"customer_identifier": ..., "user_alias": "a"}, "invalid_field", "user_alias"),
        ({"customer_identifier": ..., "alias_name": "a"}, "invalid_field", "alias_label"),
        ({"customer_identifier": ..., "braze_id": 7}, "invalid_field", "braze_id"),
        ({"customer_identifier_type": "phone"}, "invalid_field", "customer_identifier_type"),
        ({"customer_identifier_type": 7}, "invalid_field", "customer_identifier_type"),
        ({"customer_identifier": ..., "email": "a@b", "prioritization": ["first"]}, "invalid_field", "prioritization"),
        (
            {"customer_identifier": ..., "email": "a@b", "prioritization": ["identified"] * 5},
            "invalid_field",
            "prioritization",
        ),
        ({"recipients": "member-1"}, "invalid_field", "recipients"),
        ({"recipients": ["m"] * (MAX_RECIPIENTS_A_TRIGGER + 1)}, "invalid_field", "recipients"),
        ({"recipients": [7]}, "invalid_field", "recipients[0]"),
        ({"recipients": ["m", {"email": "x"}]}, "invalid_field", "recipients[1].email"),
        ({"recipients": ["m", {"points": 1}]}, "no_recipients", "recipients[1]"),
        ({"customer_identifier": ..., "recipients": []}, "no_recipients", "recipients"),
        ({"urgent": "very"}, "invalid_field", "urgent"),
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


@pytest.mark.parametrize("blank", ["", "  ", None, "{{user.id}}", "\u00a0"])
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"customer_identifier": "BLANK"}, "customer_identifier"),
        ({"customer_identifier": ..., "customer": {"identifier": "BLANK"}}, "customer.identifier"),
        ({"customer_identifier": "BLANK", "customer_identifier_type": "alias"}, "customer_identifier"),
        ({"customer_identifier": ..., "email_address": "BLANK", "braze_id": "BLANK"}, "braze_id"),
        ({"recipients": ["member-1", {"external_id": "BLANK"}]}, "recipients[1].external_id"),
        ({"recipients": [{"email": "BLANK"}]}, "recipients[0].email"),
    ],
)
def test_a_blank_identifier_is_named_with_what_is_wrong_and_what_to_do(
    fields: dict[str, Any], field: str, blank: Any
) -> None:
    filled = {name: _filled(value, blank) for name, value in fields.items()}
    with pytest.raises(InvalidInput) as error:
        trigger(**filled)
    assert (error.value.code, error.value.field) == ("no_recipients", field)
    assert error.value.message == "this names the member, and is blank or a placeholder that nobody filled in"
    assert error.value.hint.startswith("See what the template puts here")


def _filled(value: Any, blank: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, blank) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, blank) for each in value]
    return blank if value == "BLANK" else value


def test_a_blank_identifier_of_an_event_that_triggers_nothing_is_named_likewise() -> None:
    with pytest.raises(InvalidInput) as error:
        Reader().read_event({"event_name": "points_awarded", "customer": {"identifier": " "}})
    assert (error.value.code, error.value.field) == ("no_recipients", "customer.identifier")


def test_a_blank_identifier_beside_one_that_is_filled_in_is_no_mistake() -> None:
    assert addresses(trigger(customer_identifier="", braze_id="b")) == [{"braze_id": "b"}]


@pytest.mark.parametrize("label", [..., "", " "])
def test_an_alias_without_its_label_says_where_to_give_it(label: Any) -> None:
    with pytest.raises(InvalidInput) as error:
        trigger(customer_identifier_type="alias", alias_label=label)
    assert error.value.field == "alias_label"
    assert error.value.hint == (
        "Give the alias's label here, or in the parameter TriggerCustomerIdentifier: alias:LABEL."
    )


@pytest.mark.parametrize("flag", [True, "true", "True ", 1, "1"])
def test_a_broadcast_goes_to_an_allowed_id_only(flag: Any) -> None:
    found = trigger(broadcast_flag=flag)
    assert [json.loads(call.body()) for call in calls(found)] == [{"campaign_id": "campaign-1", "broadcast": True}]

    with pytest.raises(NotAllowed) as error:
        trigger(broadcast_flag=flag, braze_campaign_id="campaign-2")
    assert error.value.code == "broadcast_not_allowed"


def test_a_broadcast_is_the_same_whichever_member_its_event_was_about() -> None:
    first = trigger(broadcast_flag=True, offer="a")

    assert trigger(broadcast_flag=True, offer="a", customer_identifier="member-2").trigger_id == first.trigger_id
    assert trigger(broadcast_flag=True, offer="b").trigger_id != first.trigger_id


@pytest.mark.parametrize("name", ["recipients", "customers", "members"])
@pytest.mark.parametrize("member", [..., "member-1"])
@pytest.mark.parametrize("listed", [["member-1", "member-2"], ["member-1"], [{"email": "ann@example.com"}], []])
def test_members_listed_beside_a_broadcast_are_a_contradiction(name: str, member: Any, listed: list[Any]) -> None:
    given: dict[str, Any] = {"broadcast_flag": True, "customer_identifier": member, name: listed}

    with pytest.raises(InvalidInput) as error:
        trigger(**given)
    assert (error.value.code, error.value.field) == ("invalid_field", name)
    with pytest.raises(NotAllowed):
        trigger(**given, braze_campaign_id="campaign-2")


@pytest.mark.parametrize("blank", [None, ""])
def test_a_list_that_nobody_filled_in_lists_nobody_beside_a_broadcast(blank: Any) -> None:
    assert trigger(broadcast_flag=True, recipients=blank).broadcast


@pytest.mark.parametrize("flag", [..., None, False, "false", "FALSE", 0, "0", "", "{{broadcast}}"])
def test_no_broadcast_unless_it_is_said(flag: Any) -> None:
    assert addresses(trigger(broadcast_flag=flag)) == [{"external_user_id": "member-1"}]


def test_the_callers_own_key_is_the_identity_of_an_event_for_this_target_and_member() -> None:
    first = trigger("key", points=1, event_id="1").trigger_id

    assert trigger("key", points=2, event_id="2").trigger_id == first
    assert trigger("other").trigger_id != first
    assert trigger("key", braze_campaign_id="campaign-2").trigger_id != first
    assert trigger("key", customer_identifier="member-2").trigger_id != first
    assert trigger("key", email="ann@example.com").trigger_id == first  # not whom it is sent to


@pytest.mark.parametrize("name", ["event_id", "Trigger Event Id", "schedule_id"])
def test_without_a_key_an_event_id_is_for_this_target_and_member(name: str) -> None:
    first = trigger(**{name: "event-1", "at": "noon"}).trigger_id

    assert trigger(**{name: "event-1", "at": "later"}).trigger_id == first
    assert trigger(**{name: "event-2"}).trigger_id != first
    assert trigger(**{name: "event-1", "customer_identifier": "member-2"}).trigger_id != first
    assert trigger(**{name: "event-1", "braze_campaign_id": "campaign-2"}).trigger_id != first


def test_without_either_the_content_is_the_identity_whatever_its_order_and_spelling() -> None:
    one = Reader().read({"campaign_id": "c", "user_id": "m", "Offer Id": "1"})
    same = Reader().read({"offer_id": "1", "user_id": "m", "campaign_id": "c"})
    other = Reader().read({"offer_id": "2", "user_id": "m", "campaign_id": "c"})

    assert one.trigger_id == same.trigger_id != other.trigger_id


def test_a_placeholder_left_in_an_event_id_does_not_make_two_events_one() -> None:
    first, second = (trigger(event_id="{{event.id}}", points=points) for points in (1, 2))

    assert first.trigger_id != second.trigger_id


def test_properties_of_exactly_braze_s_limit_pass_and_one_byte_more_does_not() -> None:
    text = "x" * (MAX_PROPERTIES_BYTES - len('{"text":""}'))

    assert properties(trigger(text=text)) == {"text": text}
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


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"customer_identifier_type": "braze_id"}, {"braze_id": "member-1"}),
        (
            {"customer_identifier_type": "alias", "alias_label": "card"},
            {"user_alias": {"alias_name": "member-1", "alias_label": "card"}},
        ),
        ({"identifier_type": "alias:card"}, {"user_alias": {"alias_name": "member-1", "alias_label": "card"}}),
        (
            {"customer_identifier": {"alias_name": "a", "alias_label": "card"}},
            {"user_alias": {"alias_name": "a", "alias_label": "card"}},
        ),
        ({"customer_identifier": {"braze_id": "b"}}, {"braze_id": "b"}),
        ({"customer_identifier": ..., "braze_id": "b"}, {"braze_id": "b"}),
        (
            {"customer_identifier": ..., "user_alias": {"alias_name": "a", "alias_label": "card"}},
            {"user_alias": {"alias_name": "a", "alias_label": "card"}},
        ),
        (
            {"customer_identifier": ..., "alias_name": "a", "alias_label": "card"},
            {"user_alias": {"alias_name": "a", "alias_label": "card"}},
        ),
        (
            {"customer_identifier": ..., "email": "a@b", "prioritization": ["unidentified", "least_recently_updated"]},
            {"email": "a@b", "prioritization": ["unidentified", "least_recently_updated"]},
        ),
    ],
)
def test_a_member_is_addressed_by_external_id_alias_or_braze_id(fields: dict[str, Any], address: Any) -> None:
    assert addresses(trigger(**fields)) == [address]


@pytest.mark.parametrize(
    ("member_kind", "address"),
    [
        ("braze_id", {"braze_id": "member-1"}),
        ("alias:loyalty", {"user_alias": {"alias_name": "member-1", "alias_label": "loyalty"}}),
    ],
)
def test_what_a_customer_identifier_is_can_be_set_for_the_deployment(member_kind: str, address: Any) -> None:
    assert addresses(trigger(member_kind=member_kind)) == [address]
    nested = trigger(member_kind=member_kind, customer_identifier=..., customer={"identifier": "member-1"})
    assert addresses(nested) == [address]
    external = trigger(member_kind=member_kind, customer_identifier=..., external_user_id="member-1")
    assert addresses(external) == [{"external_user_id": "member-1"}]


@pytest.mark.parametrize("member_kind", ["", "  ", "alias", "phone", "alias:", "alias: "])
def test_a_deployment_cannot_name_an_identifier_braze_does_not_have(member_kind: str) -> None:
    with pytest.raises(ConfigurationError, match="TRIGGER_CUSTOMER_IDENTIFIER must be external_id") as error:
        Reader(member_kind=member_kind)
    assert ("and is blank" in str(error.value)) is not bool(member_kind.strip())
    assert "give the parameter TriggerCustomerIdentifier one of them, and deploy" in str(error.value)


def test_many_recipients_lie_in_as_few_messages_as_sqs_takes_and_keep_their_numbers() -> None:
    long = "x" * 2_000
    recipients = [{"customer identifier": f"member-{number}", "text": long} for number in range(300)]

    reading = trigger(customer_identifier=..., recipients=recipients)

    bodies = reading.messages(5.0, 1_795_000_000)
    assert [len(body) < 262_144 for body in bodies] == [True] * 4
    sends = [send for body in bodies for send in msgspec.json.decode(body, type=Trigger).sends()]
    assert [send.id for send in sends] == [f"{reading.trigger_id}.1795000000.{number}" for number in range(1, 301)]
    assert [send.address for send in sends] == [{"external_user_id": f"member-{number}"} for number in range(300)]


def test_the_properties_of_a_recipient_and_the_shared_ones_stay_within_brazes_limit_together() -> None:
    half = "x" * (MAX_PROPERTIES_BYTES // 2)

    with pytest.raises(TooLarge) as error:
        trigger(customer_identifier=..., shared=half, recipients=[{"user_id": "m", "own": half}])
    assert error.value.field == "recipients[0].trigger_properties"
