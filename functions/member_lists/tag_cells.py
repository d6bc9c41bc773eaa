"""The cell of tags: names separated by a bar or a semicolon, or a JSON list for names that cannot be told so."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from shared.errors import InvalidInput

_EITHER_SEPARATOR = re.compile(r"[|;]")
_JSON_LIST = '["'


def tags_of(text: str) -> list[str]:
    """The tags of a cell: those of a JSON list as they are, else without the spaces around them.

    Raises `InvalidInput` for what begins as a list of names does and is none.
    """
    if not text.startswith(_JSON_LIST):
        return _separated(text)
    try:
        return msgspec.json.decode(text, type=list[str])
    except (msgspec.DecodeError, UnicodeError):
        hint = 'Close it as in ["a|b","c"], or separate names by a bar or a semicolon.'
        raise InvalidInput("this is no JSON list of names", field="tags", hint=hint) from None


def cell_of(tags: Sequence[str]) -> str:
    """The cell that `tags_of` reads as these tags."""
    text = "|".join(tags)
    if not text.startswith(_JSON_LIST) and _separated(text) == list(tags):
        return text
    return msgspec.json.encode(tags).decode()


def _separated(text: str) -> list[str]:
    return [tag.strip() for tag in _EITHER_SEPARATOR.split(text)] if text else []
