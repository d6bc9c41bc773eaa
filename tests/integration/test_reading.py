"""A file in the bucket, as people and systems write them: every row in the queue or in the list of refused ones, once.

Each file is in tests/files, byte for byte.
"""

from __future__ import annotations

import csv
import gzip
import io
import struct
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from bulk.jobs import Export, Job, Jobs, JobState, Later, Options, Outdated, Source
from bulk.parcels import PACKING, PARCEL_ROWS, Parcel
from clients.vocabulary import MemberKind
from member_lists.failures import COLUMNS, part_key
from member_lists.reading import Grain, Reader
from shared import aws as clients
from shared.deadline import Deadline
from shared.errors import StoreUnavailable
from shared.queues import BATCH_MESSAGES, Queue
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import Answer, FaultyAws

FILES = Path(__file__).parents[1] / "files"

AS_DEPLOYED = Grain()
NOTHING = Options()
ANNOUNCED = Options(tags=("gold", "silver"), ttl_seconds=60)
EXTERNAL = Options(tags=("gold", "silver"), ttl_seconds=60, member_kind="external_id")

MEMBERS: list[str] = ["2 member-1 gold 60", "3 member-2 gold 60"]
HEADER = "user_id,tags,ttl\n"


class Desk:
    """What an import is read with, in one test's corner of AWS; the clock stands still."""

    def __init__(self, aws: Aws, grain: Grain = AS_DEPLOYED) -> None:
        self.aws = aws
        self.jobs = Jobs(clients.dynamodb(), aws.table("imports"), 30, lambda: 1_000.0)
        self._reader = Reader(clients.s3(), self.jobs, Queue(clients.sqs(), aws.queue_url("bulk")), grain)
        self.checkpoints = 0

    def put(
        self,
        content: bytes | str,
        options: Options = NOTHING,
        export: Export | None = None,
        key: str = "imports/a",
    ) -> Job:
        body = content.encode() if isinstance(content, str) else content
        self.aws.s3.put_object(Bucket=self.aws.bucket(), Key=key, Body=body)
        return self.announced(options, export, key)

    def announced(self, options: Options = NOTHING, export: Export | None = None, key: str = "imports/a") -> Job:
        source = Source(self.aws.bucket(), key)
        job = Job(
            import_id="csv-1", state=JobState.READING, created_at=1.0, options=options, source=source, export=export
        )
        return self.jobs.save(job)

    def read(self, job: Job, deadline: Deadline | None = None) -> Job:
        def checkpoint() -> None:
            self.checkpoints += 1

        return self._reader.read(job, deadline or Deadline(900), checkpoint)

    def parcels(self) -> list[Parcel]:
        return sorted(msgspec.convert(self.aws.queued("bulk"), list[Parcel]), key=lambda parcel: parcel.id)

    def sent(self, kind: MemberKind = "user_id") -> list[str]:
        """Line, member id, tags and ttl of each row that was queued."""
        rows: list[str] = []
        for parcel in self.parcels():
            for row in parcel.rows:
                label = parcel.label(row)
                assert label.kind == kind
                rows.append(f"{row.line} {row.member_id} {'|'.join(label.tags)} {label.ttl_seconds or 'counter'}")
        return rows

    def refused(self, job: Job) -> list[dict[str, str]]:
        lines: list[dict[str, str]] = []
        for number in range(job.reading.parts):
            key = part_key(job.import_id, number)
            text = self.aws.s3.get_object(Bucket=self.aws.bucket(), Key=key)["Body"].read().decode()
            lines += [dict(zip(COLUMNS, cells, strict=True)) for cells in csv.reader(io.StringIO(text, newline=""))]
        return lines


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("one.csv", content)
        file.writestr("two.csv", content)
    return archive.getvalue()


