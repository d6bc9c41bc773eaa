"""Braze's own Liquid filters, and those whose results differ between Ruby and Python.

Source: Braze's page on filters. Not there: what `money` does with a sign, so a minus comes first here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import cache, wraps
from types import FunctionType
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from liquid.builtin.filters.misc import date as library_date
from liquid.environment import Environment
from liquid.exceptions import FilterArgumentError
from liquid.filter import num_arg, with_environment
from liquid.undefined import is_undefined

# Liquid filters that Braze does not have. The last two are the engine's own, and of no Liquid in Ruby.
UNSUPPORTED = (
    *("find_index", "camelize", "handleize", "pluralize", "lstrip", "rstrip", "money_with_currency"),
    *("money_without_currency", "format_address", "highlight", "escapejs", "safe"),
)

# A number that is multiplied by itself in a loop is soon one that nothing can be done with.
_MOST_BITS = 100_000


def installed(filters: dict[str, Callable[..., Any]], now: Callable[[], datetime]) -> None:
    """Puts Braze's filters into an engine's and takes out those Braze does not have. `now` is what 'now' means."""
    filters.update(_FILTERS)
    filters["date"] = _date_by(now)
    filters["time_zone"] = _time_zone_by(now)
    for name in UNSUPPORTED:
        filters.pop(name, None)
    for name, applied in filters.items():
        if isinstance(applied, FunctionType):
            filters[name] = _refusing(name, applied)


@cache
def names() -> frozenset[str]:
    """The filters that there are in Braze."""
    found = Environment().filters
    installed(found, lambda: datetime.now(UTC))
    return frozenset(found)


def _refusing(name: str, applied: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, with an error of Liquid's for a value that Python cannot do this with."""

    @wraps(applied)
    def refusing(value: Any, *arguments: Any, **options: Any) -> Any:
        try:
            result = applied(value, *arguments, **options)
            if isinstance(result, int) and result.bit_length() > _MOST_BITS:
                raise OverflowError("the number grows too large")
            return result
        except (ValueError, ArithmeticError, RecursionError, OSError) as error:
            raise FilterArgumentError(f"{name} cannot be applied to this value: {error}", token=None) from None

    return refusing


def text_of(value: Any) -> str:
    """A value as Ruby prints it."""
    if value is None or is_undefined(value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _round(value: Any, digits: Any = 0) -> float | int:
    """Half up, as in Ruby; Python rounds half to even."""
    number, places = num_arg(value, default=0), int(num_arg(digits, default=0))
    if abs(places) > sys.float_info.max_10_exp:
        raise OverflowError("no number has so many digits")
    scaled = abs(number) * 10**places
    rounded = math.copysign(math.floor(scaled + 0.5), number) / 10**places
    return rounded if places > 0 else int(rounded)


def _number_with_delimiter(value: Any) -> str:
    text = text_of(value)
    whole, point, fraction = text.partition(".")
    digits = whole.removeprefix("-")
    if not digits.isdecimal():
        return text
    return ("-" if whole.startswith("-") else "") + f"{int(digits):,}" + point + fraction


def _money(value: Any) -> str:
    number = num_arg(value, default=0)
    return f"{'-' if number < 0 else ''}${abs(number):.2f}"


def _json(value: Any) -> str:
    return json.dumps(None if is_undefined(value) else value, ensure_ascii=False, separators=(",", ":"), default=str)


def _json_escape(value: Any) -> str:
    return json.dumps(text_of(value), ensure_ascii=False)[1:-1]


def _json_parse(value: Any) -> Any:
    try:
        return json.loads(text_of(value))
    except (ValueError, RecursionError):
        return None


def _property(value: Any, name: Any) -> Any:
    return value.get(text_of(name)) if isinstance(value, Mapping) else None


def _digest(name: str) -> Callable[[Any], str]:
    return lambda value: hashlib.new(name, text_of(value).encode()).hexdigest()


def _signed(name: str, as_base64: bool) -> Callable[[Any, Any], str]:
    def signature(value: Any, key: Any) -> str:
        digest = hmac.new(text_of(key).encode(), text_of(value).encode(), name)
        return base64.b64encode(digest.digest()).decode() if as_base64 else digest.hexdigest()

    return signature


def _date_by(now: Callable[[], datetime]) -> Callable[..., str]:
    """'now' is UTC in Braze, and the engine's clock is the caller's."""

    @with_environment
    def in_format(value: Any, form: Any = None, *, environment: Environment) -> str:
        moment = _moment(value, now)
        if isinstance(moment, datetime) and text_of(form) == "%s":
            return str(int(moment.timestamp()))
        return str(library_date(moment, form, environment=environment))

    return in_format


def _time_zone_by(now: Callable[[], datetime]) -> Callable[..., Any]:
    def in_zone(value: Any, zone: Any = "UTC") -> Any:
        moment = _moment(value, now)
        if not isinstance(moment, datetime):
            return value
        try:
            return moment.astimezone(ZoneInfo(text_of(zone)))
        except (KeyError, ValueError, OSError):
            raise FilterArgumentError(f"there is no time zone {zone}", token=None) from None

    return in_zone


def _moment(value: Any, now: Callable[[], datetime]) -> Any:
    """A moment in UTC where one can be read, and else the value as it is."""
    if isinstance(value, str) and value in ("now", "today"):
        return now()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _at(value)
    if isinstance(value, str) and value.isdecimal():
        return _at(int(value))
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def _at(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise FilterArgumentError(f"{seconds} seconds since 1970 are no date", token=None) from None


_FILTERS: Mapping[str, Callable[..., Any]] = {
    "round": _round,
    "number_with_delimiter": _number_with_delimiter,
    "money": _money,
    "as_json_string": _json,
    "json_escape": _json_escape,
    "json_parse": _json_parse,
    "property_accessor": _property,
    "md5": _digest("md5"),
    "sha1": _digest("sha1"),
    "sha2": _digest("sha256"),
    "hmac_sha1": _signed("sha1", as_base64=False),
    "hmac_sha1_hex": _signed("sha1", as_base64=False),
    "hmac_sha1_base64": _signed("sha1", as_base64=True),
    "hmac_sha256": _signed("sha256", as_base64=False),
    "hmac_sha256_hex": _signed("sha256", as_base64=False),
    "hmac_sha256_base64": _signed("sha256", as_base64=True),
    "hmac_sha512": _signed("sha512", as_base64=False),
    "url_escape": lambda value: quote(text_of(value), safe="!#$&'()*+,-./:;=?@_~"),
    "url_param_escape": lambda value: quote(text_of(value), safe="-._~"),
}
