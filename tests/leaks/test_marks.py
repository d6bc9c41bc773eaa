"""The marks that are looked for are found in every form in which they could come out."""

from __future__ import annotations

from base64 import b64encode

import pytest

from tests.leaks.marks import Marks

MARKS = Marks({"key of a caller": "k7Jq2mXv9Rt4"})
MEMBER = MARKS.new("member: user id")


@pytest.mark.parametrize(
    "text",
    [
        MEMBER,
        MEMBER.upper(),
        f"/wallet/{MEMBER}?x=1",
        f'{{"{MEMBER}@example.com": 1}}',
        b64encode(f"{MEMBER}:password".encode()).decode(),
        b64encode(f"a:{MEMBER}".encode()).decode(),
        b64encode(f"ab:{MEMBER}".encode()).decode(),
    ],
)
def test_a_mark_is_found(text: str) -> None:
    assert MARKS.found_in(f"a line with {text} in it") <= {"member: user id", "something: in Base64"}
    assert MARKS.found_in(f"a line with {text} in it")


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "operator:"])
def test_a_secret_is_found_as_it_is_and_in_base64(before: str) -> None:
    for text in (f"{before}k7Jq2mXv9Rt4", b64encode(f"{before}k7Jq2mXv9Rt4:x".encode()).decode()):
        assert MARKS.found_in(text) == {"secret: key of a caller"}


def test_nothing_is_found_in_what_holds_neither() -> None:
    assert MARKS.found_in('{"level":"INFO","message":"tags delivered","correlation_id":"UBG7AEmRSRKQfsk="}') == set()