@pytest.fixture
def desk(aws: Aws) -> Desk:
    return Desk(aws)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "columns_in_any_order_and_case.csv",
            ["2 member-1 gold|spring sale 2592000", "3 member-2 gold|spring sale 2592000"],
        ),
        ("synonyms.csv", ["2 member-1 gold 2592000", "3 member-2 silver 43200"]),
        ("byte_order_mark_and_crlf.csv", ["2 member-1 café 60", "3 member-2 café 60"]),
        ("utf_16_little_endian.csv", ["2 member-1 café 60", "3 member-2 ☕ 60"]),
        ("utf_16_big_endian.csv", ["2 member-1 café 60", "3 member-2 ☕ 60"]),
        ("quoted_line_breaks.csv", ["2 member-1 gold|silver 60", "4 member-2 gold 60", "5 member-3 gold 60"]),
        ("quoted_everywhere.csv", ["2 member-1 gold 2592000", "3 member-2 gold 2592000"]),
        ("members.csv.gz", [*MEMBERS, "4 member-3 gold 60"]),
        ("stored.zip", MEMBERS),
        ("excel_delimiter_line.csv", ["3 member-1 gold 60"]),
        ("carriage_returns.csv", MEMBERS),
        ("no_end_of_last_line.csv", MEMBERS),
        ("header_only.csv", []),
    ],
)
def test_a_file_is_read_however_it_is_written(desk: Desk, name: str, rows: list[str]) -> None:
    job = desk.read(desk.put((FILES / name).read_bytes()))

    assert (job.state, job.reason, job.lease_until, job.reading.fraction) == (JobState.DELIVERING, "", 0.0, 1.0)
    assert job.read_at > 0
    assert desk.sent() == rows
    assert (job.reading.rows_read, job.reading.rows_queued) == (len(rows), len(rows))
    assert desk.refused(job) == []
    assert desk.jobs.find("csv-1") == job


@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        ("semicolons.csv", Options(), ["2 loyal-1 gold|spring 2700", "3 loyal-2 gold|silver 1209600"]),
        ("tabs.tsv", Options(), ["2 loyal-1 gold|silver 60", "3 loyal-2 gold 60"]),
        (
            "bare_external_ids_with_trailing_delimiters.csv",
            EXTERNAL,
            ["1 loyal-1 gold|silver 60", "2 loyal-2 gold|silver 60"],
        ),
        ("external_ids_alone.csv", ANNOUNCED, ["2 loyal-1 gold|silver 60", "3 loyal-2 gold|silver 60"]),
    ],
)
def test_members_are_named_by_external_id_as_well(desk: Desk, name: str, options: Options, rows: list[str]) -> None:
    desk.read(desk.put((FILES / name).read_bytes(), options))

    assert desk.sent("external_id") == rows


@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        (
            "bare_ids.txt",
            ANNOUNCED,
            ["1 member-1 gold|silver 60", "2 member-2 gold|silver 60", "4 member-3 gold|silver 60"],
        ),
        ("latin_1.csv", Options(encoding="latin-1"), ["2 member-1 café 60", "3 member-2 größe 60"]),
        ("utf_16_without_mark.csv", Options(encoding="utf-16-le"), ["2 member-1 café 60"]),
        ("byte_order_mark_and_crlf.csv", Options(encoding="latin-1"), ["2 member-1 café 60", "3 member-2 café 60"]),
        ("members.csv.gz", Options(delimiter=",", tags=("other",), counter=True), [*MEMBERS, "4 member-3 gold 60"]),
        ("no_tags.csv", ANNOUNCED, ["2 member-1 gold|silver 60"]),
        ("no_ttl.csv", Options(counter=True), ["2 member-1 gold counter"]),
    ],
)
def test_what_was_announced_holds_where_the_file_says_nothing(
    desk: Desk, name: str, options: Options, rows: list[str]
) -> None:
    desk.read(desk.put((FILES / name).read_bytes(), options))

    assert desk.sent() == rows


