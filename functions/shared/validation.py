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
_TYPE_NAME = re.compile(r"`(?P<name>\w+)(?: \| null)?`")
_TYPE_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
_LONGEST_ECHO = 128


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
    code, message = "invalid_field", _in_plain_words(problem)
    if named := _NAMED_FIELD.search(problem):
        missing = named["fault"] == "missing required"
        code = "missing_field" if missing else "unknown_field"
        message = "this field is required" if missing else "this field is not known here"
        path = f"{path}.{named['name']}" if path else named["name"]
    if not path:
        return InvalidInput(message, code="not_an_object", field="body", hint="Send one JSON object.")
    hint = _advice(shape, path) or "Send the fields and types the API description gives, and no others."
    return InvalidInput(message, code=code, field=path[:_LONGEST_ECHO], hint=hint)


def _in_plain_words(problem: str) -> str:
    if "matching regex" in problem:
        return "this text is not of the allowed form"
    words = _TYPE_NAME.sub(lambda found: _TYPE_WORDS.get(found["name"], found["name"]), problem)
    return words[:1].lower() + words[1:]


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
    """All advice within an annotation: a list's own and that of its items."""
    own = [meta.description for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    inner = [_description(part) for part in get_args(hint) if not isinstance(part, msgspec.Meta)]
    return " ".join(advice for advice in (*own, *inner) if advice)


def _struct_in(hint: Any) -> type[Any] | None:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    for part in get_args(hint) if get_origin(hint) is not None else ():
        if found := _struct_in(part):
            return found
    return None
