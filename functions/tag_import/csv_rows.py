"""A CSV of tags, line by line: each line is a row to send or a refusal that says why, and none is passed over.

The header names the columns, in any order and case: `user_id` or `external_id` (or both, one filled per line), `tags`
(several separated by |), `ttl` in seconds, and `counter` (true) for rows without ttl. Other columns are ignored.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from shared.errors import InvalidInput
from shared.validation import convert
from tag_import.rows import MemberFields, Row, member_row

_KNOWN_COLUMNS = frozenset({"user_id", "external_id", "tags", "ttl", "counter"})
_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0", ""})
# Longer than a hundred tags of the longest name; a quote that is never closed swallows no more than this.
_LONGEST_FIELD = 65_536

_UNDECODABLE = "\ufffd"


class UnreadableFile(InvalidInput):
    """Nothing in the file can be read as rows; the message says why and what to do."""

    code = "unreadable_file"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that cannot be sent. `cells` is the line as it was read."""

    line: int
    code: str
    reason: str
    cells: Sequence[str]


class _Lines:
    """Lines of a file, of which those that an unclosed quote swallowed can be read again."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._taken: list[str] = []
        self._again: deque[str] = deque()
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._taken.append(line)
        return line

    def begin_record(self) -> None:
        """What was taken is done with; `number` becomes that of the last line taken."""
        self.number += len(self._taken)
        self._taken.clear()

    def give_back_all_but_the_first(self) -> str:
        """Returns the first line taken for this record; the others come again."""
        first, *others = self._taken
        self._again.extendleft(reversed(others))
        self._taken = [first]
        return first


def read_rows(text: Iterable[str], import_id: str) -> Iterator[Row | Refusal]:
    """Rows and refusals in the order of the file, from text lines that keep their ends.

    Raises `UnreadableFile` when the header does not name a member and tags; never after the first line was yielded.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    lines = _Lines(text)
    reader = csv.reader(lines, strict=True)
    columns = _columns(reader)
    while True:
        lines.begin_record()
        line = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            broken = lines.give_back_all_but_the_first().rstrip("\r\n")
            yield Refusal(line, "invalid_csv", f"this line cannot be read as CSV: {error}", (broken,))
            reader = csv.reader(lines, strict=True)
            continue
        if any(cell.strip() for cell in cells):
            yield _row_or_refusal(line, cells, columns, import_id)


def _columns(reader: Iterator[list[str]]) -> Mapping[str, int]:
    try:
        header = next(reader)
    except StopIteration:
        raise UnreadableFile("the file is empty; its first line must name the columns") from None
    except csv.Error as error:
        raise UnreadableFile(f"the first line is not CSV: {error}") from None
    names = [cell.strip().lower() for cell in header]
    columns = {name: position for position, name in enumerate(names) if name in _KNOWN_COLUMNS}
    if not {"user_id", "external_id"} & columns.keys() or "tags" not in columns:
        raise UnreadableFile(
            "the first line must name the columns user_id (or external_id), tags and ttl, separated by commas"
        )
    if len(columns) < sum(name in _KNOWN_COLUMNS for name in names):
        raise UnreadableFile("the first line names a column twice")
    return columns


def _row_or_refusal(line: int, cells: Sequence[str], columns: Mapping[str, int], import_id: str) -> Row | Refusal:
    def cell(name: str) -> str:
        position = columns.get(name, len(cells))
        return cells[position].strip() if position < len(cells) else ""

    try:
        fields = convert(
            _fields(cell("user_id"), cell("external_id"), cell("tags"), cell("ttl"), cell("counter")), MemberFields
        )
        return member_row(fields, ref=f"{line:012d}", once=f"{import_id}/{line}")
    except InvalidInput as error:
        return Refusal(line, error.code, f"{error.field}: {error.message}. {error.hint}", cells)


def _fields(user_id: str, external_id: str, tags: str, ttl: str, counter: str) -> dict[str, object]:
    if _UNDECODABLE in user_id + external_id + tags:
        raise InvalidInput("not UTF-8", code="not_utf8", field="line", hint="Save the file as UTF-8.")
    if counter.lower() not in _TRUE | _FALSE:
        raise InvalidInput("expected true or false", field="counter", hint="Give true, or leave it empty.")
    # A number that is none stays text, so that the rule of the field answers for it.
    whole_ttl: int | str | None = int(ttl) if ttl.isascii() and ttl.isdigit() and len(ttl) < 16 else (ttl or None)
    return {
        "user_id": user_id or None,
        "external_id": external_id or None,
        "tags": [tag.strip() for tag in tags.split("|")] if tags else [],
        "ttl": whole_ttl,
        "counter": counter.lower() in _TRUE,
    }
