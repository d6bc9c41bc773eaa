"""What a person reads when a body is wrong."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from shared.errors import InvalidInput
from shared.validation import convert, decode


class Item(msgspec.Struct, forbid_unknown_fields=True):
    ttl: Annotated[int, Meta(ge=1, description="Give seconds.")] | None = None
    names: Annotated[
        list[Annotated[str, Meta(pattern="^[a-z]+$", description="Give letters.")]],
        Meta(min_length=1, description="Give a list."),
    ] = msgspec.field(default_factory=lambda: ["a"])


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Item]
    share: float = 0.5
    plain: bool = False
    renamed: Annotated[int, Meta(description="Give a number.")] = msgspec.field(default=1, name="other_name")
    free: Any = None
    which: Literal["one", "two"] = "one"


def fault(body: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        decode(body, Shape)
    return error.value


@pytest.mark.parametrize(
    ("body", "code", "field", "message", "hint"),
    [
        (b"{}", "missing_field", "items", "this field is required", "Send the fields"),
        (b'{"items": [], "x": 1}', "unknown_field", "x", "this field is not known here", "Send the fields"),
        (b'{"items": [], "": 1}', "unknown_field", "", "this field is not known here", "Send the fields"),
        (b'{"items": [{}, {"x": 1}]}', "unknown_field", "items[1].x", "this field is not known", "Send the fields"),
        (b'{"items": 1}', "invalid_field", "items", "expected a list, got a whole number", "Send the fields"),
        (b'{"items": [7]}', "invalid_field", "items[0]", "expected an object, got a whole number", "Send the fields"),
        (b'{"items": [{"ttl": "60"}]}', "invalid_field", "items[0].ttl", "a whole number, got text", "Give seconds."),
        (
            b'{"items": [{"ttl": 1.5}]}',
            "invalid_field",
            "items[0].ttl",
            "a whole number, got a number",
            "Give seconds.",
        ),
        (b'{"items": [{"ttl": 1.0}], "x": 1}', "unknown_field", "x", "this field is not known here", "Send the fields"),
        (
            b'{"items": [{"ttl": 0.0}]}',
            "invalid_field",
            "items[0].ttl",
            "expected a whole number >= 1",
            "Give seconds.",
        ),
        (b'{"items": [{"ttl": 1.0', "invalid_json", "body", "the body is not valid JSON", "encoded as UTF-8"),
        (b'{"items": [{"ttl": 0}]}', "invalid_field", "items[0].ttl", "expected a whole number >= 1", "Give seconds."),
        (
            b'{"items": [{"names": []}]}',
            "invalid_field",
            "items[0].names",
            "a list of length >= 1",
            "Give a list. Give l",
        ),
        (
            b'{"items": [{"names": ["A"]}]}',
            "invalid_field",
            "items[0].names[0]",
            "not of the allowed form",
            "Give a list.",
        ),
        (b'{"items": [], "share": "x"}', "invalid_field", "share", "expected a number, got text", "Send the fields"),
        (b'{"items": [], "plain": 1}', "invalid_field", "plain", "expected true or false, got a whole", "Send the"),
        (
            b'{"items": [], "other_name": []}',
            "invalid_field",
            "other_name",
            "a whole number, got a list",
            "Give a number.",
        ),
        (b"[]", "not_an_object", "body", "expected an object, got a list", "Send one JSON object."),
        (b"null", "not_an_object", "body", "expected an object, got null", "Send one JSON object."),
        (b"", "invalid_json", "body", "the body is not valid JSON", "encoded as UTF-8"),
        (b"{items: []}", "invalid_json", "body", "the body is not valid JSON", "encoded as UTF-8"),
        (b'{"items": []} more', "invalid_json", "body", "the body is not valid JSON", "encoded as UTF-8"),
        (b'{"free": "\xff"}', "invalid_json", "body", "the body is not valid JSON", "encoded as UTF-8"),
        (b'{"free": ' + b"[" * 100_000, "invalid_json", "body", "the body is not valid JSON", "encoded as UTF-8"),
    ],
)
def test_each_fault_says_where_it_is_what_is_wrong_and_what_to_do(
    body: bytes, code: str, field: str, message: str, hint: str
) -> None:
    found = fault(body)

    assert (found.code, found.field) == (code, field)
    assert message in found.message
    assert hint in found.hint


def test_a_value_that_was_sent_is_never_echoed() -> None:
    found = fault(b'{"items": [{"names": ["MEMBER-ID"]}]}')

    assert "MEMBER-ID" not in found.message + found.hint + str(found.field)


def test_a_value_that_is_none_of_a_few_is_not_echoed_either() -> None:
    error = fault(b'{"items": [], "which": "a secret"}')

    assert (error.code, error.field) == ("invalid_field", "which")
    assert error.message == "this is none of the values that are possible here"


def test_a_field_name_that_was_sent_is_echoed_only_so_far() -> None:
    assert len(str(fault(b'{"items": [], "' + b"x" * 5_000 + b'": 1}').field)) == 128


def test_numbers_in_a_query_come_as_text() -> None:
    class Query(msgspec.Struct):
        limit: int

    assert convert({"limit": "5"}, Query, strict=False) == Query(5)
    with pytest.raises(InvalidInput, match="expected a whole number"):
        convert({"limit": "5"}, Query)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    read = decode(b'{"items": [{"ttl": 30.0}, {}], "share": 1.0, "other_name": 3e2, "free": [1.0]}', Shape)

    assert read == Shape([Item(30), Item()], 1.0, False, 300, [1.0])
    assert [type(each) for each in (read.items[0].ttl, read.share, read.renamed, read.free[0])] == [
        int,
        float,
        int,
        float,
    ]


def test_null_in_a_query_is_a_word_and_no_way_to_leave_a_number_out() -> None:
    class Query(msgspec.Struct):
        name: str | None = None
        least: Annotated[int, Meta(description="Give a number.")] | None = None

    assert convert({"name": "null"}, Query, strict=False) == Query("null")
    with pytest.raises(InvalidInput) as error:
        convert({"least": "null"}, Query, strict=False)
    assert (error.value.code, error.value.field, error.value.hint) == ("invalid_field", "least", "Give a number.")


@pytest.mark.parametrize("query", [{"\ud800": "x"}, {"name": "\ud800"}])
def test_a_query_that_is_no_unicode_is_refused(query: dict[str, str]) -> None:
    class Query(msgspec.Struct, forbid_unknown_fields=True):
        name: Annotated[str, Meta(pattern="^[a-z]+$")] = ""

    with pytest.raises(InvalidInput) as error:
        convert(query, Query, strict=False)
    assert error.value.code == "invalid_field"
