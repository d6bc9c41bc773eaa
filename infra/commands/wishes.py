"""What people write behind a make target, as in TAG=gold,spring DRY=yes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from infra.commands.stack import CannotRun

_YES: Final = frozenset({"yes", "true", "1"})
NO: Final = frozenset({"no", "false", "0"})


def said_yes(environment: Mapping[str, str], name: str) -> bool:
    """Raises `CannotRun` for what is neither yes nor no: a mistyped DRY=y must move nothing."""
    return _said(environment, name) in _YES


def said_no(environment: Mapping[str, str], name: str) -> bool:
    """Raises `CannotRun` for what is neither yes nor no."""
    return _said(environment, name) in NO


def _said(environment: Mapping[str, str], name: str) -> str:
    said = environment.get(name, "").strip().lower()
    if said and said not in _YES | NO:
        raise CannotRun(f"{name}={environment[name].strip()} is neither yes nor no. Nothing was done")
    return said


def tags_of(environment: Mapping[str, str]) -> list[str]:
    """The names in TAG, separated by a comma, a bar or a semicolon."""
    return [tag.strip() for tag in re.split(r"[|;,]", environment.get("TAG", "")) if tag.strip()]
