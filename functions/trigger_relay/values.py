"""Values in the form Liquid can use: dates in ISO 8601, numbers as numbers.

Only what is certainly meant is changed; a value that is nothing of the kind goes on as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from shared.values import date_of, number_of

Kind = Literal["as_is", "text", "number", "date"]

# Fields the table does not know, and whose name says what they are.
_NAMED_LIKE_A_DATE = re.compile(r"_(date|at)\Z")


def kind_by_name(name: str) -> Kind:
    return "date" if _NAMED_LIKE_A_DATE.search(name) else "as_is"


def converted(value: Any, kind: Kind) -> Any:
    return KINDS[kind](value)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


KINDS: Mapping[Kind, Callable[[Any], Any]] = {
    "as_is": lambda value: value,
    "text": _text,
    "number": number_of,
    "date": date_of,
}
