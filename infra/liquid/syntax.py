"""Braze's spellings of Liquid, rewritten as plain Liquid that an engine understands.

    {{${first_name}}}                          {{ __user["first_name"] }}
    {{custom_attribute.${tier}}}               {{ custom_attribute["tier"] }}
    {{api_trigger_properties.${a}.${b}[0]}}    {{ api_trigger_properties["a"]["b"][0] }}
    {% if {{${language}}} == 'ko' %}           {% if __user["language"] == 'ko' %}

HTML comments go first, as in Braze. The inside of connected_content and abort_message stays as it is written: those
tags render their parts themselves. A regular expression cannot do this: in `{{${a}}}` the first brace that closes ends
the variable and the other two the output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

USER = "__user"

# Tags whose text is no expression.
VERBATIM_TAGS = frozenset({"connected_content", "abort_message", "message_extras"})

_OPENING = re.compile(r"{[{%]")
_TAG_NAME = re.compile(r"-?\s*(\w+|#)?")
_END_OF_RAW = re.compile(r"{%-?\s*endraw\s*-?%}")


class BrazeSyntaxError(Exception):
    """Braze would refuse the template, and abort the message with template_parse_error; `at` is where in the text."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a template: its `kind`, its whole text with braces, where it begins, and the name of a tag."""

    kind: Literal["text", "output", "tag", "raw"]
    text: str
    at: int
    tag: str = ""

    @property
    def inner(self) -> str:
        """What stands between the braces, without the hyphens of whitespace control."""
        inner = self.text[2:-2]
        return inner.removeprefix("-").removesuffix("-")


def without_comments(source: str) -> str:
    """The template without HTML comments; line breaks stay, so that line numbers do."""
    kept = []
    at = 0
    while (begin := source.find("<!--", at)) >= 0 and (end := source.find("-->", begin + 4)) >= 0:
        kept += [source[at:begin], "\n" * source.count("\n", begin, end)]
        at = end + 3
    return "".join([*kept, source[at:]])


def pieces(source: str) -> Iterator[Piece]:
    """Cuts a template into text, outputs and tags. Raises `BrazeSyntaxError`."""
    at = 0
    while opening := _OPENING.search(source, at):
        if at < opening.start():
            yield Piece("text", source[at : opening.start()], at)
        at = opening.start()
        if source.startswith("{{", at):
            end = _end_of_output(source, at)
            yield Piece("output", source[at:end], at)
        else:
            end = source.find("%}", at) + 2
            if end < 2:
                raise BrazeSyntaxError("a tag is not closed with %}", at)
            name = _TAG_NAME.match(source, at + 2)
            tag = (name[1] if name else "") or ""
            if tag == "raw":
                closing = _END_OF_RAW.search(source, end)
                if closing is None:
                    raise BrazeSyntaxError("raw is not closed with endraw", at)
                end = closing.end()
                yield Piece("raw", source[at:end], at, tag)
            else:
                yield Piece("tag", source[at:end], at, tag)
        at = end
    if at < len(source):
        yield Piece("text", source[at:], at)


def plain_liquid(source: str) -> str:
    """The template in plain Liquid. Raises `BrazeSyntaxError` for what Braze does not take."""
    rewritten = []
    for piece in pieces(without_comments(source)):
        if piece.kind in ("text", "raw") or piece.tag in VERBATIM_TAGS:
            rewritten.append(piece.text)
            continue
        opening = piece.text[:3] if piece.text[2] == "-" else piece.text[:2]
        closing = piece.text[-3:] if piece.text[-3] == "-" else piece.text[-2:]
        inner = _expression(piece.inner, piece.at)
        rewritten.append(f"{opening} {inner.strip()} {closing}")
    return "".join(rewritten)


def _end_of_output(source: str, at: int) -> int:
    """Where the output that begins at `at` ends, braces inside it counted."""
    if source.startswith("{{{", at):
        raise BrazeSyntaxError("three opening braces: Braze takes two", at)
    position, quote = at + 2, ""
    while position < len(source):
        character = source[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif source.startswith("${", position):
            closing = source.find("}", position)
            if closing < 0:
                break
            position = closing
        elif source.startswith("{{", position):
            raise BrazeSyntaxError("braces inside the braces of an output", position)
        elif source.startswith("}}", position):
            return position + 2
        elif character == "}":
            raise BrazeSyntaxError("a closing brace is missing", position)
        position += 1
    raise BrazeSyntaxError("an output is not closed with }}", at)


def _expression(text: str, at: int) -> str:
    """An expression without `${}` and without inner braces."""
    result: list[str] = []
    position, quote = 0, ""
    while position < len(text):
        character = text[position]
        if quote:
            quote = "" if character == quote else quote
            result.append(character)
        elif character in "'\"":
            quote = character
            result.append(character)
        elif text.startswith("${", position):
            end = text.find("}", position)
            if end < 0:
                raise BrazeSyntaxError("a variable is not closed with }", at + position)
            result.append(_looked_up(text[position + 2 : end], result, at + position))
            position = end
        elif text.startswith("{{", position):
            end = _end_of_output(text, position)
            inner = text[position + 2 : end - 2]
            if "|" in inner:
                raise BrazeSyntaxError("a filter inside the inner braces of a tag", at + position)
            result.append(_expression(inner, at + position).strip())
            position = end - 1
        else:
            result.append(character)
        position += 1
    return "".join(result)


def _looked_up(name: str, before: list[str], at: int) -> str:
    """The lookup of `${name}`: in what stands before it, with a point between, else among the user's attributes."""
    if not name or '"' in name or "{" in name:
        raise BrazeSyntaxError("no name between ${ and }", at)
    if before and before[-1].endswith("."):
        before[-1] = before[-1][:-1]
        return "".join(f'["{part}"]' for part in name.split("."))
    return f'{USER}["{name}"]'
