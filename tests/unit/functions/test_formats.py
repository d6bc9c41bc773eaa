"""How a file is written: found out from its first lines, or announced with it."""

from __future__ import annotations

import msgspec
import pytest

from bulk.jobs import Options
from member_lists.formats import Layout, layout_of, options_of
from member_lists.objects import UnreadableFile, Window
from shared.errors import InvalidInput

ANNOUNCED = Options(tags=("gold",), ttl_seconds=60)


def layout(text: str, options: Options | None = None) -> Layout:
    return layout_of(text.encode(), True, options or Options())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user_id,tags,ttl\na,b,c\n", Layout(",", {"user_id": 0, "tags": 1, "ttl": 2}, 17, 1)),
        ("\ufeffuser_id;tags;ttl\r\n", Layout(";", {"user_id": 0, "tags": 1, "ttl": 2}, 21, 1)),
        ('sep=;\n\n"user_id";tags;ttl', Layout(";", {"user_id": 0, "tags": 1, "ttl": 2}, 25, 3)),
        ('"sep=,"\nuser_id,tags,ttl', Layout(",", {"user_id": 0, "tags": 1, "ttl": 2}, 24, 2)),
        ("a,b\tuser_id\ttags\tttl", Layout("\t", {"user_id": 1, "tags": 2, "ttl": 3}, 20, 1)),
        ('"more\nnotes",user_id,tags,counter\n', Layout(",", {"user_id": 1, "tags": 2, "counter": 3}, 34, 2)),
    ],
)
def test_a_header_says_where_columns_are_and_rows_begin(text: str, expected: Layout) -> None:
    assert layout(text) == expected


def test_an_announced_delimiter_is_not_found_out() -> None:
    text = "user_id;x,tags;ttl\n"

    assert layout(text, ANNOUNCED).columns == {"user_id": 0, "ttl": 2}
    with pytest.raises(UnreadableFile, match="the first line must name the columns"):
        layout(text, msgspec.structs.replace(ANNOUNCED, delimiter=","))


@pytest.mark.parametrize(("text", "delimiter"), [("member-1\n", ","), ("member-1;;\n", ";"), ("member-1\t\n", "\t")])
def test_a_list_of_bare_ids_begins_with_its_first_line(text: str, delimiter: str) -> None:
    assert layout(text, ANNOUNCED) == Layout(delimiter, {"user_id": 0}, 0, 0)


@pytest.mark.parametrize("text", ["member-1,Ann\n", "member-1;Ann\n", "member-1\tAnn;gold\n"])
def test_a_table_without_a_header_is_no_list_of_bare_ids(text: str) -> None:
    with pytest.raises(UnreadableFile, match="the first line must name the columns"):
        layout(text, ANNOUNCED)


def test_a_bare_id_needs_a_time_to_live_as_well() -> None:
    with pytest.raises(UnreadableFile, match="no column ttl"):
        layout("member-1\n", Options(tags=("gold",)))


def test_metadata_announces_what_holds_for_the_file() -> None:
    metadata = {
        "tags": "gold| spring sale",
        "ttl": "30d",
        "id": "External ID",
        "encoding": "Latin-1",
        "delimiter": "Semicolon",
        "uploaded-by": "somebody",
    }

    assert options_of(metadata) == Options(
        tags=("gold", "spring sale"),
        ttl_seconds=2_592_000,
        member_kind="external_id",
        encoding="iso8859-1",
        delimiter=";",
    )


@pytest.mark.parametrize(
    ("metadata", "options"),
    [
        ({}, Options()),
        ({"counter": "yes", "id": "user_id"}, Options(counter=True)),
        ({"ttl": "60"}, Options(ttl_seconds=60)),
        ({"tags": "=?UTF-8?Q?caf=C3=A9?="}, Options(tags=("café",))),
        ({"tags": "=?UTF-8?B?x?="}, Options(tags=("=?UTF-8?B?x?=",))),
        ({"delimiter": "\t"}, Options()),
        ({"delimiter": "tab"}, Options(delimiter="\t")),
    ],
)
def test_metadata_may_say_little(metadata: dict[str, str], options: Options) -> None:
    assert options_of(metadata) == options


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"tags": "gold||silver"}, "tags[1]"),
        ({"ttl": "soon"}, "ttl"),
        ({"counter": "perhaps"}, "counter"),
        ({"ttl": "60", "counter": "true"}, "counter"),
        ({"id": "email"}, "id"),
        ({"id": "tags"}, "id"),
        ({"encoding": "klingon"}, "encoding"),
        ({"encoding": "zip"}, "encoding"),
        ({"delimiter": "|"}, "delimiter"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused_by_its_name(metadata: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        options_of(metadata)
    assert error.value.field == field
    assert error.value.hint


def test_a_window_shows_the_same_bytes_however_one_came_there() -> None:
    def pieces() -> Window:
        content = [bytes([number]) * 3 for number in range(10)]
        return Window(lambda _: content.pop(0) if content else b"")

    looked, went = pieces(), pieces()
    for size in (1, 7, 2):
        looked.take(len(looked.ahead(size)))
    went.go_to(10)

    assert looked.position == went.position == 10
    assert looked.ahead(8) == went.ahead(8)
    went.go_to(1_000)
    assert (went.position, went.ahead(1)) == (30, b"")
