"""A CSV in the bucket: every line in the queue or in the failure file, once."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import pytest

from shared.errors import StoreUnavailable
from tag_import.csv_import import MAX_FILE_BYTES, MAX_REFUSALS, build, import_id_of
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked
from tests.integration.support.faulty_aws import FaultyAws

HEADER = "user_id,tags,ttl,counter\n"


def dropped(aws: Aws, content: str | bytes, key: str = "imports/members.csv", sequencer: str = "1") -> dict[str, Any]:
    """Puts a file into the bucket; gives the event EventBridge announces it with."""
    body = content.encode() if isinstance(content, str) else content
    aws.s3.put_object(Bucket=aws.bucket(), Key=key, Body=body)
    return announced(aws.bucket(), key, sequencer)


def announced(bucket: str, key: str = "imports/members.csv", sequencer: str = "1") -> dict[str, Any]:
    return {"detail": {"bucket": {"name": bucket}, "object": {"key": key, "etag": "e", "sequencer": sequencer}}}


@pytest.fixture
def handle(aws: Aws) -> Invoked:
    return build(aws.settings())


def queued_ids(aws: Aws) -> list[str]:
    return sorted(row["id"] for parcel in aws.queued("tags") for row in parcel["rows"])


def summary(aws: Aws, import_id: str) -> Mapping[str, Any]:
    [found] = [item for item in aws.items("imports") if (item["import_id"], item["item"]) == (import_id, "summary")]
    return found


def failure_lines(aws: Aws, key: str) -> list[list[str]]:
    body = aws.s3.get_object(Bucket=aws.bucket(), Key=key)["Body"].read().decode()
    return list(csv.reader(io.StringIO(body, newline="")))


def test_every_line_is_queued_and_counted(aws: Aws, handle: Invoked) -> None:
    names = [f"member-{number}" for number in range(1_000)]

    answered = handle(dropped(aws, HEADER + "".join(f"{name},gold,60,\n" for name in names)), Context())

    assert answered["state"] == "queued"
    assert queued_ids(aws) == sorted(names)
    found = summary(aws, answered["import_id"])
    assert (found["rows_read"], found["rows_queued"], found["rows_refused"]) == ("1000", "1000", "0")
    assert "failure_file" not in found


def test_refused_lines_are_in_the_failure_file_with_line_code_reason_and_cells(aws: Aws, handle: Invoked) -> None:
    content = f'{HEADER}member-1,gold,60,\nmember 2,"go,ld",60,\nmember-3,gold,0,\n\nmember-4,gold,60,\n'

    answered = handle(dropped(aws, content), Context())

    assert queued_ids(aws) == ["member-1", "member-4"]
    found = summary(aws, answered["import_id"])
    assert (found["rows_read"], found["rows_queued"], found["rows_refused"]) == ("4", "2", "2")
    assert found["failure_file"] == f"failures/members.{answered['import_id']}.csv"
    header, *lines = failure_lines(aws, found["failure_file"])
    assert header == ["line", "code", "reason", "row"]
    assert [(line[0], line[1], line[3:]) for line in lines] == [
        ("3", "invalid_field", ["member 2", "go,ld", "60", ""]),
        ("4", "invalid_field", ["member-3", "gold", "0", ""]),
    ]
    assert lines[1][2].startswith("ttl: expected a whole number >= 1. Give whole seconds")


def test_a_failure_file_keeps_text_of_any_language(aws: Aws, handle: Invoked) -> None:
    answered = handle(dropped(aws, f"{HEADER}member-1,☕|é|\U0001f600|,60,\n"), Context())

    [_, line] = failure_lines(aws, f"failures/members.{answered['import_id']}.csv")
    assert line[3:] == ["member-1", "☕|é|\U0001f600|", "60", ""]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfuser_id,tags,ttl\r\nmember-1,gold,60\r\n",
        b'user_id,note,tags,ttl\nmember-1,"two\nlines",gold,60\n',
        b"user_id,note,tags,ttl\nmember-1,caf\xe9 in another column,gold,60\n",
    ],
    ids=["byte order mark", "quoted line break", "foreign bytes in a column nobody reads"],
)
def test_files_as_spreadsheets_write_them_are_read(aws: Aws, handle: Invoked, content: bytes) -> None:
    handle(dropped(aws, content), Context())

    assert queued_ids(aws) == ["member-1"]


def test_a_line_that_is_not_utf_8_is_refused_and_the_others_are_not(aws: Aws, handle: Invoked) -> None:
    answered = handle(dropped(aws, HEADER.encode() + b"member-1,caf\xe9,60,\nmember-2,gold,60,\n"), Context())

    assert queued_ids(aws) == ["member-2"]
    [_, line] = failure_lines(aws, f"failures/members.{answered['import_id']}.csv")
    assert line[:2] == ["2", "not_utf8"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"member-1,gold,60\n", "must name the columns"),
        ("user_id,tags,ttl\nmember-1,gold,60\n".encode("utf-16"), "must name the columns"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "must name the columns"),
        (b"user_id,tags,tags\na,b,c\n", "names a column twice"),
    ],
)
def test_a_file_that_is_no_table_of_tags_fails_whole_and_says_why(
    aws: Aws, handle: Invoked, content: bytes, reason: str
) -> None:
    answered = handle(dropped(aws, content), Context())

    found = summary(aws, answered["import_id"])
    assert (answered["state"], found["state"], found["rows_read"]) == ("failed", "failed", "0")
    assert reason in found["reason"]
    assert queued_ids(aws) == []


def test_a_file_too_large_is_refused_whole_and_not_read(aws: Aws, faulty_aws: FaultyAws) -> None:
    key = f"GET /{aws.bucket()}/imports/large.csv"
    faulty_aws.answer(key, lambda _: (200, {"Content-Length": str(MAX_FILE_BYTES + 1)}, HEADER.encode()))

    answered = build(aws.settings())(announced(aws.bucket(), "imports/large.csv"), Context())

    assert answered["state"] == "failed"
    assert "split it" in summary(aws, answered["import_id"])["reason"]
    assert queued_ids(aws) == []


def test_a_file_announced_twice_is_imported_once(aws: Aws, handle: Invoked) -> None:
    event = dropped(aws, f"{HEADER}member-1,gold,60,\n")

    first, second = handle(event, Context()), handle(event, Context())

    assert (first["state"], second["state"]) == ("queued", "already_imported")
    assert first["import_id"] == second["import_id"]
    assert queued_ids(aws) == ["member-1"]


def test_the_same_file_dropped_again_is_another_import(aws: Aws, handle: Invoked) -> None:
    content = f"{HEADER}member-1,visits,,true\n"

    first = handle(dropped(aws, content, sequencer="1"), Context())
    second = handle(dropped(aws, content, sequencer="2"), Context())

    assert first["import_id"] != second["import_id"]
    effects = [row["once"] for parcel in aws.queued("tags") for row in parcel["rows"]]
    assert len(set(effects)) == len(effects) == 2


def test_an_import_is_another_for_another_bucket_key_or_version() -> None:
    base = {"key": "imports/a.csv", "sequencer": "1", "etag": "e"}

    ids = {
        import_id_of("bucket", base),
        import_id_of("other", base),
        import_id_of("bucket", base | {"key": "imports/b.csv"}),
        import_id_of("bucket", base | {"sequencer": "2"}),
        import_id_of("bucket", base | {"etag": "f"}),
        import_id_of("bucket", {"key": "imports/a.csv"}),
    }

    assert len(ids) == 6


def test_a_bucket_that_fails_midway_leaves_the_import_open_and_a_second_run_repeats_it_safely(
    aws: Aws, faulty_aws: FaultyAws
) -> None:
    content = (HEADER + "".join(f"member-{number},visits,,true\n" for number in range(1_000))).encode()
    event = dropped(aws, content)
    half = (200, {"Content-Length": str(len(content))}, content[: len(content) // 2])
    faulty_aws.answer(f"GET /{aws.bucket()}/imports/members.csv", lambda _: half)
    handle = build(aws.settings())

    with pytest.raises(StoreUnavailable, match="import bucket"):
        handle(event, Context())
    assert aws.items("imports") == []
    first = {row["once"] for parcel in aws.queued("tags") for row in parcel["rows"]}

    faulty_aws.heal()
    assert handle(event, Context())["state"] == "queued"
    second = {row["once"] for parcel in aws.queued("tags") for row in parcel["rows"]}
    assert 0 < len(first) < len(second) == 1_000
    assert first < second


def test_a_file_that_cannot_be_fetched_is_tried_again(aws: Aws, handle: Invoked) -> None:
    with pytest.raises(StoreUnavailable, match="import bucket: NoSuchKey"):
        handle(announced(aws.bucket()), Context())


@pytest.mark.parametrize("operation", ["SendMessageBatch", "PutItem", "GetItem", "PUT failures"])
def test_an_import_is_finished_only_when_all_of_it_is_stored(aws: Aws, faulty_aws: FaultyAws, operation: str) -> None:
    event = dropped(aws, f"{HEADER}member-1,gold,60,\nmember 2,gold,60,\n")
    if operation == "PUT failures":
        import_id = import_id_of(aws.bucket(), event["detail"]["object"])
        operation = f"PUT /{aws.bucket()}/failures/members.{import_id}.csv"
    faulty_aws.refuse(operation)
    handle = build(aws.settings())

    with pytest.raises(StoreUnavailable):
        handle(event, Context())
    assert operation in faulty_aws.calls
    assert aws.items("imports") == []

    faulty_aws.heal()
    assert handle(event, Context())["state"] == "queued"


def test_a_file_overwritten_before_it_was_read_is_imported_all_the_same(aws: Aws, handle: Invoked) -> None:
    aws.s3.put_bucket_versioning(Bucket=aws.bucket(), VersioningConfiguration={"Status": "Enabled"})
    events = []
    for number in (1, 2):
        content = f"{HEADER}member-{number},visits,,true\n".encode()
        version = aws.s3.put_object(Bucket=aws.bucket(), Key="imports/same.csv", Body=content)["VersionId"]
        event = announced(aws.bucket(), "imports/same.csv", str(number))
        event["detail"]["object"]["version-id"] = version
        events.append(event)

    for event in events:
        handle(event, Context())

    assert queued_ids(aws) == ["member-1", "member-2"]


def test_reading_stops_when_nearly_every_line_is_bad(aws: Aws, handle: Invoked) -> None:
    answered = handle(dropped(aws, HEADER + "x\n" * (MAX_REFUSALS + 10)), Context())

    found = summary(aws, answered["import_id"])
    assert (found["state"], found["rows_refused"]) == ("failed", str(MAX_REFUSALS))
    assert found["reason"].startswith(f"reading stopped at line {MAX_REFUSALS + 1}")


def test_a_file_refused_whole_has_a_failure_file_that_says_why(aws: Aws, handle: Invoked) -> None:
    answered = handle(dropped(aws, "user_id;tags;ttl\nmember-1;gold;60\n"), Context())

    found = summary(aws, answered["import_id"])
    [_, line] = failure_lines(aws, found["failure_file"])
    assert (found["file"], line[1]) == ("imports/members.csv", "unreadable_file")
    assert "separated by commas" in line[2]
