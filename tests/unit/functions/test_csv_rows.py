"""A CSV line by line: a row or a refusal, and none passed over."""

from __future__ import annotations

import io

import pytest

from tag_import.csv_rows import Refusal, UnreadableFile, read_rows
from tag_import.rows import Row


def read(text: str) -> list[Row | Refusal]:
    return list(read_rows(io.StringIO(text, newline=""), "import-1"))


def rows(text: str) -> list[Row]:
    return [found for found in read(text) if isinstance(found, Row)]


def refusal(line: str, header: str = "user_id,tags,ttl,counter") -> Refusal:
    [found] = read(f"{header}\n{line}\n")
    assert isinstance(found, Refusal), found
    return found


def test_a_line_becomes_a_row_known_by_its_line_number() -> None:
    assert read("user_id,tags,ttl\nmember-1,gold|spring sale,60\n") == [
        Row("user_id", "member-1", ["gold", "spring sale"], "000000000002", ttl_seconds=60)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "user_id,tags,ttl\r\nmember-1,gold,60\r\n",
        "user_id,tags,ttl\rmember-1,gold,60\r",
        "user_id,tags,ttl\nmember-1,gold,60",
        "TTL, Tags ,USER_ID\n60,gold,member-1\n",
        "user_id,name,tags,ttl,age\nmember-1,Ann,gold,60,7\n",
        '"user_id","tags","ttl"\n"member-1","gold","60"\n',
        "user_id,tags,ttl\n member-1 , gold , 60 \n",
        "user_id,external_id,tags,ttl\nmember-1,,gold,60\n",
        "user_id,tags,ttl,counter\nmember-1,gold,60,false\n",
        "user_id,tags,ttl,counter\nmember-1,gold,060,No\n",
        "user_id,tags,ttl\nmember-1,gold,60,more,than,the,header\n",
    ],
)
def test_a_file_is_read_whatever_its_line_ends_order_case_quotes_and_other_columns(text: str) -> None:
    [found] = rows(text)

    assert (found.kind, found.id, found.tags, found.ttl_seconds) == ("user_id", "member-1", ["gold"], 60)


def test_members_may_be_named_by_external_id_line_by_line() -> None:
    found = rows("external_id,user_id,tags,ttl\nloyal-1,,gold,60\n,member-1,gold,60\n")

    assert [(row.kind, row.id) for row in found] == [("external_id", "loyal-1"), ("user_id", "member-1")]


def test_blank_lines_are_no_rows_and_keep_the_line_numbers_right() -> None:
    found = rows("user_id,tags,ttl\n\nmember-1,gold,60\n ,,\n\nmember-2,gold,60\n\n")

    assert [int(row.ref) for row in found] == [3, 6]


def test_a_quoted_line_break_is_one_row_and_later_line_numbers_stay_right() -> None:
    found = rows('user_id,note,tags,ttl\nmember-1,"two\nlines",gold,60\nmember-2,,gold,60\n')

    assert [(row.id, int(row.ref)) for row in found] == [("member-1", 2), ("member-2", 4)]


