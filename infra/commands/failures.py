"""`make failures IMPORT=webhook-2026-11-22`: the rows of an import that were not sent, as a file on this machine.

An import of a file writes its failure file when it ends, and GET /tag-imports/{id} links to it: that is fetched. What
came by HTTP in the course of a day never ends, so its rows are fetched from ImportsTable, as often as wanted; so are
those of an import that has not ended yet. They lack what was refused before it was sent.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from bulk.jobs import Job, Jobs
from bulk.verdicts import Verdicts
from infra.commands.stack import CannotRun, Stack, refusal, stack_of
from infra.commands.watching import reasons_in
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
        job = Jobs(dynamodb, table, retention_days=0).find(import_id)
        if job is None and not verdicts.tally(import_id).total:
            raise CannotRun(
                f"there is no import {import_id} there. Is it mistyped, older than ImportRetentionDays, or of another "
                "stack (STACK)? What came by HTTP is called by its day (UTC), as in webhook-2026-11-22"
            )
        if job is not None and job.failure_file:
            _fetch(stack, job.failure_file, path)
        else:
            _write(verdicts, import_id, path)
        listed = sum(rows for _, rows in reasons_in(path))
        console.print(f"{listed} rows that did not become tags: {path}", markup=False, soft_wrap=True)
        if missing := _not_in_it(job):
            console.print(missing, markup=False, soft_wrap=True)
        return 0
    except (CannotRun, StoreUnavailable) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2


def _fetch(stack: Stack, key: str, path: Path) -> None:
    """The failure file that the end of an import wrote; what there was at `path` is kept until all of it is here."""
    partial = path.with_name(path.name + ".part")
    try:
        found = stack.client("s3").get_object(Bucket=stack.physical_id("ImportBucket"), Key=key)
        with partial.open("wb") as file:
            for piece in found["Body"].iter_chunks(1_048_576):
                file.write(piece)
    except (BotoCoreError, ClientError) as error:
        raise CannotRun(refusal(error)) from None
    partial.replace(path)


def _write(verdicts: Verdicts, import_id: str, path: Path) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(map(cells_of_unsent, verdicts.unsent(import_id)))


def _not_in_it(job: Job | None) -> str:
    """What a file made of verdicts alone lacks; empty when nothing."""
    if job is None:
        return "not in it: what was refused as it came in, which its caller was told, and what still waits"
    if job.failure_file or job.finished_at:
        return ""
    return (
        f"not in it: rows that were refused or skipped as the file was read, which are listed once the import has "
        f"ended ({job.state.value} now), and what still waits"
    )


if __name__ == "__main__":
    sys.exit(run(os.environ, Console()))
