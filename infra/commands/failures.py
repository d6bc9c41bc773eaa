"""`make failures IMPORT=webhook-2026-11-22`: the rows of an import that were not sent, as a file on this machine.

An import of a file writes its failure file when it ends, and GET /tag-imports/{id} links to it. What came by HTTP in
the course of a day never ends, so its rows are fetched from ImportsTable with this command, as often as wanted.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from bulk.jobs import Jobs
from bulk.verdicts import Verdicts
from infra.commands.stack import CannotRun, stack_of
from member_lists.failures import COLUMNS, cells_of_unsent
from shared.errors import StoreUnavailable


def run(environment: Mapping[str, str], console: Console) -> int:
    """Writes the file and returns the exit code."""
    import_id = environment.get("IMPORT", "")
    path = Path(f"{import_id}.failures.csv")
    try:
        if not import_id or path.name != str(path):
            raise CannotRun("which import? As in: make failures IMPORT=webhook-2026-11-22")
        stack = stack_of(environment)
        console.print(f"in {stack.place}", markup=False)
        dynamodb, table = stack.client("dynamodb"), stack.physical_id("ImportsTable")
        verdicts = Verdicts(dynamodb, table, retention_days=0)
        if not verdicts.tally(import_id).total and Jobs(dynamodb, table, retention_days=0).find(import_id) is None:
            raise CannotRun(
                f"there is no import {import_id} there. Is it mistyped, older than ImportRetentionDays, or of another "
                "stack (STACK)? What came by HTTP is called by its day (UTC), as in webhook-2026-11-22"
            )
        listed = 0
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for row in verdicts.unsent(import_id):
                listed += 1
                writer.writerow(cells_of_unsent(row))
        console.print(f"{listed} rows that did not become tags: {path}", markup=False, soft_wrap=True)
        return 0
    except (CannotRun, StoreUnavailable) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2


if __name__ == "__main__":
    sys.exit(run(os.environ, Console()))
