"""What people write behind a make target reaches the command as they wrote it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.commands.stack import ROOT

# As make is run from a shell, and not from make.
_INHERITED = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}

TOLD = "told: ; @printenv "


def make(*arguments: str, **environment: str) -> str:
    ran = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**_INHERITED, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.removesuffix("\n")


@pytest.mark.parametrize("name", ["TAG", "FILE", "SEGMENT", "ALLOWS", "TEMPLATE", "DROP", "ARGS", "ARCH", "UPGRADE"])
@pytest.mark.parametrize(
    "value",
    ["$gold", "$$5 off", "${PATH}", "$(CURDIR)", "a  b # c", "s|t;u,v)", "((", 'it\'s "so" \\', "/a path/*.csv"],
)
def test_a_value_is_taken_as_it_is_written(name: str, value: str) -> None:
    assert make(f"--eval={TOLD}{name}", "told", f"{name}={value}") == value
    assert make(f"--eval={TOLD}{name}", "told", **{name: value}) == value


def test_nothing_in_a_value_is_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    value = f"$(shell touch {ran})"

    within = f"--eval=outer: ; @$(MAKE) --no-print-directory --eval='{TOLD}TAG' told"
    assert make(within, "outer", f"TAG={value}") == value
    make("-n", "build", "deploy", "requirements", f"ARCH={value}", "UPGRADE=yes", f"TAG={value}")

    assert not ran.exists()


@pytest.mark.parametrize(("arguments", "architecture"), [([], ""), (["ARCH=$(touch x)"], ' --arch "$ARCH"')])
def test_the_architecture_reaches_the_build_by_the_environment(arguments: list[str], architecture: str) -> None:
    [*_, line] = make("-n", "build", *arguments).splitlines()

    assert line.rstrip() == f".venv/bin/python -m infra.build{architecture}"
