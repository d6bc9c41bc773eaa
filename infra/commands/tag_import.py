"""`make import FILE=members.csv TAG=gold TTL=30d`: a file goes up, and what becomes of its rows is shown until the end.

FILE is the file; TAG, TTL, COUNTER, ID, ENCODING and DELIMITER hold for lines that do not say it themselves. IMPORT, in
place of FILE, is the id of an import to go on watching. Which API, and who calls: see `infra.commands.intake_api`.

Exit codes: 0 when every row was sent (or skipped for a reason), 1 when one was not, or the file had none or could not
be read, 2 when no import could be made or watched, 130 after Ctrl-C. So a script does not take a part for the whole.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import requests
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TaskID

from infra.commands.intake_api import NoAnswer, Refused, intake_of
from infra.commands.stack import CannotRun
from infra.commands.watching import PAUSES_SECONDS, TRANSFER_TIMEOUTS, Sleep, Watching, report_verdicts
from infra.commands.wishes import said_yes, tags_of

# What S3 takes in one upload. A CSV is a fifth of its size when packed, so this is 300 million members.
MOST_BYTES: Final = 5 * 1024**3

# What the name of a failure file has that the name of its file had not: it may be imported in its turn.
_OF_AN_IMPORT: Final = re.compile(r"\.(csv|segment)-[0-9a-f]+\.failures$")
_VERDICTS: Final = ("sent", "failed", "skipped", "unknown")
_DOING: Final = {
    "awaiting_upload": "waiting for the file to be noticed",
    "requested": "waiting for Braze to begin the export",
    "exporting": "Braze is exporting",
    "reading": "reading and sending",
    "delivering": "sending",
}


class AddressExpired(Exception):
    """The upload address is over; a new one is to be asked for."""


class _Counted:
    """A file that tells how much of it has been read. It has a length, so that it is sent with one."""

    def __init__(self, file: IO[bytes], size_bytes: int, tell: Callable[[int], None]) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._tell = tell

    def __len__(self) -> int:
        return self._size_bytes

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._tell(len(piece))
        return piece


class Importing(Watching):
    """One import, from the file to the failure file."""

    def submit(self, path: Path, fields: Mapping[str, Any]) -> str:
        """Uploads the file and returns the import's id. Raises `CannotRun`, or `Refused` when the API says no."""
        size_bytes = _size_bytes(path)
        with self.progress(DownloadColumn()) as progress:
            task = progress.add_task(f"uploading {path.name}", total=size_bytes)
            for pause in (*PAUSES_SECONDS, None):
                try:
                    answer = self._api.post("/tag-imports", fields)
                    progress.update(task, description=f"uploading {path.name}")
                    self._upload(path, answer["upload"], progress, task)
                    return str(answer["import_id"])
                except AddressExpired:
                    reason = "the upload address was over before the file was up"
                except NoAnswer as error:
                    reason = str(error)
                progress.update(task, description=f"{reason}, trying again")
                self.pause(pause, f"{reason}. Nothing was imported")
        raise AssertionError("the last pause raises")

    def _upload(self, path: Path, upload: Mapping[str, Any], progress: Progress, task: TaskID) -> None:
        """One file, one address, as often as it takes. Raises `AddressExpired` or `CannotRun`."""
        for pause in (*PAUSES_SECONDS, None):
            progress.reset(task)
            try:
                with path.open("rb") as file:
                    body = _Counted(file, path.stat().st_size, lambda read: progress.advance(task, read))
                    reply = requests.put(upload["url"], data=body, headers=upload["headers"], timeout=TRANSFER_TIMEOUTS)
                if reply.ok:
                    return
                if reply.status_code == 403 and "expired" in reply.text.lower():
                    raise AddressExpired
                reason = f"S3 answers {reply.status_code}{_code_of_s3(reply.text)}"
                if reply.status_code < 500:
                    raise CannotRun(f"the file cannot be uploaded: {reason}. Nothing was imported")
            except requests.RequestException as error:
                reason = f"the line was cut ({type(error).__name__})"
            except OSError as error:
                raise CannotRun(f"{path} cannot be read: {error.strerror}") from None
            self.pause(pause, f"the file did not arrive: {reason}. Nothing was imported")


