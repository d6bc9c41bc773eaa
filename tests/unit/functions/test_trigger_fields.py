"""From SessionM's field names to Braze's."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import ConfigurationError, InvalidInput
from trigger_relay.fields import Payload, in_snake_case, is_blank, parse, rules_of, snake_case, unwrapped


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'{"a": 1,}', {"a": 1}),
        (b'{"a": 1 ,\n\t}', {"a": 1}),
        (b'{"a": [1, 2,], "b": {"c": 3,},}', {"a": [1, 2], "b": {"c": 3}}),
        (b'{"a": "x,}", "b": "y,]",}', {"a": "x,}", "b": "y,]"}),
        (b'{"a": "quote \\",}", }', {"a": 'quote ",}'}),
        (b'{"a": "\\\\",}', {"a": "\\"}),
        (b'{"a": "\xe2\x98\x95",}', {"a": "☕"}),
        (b"{}", {}),
    ],
)
def test_a_comma_before_a_closing_brace_is_let_pass_and_strings_are_left_alone(body: bytes, payload: Any) -> None:
    assert parse(body) == payload


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b'{"a" 1}', b'{"a": 1,,}', b"{,}x", b'{"a": "unclosed,}', b"{'a': 1}", b'{"a": \xff}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"a": 1,}}', b"nul", b'{"a": 1} // comment'),
    ],
)
def test_what_is_not_json_even_so_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(body)
    assert error.value.code == "invalid_json"


@pytest.mark.parametrize("body", [b"[]", b"[1,]", b'"text"', b"7", b"null"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(body)
    assert error.value.code == "not_an_object"


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("offer title", "offer_title"),
        ("offer_title", "offer_title"),
        ("offerTitle", "offer_title"),
        ("OfferTitle", "offer_title"),
        ("Offer  Title ", "offer_title"),
        ("offer-title", "offer_title"),
        ("POS discount ID", "pos_discount_id"),
        ("posDiscountID", "pos_discount_id"),
        ("URLOfLogo", "url_of_logo"),
        ("campaign.name", "campaign_name"),
        ("tier2Name", "tier2_name"),
        ("_private_", "private"),
    ],
)
def test_names_with_spaces_camel_case_and_dashes_become_snake_case(name: str, renamed: str) -> None:
    assert snake_case(name) == renamed


def test_names_are_changed_at_every_depth_and_values_never() -> None:
    payload = {"Event Data": {"Points Earned": 5, "Line Items": [{"Item Name": "Big Tea"}, "As Is", [1]]}}

    assert in_snake_case(payload) == {
        "event_data": {"points_earned": 5, "line_items": [{"item_name": "Big Tea"}, "As Is", [1]]}
    }


@pytest.mark.parametrize("payload", [{"offer id": 1, "offerId": 2}, {"x": {"a b": 1, "a_b": 2}}])
def test_two_names_that_become_one_are_refused_rather_than_one_lost(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="two fields have this name"):
        in_snake_case(payload)


@pytest.mark.parametrize("name", ["", " ", "___", "☕", "名前"])
def test_a_name_without_letters_or_digits_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="a name without letters or digits"):
        in_snake_case({name: 1})


@pytest.mark.parametrize("value", [None, "", "  ", "{{campaign_id}}", " {{ campaign\n_id }} ", "{{}}"])
def test_a_blank_or_a_placeholder_nobody_filled_in_is_blank(value: Any) -> None:
    assert is_blank(value)


@pytest.mark.parametrize("value", ["x", 0, False, "{campaign_id}", "{{a}} b", [], "a{{b}}"])
def test_anything_else_is_not_blank(value: Any) -> None:
    assert not is_blank(value)


def test_the_first_field_that_is_filled_in_is_taken_and_blank_ones_before_it_removed() -> None:
    payload = Payload({"b": " ", "c": 7, "d": 8, "other": 9})

    assert payload.take_first(("a", "b", "c", "d")).value == 7
    assert payload.properties() == {"d": 8, "other": 9}


def test_nothing_filled_in_is_none() -> None:
    payload = Payload({"a": "", "other": 9})

    assert payload.take_first(("a", "b")).value is None
    assert payload.find_first(("a", "b")) is None
    assert payload.properties() == {"other": 9}


@pytest.mark.parametrize(
    ("payload", "names", "value", "left"),
    [
        ({"customer": {"identifier": "m"}}, ("customer_identifier",), "m", {}),
        ({"customer": {"external_id": "m", "tier": 1}}, ("external_id",), "m", {"customer": {"tier": 1}}),
        ({"settings": {"more": {"braze_campaign_id": "c"}}}, ("braze_campaign_id",), "c", {}),
        ({"event_data": {"user_id": "x"}}, ("user_id",), None, {"event_data": {"user_id": "x"}}),
        ({"a": {"email_address": ""}, "email_address": "e"}, ("email_address",), "e", {"a": {"email_address": ""}}),
        ({"broadcast": {"flag": True}}, ("broadcast_flag",), True, {}),
    ],
)
def test_a_field_within_objects_goes_by_its_path_or_by_a_name_nobody_would_give_to_anything_else(
    payload: dict[str, Any], names: tuple[str, ...], value: Any, left: dict[str, Any]
) -> None:
    sent = Payload(payload)

    assert sent.take_first(names).value == value
    assert sent.properties() == left


def test_the_name_a_nested_field_was_sent_by_is_its_path() -> None:
    assert Payload({"customer": {"identifier": 7}}).take_first(("customer_identifier",)).name == "customer.identifier"


def test_nested_fields_of_the_table_get_their_one_name_and_others_stay_where_they_are() -> None:
    payload = Payload({"offer": {"title": "Tea", "logo": "l", "colour": "red"}, "point_award": {"amount": "5"}})

    assert payload.properties() == {
        "offer": {"colour": "red"},
        "offer_title": "Tea",
        "logo": "l",
        "point_award_amount": 5,
    }


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"offer": {"title": "a"}, "offer_title": "b"}, "offer.title"),
        ({"Offer Title": "a", "offer": {"Title": "b"}}, "offer.title"),
        ({"offer": {"title": "a"}, "offer_title": "a"}, "offer.title"),
        ({"customer": {"identifier": "m"}, "customerIdentifier": "n"}, "customer.identifier"),
        ({"a": {"b_c": 1}, "a_b": {"c": 2}}, "a_b.c"),
        ({"a": {"b": {"c": 1}, "b_c": 2}}, "a.b.c"),
        ({"a": {"b": {"c": 1}}, "a_b": 2}, "a.b"),
        ({"context": {"offer": {"title": "a"}}, "offer_title": "b"}, "offer.title"),
        ({"items": [{"offer": {"title": "a"}, "offer_title": "b"}]}, "offer.title"),
        ({"items": [[{"offer": {"title": "a"}, "offer_title": "b"}]]}, "offer.title"),
        ({"campaign_custom_data": '{"x": 1, "X": 2}'}, "campaign_custom_data.x"),
        ({"campaign_custom_data": '{"a": {"b": 1}, "a_b": 2}'}, "campaign_custom_data.a.b"),
        ({"advanced_settings": '{"logo": "c", "logo": "d"}'}, "advanced_settings.logo"),
    ],
)
def test_a_field_within_an_object_and_another_by_its_path_are_refused(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        unwrapped(payload)
    assert error.value.code == "invalid_field"
    assert error.value.field == field
    assert error.value.hint == "Send one of them."


@pytest.mark.parametrize(
    "payload",
    [
        {"offer": {"title": "a"}, "offer_titles": "b", "title": "c"},
        {"offers": [{"title": "a"}, {"title": "b"}], "offers_title": "c"},
        {"user": {"email": "a"}, "email": "b", "customer": {"email": "c"}},
    ],
)
def test_fields_whose_paths_differ_are_let_be(payload: dict[str, Any]) -> None:
    assert unwrapped(payload) == payload


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"offer title": "x", "offer title": "y"}', "offer_title"),
        (b'{"offer title": "x", "offer title": "x",}', "offer_title"),
        (b'{"offer title": "x", "offer\\u0020title": "y"}', "offer_title"),
        (b'{"offer": {"title": 1, "id": 2, "title": 3}}', "title"),
        (b'{"items": [1, {"a": 1.5e4, "a": 2}]}', "a"),
        ('{"☕": 1, "☕": 2}'.encode(), "body"),
    ],
)
def test_an_object_with_a_name_twice_is_refused_rather_than_one_lost(body: bytes, field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(body)
    assert (error.value.code, error.value.field) == ("invalid_field", field)


def test_a_name_may_stand_in_several_objects() -> None:
    assert parse(b'{"a": {"id": 1}, "b": {"id": 1}, "id": [{"id": 1}, {"id": 1}], "c": "\\"id\\": 1"}')["id"]


def test_the_fields_of_a_wrapper_are_the_messages_own() -> None:
    assert unwrapped({"Trigger Properties": {"Offer Id": 1}, "x": 2}) == {"offer_id": 1, "x": 2}


def test_a_field_both_in_a_wrapper_and_beside_it_is_refused() -> None:
    with pytest.raises(InvalidInput) as error:
        unwrapped({"context": {"a": 1}, "a": 2})
    assert error.value.field == "context.a"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"braze campaign id": "c",}', {"braze_campaign_id": "c"}),
        ("{broken", "{broken"),
        ("a word", "a word"),
        ("[1]", "[1]"),
    ],
)
def test_json_in_a_text_is_read_if_it_is_json(text: str, read: Any) -> None:
    assert unwrapped({"campaign custom data": text}) == {"campaign_custom_data": read}


def test_a_deployment_adds_names_to_the_table_without_code() -> None:
    rules = rules_of(
        ["Loyalty Card=customer_identifier", "eventData.points=points_earned:number", "Until=expires:date"]
    )
    sent = Payload(
        in_snake_case({"loyalty card": "m-1", "eventData": {"points": "1,200"}, "until": "2026-11-30 10:00"}), rules
    )

    assert sent.take_first(("customer_identifier",)).value == "m-1"
    assert sent.properties() == {"points_earned": 1200, "expires": "2026-11-30T10:00"}


def test_an_added_name_does_not_replace_what_has_the_name_already() -> None:
    sent = Payload({"card": "a", "customer_identifier": "b"}, rules_of(["card=customer_identifier"]))

    assert sent.take_first(("customer_identifier",)).value == "b"
    assert sent.properties() == {"card": "a"}


@pytest.mark.parametrize("line", ["card", "=x", "a=b:colour", "a..b=c", "a=", "a=b c"])
def test_a_rule_nobody_can_read_is_a_fault_of_the_deployment(line: str) -> None:
    with pytest.raises(ConfigurationError, match="TRIGGER_FIELDS"):
        rules_of([line])
