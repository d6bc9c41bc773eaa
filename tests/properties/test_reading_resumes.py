"""A file read to its end is read whole and once, wherever its readers died on the way."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk.jobs import Export, Job, Jobs, JobState, Later, Options, Outdated, Source
from bulk.parcels import Label, Packer, Parcel
from member_lists.failures import COLUMNS, LINE, part_key
from member_lists.objects import UnreadableFile
from member_lists.reading import Grain, Reader
from shared.deadline import Deadline
from shared.queues import Queue
from tests.integration.support.tables import Refused, Taken, read_table

FINE = Grain(block_bytes=128, interval_bytes=512, interval_refused_characters=700, longest_record_bytes=512)
ANNOUNCED = Options(tags=("gold",), ttl_seconds=60, member_kind="external_id")


class Death(Exception):
    """The function is gone; nothing after this happens."""


class Fate:
    """Says of each call whether the worker dies of it, before it has done anything or after it has done all."""

    def __init__(self, deaths: Iterable[tuple[int, bool]] = ()) -> None:
        self._deaths = dict(deaths)
        self._calls = count()

    def meet(self, act: Callable[[], Any]) -> Any:
        after = self._deaths.get(next(self._calls))
        if after is False:
            raise Death
        result = act()
        if after:
            raise Death
        return result


class World:
    """A bucket with one file in it, a queue and a job, all of which outlive the workers."""

    def __init__(self, content: bytes, options: Options, export: Export | None) -> None:
        self.content = content
        self.parcels: list[Parcel] = []
        self.parts: dict[str, str] = {}
        self.job = Job(
            import_id="csv-1",
            state=JobState.READING,
            created_at=0.0,
            options=options,
            source=Source("bucket", "key"),
            export=export,
        )

    def reader(self, fate: Fate) -> Reader:
        world = self

        class Bucket:
            def head_object(self, **_: Any) -> Mapping[str, Any]:
                return {"ContentLength": len(world.content), "ETag": "same"}

            def get_object(self, Range: str, **_: Any) -> Mapping[str, Any]:
                body = io.BytesIO(world.content)
                body.seek(int(Range.removeprefix("bytes=").removesuffix("-")))
                return {"Body": body}

            def put_object(self, Key: str, Body: bytes, **_: Any) -> None:
                fate.meet(lambda: world.parts.update({Key: Body.decode()}))

        class Store:
            def clock(self) -> float:
                return 0.0

            def save(self, job: Job) -> Job:
                def write() -> Job:
                    if job.version != world.job.version:
                        raise Outdated("another worker")
                    world.job = msgspec.structs.replace(job, version=job.version + 1)
                    return world.job

                return cast(Job, fate.meet(write))

        class Line:
            def send(self, bodies: Iterable[str]) -> None:
                parcels = [msgspec.json.decode(body, type=Parcel) for body in bodies]
                fate.meet(lambda: world.parcels.extend(parcels))

        return Reader(cast(Any, Bucket()), cast(Jobs, Store()), cast(Queue, Line()), FINE)

    def read(self, fate: Fate, deadline: Deadline) -> None:
        """One worker's life, from the job as it was saved."""
        self.reader(fate).read(self.job, deadline, lambda: None)

    def read_undisturbed(self) -> None:
        self.read(Fate(), Deadline(900))

    def distinct(self) -> dict[str, Parcel]:
        """The parcels by their ids, each of which must name one and the same."""
        by_id: dict[str, Parcel] = {}
        for parcel in self.parcels:
            assert by_id.setdefault(parcel.id, parcel) == parcel
        return by_id


def plain(text: str) -> bytes:
    return text.encode()


def zipped(text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.csv", text)
        archive.writestr("nothing/", "")
        archive.writestr("two.csv", text)
    return packed.getvalue()


PACKINGS: list[Callable[[str], bytes]] = [
    plain,
    zipped,
    lambda text: gzip.compress(text.encode(), mtime=0),
    lambda text: text.encode("utf-16"),
]

# csv.writer of Python 3.11 leaves a lone carriage return unquoted, which makes two lines of one.
cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=12)
long_cells = st.integers(20, 80).map(lambda number: "line\n" * number)  # longer than a block, shorter than a record
rows = st.tuples(
    st.sampled_from(["member-1", "member-2", "", "a b"]) | cells,
    st.sampled_from(["gold", "gold|silver", "", "a||b"]) | cells | long_cells,
    st.sampled_from(["60", "30d", "", "0", "1.5", "x"]) | cells,
    st.sampled_from(["", "true", "maybe"]) | cells,
)
line_ends = st.sampled_from(["\n", "\r\n"])
quotings = st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
HEADER = ("user_id", "tags", "ttl", "counter")


def written(table: Iterable[Iterable[str]], line_end: str, quoting: Any) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=line_end, quoting=quoting)
    writer.writerow(HEADER)
    writer.writerows(table)
    return file.getvalue()


users = st.lists(
    st.sampled_from(["loyal-1", "loyal-2", "loyal 3", "", None, 7]).map(
        lambda member: json.dumps({"external_id": member, "city": "Zürich"})
    )
    | st.sampled_from(["", "{", '{"braze_id": "x"}', "[]"]),
    max_size=60,
).map("\n".join)