@pytest.mark.parametrize(
    ("name", "rows", "refused"),
    [
        (
            "times_to_live.csv",
            [
                "2 member-1 gold 2592000",
                "3 member-2 gold 2592000",
                "4 member-3 gold 43200",
                "5 member-4 gold 2700",
                "6 member-5 gold 1209600",
            ],
            ["7 invalid_field", "8 invalid_field", "9 invalid_field", "10 invalid_field"],
        ),
        (
            "counters.csv",
            ["2 member-1 visits counter", "3 member-1 visits counter", "4 member-2 gold 60"],
            ["5 invalid_field", "6 invalid_field", "7 missing_field"],
        ),
        ("blank_and_ragged_lines.csv", ["5 member-1 gold 60"], ["8 missing_field", "9 missing_field"]),
        ("null_bytes.csv", ["2 member-1 gold 60"], ["3 invalid_field", "4 invalid_field"]),
        ("undecodable_bytes.csv", ["2 member-1 gold 60"], ["3 not_utf8", "4 not_utf8"]),
        (
            "broken_quotes.csv",
            ["4 member-3 gold 60", "5 member-4 silver 60"],
            ["2 invalid_csv", "3 invalid_csv", "6 invalid_csv"],
        ),
        (
            "ids_that_are_none.csv",
            ["4 member-2 gold 60"],
            ["2 invalid_field", "3 invalid_field", "5 invalid_field", "6 invalid_field", "7 missing_field"],
        ),
    ],
)
def test_a_row_that_cannot_be_sent_is_listed_and_costs_no_other(
    desk: Desk, name: str, rows: list[str], refused: list[str]
) -> None:
    job = desk.read(desk.put((FILES / name).read_bytes()))

    listed = desk.refused(job)
    assert desk.sent() == rows
    assert [f"{line['line']} {line['code']}" for line in listed] == refused
    assert all(line["verdict"] == "failed" and line["reason"] for line in listed)
    reading = job.reading
    assert (reading.rows_queued, reading.rows_failed, reading.rows_skipped) == (len(rows), len(refused), 0)
    assert reading.rows_read == len(rows) + len(refused)


def test_a_line_names_its_member_by_either_id(desk: Desk) -> None:
    job = desk.read(desk.put((FILES / "either_id.csv").read_bytes()))

    [parcel] = desk.parcels()
    assert [parcel.member(row).id for row in parcel.rows] == ["member-1", "loyal-1"]
    assert [parcel.member(row).kind for row in parcel.rows] == ["user_id", "external_id"]
    assert [(line["user_id"], line["external_id"], line["code"]) for line in desk.refused(job)] == [
        ("member-2", "loyal-2", "invalid_field"),
        ("", "", "missing_field"),
    ]


def test_the_files_of_a_zip_are_read_one_after_the_other_and_their_lines_count_on(desk: Desk) -> None:
    job = desk.read(desk.put((FILES / "members.zip").read_bytes()))

    [parcel] = desk.parcels()
    rows = [(row.line, parcel.label(row).kind, row.member_id, parcel.label(row).tags) for row in parcel.rows]
    assert rows == [
        (2, "user_id", "member-1", ("gold",)),
        (3, "user_id", "member-2", ("gold",)),
        (5, "external_id", "loyal-1", ("silver",)),
    ]
    assert job.reading.rows_read == 3


@pytest.mark.parametrize("gap_bytes", [1_500_000, 3_000_000])
def test_what_lies_between_the_files_of_a_zip_is_passed_over(desk: Desk, gap_bytes: int) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("one.csv", HEADER + "member-1,gold,60\n")
        file.writestr(".cache", bytes(gap_bytes))
        file.writestr("two.csv", HEADER + "member-2,gold,60\n")

    desk.read(desk.put(archive.getvalue()))

    assert desk.sent() == ["2 member-1 gold 60", "4 member-2 gold 60"]


@pytest.mark.parametrize("told", [Options(encoding="cp1252"), Options(delimiter=";"), Options(encoding="utf-16")])
def test_what_was_told_of_the_first_file_does_no_harm_to_its_failure_file(desk: Desk, told: Options) -> None:
    header = ",".join(COLUMNS)
    job = desk.read(desk.put(f"\ufeff{header}\nmember-1,,café,60,,2,failed,user_not_found,,\n", told))

    assert (job.state, job.reading.rows_queued) == (JobState.DELIVERING, 1)
    [parcel] = desk.parcels()
    assert parcel.labels[0].tags == ("café",)


def test_a_failure_file_can_be_imported_as_it_is(desk: Desk) -> None:
    job = desk.read(desk.put((FILES / "failure_file.csv").read_bytes()))

    [parcel] = desk.parcels()
    rows = [(row.member_id, parcel.label(row).tags, parcel.label(row).ttl_seconds) for row in parcel.rows]
    assert rows == [("member-1", ("gold", "silver"), 60), ("loyal-1", ("visits",), None)]
    assert job.reading.rows_failed == 1


def test_what_is_refused_of_a_list_of_ids_says_what_it_should_have_got(desk: Desk) -> None:
    expiring = desk.read(desk.put("member 1\n", ANNOUNCED))

    [line] = desk.refused(expiring)
    assert [line[name] for name in ("user_id", "tags", "ttl", "counter")] == ["member 1", "gold|silver", "60", ""]


