"""The table as docs/faults.md keeps it: a section for each scenario, a line for the faults that are alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "faults.md"

_HEAD = "| When | whoever called sees | asked | tried again | in the end | alarms |"


@dataclass(frozen=True)
class Cell:
    """What the table says of one fault.

    `sees` is what whoever called sees, `asked` how often what failed was asked (0 where nobody counts), `end` what has
    come of it at the end (`done` or `unknown`), `alarms` those that go off when there is enough of it.
    """

    sees: str
    asked: int = 0
    end: str = "done"
    alarms: tuple[str, ...] = ()

    @property
    def again(self) -> str:
        """Who tries again, in the words of the page."""
        if self.sees.startswith("409"):
            return "by nobody, before somebody has looked"
        if self.sees.startswith(("429", "5")):
            return "by the caller"
        if self.sees.startswith("200 `"):
            return "by the caller's next call"
        if "stay" in self.sees:
            return "from the queue"
        return "by the schedule's next run" if self.sees.startswith("a run with") else ""

    def line(self, *faults: str) -> str:
        """The cell as a line of the page."""
        alarms = ", ".join(f"`{alarm}`" for alarm in self.alarms)
        asked = str(self.asked) if self.asked else ""
        cells = ("<br>".join(faults), self.sees, asked, self.again, self.end, alarms)
        return f"| {' | '.join(cells)} |"


def table() -> dict[str, dict[str, Cell]]:
    """The cells of each section, by fault. Raises ValueError for a line that is not in the words of the page."""
    found: dict[str, dict[str, Cell]] = {}
    for name, lines in _sections():
        for line in lines:
            when, sees, asked, again, end, alarms = (cell.strip() for cell in line.strip().strip("|").split("|"))
            cell = Cell(sees, int(asked or 0), end, tuple(alarm.strip("` ") for alarm in alarms.split(",") if alarm))
            if again != cell.again:
                raise ValueError(f"{name}: tried again {cell.again!r}, not {again!r}")
            found.setdefault(name, {}).update(dict.fromkeys(when.split("<br>"), cell))
    return found


def introductions() -> dict[str, str]:
    """What stands between the heading and the table of each section."""
    found: dict[str, str] = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n### ")[1:]:
        heading, _, rest = section.partition("\n")
        found[heading] = rest.partition("\n|")[0].strip()
    return found


def _sections() -> Iterator[tuple[str, list[str]]]:
    for section in PAGE.read_text(encoding="utf-8").split("\n### ")[1:]:
        heading, _, rest = section.partition("\n")
        lines = rest.splitlines()
        start = lines.index(_HEAD) + 2
        end = next((at for at, line in enumerate(lines) if at > start and not line.startswith("|")), len(lines))
        yield heading, lines[start:end]