@pytest.mark.parametrize("yes", ["true", "TRUE", "yes", "1"])
def test_a_counter_is_known_by_its_import_and_line(yes: str) -> None:
    text = f"user_id,tags,counter\nmember-1,visits,{yes}\nmember-1,visits,{yes}\n"
    first, second = rows(text)

    assert (first.ttl_seconds, bool(first.once)) == (None, True)
    assert first.once != second.once
    assert [row.once for row in rows(text)] == [first.once, second.once]
    assert next(iter(read_rows(io.StringIO(text), "import-2"))) != first


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        (",gold,60,", "missing_field", "user_id: exactly one"),
        ("member-1,,60,", "invalid_field", "tags: expected a list of length >= 1"),
        ("member-1", "invalid_field", "tags: "),
        ("member-1,gold||silver,60,", "invalid_field", "tags[1]: "),
        ("member-1,gold|,60,", "invalid_field", "tags[1]: "),
        ('member-1,"go\nld",60,', "invalid_field", "tags[0]: "),
        ("member-1," + "g" * 256 + ",60,", "invalid_field", "tags[0]: "),
        ("member-1," + "|".join("ab" * 51) + ",60,", "invalid_field", "tags: "),
        ("member-1,gold,,", "missing_field", "ttl: a tag without ttl is a counter"),
        ("member-1,gold,0,", "invalid_field", "ttl: expected a whole number >= 1"),
        ("member-1,gold,-1,", "invalid_field", "ttl: expected a whole number"),
        ("member-1,gold,1.5,", "invalid_field", "ttl: expected a whole number"),
        ("member-1,gold,1e3,", "invalid_field", "ttl: expected a whole number"),
        ("member-1,gold,1_000,", "invalid_field", "ttl: expected a whole number"),
        ("member-1,gold,٦٠,", "invalid_field", "ttl: expected a whole number"),
        ("member-1,gold,1000000000000,", "invalid_field", "ttl: expected a whole number <= 315360000"),
        ("member-1,gold," + "9" * 50 + ",", "invalid_field", "ttl: expected a whole number"),
        ("member-1,gold,60,true", "invalid_field", "counter: a tag has a ttl or a count"),
        ("member-1,gold,,maybe", "invalid_field", "counter: expected true or false"),
        ("member 1,gold,60,", "invalid_field", "user_id: "),
        ("a/b,gold,60,", "invalid_field", "user_id: "),
        ("m" * 129 + ",gold,60,", "invalid_field", "user_id: "),
        ("member-\x001,gold,60,", "invalid_field", "user_id: "),
        ("member\ufffd,gold,60,", "not_utf8", "line: not UTF-8"),
        ("member-1,gold\ufffd,60,", "not_utf8", "line: not UTF-8"),
        ('member-1,"gold"en,60,', "invalid_csv", "this line cannot be read as CSV"),
    ],
)
def test_a_line_that_cannot_be_sent_is_refused_with_its_reason(line: str, code: str, reason: str) -> None:
    found = refusal(line)

    assert (found.line, found.code) == (2, code)
    assert reason in found.reason


def test_a_refusal_keeps_the_line_as_it_was_read() -> None:
    assert refusal(" member-1 ,gold,0,").cells == [" member-1 ", "gold", "0", ""]


def test_both_ids_on_one_line_are_refused() -> None:
    assert refusal("member-1,loyal-1,gold,60", "user_id,external_id,tags,ttl").code == "invalid_field"


def test_a_line_that_is_no_csv_does_not_hide_the_lines_after_it() -> None:
    first, second = read('user_id,tags,ttl\n"member-1"x,gold,60\nmember-2,gold,60\n')

    assert isinstance(first, Refusal)
    assert isinstance(second, Row)
    assert (second.id, int(second.ref)) == ("member-2", 3)


def test_a_quote_that_is_never_closed_costs_its_own_line_and_no_other() -> None:
    others = "".join(f"member-{number},gold,60\n" for number in range(3, 50))

    broken, *rows = read(f'user_id,tags,ttl\nmember-2,"gold,60\n{others}')

    assert isinstance(broken, Refusal)
    assert (broken.line, broken.code, broken.cells) == (2, "invalid_csv", ('member-2,"gold,60',))
    assert [(row.id, int(row.ref)) for row in rows if isinstance(row, Row)] == [
        (f"member-{n}", n) for n in range(3, 50)
    ]


def test_a_field_of_any_length_costs_its_own_line_and_no_other() -> None:
    broken, row = read(f"user_id,tags,ttl\nmember-2,{'x' * 100_000},60\nmember-3,gold,60\n")

    assert isinstance(broken, Refusal)
    assert (broken.line, broken.code) == (2, "invalid_csv")
    assert isinstance(row, Row)


def test_every_line_with_an_open_quote_is_refused_by_itself() -> None:
    found = read("user_id,tags,ttl\n" + 'member-1,"gold,60\n' * 5)

    assert [line.line for line in found if isinstance(line, Refusal)] in ([2, 3, 4, 5, 6], [2, 4, 6])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty"),
        ("\n", "must name the columns"),
        ("member-1,gold,60\n", "must name the columns"),
        ("user_id;tags;ttl\nmember-1;gold;60\n", "must name the columns"),
        ("user_id,ttl\nmember-1,60\n", "must name the columns"),
        ("tags,ttl\ngold,60\n", "must name the columns"),
        ("user_id,tags,ttl,User_Id\na,b,60,c\n", "names a column twice"),
        ("user_id,tags,tags\na,b,c\n", "names a column twice"),
        ('"user_id,tags\n', "the first line is not CSV"),
    ],
)
def test_a_file_without_a_usable_header_is_refused_whole(text: str, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        read(text)
