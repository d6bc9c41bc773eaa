"""The failure file: every row that came to nothing, as a CSV that can be corrected and imported again.

The columns of a row come first, as they were read, then what became of it; an import ignores the latter.
"""

from __future__ import annotations

from collections.abc import Mapping

from bulk.verdicts import UnsentRow
from member_lists.tag_cells import cell_of
from shared.outcomes import State

ROW_COLUMNS = ("user_id", "external_id", "tags", "ttl", "counter")
COLUMNS = (*ROW_COLUMNS, "line", "verdict", "code", "reason", "text")

LINE = COLUMNS.index("line")


def cells_of_refused(line: int, cells: Mapping[str, str], verdict: State, code: str, reason: str) -> list[str]:
    """A row that was refused when it was read; `cells` holds what was read, by the names of `ROW_COLUMNS`.

    A line that cannot be taken apart is given whole, as "text".
    """
    read = [cells.get(name, "") for name in ROW_COLUMNS]
    return [*read, str(line), verdict.value, code, reason, cells.get("text", "")]


def cells_of_unsent(row: UnsentRow) -> list[str]:
    """A row that came to nothing at SessionM."""
    cells = {
        row.kind: row.member_id,
        "tags": cell_of(row.tags),
        "ttl": "" if row.ttl_seconds is None else str(row.ttl_seconds),
        "counter": "true" if row.tags and row.ttl_seconds is None else "",
    }
    return cells_of_refused(row.line, cells, row.state, row.code, row.reason)


def part_key(import_id: str, number: int) -> str:
    """Where reading lists the rows it refused between two checkpoints: CSV lines without a header, by line."""
    return f"failures/{import_id}/parts/{number:06d}.csv"


def failure_key(import_id: str) -> str:
    """The failure file of an import, made of its parts and of what SessionM refused."""
    return f"failures/{import_id}/failures.csv"
