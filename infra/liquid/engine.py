"""The Liquid engine, told apart from Braze's by nothing that is known to differ.

What differs between the engine and Braze's, and is put right here: `round` (half up), `== blank` (nil and false are
blank), 'now' (UTC), filters and tags of Braze's own, filters Braze does not have. What stays different: a hash printed
whole looks like Python's, not like Ruby's (use as_json_string), and a very large float has another exponent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from io import StringIO
from typing import Any, TextIO

from liquid import BoundTemplate, Environment, RenderContext
from liquid.exceptions import (
    LiquidError,
    LiquidSyntaxError,
    LocalNamespaceLimitError,
    LoopIterationLimitError,
    OutputStreamLimitError,
)
from liquid.output import LimitedStringIO

from infra.liquid import filters, tags
from infra.liquid.syntax import USER, BrazeSyntaxError, plain_liquid

# Tags of the engine that Braze does not have.
_NOT_IN_BRAZE = ("include", "render", "tablerow", "ifchanged", "doc")

# Far above any message, and soon reached by a template that would not end. Braze tells of no limits of its own.
MOST_ROUNDS = 100_000
MOST_CHARACTERS = 10_000_000
MOST_BYTES = 10_000_000

_PAST_A_LIMIT: Mapping[type[LiquidError], str] = {
    LoopIterationLimitError: f"a loop, with those around it, goes more than {MOST_ROUNDS:,} rounds",
    OutputStreamLimitError: f"the text grows beyond {MOST_CHARACTERS:,} characters",
    LocalNamespaceLimitError: f"the variables grow beyond {MOST_BYTES:,} bytes",
}


class Unrenderable(Exception):
    """Braze would abort with template_parse_error, or print an error; the text says what and, if known, where."""


class _Text(LimitedStringIO):
    """Counts characters: the engine's own encodes them, which half of a character does not bear."""

    def write(self, text: str) -> int:
        self.size += len(text)
        if self.size > self.limit:
            raise OutputStreamLimitError("output stream limit reached", token=None)
        return StringIO.write(self, text)


class _Context(RenderContext):
    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        return _Text(limit=MOST_CHARACTERS - (buf.size if isinstance(buf, _Text) else 0))


class _Template(BoundTemplate):
    context_class = _Context


class _Bounded(Environment):
    template_class = _Template
    loop_iteration_limit = MOST_ROUNDS
    local_namespace_limit = MOST_BYTES


class Engine:
    """Renders templates. `now` is what 'now' means in them."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._environment = _Bounded()
        for tag in tags.TAGS:
            self._environment.add_tag(tag)
        for name in _NOT_IN_BRAZE:
            self._environment.tags.pop(name, None)
        filters.installed(self._environment.filters, now)

    def render(self, source: str, variables: Mapping[str, Any], state: tags.State) -> str:
        """The text of one field; what was fetched for it is noted in `state`.

        `variables` holds the user's attributes under "user", and every other namespace (custom_attribute, campaign,
        api_trigger_properties ...) under its own name. Raises `Unrenderable`, `tags.Aborted`, and `NoCredential`.
        """
        known = {name: value for name, value in variables.items() if name != "user"}
        try:
            template = self._environment.from_string(plain_liquid(source))
            known |= {USER: variables.get("user", {}), tags.STATE: state}
            context = template.context_class(template, globals=template.make_globals(known))
            text = context.get_buffer()
            template.render_with_context(context, text)
            return text.getvalue()
        except BrazeSyntaxError as error:
            line = source.count("\n", 0, error.at) + 1
            raise Unrenderable(f"line {line}: {error}") from None
        except LiquidSyntaxError as error:
            raise Unrenderable(_in_words(error, source)) from None
        except tuple(_PAST_A_LIMIT) as error:
            raise Unrenderable(f"not rendered to its end: {_PAST_A_LIMIT[type(error)]}") from None
        except LiquidError as error:
            raise Unrenderable(f"Liquid error: {_in_words(error, source)}") from None
        except (ValueError, RecursionError) as error:
            raise Unrenderable(f"a value is too large or nested too deep: {error}") from None
        except MemoryError:
            raise Unrenderable("a value is too large for the memory of this machine") from None


def _in_words(error: LiquidError, source: str) -> str:
    where = error.context()
    only = next((name for name in tags.ONLY_IN_BRAZE if name in str(error.message)), "")
    if only:
        return f"{only} needs Braze's own data and cannot be rendered here"
    return f"line {where[0]}: {error.message}" if where and source else str(error.message)
