"""What a demo says while it runs: what went in, what came out at the far side, and whether that is right."""

from __future__ import annotations

import json
import re
import time
from typing import Any


class Wrong(Exception):
    """Something came out otherwise than it must; the text says what."""


class Telling:
    """Prints a demo's lines."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def title(self, text: str) -> None:
        print(f"\n{text}\n{'-' * len(text)}")

    def sent(self, text: str) -> None:
        print(f"  in   {text}")

    def came_out(self, text: str) -> None:
        print(f"  out  {text}")

    def check(self, is_right: object, claim: str, found: object = None) -> None:
        """Print a claim that holds. Raises Wrong for one that does not, with what was found instead."""
        if not is_right:
            raise Wrong(f"not so: {claim}" + ("" if found is None else f"; found {shortened(found, 600)}"))
        print(f"  ok   {claim}")

    def took(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._started


def shortened(value: object, length: int = 140) -> str:
    """A value on one line of at most `length` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= length else f"{text[: length - 4]} ..."


def render(template: str, variables: Any) -> str:
    """A line of Liquid with ``{{ name.key[0].key }}`` outputs only; what is missing prints as nothing, as there."""
    return re.sub(r"\{\{\s*([\w.\[\]]+)\s*\}\}", lambda found: _value(found[1], variables), template)


def _value(path: str, variables: Any) -> str:
    value = variables
    for name in re.findall(r"\w+", path):
        if isinstance(value, list):
            value = value[int(name)] if int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return "" if value is None else str(value)