def test_what_is_refused_of_a_list_of_ids_to_be_counted_says_so(desk: Desk) -> None:
    counted = desk.read(desk.put("member 1\n", Options(tags=("visits",), counter=True)))

    [line] = desk.refused(counted)
    assert [line[name] for name in ("tags", "ttl", "counter")] == ["visits", "", "true"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.csv", "the file is empty"),
        ("blank.csv", "the file is empty"),
        ("no_header.csv", "the first line must name the columns"),
        ("bare_ids.txt", "the first line must name the columns"),
        ("picture.csv", "the first line must name the columns"),
        ("no_member.csv", "must name the column user_id or external_id"),
        ("no_tags.csv", "there is no column tags"),
        ("no_ttl.csv", "there is no column ttl or counter"),
        ("column_twice.csv", "user_id and Customer ID both hold user_id"),
        ("open_quote_in_header.csv", "the first line is not CSV"),
        ("utf_16_without_mark.csv", "UTF-16 without its mark"),
        ("workbook.xlsx", "an Excel workbook"),
        ("encrypted.zip", "members.csv is encrypted"),
        ("unusual_packing.zip", "members.csv is packed in an unusual way"),
        ("cut_off.csv.gz", "the archive is broken"),
        ("cut_off.zip", "the archive is broken"),
        ("damaged.zip", "members.csv: the archive is broken"),
        ("no_file.zip", "there is no file in the archive"),
        ("empty_export.zip", "there is no file in the archive"),
    ],
)
def test_a_file_that_is_no_table_of_tags_fails_whole_and_says_why(desk: Desk, name: str, reason: str) -> None:
    job = desk.read(desk.put((FILES / name).read_bytes()))

    assert (job.state, job.reason_code, job.lease_until) == (JobState.FAILED, "unreadable_file", 0.0)
    assert reason in job.reason
    assert job.reading.rows_read == 0
    assert desk.parcels() == []
    assert desk.jobs.find("csv-1") == job


@pytest.mark.parametrize("encoding", ["no-such-encoding", "zip"])
def test_an_encoding_nobody_knows_fails_the_file(desk: Desk, encoding: str) -> None:
    job = desk.read(desk.put(HEADER, Options(encoding=encoding)))

    assert f"no such encoding: {encoding}" in job.reason


def test_an_encoding_that_cannot_be_the_files_own_fails_it(desk: Desk) -> None:
    job = desk.read(desk.put(HEADER, Options(encoding="idna")))

    assert (job.state, job.reason) == (JobState.FAILED, "this file is not idna, as was announced")


def test_a_first_line_that_never_ends_is_none(desk: Desk) -> None:
    assert "the first line is longer" in desk.read(desk.put("user_id," * 10_000)).reason


def test_an_export_gives_its_users_the_tags_it_was_ordered_with(desk: Desk) -> None:
    job = desk.read(desk.put((FILES / "export.zip").read_bytes(), EXTERNAL, Export("segment-1")))

    assert desk.sent("external_id") == [
        "1 loyal-1 gold|silver 60",
        "2 loyal-2 gold|silver 60",
        "5 4 gold|silver 60",
        "9 loyal-6 gold|silver 60",
    ]
    assert [(line["line"], line["verdict"], line["code"]) for line in desk.refused(job)] == [
        ("3", "skipped", "no_external_id"),
        ("4", "failed", "invalid_field"),
        ("7", "failed", "invalid_json"),
        ("8", "skipped", "no_external_id"),
    ]
    reading = job.reading
    assert (reading.rows_read, reading.rows_queued, reading.rows_failed, reading.rows_skipped) == (8, 4, 2, 2)


def test_an_export_without_users_is_an_import_without_rows(desk: Desk) -> None:
    job = desk.read(desk.put((FILES / "empty_export.zip").read_bytes(), EXTERNAL, Export("segment-1")))

    assert (job.state, job.reading.rows_read) == (JobState.DELIVERING, 0)


@pytest.mark.parametrize(("options", "what"), [(Options(), "tags"), (Options(tags=("gold",)), "ttl")])
def test_an_export_nobody_said_the_tags_of_fails(desk: Desk, options: Options, what: str) -> None:
    job = desk.read(desk.put((FILES / "export.zip").read_bytes(), options, Export("segment-1")))

    assert (job.state, f"ordered without {what}" in job.reason) == (JobState.FAILED, True)


