"""A CSV line by line: a row or a refusal, and none passed over."""

from __future__ import annotations

import pytest

from bulk.jobs import Options
from bulk.parcels import Label
from member_lists.csv_rows import CsvRows
from member_lists.formats import layout_of
from member_lists.records import end_of_lines
from shared.outcomes import State
from tests.integration.support.tables import Refused, Table, Taken, read_table

HEADER = "user_id,tags,ttl\n"


def rows(text: str, options: Options | None = None) -> list[Taken]:
    return [found for found in read_table(text, options or Options()) if isinstance(found, Taken)]


def refusal(line: str, header: str = "user_id,tags,ttl,counter") -> Refused:
    [found] = read_table(f"{header}\n{line}\n")
    assert isinstance(found, Refused), found
    return found


def test_a_line_becomes_a_row_known_by_its_line_number() -> None:
    assert read_table("user_id,tags,ttl\nmember-1,gold|spring sale,60\n") == [
        Taken(2, "member-1", Label("user_id", ("gold", "spring sale"), 60))
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
        '"user_id","tags","ttl"\n"member-1", "gold",60\n',
        "user_id,tags,ttl\n member-1 , gold , 60 \n",
        "user_id,external_id,tags,ttl\nmember-1,,gold,60\n",
        "user_id,tags,ttl,counter\nmember-1,gold,60,false\n",
        "user_id,tags,ttl,counter\nmember-1,gold,060,No\n",
        "user_id,tags,ttl\nmember-1,gold,60,more,than,the,header\n",
        "sep=,\nuser_id,tags,ttl\nmember-1,gold,60\n",
        "\n,,\nuser_id,tags,ttl\nmember-1,gold,60\n",
    ],
)
def test_a_file_is_read_whatever_its_line_ends_order_case_quotes_and_other_columns(text: str) -> None:
    [found] = rows(text)

    assert (found.member_id, found.label) == ("member-1", Label("user_id", ("gold",), 60))


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ('"[""a|b"","" lead"",""c;d""]"', ("a|b", " lead", "c;d")),
        ('"[""gold""]"', ("gold",)),
        ("[vip]|gold", ("[vip]", "gold")),
        ("[1]", ("[1]",)),
        ("[", ("[",)),
    ],
)
def test_names_that_no_separator_can_tell_apart_are_a_json_list(cell: str, tags: tuple[str, ...]) -> None:
    [found] = rows(f"user_id,tags,ttl\nmember-1,{cell},60\n")

    assert found.label.tags == tags


@pytest.mark.parametrize("header", ["user_id", "USERID", "User Id", "sessionm-id", "Customer ID"])
def test_a_user_id_goes_by_many_names(header: str) -> None:
    [found] = rows(f"{header},tag,expires_in\nmember-1,gold,60\n")

    assert found.label.kind == "user_id"


@pytest.mark.parametrize("header", ["external_id", "ExternalID", "loyalty_id", "Braze External ID", "external user id"])
def test_an_external_id_goes_by_many_names(header: str) -> None:
    [found] = rows(f"{header};tag_name;TTL (seconds)\nloyal-1;gold;60\n")

    assert found.label.kind == "external_id"


@pytest.mark.parametrize("kind", ["user_id", "external_id"])
def test_a_column_called_id_holds_what_was_announced(kind: str) -> None:
    options = Options(member_kind="user_id" if kind == "user_id" else "external_id")
    [found] = rows("ID,tags,ttl\nmember-1,gold,60\n", options)

    assert found.label.kind == kind


def test_members_may_be_named_by_either_id_line_by_line() -> None:
    found = rows("external_id,user_id,tags,ttl\nloyal-1,,gold,60\n,member-1,gold,60\n")

    assert [(row.label.kind, row.member_id) for row in found] == [("external_id", "loyal-1"), ("user_id", "member-1")]


def test_blank_lines_are_no_rows_and_keep_the_line_numbers_right() -> None:
    found = rows("user_id,tags,ttl\n\nmember-1,gold,60\n ,,\n\nmember-2,gold,60\n\n")

    assert [row.line for row in found] == [3, 6]


