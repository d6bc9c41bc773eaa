"""What is written behind a make target as a yes or a no is one of both, or is refused before anything is done."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from rich.console import Console

from infra.commands import callers, redrive, schedules, status, tag_import, wallet_prefetch
from infra.commands.stack import ROOT, CannotRun
from infra.commands.wishes import said_no, said_yes
from infra.liquid.__main__ import _render
from infra.release import costs, deploy

UNCLEAR = ("y", "n", "maybe", "ja", "yes please", "2", "on")
SCHEDULE = {"NAME": "n", "SEGMENT": "s", "TAG": "gold", "CRON": "rate(1 day)"}
NOBODY = {"INTAKE_API": "http://127.0.0.1:9", "CALLER": "operator:key"}

# Commands by what they are told: none of them gets as far as AWS or the Intake API.
COMMANDS: Mapping[str, Callable[[dict[str, str], Console], int]] = {
    "DRY": lambda told, console: redrive.run({"QUEUE": "tag", **told}, console),
    "KEEP": lambda told, console: callers.run("put", {"NAME": "operator", **told}, console),
    "NOW": lambda told, console: callers.run("put", {"NAME": "operator", **told}, console),
    "REMOVE": lambda told, console: callers.run("put", {"NAME": "operator", **told}, console),
    "LEAVERS": lambda told, console: schedules.run("put", {**SCHEDULE, **told}, console),
    "JSON": lambda told, console: status.run(told, console),
    "COUNTER": lambda told, console: tag_import.run({**NOBODY, "FILE": __file__, **told}, console),
    "REFRESH": lambda told, console: wallet_prefetch.run({**NOBODY, "SEGMENT": "s", **told}, console),
    "ASK": lambda told, console: deploy.main("prepare", told, console),
    "CONFIRM": lambda told, console: deploy.main("prepare", told, console),
}


@pytest.mark.parametrize("wish", COMMANDS)
def test_every_command_refuses_by_name_what_is_neither_yes_nor_no(wish: str) -> None:
    said = io.StringIO()

    code = COMMANDS[wish]({wish: "y"}, Console(file=said, width=200))

    assert (code, f"{wish}=y is neither yes nor no. Nothing was done" in said.getvalue()) == (2, True)


def test_a_deployment_that_is_half_done_is_not_confirmed_by_a_mistyped_word(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="CONFIRM=non is neither"):
        deploy.deploy({"CONFIRM": "non"}, lambda _: pytest.fail("deployed"), Console(), build=tmp_path)


@pytest.mark.parametrize(
    ("told", "run"), [("WRITE", costs.main), ("PREVIEW", lambda told: _render({"TEMPLATE": __file__, **told}))]
)
def test_what_is_printed_is_not_printed_for_it_either(
    told: str, run: Callable[[dict[str, str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run({told: "y"}) == 2
    assert capsys.readouterr().out == f"{told}=y is neither yes nor no. Nothing was done\n"


@pytest.mark.parametrize("text", UNCLEAR)
@pytest.mark.parametrize("said", [said_yes, said_no])
def test_neither_yes_nor_no_is_refused(said: Callable[[Mapping[str, str], str], bool], text: str) -> None:
    with pytest.raises(CannotRun, match=f"NOW={text} is neither yes nor no"):
        said({"NOW": text}, "NOW")


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("yes", True, False),
        (" YES ", True, False),
        ("true", True, False),
        ("1", True, False),
        ("no", False, True),
        ("False", False, True),
        ("0", False, True),
        ("", False, False),
        (" ", False, False),
    ],
)
def test_yes_and_no_are_what_they_are_and_nothing_is_neither(text: str, yes: bool, no: bool) -> None:
    assert (said_yes({"NOW": text}, "NOW"), said_no({"NOW": text}, "NOW")) == (yes, no)
    assert not said_yes({}, "NOW")
    assert not said_no({}, "NOW")


@pytest.mark.parametrize(
    ("upgrade", "code", "upgrades"),
    [("", 0, False), ("no", 0, False), ("0", 0, False), ("1", 0, True), ("yes", 0, True), ("y", 2, False)],
)
def test_make_itself_reads_a_yes_the_same_way(upgrade: str, code: int, upgrades: bool) -> None:
    """A dry run of make, which shows what it would do."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}

    ran = subprocess.run(
        ["make", "-n", "requirements", f"UPGRADE={upgrade}"],
        cwd=ROOT,
        env=inherited,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, "--upgrade" in ran.stdout) == (code, upgrades)
    assert ("UPGRADE=y is neither yes nor no" in ran.stderr) is (code != 0)
