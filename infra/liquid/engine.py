"""The Liquid engine, told apart from Braze's by nothing that is known to differ.

What differs between the engine and Braze's, and is put right here: `round` (half up), `== blank` (nil and false are
blank), 'now' (UTC), filters and tags of Braze's own, filters Braze does not have. What stays different: a hash printed
whole looks like Python's, not like Ruby's (use as_json_string), and a very large float has another exponent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from liquid import Environment
from liquid.exceptions import LiquidError, LiquidSyntaxError

from infra.liquid import filters, tags
from infra.liquid.syntax import USER, BrazeSyntaxError, plain_liquid

# Tags of the engine that Braze does not have.
_NOT_IN_BRAZE = ("include", "render", "tablerow", "ifchanged", "doc")


class Unrenderable(Exception):
    """Braze would abort with template_parse_error, or print an error; the text says what and, if known, where."""


class Engine:
    """Renders templates. `now` is what 'now' means in them."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._environment = Environment()
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
            return template.render({**known, USER: variables.get("user", {}), tags.STATE: state})
        except BrazeSyntaxError as error:
            line = source.count("\n", 0, error.at) + 1
            raise Unrenderable(f"line {line}: {error}") from None
        except LiquidSyntaxError as error:
            raise Unrenderable(_in_words(error, source)) from None
        except LiquidError as error:
            raise Unrenderable(f"Liquid error: {_in_words(error, source)}") from None
        except (ValueError, RecursionError) as error:
            raise Unrenderable(f"a value is too large or nested too deep: {error}") from None


def _in_words(error: LiquidError, source: str) -> str:
    where = error.context()
    only = next((name for name in tags.ONLY_IN_BRAZE if name in str(error.message)), "")
    if only:
        return f"{only} needs Braze's own data and cannot be rendered here"
    return f"line {where[0]}: {error.message}" if where and source else str(error.message)
