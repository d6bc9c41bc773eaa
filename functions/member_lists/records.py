"""What the readers of files have in common: bytes up to the end of a line in, rows and refusals out.

A file is looked at a block at a time, and a block holds whole lines but not always whole records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol, get_args

from msgspec import Meta

from bulk.parcels import Label
from clients.vocabulary import ExternalId, MemberKind, UserId
from shared.outcomes import State

# A line that cannot be taken apart is listed with so many of its first characters.
LISTED_CHARACTERS = 1_000

# What stands for bytes that are no UTF-8.
UNDECODABLE = "\ufffd"

Accept = Callable[[int, str, Label], None]  # line, member id, label
Refuse = Callable[[int, Mapping[str, str], State, str, str], None]  # line, cells, verdict, code, reason


class Records(Protocol):
    """Takes files apart, and tells rows and refusals, in their order, to the two callables it was made with."""

    def take(self, block: bytes, line: int, is_last: bool, is_stuck: bool, /) -> tuple[int, int]:
        """Reads records out of whole lines, of which the first is number `line` of the file.

        Returns how many bytes that were, and the number of the line after them. A record that might go on behind the
        block is left for the next one, unless this is the last; the first one also when `is_stuck`: longer blocks
        have been tried.
        """
        ...


def _pattern(id_type: object) -> Callable[[str], object]:
    [pattern] = [meta.pattern for meta in get_args(id_type) if isinstance(meta, Meta) and meta.pattern]
    return re.compile(pattern).match


# What says whether a text can be an id of that kind: the rules of request bodies.
IS_ID: Mapping[MemberKind, Callable[[str], object]] = {
    "user_id": _pattern(UserId),
    "external_id": _pattern(ExternalId),
}


def end_of_lines(block: bytes) -> int:
    """How many bytes of a block are whole lines, whether they end in LF, CRLF or CR."""
    end = block.rfind(b"\n") + 1
    # The last byte is looked at without its successor, which might make a CRLF of it.
    return max(end, block.rfind(b"\r", end, max(len(block) - 1, 0)) + 1)
