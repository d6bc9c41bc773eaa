"""Whatever callers, vendors and files send is read, or refused in words that say what to do, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import math
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.utils import format_datetime
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulk.jobs import Options
from bulk.parcels import Label
from bulk.rows import TagFields, ttl_seconds_of
from bulk.verdicts import UnsentRow
from clients.transport import retry_after_seconds
from member_lists.failures import COLUMNS, cells_of_refused, cells_of_unsent
from member_lists.finish import csv_pieces
from member_lists.formats import options_of
from member_lists.ndjson_rows import UserLines
from member_lists.tag_cells import tags_of
from segment_size.options import (
    MOST_DAYS,
    EventOptions,
    ProductOptions,
    SeriesOptions,
    SizeOptions,
    SizesOptions,
    span_of,
)
from shared import validation
from shared.errors import RequestError
from shared.http import error_answer, request_of
from shared.outcomes import State
from tag_import.submit import ExportFields, ImportFields
from tag_import.webhook import ShortBody
from tests.integration.support.tables import Refused, Taken, read_table
from trigger_relay import fields
from trigger_relay.reading import Reader
from trigger_relay.vendor_paths import ENDPOINTS
from wallet_prefetch.submit import PrefetchFields
from wallet_proxy.endpoint import UserOffersBody, WalletOptions

NOW = 1_795_000_000.0

unhurried = settings(deadline=None)
Result = TypeVar("Result")

QUERIES: list[type[msgspec.Struct]] = [
    *(WalletOptions, SizeOptions, SizesOptions, SeriesOptions, EventOptions, ProductOptions),
    *(endpoint.shape for endpoint in ENDPOINTS.values() if endpoint.method == "GET"),
]
BODIES: list[type[msgspec.Struct]] = [
    *(WalletOptions, UserOffersBody, TagFields, ShortBody, ImportFields, ExportFields, PrefetchFields),
    *(endpoint.shape for endpoint in ENDPOINTS.values() if endpoint.method == "POST"),
]

# What is likely to be met at an edge: bounds, numbers in disguise, the words of other languages for nothing.
awkward = st.sampled_from(
    [
        *("", " ", "0", "-1", "1", "007", "1e3", "1.0", "nan", "null", "None", "true", "ko", "en-US", "24h", "100d"),
        *(
            "0001-01-01",
            "9999-12-31",
            "2026-02-30",
            "2026-11-22T23:59:59Z",
            "0001-01-01T00:00:00+14:00",
            "data",
            "retry",
        ),
        *("a", "a,b", "name,expires_at", "..", "%2f", "\x00", "\ud800", "\u202e", "٣", "9" * 40),
    ]
)
text = awkward | st.text(max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


def names_of(shape: type[Any]) -> st.SearchStrategy[str]:
    return st.sampled_from([field.encode_name for field in msgspec.structs.fields(shape)]) | text


def or_refused(read: Callable[[], Result]) -> Result | None:
    """What was read, or None for a refusal that a person can act on and API Gateway can send."""
    try:
        return read()
    except RequestError as error:
        refusal = error
    answer = error_answer(refusal)
    assert 400 <= answer.status < 500
    assert refusal.code
    assert refusal.message
    assert refusal.hint
    assert len(msgspec.json.encode(answer.body).decode("utf-8", "replace")) < 2_000
    return None


def sent_as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


# --- bodies and queries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", QUERIES, ids=lambda shape: shape.__name__)
@settings(max_examples=40, deadline=None)  # of each
@given(st.data())
def test_any_query_is_read_or_refused_clearly(shape: type[msgspec.Struct], data: st.DataObject) -> None:
    query = data.draw(st.dictionaries(names_of(shape), text, max_size=6))

    options = or_refused(lambda: validation.convert(query, shape, strict=False))

    if options is None:
        return
    # What was read can be written down, and is then read as the same.
    written = {name: value for name, value in msgspec.to_builtins(options).items() if value is not None}
    assert validation.convert(written, shape) == options


@unhurried
@given(
    st.builds(
        SeriesOptions,
        segment_id=st.just("segment"),
        length=st.none() | st.integers(1, MOST_DAYS),
        starting_at=st.none() | st.from_regex(r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9]Z)?\Z"),
        ending_at=st.none() | st.from_regex(r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9][+-]14:00\Z"),
    )
)
@example(SeriesOptions("segment", length=2, ending_at="0001-01-01"))
@example(SeriesOptions("segment", length=1, ending_at="0001-01-01T00:00:00+14:00"))
@example(SeriesOptions("segment", starting_at="9999-12-31T23:59:59-14:00", ending_at="9999-12-31"))
def test_any_span_of_days_is_a_span_or_refused_clearly(options: SeriesOptions) -> None:
    span = or_refused(lambda: span_of(options, NOW))

    assert span is None or timedelta() <= span[1] - span[0] < timedelta(days=MOST_DAYS)


@pytest.mark.parametrize("shape", BODIES, ids=lambda shape: shape.__name__)
@settings(max_examples=40, deadline=None)  # of each
@given(st.data())
def test_any_body_is_read_or_refused_clearly(shape: type[msgspec.Struct], data: st.DataObject) -> None:
    body = data.draw(
        st.dictionaries(names_of(shape), json_values, max_size=6).map(sent_as_json)
        | json_values.map(sent_as_json)
        | st.binary(max_size=60)
    )

    read = or_refused(lambda: validation.decode(body, shape))

    assert read is None or validation.decode(msgspec.json.encode(read), shape) == read


header_names = st.sampled_from(["Content-Type", "authorization", "Idempotency-Key", "X-Other"])
events = st.fixed_dictionaries(
    {"routeKey": st.just("POST /tags"), "requestContext": st.just({"timeEpoch": 1, "requestId": "r"})},
    optional={
        "headers": st.none() | st.dictionaries(header_names, text, max_size=4),
        "queryStringParameters": st.none() | st.dictionaries(text, text, max_size=3),
        "pathParameters": st.none() | st.dictionaries(text, text, max_size=2),
        "body": st.none() | text | st.binary(max_size=40).map(lambda raw: b64encode(raw).decode()),
        "isBase64Encoded": st.booleans(),
    },
)


@unhurried
@given(events)
def test_any_event_of_the_gateway_is_a_request_or_refused_clearly(event: Mapping[str, Any]) -> None:
    request = or_refused(lambda: request_of(event))

    if request is not None:
        assert all(name == name.lower() for name in request.headers)
        assert or_refused(request.json_bytes) in (request.body, None)


# --- triggers ---------------------------------------------------------------------------------------------------------

NAMES = (
    *(*fields.CAMPAIGN_NAMES, *fields.CANVAS_NAMES, *fields.BROADCAST_NAMES, *fields.MEMBER_NAMES, *fields.EMAIL_NAMES),
    *(
        *fields.MEMBER_KIND_NAMES,
        *fields.ALIAS_NAMES,
        *fields.ALIAS_LABEL_NAMES,
        *fields.RECIPIENTS_NAMES,
        "event_name",
    ),
)
# As people write names: with spaces, in capitals, run together.
field_names = st.builds(
    lambda name, write: write(name),
    st.sampled_from(NAMES),
    st.sampled_from([str, str.upper, str.title, lambda name: name.replace("_", " ")]),
)
recipients = st.lists(st.dictionaries(field_names, text, max_size=3) | text | json_values, max_size=3)
triggers = st.dictionaries(field_names | text, text | json_values | recipients, max_size=6)


@unhurried
@given(triggers)
def test_any_trigger_is_read_or_refused_clearly(payload: dict[str, Any]) -> None:
    reading = or_refused(lambda: Reader().read(fields.parse(sent_as_json(payload))))

    for message in reading.messages(NOW, int(NOW)) if reading else ():
        assert json.loads(message)


@unhurried
@given(triggers)
def test_any_event_is_read_or_refused_clearly(payload: dict[str, Any]) -> None:
    event = or_refused(lambda: Reader().read_event(fields.parse(sent_as_json(payload))))

    assert event is None or event.recipients


# --- files ------------------------------------------------------------------------------------------------------------

# Metadata of S3 are headers: ASCII, or words as in mail, which may be broken.
metadata_values = (
    text
    | st.text(max_size=20).map(lambda value: Header(value, "utf-8").encode())
    | st.sampled_from(
        ["=?utf-8?b?!!!?=", "=?nope?q?x?=", "=?utf-8?q?=FF?=", "=?utf-8?b?w?=", "30d", "gold|silver", ";"]
    )
)
announced_names = st.sampled_from(["tags", "ttl", "counter", "id", "encoding", "delimiter", "other"])


@unhurried
@given(st.dictionaries(announced_names, metadata_values, max_size=6))
def test_any_metadata_of_a_file_is_read_or_refused_clearly(metadata: dict[str, str]) -> None:
    options = or_refused(lambda: options_of(metadata))

    assert options is None or options.delimiter in ("", ",", ";", "\t")
    assert options is None or options.member_kind in ("user_id", "external_id")


plain_tags = st.lists(st.from_regex(r"\A[A-Za-zé가 _.-]*[A-Za-z가][A-Za-z_-]*\Z").map(str.strip), max_size=4)


@unhurried
@given(plain_tags, st.integers(1, 315_360_000), st.sampled_from(["user_id", "external_id"]))
def test_what_is_announced_of_a_file_is_what_is_read(tags: list[str], ttl: int, kind: str) -> None:
    said = {"tags": Header("|".join(tags), "utf-8").encode(), "ttl": str(ttl), "id": kind}

    options = options_of(said)

    assert (list(options.tags), options.ttl_seconds, options.member_kind) == (tags, ttl, kind)


@unhurried
@given(text | st.from_regex(r"\A *[0-9]{1,12} ?[smhdwSMHDW]? *\Z"))
def test_any_time_to_live_is_a_number_of_seconds_in_bounds_or_refused_clearly(written: str) -> None:
    seconds = or_refused(lambda: ttl_seconds_of(written))

    if seconds is not None:
        assert 1 <= seconds <= 315_360_000
        assert ttl_seconds_of(str(seconds)) == seconds


# A cell of a file has lost the surrogates that no UTF-8 has, and a null byte ends up in no cell.
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
refused_rows = st.builds(
    cells_of_refused,
    st.integers(1, 10**9),
    st.dictionaries(st.sampled_from(["user_id", "external_id", "tags", "ttl", "counter", "text"]), cells),
    st.sampled_from(State),
    cells,
    cells,
)


@unhurried
@given(st.lists(refused_rows, max_size=8))
def test_rows_of_a_failure_file_are_read_as_they_were_written(rows: list[list[str]]) -> None:
    written = b"".join(csv_pieces([COLUMNS, *rows])).decode()

    assert list(csv.reader(io.StringIO(written, newline=""), strict=True)) == [list(COLUMNS), *rows]


# What POST /tags and a campaign take as names.
in_names = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffd") | st.sampled_from('|;[]", ')
any_tags = st.lists(st.text(in_names, min_size=1, max_size=20).filter(str.strip), min_size=1, max_size=5)


@unhurried
@given(any_tags)
@example(["a|b", "a;b", " lead"])
@example(["gold "])
@example(['["gold"]'])
@example(["[gold]", "=1+1", 'a"b', "a,b"])
def test_a_failure_file_imported_again_brings_the_same_tags(tags: list[str]) -> None:
    unsent = UnsentRow(7, "user_id", "member-1", tuple(tags), 60, State.FAILED, "user_not_found", "no such user")
    written = b"".join(csv_pieces([COLUMNS, cells_of_unsent(unsent)]))

    [by_sessionm] = read_table(written)
    assert by_sessionm == Taken(2, "member-1", Label("user_id", tuple(tags), 60))

    [in_reading] = read_table("user_id\nmember 1\n", Options(tags=tuple(tags), ttl_seconds=60))
    assert isinstance(in_reading, Refused)
    assert tags_of(in_reading.cells["tags"]) == tags

    listed: list[str] = []
    options = Options(tags=tuple(tags), ttl_seconds=60)
    lines = UserLines(options, lambda *_: None, lambda *row: listed.append(row[1]["tags"]))
    lines.take(b'{"external_id":"a b"}\n', 1, True, False)
    assert [tags_of(cell) for cell in listed] == [tags]


exported_lines = st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")) | st.dictionaries(
    st.sampled_from(["external_id", "braze_id"]), st.none() | st.integers() | text | json_values, max_size=2
).map(sent_as_json)


@unhurried
@given(st.lists(exported_lines, max_size=8))
def test_every_line_of_an_export_is_a_member_or_a_refusal_with_a_reason(lines: list[bytes]) -> None:
    told: list[int] = []

    def accept(line: int, member_id: str, label: Label) -> None:
        assert member_id
        assert label.tags == ("gold",)
        told.append(line)

    def refuse(line: int, _cells: Mapping[str, str], verdict: State, code: str, reason: str) -> None:
        assert code
        assert reason
        assert verdict in (State.FAILED, State.SKIPPED)
        told.append(line)

    block = b"".join(line + b"\n" for line in lines)
    taken, _ = UserLines(Options(tags=("gold",), ttl_seconds=60), accept, refuse).take(block, 1, True, False)

    assert taken == len(block)
    assert told == [number for number, line in enumerate(lines, 1) if line.strip()]


# --- headers of vendors -----------------------------------------------------------------------------------------------

reset_headers = st.sampled_from(["retry-after", "x-ratelimit-retry-after", "x-ratelimit-reset"])


@unhurried
@given(st.dictionaries(reset_headers, text | st.floats().map(repr) | st.integers().map(str)))
def test_any_reset_header_is_a_finite_wait_or_none(headers: dict[str, str]) -> None:
    wait = retry_after_seconds(headers, NOW)

    assert wait is None or (wait >= 0 and math.isfinite(wait))


@unhurried
@given(reset_headers, st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)))
def test_a_moment_is_waited_for_however_it_is_written(name: str, moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    wanted = max(0.0, moment.timestamp() - NOW)

    assert retry_after_seconds({name: format_datetime(moment, usegmt=True)}, NOW) == wanted
    if moment.timestamp() >= 1_000_000_000:
        assert retry_after_seconds({name: str(int(moment.timestamp()))}, NOW) == wanted
