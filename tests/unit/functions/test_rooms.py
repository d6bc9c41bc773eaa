"""Which room of functions/ may import from which: downwards only, so that each can be read without those above it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

FUNCTIONS = Path(__file__).parents[3] / "functions"

# What is not listed is a capability: above all of these, and beside the others.
LAYERS = ("shared", "clients", "wiring", "bulk", "member_lists")


def modules() -> list[Path]:
    return sorted(path for path in FUNCTIONS.rglob("*.py") if "__pycache__" not in path.parts)


def room_of(path: Path) -> str:
    return path.relative_to(FUNCTIONS).with_suffix("").parts[0]


ROOMS = sorted({room_of(path) for path in modules()})


def height_of(room: str) -> int:
    return LAYERS.index(room) if room in LAYERS else len(LAYERS)


@cache  # both tests ask for every module
def imported_by(path: Path) -> frozenset[str]:
    """The rooms that a module imports from, anywhere in it; its own is none of them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.partition(".")[0] for name in names}
    return frozenset(found & set(ROOMS) - {room_of(path)})


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_those_below_it_alone(room: str) -> None:
    found = {each for path in modules() if room_of(path) == room for each in imported_by(path)}

    assert not [each for each in found if height_of(each) >= height_of(room)]


def test_each_layer_is_there_and_is_stood_upon() -> None:
    assert set(LAYERS) <= set(ROOMS)
    assert set(LAYERS) <= {each for path in modules() for each in imported_by(path)}
