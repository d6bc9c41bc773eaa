"""An import that a command watches: looked at until its end, with a bar, and its failure file fetched."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import requests
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from infra.commands.intake_api import IntakeApi, NoAnswer
from infra.commands.stack import CannotRun

# A transfer or a question that fails is tried again, with growing pauses, for about five minutes.
PAUSES_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0)
_POLL_SECONDS: Final = 2.0

TRANSFER_TIMEOUTS: Final = (10, 300)
_ENDED: Final = frozenset({"finished", "failed"})
_TOTALS: Final = ("members_expected", "rows_read", "members_read")  # the first that is known
_LONGEST_CELL: Final = 2**31 - 1  # a line that could not be taken apart is listed whole

Sleep = Callable[[float], None]


class Watching:
    """What happens at the Intake API, as the console sees it. `sleep` waits between two tries or two looks."""

    def __init__(self, api: IntakeApi, console: Console, sleep: Sleep = time.sleep) -> None:
        self._api = api
        self._console = console
        self._sleep = sleep

    def watch(self, path: str, what: str, doing: Mapping[str, str], verdicts: Sequence[str]) -> dict[str, Any]:
        """Shows how it goes and returns the last status. Raises `CannotRun` or `Refused`.

        `doing` words its states, and `verdicts` are its counts of what is settled, out of all that was read.
        """
        with self.progress(MofNCompleteColumn()) as progress:
            task = progress.add_task("waiting", total=None)
            pauses = iter(PAUSES_SECONDS)
            while True:
                try:
                    status = self._api.get(path)
                except NoAnswer as error:
                    progress.update(task, description="no answer, asking again")
                    self.pause(next(pauses, None), f"{error}. {what[0].upper()}{what[1:]} goes on")
                    continue
                pauses = iter(PAUSES_SECONDS)
                _show(progress, task, status, doing, verdicts)
                if status["state"] in _ENDED or status["state"] == "open":
                    return status
                self._sleep(_POLL_SECONDS)

    def fetch(self, url: str, path: Path) -> None:
        """Saves a failure file. Raises `CannotRun`."""
        partial = path.with_name(path.name + ".part")
        for pause in (*PAUSES_SECONDS[:4], None):
            try:
                with requests.get(url, stream=True, timeout=TRANSFER_TIMEOUTS) as reply, partial.open("wb") as file:
                    reply.raise_for_status()
                    for piece in reply.iter_content(1_048_576):
                        file.write(piece)
                partial.replace(path)
                return
            except requests.RequestException as error:
                # Not the error itself: it holds the address, which opens the file to anybody.
                self.pause(pause, f"the failure file did not come ({type(error).__name__})")
            except OSError as error:
                raise CannotRun(f"{path} cannot be written: {error.strerror}") from None

    def list_failures(self, status: Mapping[str, Any], path: Path, what: str) -> bool:
        """Saves the failure file as `path` and says how many of its rows ended how; False when there is none."""
        if not status["failure_file_url"]:
            return False
        self.fetch(status["failure_file_url"], path)
        for (verdict, code), rows in reasons_in(path):
            self._console.print(f"  {rows:,} {verdict}: {code}", markup=False, highlight=False)
        self._console.print(f"{what}: {path}", markup=False, soft_wrap=True)
        return True

    def pause(self, seconds: float | None, otherwise: str) -> None:
        """Waits before the next try; without one, says in `CannotRun` why it ends here."""
        if seconds is None:
            raise CannotRun(f"{otherwise}.")
        self._sleep(seconds)

    def progress(self, column: Any) -> Progress:
        doing = TextColumn("{task.description}", markup=False)
        return Progress(doing, BarColumn(), column, TimeRemainingColumn(), console=self._console)


def reasons_in(path: Path) -> list[tuple[tuple[str, str], int]]:
    """How many rows of a failure file ended with which verdict and code, the most frequent first."""
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return Counter((row["verdict"], row["code"]) for row in csv.DictReader(file)).most_common()


def report_verdicts(
    console: Console, name: str, status: Mapping[str, Any], verdicts: Sequence[str], counted: str
) -> None:
    """A table of how many `counted`, such as rows, ended how; before it the state, behind it what went wrong."""
    table = Table("verdict", counted)
    table.columns[1].justify = "right"
    for verdict in (*verdicts, *(["waiting"] if status["waiting"] else [])):
        table.add_row(verdict, f"{status[verdict]:,}")
    table.add_section()
    table.add_row(f"{counted} read", f"{status[f'{counted}_read']:,}")
    console.print(f"{name}: {status['state']}", markup=False, highlight=False)
    console.print(table)
    if status["message"]:
        console.print(f"{status['reason']}: {status['message']}", markup=False, soft_wrap=True)


def _show(
    progress: Progress, task: TaskID, status: Mapping[str, Any], doing: Mapping[str, str], verdicts: Sequence[str]
) -> None:
    settled = sum(status[name] for name in verdicts)
    rate = f", {status['rate_per_second']:,.0f} a second" if status["rate_per_second"] else ""
    state = doing.get(status["state"], status["state"])
    total = next((status[name] for name in _TOTALS if status.get(name)), None)
    progress.update(task, description=state + rate, completed=settled, total=total)
