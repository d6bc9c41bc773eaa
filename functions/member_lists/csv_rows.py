"""Rows out of CSV. A line that cannot be sent becomes a refusal that says why, and none is passed over.

A million lines have few different tags and times to live, so what cells mean is found out once for each text; and a
line without surprises is a split, a look-up and a match. Blocks with quotes in them go through the csv module, where a
quote that is never closed costs its own line and no other.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from bulk.jobs import Options
from bulk.parcels import Label
from bulk.rows import MemberFields, TagFields, label_of, member_of, ttl_seconds_of
from clients.vocabulary import Member, MemberKind
from member_lists.formats import Layout, is_true
from member_lists.records import IS_ID, LISTED_CHARACTERS, UNDECODABLE, Accept, Refuse
from member_lists.tag_cells import cell_of, tags_of
from shared.errors import InvalidInput
from shared.outcomes import State
from shared.validation import convert

# Longer than a hundred tags of the longest name; a quote that is never closed swallows no more than this.
_LONGEST_FIELD = 65_536

# So many characters of cells are remembered with what they mean, then forgotten together.
_REMEMBERED_CHARACTERS = 1_048_576
_REMEMBERED_OVERHEAD = 200

_LABEL_FIELDS = ("tags", "ttl", "counter")


class _Fault(msgspec.Struct, frozen=True):
    """Why a row cannot be sent."""

    code: str
    reason: str

    @classmethod
    def of(cls, error: InvalidInput) -> _Fault:
        return cls(error.code, f"{error.field}: {error.message}. {error.hint}")


_NOT_UTF_8 = _Fault("not_utf8", "line: not UTF-8. Save the file as UTF-8, or announce its encoding.")


class CsvRows:
    """Reads the rows of one file; `Records` says how. Its header is in `layout` and in none of the blocks."""

    def __init__(self, layout: Layout, options: Options, accept: Accept, refuse: Refuse) -> None:
        csv.field_size_limit(_LONGEST_FIELD)
        self._accept = accept
        self._refuse = refuse
        self._delimiter = layout.delimiter
        self._columns = layout.columns
        self._options = options
        self._meanings: dict[tuple[MemberKind, str, str, str], Label | _Fault] = {}
        self._by_cells: dict[Any, Label] = {}
        self._remembered = 0
        kinds = [kind for kind in IS_ID if kind in layout.columns]
        self._only_kind: MemberKind | None = kinds[0] if len(kinds) == 1 else None
        label_columns = [layout.columns[name] for name in _LABEL_FIELDS if name in layout.columns]
        self._last_column = max(layout.columns.values())
        self._label_cells: Callable[[Sequence[str]], Any] = itemgetter(*label_columns) if label_columns else _nothing

    def take(self, block: bytes, line: int, is_last: bool, is_stuck: bool, /) -> tuple[int, int]:
        if b'"' in block:
            lines = _Lines(block.splitlines(keepends=True), line)
            self._each(self._with_quotes(lines, is_last, is_stuck))
            return lines.taken_bytes, lines.number
        text = block.decode("utf-8", "replace")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        plain = text.removesuffix("\n").split("\n")
        delimiter = self._delimiter
        self._each(enumerate((each.split(delimiter) for each in plain), line))
        return len(block), line + len(plain)

    def _with_quotes(self, lines: _Lines, is_last: bool, is_stuck: bool) -> Iterator[tuple[int, list[str]]]:
        reader = self._reader(lines)
        while True:
            line, is_first = lines.number, not lines.taken_bytes
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if lines.are_over and not is_last and not (is_stuck and is_first):
                    return
                broken = lines.take_only_the_first().rstrip("\r\n")
                reason = f"this line cannot be read as CSV, most often for a quote that is never closed: {error}"
                self._refuse(line, {"text": broken[:LISTED_CHARACTERS]}, State.FAILED, "invalid_csv", reason)
                reader = self._reader(lines)
                continue
            lines.take()
            yield line, cells

    def _reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self._delimiter, strict=True, skipinitialspace=True)

    def _each(self, records: Iterable[tuple[int, list[str]]]) -> None:
        kind = self._only_kind
        if kind is None:
            for line, cells in records:
                self._carefully(line, cells)
            return
        accept, by_cells, label_cells = self._accept, self._by_cells, self._label_cells
        is_id, position = IS_ID[kind], self._columns[kind]
        for line, cells in records:
            try:
                label = by_cells[label_cells(cells)]
                member_id = cells[position]
            except LookupError:
                self._carefully(line, cells)
                continue
            if is_id(member_id):
                accept(line, member_id, label)
            else:
                self._carefully(line, cells)

    def _carefully(self, line: int, cells: Sequence[str]) -> None:
        """The same for any record, at leisure."""
        if not any(map(str.strip, cells)):
            return
        read = {name: cells[at].strip() for name, at in self._columns.items() if at < len(cells)}
        user_id, external_id = read.get("user_id", ""), read.get("external_id", "")
        tags, ttl, counter = (read.get(name, "") for name in _LABEL_FIELDS)
        if UNDECODABLE in user_id + external_id + tags:
            self._refuse_row(line, read, _NOT_UTF_8)
            return
        try:
            member = _member(user_id, external_id)
        except InvalidInput as error:
            self._refuse_row(line, read, _Fault.of(error))
            return
        label = self._label(member.kind, tags, ttl, counter)
        if isinstance(label, _Fault):
            self._refuse_row(line, read, label)
            return
        if self._only_kind and len(cells) > self._last_column:
            self._make_room(sum(map(len, cells)))
            self._by_cells[self._label_cells(cells)] = label
        self._accept(line, member.id, label)

    def _label(self, kind: MemberKind, tags: str, ttl: str, counter: str) -> Label | _Fault:
        cells = kind, tags, ttl, counter
        found = self._meanings.get(cells)
        if found is None:
            self._make_room(sum(map(len, cells)))
            try:
                found = self._found_out(kind, tags, ttl, counter)
            except InvalidInput as error:
                found = _Fault.of(error)
            self._meanings[cells] = found
        return found

    def _make_room(self, characters: int) -> None:
        if self._remembered > _REMEMBERED_CHARACTERS:
            self._meanings.clear()
            self._by_cells.clear()
            self._remembered = 0
        self._remembered += characters + _REMEMBERED_OVERHEAD

    def _found_out(self, kind: MemberKind, tags: str, ttl: str, counter: str) -> Label:
        """What holds for the import holds where the line says nothing itself."""
        announced = self._options
        counts = is_true(counter)
        ttl_seconds = ttl_seconds_of(ttl) if ttl else None
        if not ttl and not counter:
            counts, ttl_seconds = announced.counter, announced.ttl_seconds
        every_tag = tags_of(tags) or list(announced.tags)
        if not every_tag:
            hint = "Give 1 to 100 names, separated by a bar or a semicolon."
            raise InvalidInput("there is no tag", code="missing_field", field="tags", hint=hint)
        return label_of(convert({"tags": every_tag, "ttl": ttl_seconds, "counter": counts}, TagFields), kind)

    def _refuse_row(self, line: int, read: Mapping[str, str], fault: _Fault) -> None:
        """Blank cells are filled with what was announced, so that the failure file can be imported by itself."""
        announced = self._options
        cells = dict(read)
        cells["tags"] = cells.get("tags") or cell_of(announced.tags)
        if not cells.get("ttl") and not cells.get("counter"):
            cells["ttl"] = "" if announced.ttl_seconds is None else str(announced.ttl_seconds)
            cells["counter"] = "true" if announced.counter else ""
        self._refuse(line, cells, State.FAILED, fault.code, fault.reason)


class _Lines:
    """Lines of a block, of which those that an unclosed quote swallowed can be read again.

    `number` is that of the first line not taken yet.
    """

    def __init__(self, lines: Sequence[bytes], number: int) -> None:
        self._lines = lines
        self._first = 0
        self._next = 0
        self.number = number
        self.taken_bytes = 0
        self.are_over = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._next == len(self._lines):
            self.are_over = True
            raise StopIteration
        line = self._lines[self._next]
        self._next += 1
        return line.decode("utf-8", "replace")

    def take(self) -> None:
        """What has been read is done with."""
        self.taken_bytes += sum(map(len, self._lines[self._first : self._next]))
        self.number += self._next - self._first
        self._first = self._next

    def take_only_the_first(self) -> str:
        """Returns the first line read since; the others come again."""
        self._next = self._first + 1
        self.are_over = False
        self.take()
        return self._lines[self._first - 1].decode("utf-8", "replace")


def _member(user_id: str, external_id: str) -> Member:
    if bool(user_id) != bool(external_id):
        member = Member("user_id", user_id) if user_id else Member("external_id", external_id)
        if IS_ID[member.kind](member.id):
            return member
    ids = {"user_id": user_id or None, "external_id": external_id or None}
    return member_of(convert(ids | {"tags": ["any"]}, MemberFields))


def _nothing(_: Sequence[str]) -> tuple[()]:
    return ()
