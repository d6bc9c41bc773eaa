"""CSV text as an import reads it, without bucket and queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bulk.jobs import Options
from bulk.parcels import Label
from member_lists.csv_rows import CsvRows
from member_lists.formats import layout_of
from shared.outcomes import State

NOTHING_ANNOUNCED = Options()


@dataclass(frozen=True)
class Taken:
    """A row that goes to the queue."""

    line: int
    member_id: str
    label: Label


@dataclass(frozen=True)
class Refused:
    """A row that goes to the failure file."""

    line: int
    cells: Mapping[str, str]
    verdict: State
    code: str
    reason: str


@dataclass
class Table:
    """Takes what a reader of records finds, in its order."""

    found: list[Taken | Refused] = field(default_factory=list)

    def accept(self, line: int, member_id: str, label: Label) -> None:
        self.found.append(Taken(line, member_id, label))

    def refuse(self, line: int, cells: Mapping[str, str], verdict: State, code: str, reason: str) -> None:
        self.found.append(Refused(line, cells, verdict, code, reason))


def read_table(text: str | bytes, options: Options = NOTHING_ANNOUNCED) -> list[Taken | Refused]:
    """Rows and refusals of a file in one block; raises `UnreadableFile`."""
    content = text.encode() if isinstance(text, str) else text
    layout = layout_of(content, True, options)
    table = Table()
    rows = CsvRows(layout, options, table.accept, table.refuse)
    if body := content[layout.header_bytes :]:
        taken, _ = rows.take(body, layout.header_lines + 1, True, False)
        assert taken == len(body)
    return table.found