def fields_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """The body of POST /tag-imports; what is not given is left out, for the API to say what is wrong with the rest."""
    fields: dict[str, Any] = {"file_name": Path(environment["FILE"]).name}
    if tags := tags_of(environment):
        fields["tags"] = tags
    if ttl := environment.get("TTL", "").strip():
        fields["ttl"] = ttl
    if said_yes(environment, "COUNTER"):
        fields["counter"] = True
    for name in ("ID", "ENCODING"):
        if value := environment.get(name, "").strip():
            fields[name.lower()] = value
    if delimiter := environment.get("DELIMITER", ""):
        fields["delimiter"] = "\t" if delimiter in ("tab", "\\t") else delimiter
    return fields


def report(console: Console, status: Mapping[str, Any]) -> None:
    """The verdicts as a table, and what there is to know beside them."""
    report_verdicts(console, f"import {status['import_id']}", status, _VERDICTS, "rows")
    if is_empty(status):
        console.print("the file has no rows below its first line: nothing was imported", markup=False, soft_wrap=True)
    if back := status["read_back"]:
        console.print(
            f"read back from SessionM: {back['found']} of {back['asked']} sampled members have their tags, "
            f"{back['missing']} do not, {back['unreadable']} could not be read"
        )


def is_empty(status: Mapping[str, Any]) -> bool:
    """Whether a file was read to its end and had no row. A segment may well have no member."""
    return status["state"] == "finished" and not status["rows_read"] and status["import_id"].startswith("csv-")


def exit_code(status: Mapping[str, Any]) -> int:
    return 1 if status["state"] == "failed" or status["failed"] or status["unknown"] or is_empty(status) else 0


def run(environment: Mapping[str, str], console: Console, sleep: Sleep = time.sleep) -> int:
    """Does what the environment asks for and returns the exit code."""
    import_id = environment.get("IMPORT", "")
    submitted = bool(import_id)
    try:
        if not import_id and not environment.get("FILE"):
            raise CannotRun("which file? As in: make import FILE=members.csv TAG=gold TTL=30d")
        api = intake_of(environment)
        console.print(f"to {api.base_url}", markup=False)
        importing = Importing(api, console, sleep)
        failures = Path(f"{import_id}.failures.csv")
        if not import_id:
            path = Path(environment["FILE"])
            import_id = importing.submit(path, fields_of(environment))
            submitted = True
            failures = path.with_name(f"{_OF_AN_IMPORT.sub('', path.stem)}.{import_id}.failures.csv")
            console.print(f"import {import_id}: the file is up", markup=False)
        status = importing.watch(f"/tag-imports/{import_id}", f"the import {import_id}", _DOING, _VERDICTS)
        report(console, status)
        listed = importing.list_failures(status, failures, "rows that did not become tags")
        if not listed and status["state"] == "open" and exit_code(status):
            console.print(f"for their rows, with AWS credentials: make failures IMPORT={import_id}", markup=False)
        return exit_code(status)
    except (CannotRun, Refused) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        told = "Nothing was imported, unless the file had just arrived."
        if submitted:
            told = f"The import goes on. To see it again: make import IMPORT={import_id}"
        console.print(f"\n{told}", markup=False, soft_wrap=True)
        return 130


def _size_bytes(path: Path) -> int:
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise CannotRun(f"{path} cannot be read: {error.strerror}") from None
    if not path.is_file() or not size_bytes:
        raise CannotRun(f"{path} is empty, or no file")
    if size_bytes > MOST_BYTES:
        raise CannotRun(
            f"{path} is larger than the 5 GiB that one upload takes. Pack it with gzip, or put it in the import bucket "
            "with: aws s3 cp (docs/tag-import.md, By a CSV)"
        )
    return size_bytes


def _code_of_s3(text: str) -> str:
    found = re.search(r"<Code>(\w+)</Code>", text)
    return f" {found[1]}" if found else ""


if __name__ == "__main__":
    sys.exit(run(os.environ, Console()))
