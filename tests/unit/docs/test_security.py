"""docs/security.md tells the truth: its tests exist, its commands would be accepted, its metrics are counted."""

from __future__ import annotations

import re
import shlex
from functools import cache

import pytest

from infra.commands.callers import routes_by_api, wanted_of
from tests.unit.docs.material import DOCS, PAGES, ROOT, blocks, table_rows

PAGE = DOCS / "security.md"


@cache
def defined_tests() -> set[str]:
    return {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }


def threats() -> list[list[str]]:
    """The rows of the tables of threats: their last cell names tests."""
    return [cells for cells in table_rows(PAGE) if len(cells) == 3 and "`test_" in cells[2]]


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8"))

    assert len(named) > 30
    assert set(named) - defined_tests() == set()


def test_every_threat_has_a_test() -> None:
    text = PAGE.read_text(encoding="utf-8")
    first, second = text.index("## Threats to the caller check"), text.index("## What must not leak")
    rows = [line for line in text[first:second].splitlines() if line.startswith("| ")]

    assert len(threats()) == len([row for row in rows if not row.startswith("| threat |")])


def test_every_promise_has_a_test() -> None:
    text = PAGE.read_text(encoding="utf-8")
    first, second = text.index("| promise |"), text.index("## What to watch")
    promises = [line for line in text[first:second].splitlines()[1:] if line.startswith("| ")]

    assert len(promises) > 3
    assert all("`test_" in promise for promise in promises)


def test_every_metric_to_watch_is_counted_by_the_authorizer() -> None:
    code = (ROOT / "functions" / "authorizer" / "endpoint.py").read_text(encoding="utf-8")

    listed = {cells[0] for cells in table_rows(PAGE) if cells[0].startswith("Callers")}
    assert listed == set(re.findall(r'count\("(\w+)"\)', code))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_callers_are_made_as_the_command_takes_them(page: object) -> None:
    for block in blocks("sh"):
        if block.page != page:
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] == ["make", "caller"]:
                wanted = wanted_of(dict(word.split("=", 1) for word in words[2:]), routes_by_api())
                assert wanted.allows is not None