def test_a_quoted_line_break_is_one_row_and_later_line_numbers_stay_right() -> None:
    found = rows('user_id,note,tags,ttl\nmember-1,"two\nlines",gold,60\nmember-2,,gold,60\n')

    assert [(row.member_id, row.line) for row in found] == [("member-1", 2), ("member-2", 4)]


@pytest.mark.parametrize("yes", ["true", "TRUE", "yes", "1"])
def test_a_counter_needs_no_time_to_live(yes: str) -> None:
    [found] = rows(f"user_id,tags,counter\nmember-1,visits,{yes}\n")

    assert found.label == Label("user_id", ("visits",), None)


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("member-1,gold,60,", Label("user_id", ("gold",), 60)),
        ("member-1,,60,", Label("user_id", ("announced",), 60)),
        ("member-1,gold,,", Label("user_id", ("gold",), 3_600)),
        ("member-1,,,true", Label("user_id", ("announced",), None)),
        ("member-1", Label("user_id", ("announced",), 3_600)),
    ],
)
def test_what_was_announced_holds_for_what_a_line_leaves_open(line: str, label: Label) -> None:
    options = Options(tags=("announced",), ttl_seconds=3_600)

    for _ in range(2):
        [first, second] = rows(f"user_id,tags,ttl,counter\n{line}\n{line}\n", options)
        assert first.label == second.label == label


def test_a_line_that_says_it_is_no_counter_is_none_whatever_was_announced() -> None:
    [found] = read_table("user_id,tags,counter\nmember-1,gold,no\n", Options(counter=True))

    assert isinstance(found, Refused)
    assert (found.code, found.cells["counter"]) == ("missing_field", "no")


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        (",gold,60,", "missing_field", "user_id: exactly one"),
        ("member-1,,60,", "missing_field", "tags: there is no tag"),
        ("member-1", "missing_field", "tags: "),
        ("member-1,gold||silver,60,", "invalid_field", "tags[1]: "),
        ("member-1,gold;,60,", "invalid_field", "tags[1]: "),
        ('member-1,"go\nld",60,', "invalid_field", "tags[0]: "),
        ("member-1," + "g" * 256 + ",60,", "invalid_field", "tags[0]: "),
        ("member-1," + "g" * 100_000 + ",60,", "invalid_field", "tags[0]: "),
        ('member-1,"[""gold"",1]",60,', "invalid_field", "tags: this is no JSON list of names"),
        ('member-1,"[""gold"",""silver""",60,', "invalid_field", "tags: this is no JSON list of names"),
        ('member-1,"[""gold"","" ""]",60,', "invalid_field", "tags[1]: "),
        ("member-1," + "|".join("ab" * 51) + ",60,", "invalid_field", "tags: "),
        ("member-1,gold,,", "missing_field", "ttl: a tag without ttl is a counter"),
        ("member-1,gold,0,", "invalid_field", "ttl: "),
        ("member-1,gold,-1,", "invalid_field", "ttl: "),
        ("member-1,gold,1.5,", "invalid_field", "ttl: "),
        ("member-1,gold,1e3,", "invalid_field", "ttl: "),
        ("member-1,gold,1_000,", "invalid_field", "ttl: "),
        ("member-1,gold,٦٠,", "invalid_field", "ttl: "),
        ("member-1,gold,1000000000000,", "invalid_field", "ttl: "),
        ("member-1,gold,60,true", "invalid_field", "counter: a tag has a ttl or a count"),
        ("member-1,gold,,maybe", "invalid_field", "counter: expected true or false"),
        ("member 1,gold,60,", "invalid_field", "user_id: "),
        ("a/b,gold,60,", "invalid_field", "user_id: "),
        ("m" * 129 + ",gold,60,", "invalid_field", "user_id: "),
        ("member-\x001,gold,60,", "invalid_field", "user_id: "),
        ("member\ufffd,gold,60,", "not_utf8", "line: not UTF-8"),
        ("member-1,gold\ufffd,60,", "not_utf8", "line: not UTF-8"),
        ('member-1,"gold"en,60,', "invalid_csv", "this line cannot be read as CSV"),
        ('member-1,"' + "g" * 70_000 + '",60,', "invalid_csv", "this line cannot be read as CSV"),
    ],
)
def test_a_line_that_cannot_be_sent_is_refused_with_its_reason(line: str, code: str, reason: str) -> None:
    found = refusal(line)

    assert (found.line, found.code, found.verdict) == (2, code, State.FAILED)
    assert found.reason.startswith(reason)


