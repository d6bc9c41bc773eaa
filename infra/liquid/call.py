"""What a connected_content tag asks for.

The options are told apart before any Liquid in them is rendered, so that a name such as "x :no_cache" is a name and no
option. Source: Braze's pages on making an API call and on caching.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from infra.liquid.syntax import BrazeSyntaxError

OPTIONS = frozenset(
    {"method", "headers", "body", "content_type", "save", "basic_auth", "auth_credentials"}
    | {"retry", "cache_max_age", "no_cache", "rerender"}
)

GET_CACHE_SECONDS = 300
LEAST_CACHE_SECONDS, MOST_CACHE_SECONDS = 300, 14_400

# Attributes whose presence in a tag's markup keeps its answer out of Braze's cache.
PERSONAL = ("${user_id}", "${braze_id}", "${email}", "${email_address}", "${phone_number}", "${date_of_birth}")

_FORM = "application/x-www-form-urlencoded"
_OPTION = re.compile(r":(\w+)")

# What HTTP lets stand in a header: a token, and a text of Latin-1 without control characters.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


@dataclass(frozen=True, slots=True)
class Markup:
    """A tag's parts as written. An option without a value has an empty one. `lost` follows the URL and is no option."""

    url: str
    options: Mapping[str, str]
    text: str
    lost: str = ""

    @property
    def is_personal(self) -> bool:
        return any(name in self.text for name in PERSONAL)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is ready to go out. `credential` is the name of a stored one; `cache_seconds` 0 means never."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    credential: str = ""
    save: str = "connected"
    retry: bool = False
    rerender: bool = False
    cache_seconds: int = 0


def parsed(text: str) -> Markup:
    """The parts of the text between `connected_content` and `%}`. Raises `BrazeSyntaxError` where there is no URL."""
    parts = _words(text)
    if not parts or parts[0].startswith(":"):
        raise BrazeSyntaxError("connected_content has no URL", 0)
    options: dict[str, str] = {}
    name = lost = ""
    for word in parts[1:]:
        if found := _OPTION.fullmatch(word):
            name = found[1]
            options[name] = ""
        elif name:
            options[name] = f"{options[name]} {word}".strip()
        else:
            lost = lost or word
    # Braze drops non-breaking spaces from URLs.
    return Markup(parts[0].replace("\u00a0", ""), options, text, lost)


def prepared(markup: Markup, rendered: Callable[[str], str]) -> Call:
    """The request of a tag, each of its parts put through `rendered`. Raises `BrazeSyntaxError` for a malformed one."""
    options = {name: rendered(value).strip() for name, value in markup.options.items()}
    method = options.get("method", "get").upper()
    if method not in ("GET", "POST"):
        raise BrazeSyntaxError(f"connected_content has no method {method}", 0)
    body = options.get("body", "")
    content_type = options.get("content_type", "")
    headers = _headers(options.get("headers", ""))
    if content_type:
        types = {"Content-Type": content_type, "Accept": content_type}
    else:
        types = {"Content-Type": "application/json" if method == "GET" else _FORM, "Accept": "*/*"}
    if content_type == "application/json" and body and not _is_json(body):
        body = json.dumps(dict(parse_qsl(body, keep_blank_values=True)))
    given = {name.title(): value for name, value in headers.items()}
    _check_headers({**types, **given})
    return Call(
        url=rendered(markup.url).strip(),
        method=method,
        headers={**types, **given},
        body=body,
        credential=options.get("basic_auth", "") or options.get("auth_credentials", ""),
        save=options.get("save", "") or "connected",
        retry="retry" in options,
        rerender="rerender" in options,
        cache_seconds=_cache_seconds(method, options, markup.is_personal),
    )


def _cache_seconds(method: str, options: Mapping[str, str], is_personal: bool) -> int:
    if "no_cache" in options or is_personal:
        return 0
    wanted = whole_number(options.get("cache_max_age", ""))
    if wanted is not None:
        return min(max(wanted, LEAST_CACHE_SECONDS), MOST_CACHE_SECONDS)
    return GET_CACHE_SECONDS if method == "GET" else 0


def whole_number(text: str) -> int | None:
    """The number that a text is, and None where it is none; of a very long one the first digits are enough."""
    return int(text.lstrip("0")[:18] or "0") if text.isascii() and text.isdigit() else None


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BrazeSyntaxError(f"{name!r} is no name for a header: letters, digits and hyphens are", 0)
        if not _HEADER_VALUE.fullmatch(value):
            raise BrazeSyntaxError(f"the header {name} has a line break or another character no header can carry", 0)


def _headers(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        headers = json.loads(text)
        return {str(name): str(value) for name, value in headers.items()}
    except (ValueError, AttributeError, RecursionError):
        raise BrazeSyntaxError(":headers is not one JSON object", 0) from None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    except RecursionError:
        raise BrazeSyntaxError(":body is nested too deep to be read", 0) from None
    return True


def _words(text: str) -> list[str]:
    """Cut at white space outside braces and, inside braces, outside nothing: JSON and `{{ a | b }}` stay whole."""
    words, depth, word = [], 0, ""
    for character in text:
        depth += (character == "{") - (character == "}")
        if character.isspace() and character != "\u00a0" and depth <= 0:
            if word:
                words.append(word)
            word = ""
        else:
            word += character
    return [*words, word] if word else words
