"""Promises that hold for any input."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from authorizer.callers import MAX_HEADER_LENGTH, Credential, credential_of
from clients.cultures import culture_of
from clients.transport import path_of, retry_after_seconds
from shared.errors import InvalidInput
from shared.queues import LONGEST_DELAY_SECONDS, delay_seconds
from trigger_relay.fields import in_snake_case, parse, snake_case

NOW = 1_795_000_000.0

text = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(text, json_values, max_size=5)


@given(json_objects)
def test_valid_json_is_read_as_a_strict_parser_reads_it(payload: dict[str, Any]) -> None:
    assert parse(json.dumps(payload).encode()) == payload
    assert parse(json.dumps(payload, ensure_ascii=False, indent=1).encode()) == payload


@given(json_objects.filter(bool))
@example({"a": ",}", "b": '",]'})
def test_a_trailing_comma_anywhere_changes_nothing(payload: dict[str, Any]) -> None:
    indented = json.dumps(payload, indent=0)
    lines = indented.split("\n")
    # json.dumps with indent gives one token group a line, so a comma may follow whatever stands before a closing line
    with_commas = "\n".join(
        line + "," if following[:1] in ("}", "]") and line[-1:] not in ("{", "[", ",") else line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
    )

    assert parse(with_commas.encode()) == payload


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    refused = ""
    payload: Any = None
    try:
        payload = parse(body)
    except InvalidInput as error:
        refused = error.code

    assert refused in {"invalid_json", "not_an_object"} or isinstance(payload, dict)


@given(st.text(max_size=40))
def test_a_name_in_snake_case_stays_as_it_is(name: str) -> None:
    once = snake_case(name)

    assert snake_case(once) == once
    assert once == once.lower()
    assert " " not in once


@given(json_objects)
def test_renaming_keeps_every_value_or_refuses(payload: dict[str, Any]) -> None:
    try:
        renamed = in_snake_case(payload)
    except InvalidInput:
        return
    assert len(renamed) == len(payload)
    assert in_snake_case(renamed) == renamed


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: "Basic " + b64encode(raw).decode()))
@example("Basic \ud800")
@example("Bearer \ud800")
def test_any_authorization_header_is_a_credential_or_none(header: str) -> None:
    found = credential_of(header)

    assert found is None or len(found.key) > 0


@given(st.text(min_size=1, max_size=40).filter(lambda name: ":" not in name), st.binary(min_size=1, max_size=80))
def test_what_basic_was_made_of_is_what_is_read(name: str, key: bytes) -> None:
    pair = name.encode("utf-8", "replace") + b":" + key
    header = "Basic " + b64encode(pair).decode()

    assert credential_of(header) == Credential(name.encode("utf-8", "replace").decode(), key)
    assert len(header) <= MAX_HEADER_LENGTH


@given(st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-reset", "other"]), st.text(max_size=20)))
def test_any_header_is_a_wait_that_is_not_negative_or_none(headers: dict[str, str]) -> None:
    wait = retry_after_seconds(headers, NOW)

    assert wait is None or wait >= 0


@given(st.floats(0, 1e6))
def test_a_wait_in_seconds_is_read_as_it_was_written(seconds: float) -> None:
    assert retry_after_seconds({"retry-after": repr(seconds)}, NOW) == seconds


@given(st.lists(st.text(min_size=1, max_size=20).filter(lambda part: part.isprintable()), min_size=1, max_size=5))
def test_a_path_has_as_many_segments_as_were_given(segments: list[str]) -> None:
    path = path_of(*segments)

    assert path.count("/") == len(segments)
    assert path.isascii()
    assert not set(path) & set(" ?#")


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_whole_positive_and_never_over_the_longest(receive_count: int, jitter: float) -> None:
    delay = delay_seconds(receive_count, jitter)

    assert 0 < delay <= LONGEST_DELAY_SECONDS
    assert delay_seconds(receive_count + 1, jitter) >= delay


@given(st.from_regex(r"\A([A-Za-z]{2,3}([-_][A-Za-z0-9]{2,4}){0,2})?\Z"))
def test_any_culture_that_is_let_in_becomes_one_of_language_and_region(code: str) -> None:
    language, _, region = culture_of(code, "en-US").partition("-")

    assert language == language.lower()
    assert len(region) == 2
    assert region == region.upper()
