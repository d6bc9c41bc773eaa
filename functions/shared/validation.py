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
_GOT_FLOAT = "got `float`"


def decode(body: bytes, shape: type[Shape]) -> Shape:
    """Parses strict JSON into `shape`; raises `InvalidInput` with code, dotted field, what is wrong and what to do."""
    try:
        try:
            return msgspec.json.decode(body, type=shape)
        except msgspec.ValidationError as error:
            if _GOT_FLOAT not in str(error):
                raise invalid(str(error), shape) from None
        return convert(msgspec.json.decode(body), shape)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise not_json() from None


def convert(value: Any, shape: type[Shape], *, strict: bool = True) -> Shape:
    """The same for something already parsed, such as query parameters (`strict=False`: numbers come as text)."""
    try:
        try:
            converted = msgspec.convert(value, shape, strict=strict)
        except msgspec.ValidationError as error:
            if _GOT_FLOAT not in str(error):
                raise
            converted = msgspec.convert(_with_whole_numbers(value, msgspec.inspect.type_info(shape)), shape)
    except msgspec.ValidationError as error:
        raise invalid(str(error), shape) from None
    except UnicodeEncodeError:
        raise invalid("this is no Unicode text - at `$.query`", shape) from None
    if not strict and isinstance(converted, msgspec.Struct):
        _refuse_null(value, converted)
    return converted


def _with_whole_numbers(value: Any, kind: msgspec.inspect.Type) -> Any:
    """`value` with 30.0 made 30 where `kind` wants a whole number.

    JSON knows no difference between the two, and what Liquid multiplies may come out as the first.
    """
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _with_whole_numbers(value, inner)
        case msgspec.inspect.UnionType(types=kinds):
            for each in kinds:
                value = _with_whole_numbers(value, each)
        case msgspec.inspect.IntType() if isinstance(value, float) and value.is_integer():
            return int(value)
        case msgspec.inspect.ListType(item_type=inner) if isinstance(value, list):
            return [_with_whole_numbers(item, inner) for item in value]
        case msgspec.inspect.StructType(fields=fields) if isinstance(value, dict):
            kinds_by_name = {field.encode_name: field.type for field in fields}
            return {
                name: _with_whole_numbers(item, kinds_by_name[name]) if name in kinds_by_name else item
                for name, item in value.items()
            }
    return value


def _refuse_null(query: Any, converted: msgspec.Struct) -> None:
    """A query has no null, but what reads numbers from text reads the word as one."""
    for field in _fields_of(type(converted)):
        if field.encode_name in query and getattr(converted, field.name) is None:
            raise invalid(f"this is no value - at `$.{field.encode_name}`", type(converted))


@cache
def _fields_of(shape: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Kept, because msgspec evaluates the annotations anew each time, which takes a quarter of a millisecond."""
    return msgspec.structs.fields(shape)


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
    elif not path:
        return InvalidInput(message, code="not_an_object", field="body", hint="Send one JSON object.")
    hint = _advice(shape, path) or "Send the fields and types the API description gives, and no others."
    return InvalidInput(message, code=code, field=path[:_LONGEST_ECHO], hint=hint)


def _in_plain_words(problem: str) -> str:
    if "matching regex" in problem:
        return "this text is not of the allowed form"
    if "enum value" in problem:  # which msgspec repeats
        return "this is none of the values that are possible here"
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