tables = st.builds(written, st.lists(rows, min_size=10, max_size=60), line_ends, quotings)
ragged = st.text(st.sampled_from('ab,;"|\n\r x☕') | st.characters(codec="utf-8"), max_size=400).map(
    lambda text: "user_id,tags,ttl\n" + text
)
packings = st.sampled_from(PACKINGS)
worlds = st.builds(
    lambda text, pack: World(pack(text), Options(tags=("gold",), ttl_seconds=60), None), tables | ragged, packings
) | st.builds(
    lambda text, pack: World(pack(text), ANNOUNCED, Export("segment-1")), users, st.sampled_from([plain, zipped])
)

# Each example starts threads, which a busy machine takes its time for.
unhurried = settings(deadline=None)

deaths = st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=6)


@unhurried
@given(worlds, st.lists(deaths, max_size=4), st.booleans())
def test_a_reader_killed_anywhere_and_gone_on_with_leaves_what_one_that_lived_leaves(
    world: World, lives: list[list[tuple[int, bool]]], hurried: bool
) -> None:
    undisturbed = World(world.content, world.job.options, world.job.export)
    undisturbed.read_undisturbed()

    for life in lives:
        if world.job.state is not JobState.READING:
            break
        with suppress(Death, Later):
            world.read(Fate(life), Deadline(0 if hurried else 900))
    while world.job.state is JobState.READING:
        with suppress(Later):
            world.read(Fate(), Deadline(0 if hurried else 900))

    parcels, reading = world.distinct(), world.job.reading
    assert parcels == undisturbed.distinct()
    assert sum(len(parcel.rows) for parcel in parcels.values()) == reading.rows_queued
    assert list(world.parts) == [part_key("csv-1", number) for number in range(reading.parts)]
    assert world.parts == undisturbed.parts
    assert msgspec.structs.replace(reading, fraction=0.0) == msgspec.structs.replace(
        undisturbed.job.reading, fraction=0.0
    )
    assert (world.job.state, world.job.reason) == (undisturbed.job.state, undisturbed.job.reason)


@unhurried
@given(st.lists(rows, max_size=60), line_ends, quotings, packings)
def test_every_line_of_a_file_is_a_row_or_a_refusal_whatever_blocks_it_is_read_in(
    table: list[tuple[str, str, str, str]], line_end: str, quoting: Any, pack: Callable[[str], bytes]
) -> None:
    text = written(table, line_end, quoting)
    world = World(pack(text), Options(), None)
    world.read_undisturbed()

    found = read_table(text)

    assert len(found) == sum(any(cell.strip() for cell in line) for line in table)
    repeats = 2 if pack is zipped else 1
    reading = world.job.reading
    assert reading.rows_read == repeats * len(found)
    refused = [int(cells[LINE]) for part in sorted(world.parts) for cells in _cells(world.parts[part])]
    queued = [row.line for parcel in world.distinct().values() for row in parcel.rows]
    assert len({*refused, *queued}) == reading.rows_read
    if repeats == 1:
        assert refused == [each.line for each in found if isinstance(each, Refused)]
        assert queued == [each.line for each in found if isinstance(each, Taken)]


def _cells(part: str) -> list[list[str]]:
    lines = list(csv.reader(io.StringIO(part, newline="")))
    assert all(len(cells) == len(COLUMNS) for cells in lines)
    return lines


@unhurried
@given(st.binary(max_size=400), st.sampled_from([Options(), Options(tags=("gold",), ttl_seconds=60)]))
def test_a_file_of_any_bytes_is_read_to_its_end_or_fails_with_a_reason(content: bytes, options: Options) -> None:
    world = World(content, options, None)

    world.read_undisturbed()

    failed = world.job.state is JobState.FAILED
    assert failed == bool(world.job.reason)
    assert failed == (world.job.reason_code == "unreadable_file")
    assert world.job.reading.rows_queued == sum(len(parcel.rows) for parcel in world.parcels)


archives = st.sampled_from([pack("user_id,tags,ttl\n" + "member-1,gold,60\n" * 40) for pack in PACKINGS])
damages = st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 255)), max_size=3)


@unhurried
@given(archives, damages, st.integers(0, 2_000))
def test_a_damaged_file_is_read_to_its_end_or_fails_with_a_reason(
    content: bytes, damage: list[tuple[int, int]], length: int
) -> None:
    damaged = bytearray(content)
    for position, change in damage:
        damaged[position % len(damaged)] ^= change
    world = World(bytes(damaged[: length or None]), Options(), None)

    world.read_undisturbed()

    assert (world.job.state is JobState.FAILED) == bool(world.job.reason)


@given(st.text(max_size=300))
def test_text_of_any_kind_under_a_header_is_read_to_its_end_or_refused_whole(content: str) -> None:
    with suppress(UnreadableFile):
        for item in read_table("user_id,tags,ttl\n" + content):
            assert isinstance(item, Taken) or item.reason


@given(st.lists(st.integers(1, 100), max_size=120))
def test_packing_rows_loses_none_and_keeps_their_order(tag_counts: list[int]) -> None:
    packer = Packer("import-1")
    wanted = [(at, Label("user_id", ("t" * 200,) * n, 60)) for at, n in enumerate(tag_counts)]

    packed = [packer.add(at, f"member-{at}", label) for at, label in wanted]
    parcels = [parcel for parcel in [*packed, packer.rest()] if parcel]

    assert [(row.line, parcel.label(row)) for parcel in parcels for row in parcel.rows] == wanted
    assert all(len(msgspec.json.encode(parcel)) < 60_000 for parcel in parcels)
