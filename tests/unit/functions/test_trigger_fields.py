"""From SessionM's field names to Braze's."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import InvalidInput
from trigger_relay.fields import in_snake_case, is_blank, parse, snake_case, take_first


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
    payload = {"b": " ", "c": 7, "d": 8, "other": 9}

    assert take_first(payload, ("a", "b", "c", "d")).value == 7
    assert payload == {"d": 8, "other": 9}


def test_nothing_filled_in_is_none() -> None:
    payload = {"a": "", "other": 9}

    assert take_first(payload, ("a", "b")).value is None
    assert payload == {"other": 9}