def test_rows_come_in_parcels_known_by_their_first_line_and_in_their_order(desk: Desk) -> None:
    text = HEADER + "".join(f"member-{number},gold,60\n" for number in range(12 * PARCEL_ROWS))

    job = desk.read(desk.put(text))

    parcels = desk.parcels()
    assert [parcel.id for parcel in parcels] == [f"{parcel.rows[0].line:012d}" for parcel in parcels]
    lines = [row.line for parcel in parcels for row in parcel.rows]
    assert lines == list(range(2, 12 * PARCEL_ROWS + 2))
    assert job.reading.rows_queued == len(lines)


@pytest.mark.parametrize(
    ("grain", "line"),
    [
        (Grain(longest_record_bytes=524_288), "x" * 2_000_000 + "\n"),
        (Grain(block_bytes=1_024, longest_record_bytes=2_048), "x" * 9_999 + "\r\n"),
        (Grain(block_bytes=64, longest_record_bytes=128), 'member-9,"' + "no end\n" + "line\n" * 40),
    ],
    ids=["no end of line", "a short limit", "no end of quote"],
)
def test_a_record_without_an_end_costs_no_other(aws: Aws, grain: Grain, line: str) -> None:
    desk = Desk(aws, grain)

    job = desk.read(desk.put(f"{HEADER}member-1,gold,60\n{line}member-2,gold,60\n"))

    assert [row.split()[1] for row in desk.sent()] == ["member-1", "member-2"]
    first = desk.refused(job)[0]
    assert (first["line"], first["code"], len(first["text"]) <= 1_000) == ("3", "invalid_csv", True)
    assert job.reading.rows_read == job.reading.rows_queued + job.reading.rows_failed


def test_a_line_without_an_end_at_the_end_of_a_file_is_refused(aws: Aws) -> None:
    desk = Desk(aws, Grain(block_bytes=64, longest_record_bytes=128))

    job = desk.read(desk.put(f"{HEADER}member-1,gold,60\n" + "x" * 1_000))

    assert [(line["line"], line["code"]) for line in desk.refused(job)] == [("3", "invalid_csv")]


@pytest.mark.parametrize("pack", [gzip.compress, zipped], ids=["gzip", "zip"])
def test_an_archive_made_to_keep_a_machine_busy_is_not_unpacked(desk: Desk, pack: Callable[[bytes], bytes]) -> None:
    job = desk.read(desk.put(pack(b"user_id,tags,ttl\n" + b" " * 90_000_000)))

    assert (job.state, "more than 200 times its size" in job.reason) == (JobState.FAILED, True)


def test_a_line_that_goes_on_for_ever_ends_the_import(aws: Aws) -> None:
    desk = Desk(aws, Grain(block_bytes=64, longest_record_bytes=128, longest_line_bytes=4_096))

    job = desk.read(desk.put(f"{HEADER}member-1,gold,60\n{'x' * 9_000}\nmember-2,gold,60\n"))

    assert (job.state, "longer than 4096 bytes" in job.reason) == (JobState.FAILED, True)
    assert (job.reading.rows_queued, job.reading.rows_failed) == (1, 1)


def test_an_archive_whose_directory_would_fill_memory_is_not_opened(desk: Desk) -> None:
    entry = b"PK\x01\x02" + zipped(b"").split(b"PK\x01\x02")[1]
    files = 16 * 1_048_576 // len(entry) + 1
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, files & 0xFFFF, files & 0xFFFF, files * len(entry), 4, 0)

    job = desk.read(desk.put(b"PK\x03\x04" + entry * files + end))

    assert (job.state, "lists more files" in job.reason) == (JobState.FAILED, True)


def test_a_user_nested_beyond_measure_costs_no_other(desk: Desk) -> None:
    deep = b'{"custom":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    users = b'{"external_id":"member-1"}\n' + deep + b'{"external_id":"member-2"}\n'

    job = desk.read(desk.put(users, EXTERNAL, Export("segment-1")))

    assert (job.reading.rows_queued, job.reading.rows_failed) == (2, 1)


SMALL = Grain(block_bytes=2_048, interval_bytes=8_192)
MANY = (HEADER + "".join(f"member-{number},gold,60\n" for number in range(3_000))).encode()

