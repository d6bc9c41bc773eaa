"""Bodies and settings checked against msgspec Structs, with errors a person can act on.

A field's rule and its advice stand together where the field is declared:

    ttl: Annotated[int, Meta(ge=1, le=315_360_000, description="Give whole seconds, as in 2592000 for 30 days.")]
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from shared.errors import InvalidInput

Shape = TypeVar("Shape")

_AT_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_NAMED_FIELD = re.compile(r"(?P<fault>missing required|contains unknown) field `(?P<name>[^`]*)`")
_LONGEST_ECHO = 64


def decode(body: bytes, shape: type[Shape]) -> Shape:
    """Parses strict JSON into `shape`; raises `InvalidInput` with code, dotted field, what is wrong and what to do."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise invalid(str(error), shape) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise not_json() from None


def convert(value: Any, shape: type[Shape], *, strict: bool = True) -> Shape:
    """The same for something already parsed, such as query parameters (`strict=False`: numbers come as text)."""
    try:
        return msgspec.convert(value, shape, strict=strict)
    except msgspec.ValidationError as error:
        raise invalid(str(error), shape) from None


def not_json() -> InvalidInput:
    return InvalidInput(
        "the body is not valid JSON", code="invalid_json", field="body", hint="Send one JSON object, encoded as UTF-8."
    )


def invalid(problem: str, shape: type[Any]) -> InvalidInput:
    """Turns msgspec's wording, which names types and bounds and never the value, into an error with field and hint."""
    path = ""
    if at_path := _AT_PATH.search(problem):
        path, problem = at_path["path"], problem[: at_path.start()]
    code = "invalid_field"
    if named := _NAMED_FIELD.search(problem):
        code = "missing_field" if named["fault"] == "missing required" else "unknown_field"
        name = named["name"][:_LONGEST_ECHO]
        problem = "this field is required" if code == "missing_field" else "this field is not known here"
        path = f"{path}.{name}" if path else name
    if not path:
        return InvalidInput(problem, code="not_an_object", field="body", hint="Send one JSON object.")
    hint = _advice(shape, path) or "Send the fields and types the API description gives, and no others."
    return InvalidInput(problem[0].lower() + problem[1:], code=code, field=path[: 2 * _LONGEST_ECHO], hint=hint)


def _advice(shape: type[Any], path: str) -> str:
    """The description declared for the last named part of a dotted path, such as rows[3].ttl."""
    found = ""
    for name in re.findall(r"[A-Za-z_]\w*", path):
        hint = _fields(shape).get(name)  # type: ignore[arg-type]  # mypy does not see that a type is hashable
        if hint is None:
            return found
        found = _description(hint) or found
        shape = _struct_in(hint) or shape
    return found


@cache
def _fields(shape: type[Any]) -> dict[str, Any]:
    """Annotations by the name each field has in JSON."""
    hints = get_type_hints(shape, include_extras=True)
    return {field.encode_name: hints[field.name] for field in msgspec.structs.fields(shape)}


def _description(hint: Any) -> str:
    for part in (hint, *get_args(hint)):
        for meta in getattr(part, "__metadata__", ()):
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
    return ""


def _struct_in(hint: Any) -> type[Any] | None:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    for part in get_args(hint) if get_origin(hint) is not None else ():
        if found := _struct_in(part):
            return found
    return None
