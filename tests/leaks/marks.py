"""Marks: words that occur nowhere else, put where secrets and members' data go, and looked for where they must not be.

A mark is letters and digits alone, so that no encoding of a URL or of JSON changes it. It is also found in capitals, in
Base64, and inside longer words.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping

_STEM = "Qzmark7"
_MARK = re.compile(rf"{_STEM}([0-9]{{5}})", re.IGNORECASE)


def in_base64(text: str) -> list[str]:
    """What is in Base64 of anything that holds `text`, whatever is before and after it."""
    found = []
    for before in range(3):
        whole = base64.b64encode(b"x" * before + text.encode()).decode().rstrip("=")
        # The first characters depend on what is before, the last one on what comes after.
        found.append(whole[-(-before * 8 // 6) : (before + len(text)) * 8 // 6])
    return found


class Marks:
    """Gives out marks and finds them again. `secrets` are words that are marks as they are, by what they are."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._meanings: list[str] = []
        self._secrets: dict[str, str] = {}
        for name, secret in secrets.items():
            self.add_secret(name, secret)
        self._encoded = re.compile("|".join(re.escape(stem) for stem in in_base64(_STEM)))

    def add_secret(self, name: str, secret: str) -> None:
        self._secrets |= dict.fromkeys((secret, *in_base64(secret)), f"secret: {name}")
        self._any_secret = re.compile("|".join(re.escape(each) for each in self._secrets))

    def new(self, meaning: str) -> str:
        """A word for something, as in "member: user id"; letters and digits."""
        self._meanings.append(meaning)
        return f"{_STEM}{len(self._meanings) - 1:05d}"

    def found_in(self, text: str) -> set[str]:
        """What every mark and every secret in `text` stands for."""
        return set(self._found_in(text))

    def _found_in(self, text: str) -> Iterator[str]:
        for found in _MARK.finditer(text):
            yield self._meanings[int(found[1])]
        if self._encoded.search(text):
            yield "something: in Base64"
        for found in self._any_secret.finditer(text):
            yield self._secrets[found[0]]