# More than the first lines that are looked at for the header.
MORE = (HEADER + "".join(f"member-{number},gold,60\n" for number in range(9_000))).encode()


@pytest.mark.parametrize(
    ("pack", "members"),
    [
        (lambda content: content, 9_000),
        (gzip.compress, 9_000),
        (zipped, 18_000),
        (lambda content: content.decode().encode("utf-16"), 9_000),
    ],
    ids=["plain", "gzip", "zip", "utf-16"],
)
def test_reading_that_runs_out_of_time_goes_on_where_it_was(
    aws: Aws, pack: Callable[[bytes], bytes], members: int
) -> None:
    desk = Desk(aws, Grain(block_bytes=4_096, interval_bytes=24_576))
    job = desk.put(pack(MORE))
    rounds = 0
    while job.state is JobState.READING:
        with suppress(Later):
            desk.read(job, Deadline(0))
        found = desk.jobs.find("csv-1")
        assert found is not None
        assert found.reading.fraction >= job.reading.fraction
        assert found.lease_until in (0.0, 1_120.0)
        job = found
        rounds += 1

    assert rounds == desk.checkpoints + 1 > 5
    assert job.reading.rows_queued == members
    parcels = desk.parcels()
    assert len({parcel.id for parcel in parcels}) == len(parcels)
    assert sorted(row.member_id for parcel in parcels for row in parcel.rows) == sorted(
        [f"member-{number}" for number in range(9_000)] * (members // 9_000)
    )


def test_a_list_of_refused_rows_ends_an_interval_before_it_grows_long(aws: Aws) -> None:
    desk = Desk(aws, Grain(block_bytes=1_024, interval_refused_characters=20_000))

    job = desk.read(desk.put(HEADER + "x,,\n" * 1_000))

    assert job.reading.parts > 2
    assert [int(line["line"]) for line in desk.refused(job)] == list(range(2, 1_002))


def test_a_worker_whose_job_another_has_gone_on_with_stops_at_its_checkpoint(desk: Desk) -> None:
    job = desk.put((FILES / "synonyms.csv").read_bytes())
    desk.read(job)

    with pytest.raises(Outdated):
        desk.read(job)


def test_the_version_that_was_announced_is_read_whatever_its_name_holds_by_then(aws: Aws, desk: Desk) -> None:
    aws.s3.put_bucket_versioning(Bucket=aws.bucket(), VersioningConfiguration={"Status": "Enabled"})
    body = (FILES / "no_end_of_last_line.csv").read_bytes()
    version = aws.s3.put_object(Bucket=aws.bucket(), Key="imports/a", Body=body)["VersionId"]
    job = desk.put("user_id,tags,ttl\nmember-9,gold,60\n")

    desk.read(msgspec.structs.replace(job, source=Source(aws.bucket(), "imports/a", version)))

    assert desk.sent() == MEMBERS


def test_a_file_whose_name_another_takes_while_it_is_read_fails_the_import(aws: Aws, faulty_aws: FaultyAws) -> None:
    desk = Desk(aws)
    job = desk.put(MANY)

    def replaced(_: bytes) -> None:
        aws.s3.put_object(Bucket=aws.bucket(), Key="imports/a", Body=MORE)

    faulty_aws.answer(f"GET /{aws.bucket()}/imports/a", replaced)

    job = desk.read(job)

    assert (job.state, "another took its name" in job.reason) == (JobState.FAILED, True)


def test_no_more_batches_are_under_way_than_the_pool_of_connections_takes(aws: Aws, faulty_aws: FaultyAws) -> None:
    desk = Desk(aws)
    under_way: list[int] = []
    most = 0

    def slow(_: bytes) -> None:
        nonlocal most
        under_way.append(1)
        most = max(most, len(under_way))
        time.sleep(0.2)
        under_way.pop()

    faulty_aws.answer("SendMessageBatch", slow)
    rows = "".join(f"{number},gold,60\n" for number in range(11 * BATCH_MESSAGES * PARCEL_ROWS))

    job = desk.read(desk.put(HEADER + rows))

    assert job.reading.rows_queued == 11 * BATCH_MESSAGES * PARCEL_ROWS
    assert 1 < most <= 8


@pytest.mark.parametrize("stage", ["HEAD", "GET"])
def test_a_file_that_is_gone_fails_the_import(aws: Aws, faulty_aws: FaultyAws, stage: str) -> None:
    desk = Desk(aws)
    job = desk.put(MANY)
    gone: Answer = (404, {}, b"<Error><Code>NoSuchKey</Code></Error>" if stage == "GET" else b"")
    faulty_aws.answer(f"{stage} /{aws.bucket()}/imports/a", lambda _: gone)

    job = desk.read(job)

    assert (job.state, "gone from the bucket" in job.reason) == (JobState.FAILED, True)


@pytest.mark.parametrize("operation", ["HEAD", "GET", "half a GET", "SendMessageBatch", "PutItem", "PUT a part"])
def test_reading_that_meets_an_outage_is_gone_on_with_at_its_last_checkpoint(
    aws: Aws, faulty_aws: FaultyAws, operation: str
) -> None:
    desk = Desk(aws, SMALL)
    job = desk.put(MANY.replace(b"member-2222,", b"member 2222,"))
    half = (200, {"Content-Length": str(len(MANY))}, MANY[: len(MANY) // 2])
    path = f"/{aws.bucket()}/imports/a"
    if operation == "half a GET":
        faulty_aws.answer(f"GET {path}", lambda _: half)
    elif operation == "PUT a part":
        faulty_aws.refuse(f"PUT /{aws.bucket()}/{part_key('csv-1', 0)}")
    elif operation in ("SendMessageBatch", "PutItem"):
        faulty_aws.refuse_after(operation, 4)
    else:
        faulty_aws.refuse(f"{operation} {path}")

    with pytest.raises(StoreUnavailable):
        desk.read(job)
    faulty_aws.heal()
    saved = desk.jobs.find("csv-1")
    assert saved is not None
    assert saved.state is JobState.READING
    job = desk.read(saved)

    by_id = {parcel.id: parcel for parcel in desk.parcels()}
    assert sum(len(parcel.rows) for parcel in by_id.values()) == job.reading.rows_queued == 2_999
    assert [line["user_id"] for line in desk.refused(job)] == ["member 2222"]


def test_rows_before_a_break_in_an_archive_are_queued_and_counted(aws: Aws) -> None:
    desk = Desk(aws, SMALL)
    packed = gzip.compress(MANY + MANY, mtime=0)

    job = desk.read(desk.put(packed[:-40]))

    assert (job.state, job.reading.rows_queued > 0) == (JobState.FAILED, True)
    assert job.reason.startswith(f"line {job.reading.line}: the archive is broken")
    assert sum(len(parcel.rows) for parcel in desk.parcels()) == job.reading.rows_queued


# --- a release in between ---------------------------------------------------------------------------------------------


def test_a_file_begun_by_a_release_that_packed_otherwise_is_ended_and_nothing_of_it_queued_twice(aws: Aws) -> None:
    desk = Desk(aws, Grain(block_bytes=64, interval_bytes=64))
    job = desk.put(HEADER + "".join(f"member-{number},gold,60\n" for number in range(20)))
    with pytest.raises(Later):
        desk.read(job, Deadline(0))
    begun = desk.jobs.find("csv-1")
    assert begun is not None
    assert begun.reading.packing == PACKING
    queued = len(desk.parcels())
    other = desk.jobs.save(
        msgspec.structs.replace(begun, reading=msgspec.structs.replace(begun.reading, packing=PACKING + 1))
    )

    ended = desk.read(other)

    assert (ended.state, ended.reason_code) == (JobState.FAILED, "begun_by_another_release")
    assert f"line {begun.reading.line} " in ended.reason
    assert ended.reading.rows_queued == begun.reading.rows_queued
    assert queued > 0
    assert not desk.parcels()
    assert desk.jobs.find("csv-1") == ended


def test_a_file_says_how_it_is_packed_before_its_first_row_is_queued(faulty_aws: FaultyAws, aws: Aws) -> None:
    job = Desk(aws).put(HEADER + "member-1,gold,60\n")
    faulty_aws.refuse("SendMessageBatch")
    desk = Desk(aws)

    with pytest.raises(StoreUnavailable):
        desk.read(job)

    kept = desk.jobs.find("csv-1")
    assert kept is not None
    assert kept.reading.packing == PACKING
    assert not kept.reading.rows_read
