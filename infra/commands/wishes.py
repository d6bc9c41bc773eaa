"""What people write behind a make target, as in TAG=gold,spring DRY=yes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_YES: Final = frozenset({"yes", "true", "1"})
_NO: Final = frozenset({"no", "false", "0"})


def said_yes(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in _YES


def said_no(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in _NO


def tags_of(environment: Mapping[str, str]) -> list[str]:
    """The names in TAG, separated by a comma, a bar or a semicolon."""
    return [tag.strip() for tag in re.split(r"[|;,]", environment.get("TAG", "")) if tag.strip()]