def test_a_refusal_names_the_cells_it_read() -> None:
    assert refusal(" member-1 ,gold,0,").cells == {"user_id": "member-1", "tags": "gold", "ttl": "0", "counter": ""}


def test_both_ids_on_one_line_are_refused() -> None:
    assert refusal("member-1,loyal-1,gold,60", "user_id,external_id,tags,ttl").code == "invalid_field"


def test_the_same_fault_a_thousand_times_is_refused_a_thousand_times() -> None:
    found = read_table(HEADER + "member-1,gold,never\n" * 1_000)

    assert len({each.reason for each in found if isinstance(each, Refused)}) == 1
    assert [each.line for each in found] == list(range(2, 1_002))


def test_more_different_tags_than_are_remembered_are_all_read_right() -> None:
    text = "".join(f"member-{number},{number}-{'x' * 240},60\n" for number in range(12_000))

    found = rows(HEADER + text)

    assert [row.label.tags[0].partition("-")[0] for row in found] == [str(number) for number in range(12_000)]


def test_a_line_that_is_no_csv_does_not_hide_the_lines_after_it() -> None:
    first, second = read_table('user_id,tags,ttl\n"member-1"x,gold,60\nmember-2,gold,60\n')

    assert isinstance(first, Refused)
    assert isinstance(second, Taken)
    assert (second.member_id, second.line) == ("member-2", 3)


def test_a_quote_that_is_never_closed_costs_its_own_line_and_no_other() -> None:
    others = "".join(f"member-{number},gold,60\n" for number in range(3, 50))

    broken, *others_read = read_table(f'user_id,tags,ttl\nmember-2,"gold,60\n{others}')

    assert isinstance(broken, Refused)
    assert (broken.line, broken.code, broken.cells) == (2, "invalid_csv", {"text": 'member-2,"gold,60'})
    assert [(row.member_id, row.line) for row in others_read if isinstance(row, Taken)] == [
        (f"member-{n}", n) for n in range(3, 50)
    ]


def test_a_field_of_any_length_costs_its_own_line_and_no_other() -> None:
    broken, row = read_table(f"{HEADER}member-2,{'x' * 100_000},60\nmember-3,gold,60\n")

    assert isinstance(broken, Refused)
    assert isinstance(row, Taken)


def test_every_line_with_an_open_quote_is_refused_by_itself() -> None:
    found = read_table(HEADER + 'member-1,"gold,60\n' * 5)

    assert [line.line for line in found if isinstance(line, Refused)] == [2, 3, 4, 5, 6]


def test_a_record_that_may_go_on_behind_a_block_is_left_for_the_next_one() -> None:
    table = Table()
    head = HEADER.encode()
    reader = CsvRows(layout_of(head, True, Options()), Options(), table.accept, table.refuse)
    whole, open_one = b"member-1,gold,60\n", b'member-2,"go\n'

    assert reader.take(whole + open_one, 2, False, False) == (len(whole), 3)
    assert reader.take(open_one, 3, False, False) == (0, 3)
    assert reader.take(open_one, 3, False, True) == (len(open_one), 4)

    assert [type(each) for each in table.found] == [Taken, Refused]


@pytest.mark.parametrize(
    ("block", "end"),
    [
        (b"", 0),
        (b"\r", 0),
        (b"\n", 1),
        (b"a\nb", 2),
        (b"a\rb", 2),
        (b"a\r\nb", 3),
        (b"a\rb\r", 2),
        (b"a\nb\rc", 4),
        (b"a\nb\r", 2),
    ],
)
def test_a_block_ends_with_its_last_whole_line(block: bytes, end: int) -> None:
    assert end_of_lines(block) == end
