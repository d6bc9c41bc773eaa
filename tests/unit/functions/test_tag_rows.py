"""Rows: one member, some tags, for how long; and their way into queue messages."""

from __future__ import annotations

import msgspec
import pytest

from shared.errors import InvalidInput
from tag_import.rows import MemberFields, Parcel, Row, TagFields, member_row, parcels, row_of


def row(ref: str = "1", tags: list[str] | None = None) -> Row:
    return Row("user_id", "member-1", tags or ["gold"], ref, ttl_seconds=60)


def test_a_row_with_ttl_expires_and_needs_no_key() -> None:
    found = row_of(TagFields(["gold"], ttl=60), "user_id", "member-1", ref="1", once="")

    assert found == Row("user_id", "member-1", ["gold"], "1", ttl_seconds=60, once="")


@pytest.mark.parametrize(
    ("fields", "once", "code", "field"),
    [
        (TagFields(["gold"]), "key", "missing_field", "rows[2].ttl"),
        (TagFields(["gold"], ttl=60, counter=True), "key", "invalid_field", "rows[2].counter"),
        (TagFields(["gold"], counter=True), "", "missing_field", "idempotency-key"),
    ],
)
def test_a_row_says_whether_it_expires_or_counts_and_what_its_count_is_known_by(
    fields: TagFields, once: str, code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as error:
        row_of(fields, "user_id", "member-1", ref="1", once=once, at="rows[2].")
    assert (error.value.code, error.value.field) == (code, field)
    assert error.value.hint


def counter(once: str, member_id: str = "member-1", tags: tuple[str, ...] = ("visits",)) -> str:
    fields = TagFields(list(tags), counter=True)
    return row_of(fields, "user_id", member_id, ref="1", once=once).once


def test_a_counter_is_the_same_effect_for_the_same_key_member_and_tags_only() -> None:
    assert counter("key") == counter("key")
    assert len({counter("key"), counter("other"), counter("key", "member-2"), counter("key", tags=("a", "b"))}) == 4
    assert counter("key", tags=("a", "b")) != counter("key", tags=("a,b",))


def test_a_counter_of_a_user_id_is_not_that_of_an_external_id() -> None:
    fields = TagFields(["visits"], counter=True)
    by_user, by_external = (
        member_row(MemberFields(fields.tags, counter=True, **{kind: "7"}), ref="1", once="key").once  # type: ignore[arg-type]
        for kind in ("user_id", "external_id")
    )

    assert by_user != by_external


def test_a_member_is_named_in_exactly_one_way() -> None:
    by_user = member_row(MemberFields(["gold"], 60, user_id="member-1"), ref="1", once="")
    by_external = member_row(MemberFields(["gold"], 60, external_id="loyal-1"), ref="1", once="")

    assert (by_user.member.kind, by_user.member.id) == ("user_id", "member-1")
    assert (by_external.member.kind, by_external.member.id) == ("external_id", "loyal-1")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (MemberFields(["gold"], 60), "missing_field"),
        (MemberFields(["gold"], 60, user_id="member-1", external_id="loyal-1"), "invalid_field"),
    ],
)
def test_a_member_named_twice_or_not_at_all_is_refused(fields: MemberFields, code: str) -> None:
    with pytest.raises(InvalidInput) as error:
        member_row(fields, ref="1", once="", at="rows[7].")
    assert (error.value.code, error.value.field) == (code, "rows[7].user_id")


def opened(body: str) -> Parcel:
    return msgspec.json.decode(body, type=Parcel)


def test_rows_travel_in_messages_of_25_in_their_order() -> None:
    rows = [row(str(number)) for number in range(60)]

    found = [opened(body) for body in parcels("import-1", rows)]

    assert [len(parcel.rows) for parcel in found] == [25, 25, 10]
    assert [sent for parcel in found for sent in parcel.rows] == rows
    assert {parcel.import_id for parcel in found} == {"import-1"}


def test_a_message_of_large_rows_stays_below_what_sqs_takes() -> None:
    large = row(tags=["☕" * 255] * 100)  # 76,500 bytes

    bodies = list(parcels("import-1", [large] * 3))

    assert len(bodies) == 3
    assert max(len(body.encode()) for body in bodies) < 262_144


def test_no_rows_make_no_message() -> None:
    assert list(parcels("import-1", [])) == []


def test_a_tag_sqs_itself_would_refuse_travels_escaped() -> None:
    [body] = parcels("import-1", [row(tags=["gold\ufffe"])])

    assert "\ufffe" not in body
    assert opened(body).rows[0].tags == ["gold\ufffe"]
