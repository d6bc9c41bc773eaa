"""The pinned requirements: what was asked for, every file of it by its hash, and not a word of where it came from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.release.audit import REQUIREMENTS, pins_of

FILES = pytest.mark.parametrize("pinned", REQUIREMENTS, ids=lambda path: path.parent.name)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(path: Path) -> set[str]:
    """The packages that an .in file names, itself or by including another."""
    found = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition(" #")[0].strip()
        if text.startswith("-r "):
            found |= wanted(path.parent / text.removeprefix("-r "))
        elif text and not text.startswith(("#", "-")):
            name = re.match(r"[A-Za-z0-9._-]+", text)
            assert name, text
            found.add(normalized(name[0]))
    return found


def blocks(pinned: Path) -> list[str]:
    """Each package of a pinned file, with its hashes and with who asked for it."""
    return re.split(r"\n(?=[A-Za-z0-9])", pinned.read_text(encoding="utf-8"))[1:]


@FILES
def test_what_is_pinned_at_first_hand_is_what_was_asked_for(pinned: Path) -> None:
    asked_for = re.compile(r"# +-r \S*requirements\.in|# via -r \S*requirements\.in")
    direct = {normalized(re.split(r"[\[=]", block)[0]) for block in blocks(pinned) if asked_for.search(block)}

    assert direct == wanted(pinned.with_suffix(".in")), "make requirements"


@FILES
def test_every_package_has_one_version_and_hashes(pinned: Path) -> None:
    for block in blocks(pinned):
        first = block.splitlines()[0]
        assert re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==[\w.!+]+( ;.*)? \\$", first), first
        assert re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block), first


@FILES
def test_no_address_of_an_index_is_written_down(pinned: Path) -> None:
    for path in (pinned, pinned.with_suffix(".in")):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"https?:|index-url|find-links|trusted-host| @ ", text), path


def test_what_is_tested_here_is_what_is_deployed() -> None:
    deployed, here = (dict(pins_of(path.read_text(encoding="utf-8"))) for path in REQUIREMENTS)

    assert {name: here.get(name) for name in deployed} == deployed
