"""Rows: what fields ask for, for whom, and their way into queue messages."""

from __future__ import annotations

import random
import zlib

import msgspec
import pytest

from bulk.parcels import PARCEL_ROWS, Label, Packer, Parcel, webhook_import_id
from bulk.rows import MemberFields, TagFields, label_of, member_of, ttl_seconds_of
from clients.vocabulary import Member, MemberKind
from shared.errors import InvalidInput
from shared.queues import BATCH_BYTES, body_of

GOLD = Label("user_id", ("gold",), 60)


def packed(labels: list[Label], import_id: str = "import-1", once: str = "") -> list[Parcel]:
    """A row for each label, of one member, from line 1 on."""
    packer = Packer(import_id, once=once)
    full = [packer.add(line, "member-1", label) for line, label in enumerate(labels, 1)]
    return [parcel for parcel in [*full, packer.rest()] if parcel]


def test_a_tag_with_a_time_to_live_expires_and_one_without_is_a_counter() -> None:
    assert label_of(TagFields(["gold"], ttl=60), "user_id") == GOLD
    assert label_of(TagFields(["gold"], counter=True), "external_id") == Label("external_id", ("gold",), None)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        (TagFields(["gold"]), "missing_field", "rows[2].ttl"),
        (TagFields(["gold"], ttl=60, counter=True), "invalid_field", "rows[2].counter"),
    ],
)
def test_fields_say_whether_a_tag_expires_or_counts(fields: TagFields, code: str, field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        label_of(fields, "user_id", at="rows[2].")
    assert (error.value.code, error.value.field) == (code, field)
    assert error.value.hint


def test_a_member_is_named_in_exactly_one_way() -> None:
    assert member_of(MemberFields(["gold"], 60, user_id="member-1")) == Member("user_id", "member-1")
    assert member_of(MemberFields(["gold"], 60, external_id="loyal-1")) == Member("external_id", "loyal-1")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (MemberFields(["gold"], 60), "missing_field"),
        (MemberFields(["gold"], 60, user_id="member-1", external_id="loyal-1"), "invalid_field"),
    ],
)
def test_a_member_named_twice_or_not_at_all_is_refused(fields: MemberFields, code: str) -> None:
    with pytest.raises(InvalidInput) as error:
        member_of(fields, at="rows[7].")
    assert (error.value.code, error.value.field) == (code, "rows[7].user_id")


def effect(
    line: int = 1,
    member_id: str = "member-1",
    kind: MemberKind = "user_id",
    tags: tuple[str, ...] = ("visits",),
    import_id: str = "import-1",
    once: str = "",
) -> str:
    packer = Packer(import_id, once=once)
    packer.add(line, member_id, Label(kind, tags))
    parcel = packer.rest()
    assert parcel is not None
    return parcel.effect(parcel.rows[0])


def test_what_a_counter_does_is_known_by_its_import_line_member_and_tags() -> None:
    effects = [
        effect(),
        effect(line=2),
        effect(member_id="member-2"),
        effect(kind="external_id"),
        effect(tags=("a", "b")),
        effect(tags=("a,b",)),
        effect(import_id="import-2"),
        effect(once="key"),
    ]

    assert len(set(effects)) == len(effects)
    assert effect() == effect()


def test_a_key_makes_a_counter_the_same_in_every_import() -> None:
    assert effect(import_id="import-1", once="key") == effect(import_id="import-2", once="key")


def test_rows_travel_in_messages_of_some_hundred_in_their_order() -> None:
    parcels = packed([GOLD] * (2 * PARCEL_ROWS + 100))

    assert [len(parcel.rows) for parcel in parcels] == [PARCEL_ROWS, PARCEL_ROWS, 100]
    assert [row.line for parcel in parcels for row in parcel.rows] == list(range(1, 2 * PARCEL_ROWS + 101))
    assert [parcel.id for parcel in parcels] == ["000000000001", "000000000501", "000000001001"]
    assert [parcel.labels for parcel in parcels] == [[GOLD]] * 3


def test_a_message_says_for_each_row_what_it_asks_for() -> None:
    silver = Label("external_id", ("silver",), None)

    [parcel] = packed([GOLD, silver, GOLD])

    assert [parcel.label(row) for row in parcel.rows] == [GOLD, silver, GOLD]
    assert [parcel.member(row).kind for row in parcel.rows] == ["user_id", "external_id", "user_id"]


@pytest.mark.parametrize("character", ["\N{GRINNING FACE}", "\ufffe"])
def test_ten_messages_of_the_largest_rows_go_by_what_sqs_takes_of_one(character: str) -> None:
    large = [Label("user_id", (character * 254 + str(number % 10),) * 100, 60) for number in range(3)]
    nearly = Label("user_id", (character * 255,) * 97, 60)

    parcels = packed([GOLD] * 400 + large + [nearly, *large])

    assert max(len(body_of(parcel).encode()) for parcel in parcels) < BATCH_BYTES


def test_a_message_none_of_whose_rows_can_be_sent_still_fits_an_item_of_dynamodb() -> None:
    draw = random.Random(1)
    tags = tuple("".join(chr(draw.randrange(0x20000, 0x2A6D0)) for _ in range(255)) for _ in range(48))

    for parcel in packed([Label("user_id", tags, 60)] * 50):
        spelled_out = msgspec.json.encode([parcel.label(row).tags for row in parcel.rows])
        assert len(zlib.compress(spelled_out)) < 300_000


def test_no_rows_make_no_message() -> None:
    assert packed([]) == []


def test_a_tag_sqs_itself_would_refuse_travels_escaped() -> None:
    label = Label("user_id", ("gold\ufffe",), 60)

    [parcel] = packed([label])

    assert "\ufffe" not in body_of(parcel)
    assert msgspec.json.decode(body_of(parcel), type=Parcel).labels == [label]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60),
        ("30d", 2_592_000),
        (" 12H ", 43_200),
        ("45 m", 2_700),
        ("2w", 1_209_600),
        ("1s", 1),
        ("3650d", 315_360_000),
    ],
)
def test_a_time_to_live_is_read_as_people_write_it(text: str, seconds: int) -> None:
    assert ttl_seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "d", "30 days", "11y", "3651d", "٦٠", "9" * 30])
def test_a_time_to_live_out_of_bounds_is_none(text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        ttl_seconds_of(text)
    assert error.value.field == "ttl"
    assert "30d" in error.value.hint


def test_what_came_by_http_on_one_day_is_one_import() -> None:
    assert webhook_import_id(1_795_000_000.0) == "webhook-2026-11-18"
