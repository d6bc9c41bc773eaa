"""Braze's own tags, and the comparison with `blank` that Braze's Liquid has and the engine's has not."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any, TextIO

from liquid import RenderContext, Token
from liquid.ast import Node
from liquid.builtin.expressions.logical import (
    BooleanExpression,
    EqExpression,
    LogicalAndExpression,
    LogicalOrExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import Blank
from liquid.builtin.tags.if_tag import IfNode, IfTag
from liquid.builtin.tags.unless_tag import UnlessNode, UnlessTag
from liquid.exceptions import LiquidSyntaxError
from liquid.expression import Expression
from liquid.stream import TokenStream
from liquid.tag import Tag
from liquid.token import TOKEN_EXPRESSION, TOKEN_TAG
from liquid.undefined import is_undefined

from infra.liquid import call
from infra.liquid.fetching import Fetched, Fetcher
from infra.liquid.syntax import BrazeSyntaxError, plain_liquid

# Under this name a rendering's own state stands beside the variables of the template.
STATE = "__rendering"

# Tags that need Braze's own data.
ONLY_IN_BRAZE = ("catalog_items", "catalog_selection_items", "shopping_cart", "promotion", "product_recommendation")

_ABORT = re.compile(r"""(?:\(\s*(?:(?P<quote>['"])(?P<reason>.*?)(?P=quote))?\s*\))?""", re.DOTALL)
_BOUND = re.compile(r"0*[1-9][0-9]{0,17}")


class Aborted(Exception):
    """The template said abort_message; the text is its reason."""


class State:
    """What one rendering has fetched, and what it asks with."""

    def __init__(self, fetcher: Fetcher, seed: int) -> None:
        self.fetcher = fetcher
        self.fetched: list[Fetched] = []
        self.random = random.Random(seed)

    def __str__(self) -> str:
        return ""


class _Verbatim(Tag):
    """A tag whose text is not an expression."""

    block = False
    node: type[_TextNode]

    def parse(self, stream: TokenStream) -> Node:
        token = stream.eat(TOKEN_TAG)
        text = stream.current.value if stream.current.kind == TOKEN_EXPRESSION else ""
        if not text:
            stream.pos -= 1  # there is no expression to pass over
        return self.node(token, text)


class _TextNode(Node):
    def __init__(self, token: Token, text: str) -> None:
        super().__init__(token)
        self.text = text
        self.blank = False
        self.check()

    def check(self) -> None:
        """Raises `LiquidSyntaxError` for a text Braze would not take."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        raise NotImplementedError


class ConnectedContentNode(_TextNode):
    def check(self) -> None:
        try:
            self.markup = call.parsed(self.text)
        except BrazeSyntaxError as error:
            raise LiquidSyntaxError(str(error), token=self.token) from None

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        state: State = context.globals[STATE]  # type: ignore[assignment]  # put there by the engine

        def rendered(text: str) -> str:
            return _within(text, context)

        try:
            request = call.prepared(self.markup, rendered)
        except BrazeSyntaxError as error:
            raise LiquidSyntaxError(str(error), token=self.token) from None
        fetched = state.fetcher.fetch(request)
        state.fetched.append(fetched)
        content = fetched.content
        if request.rerender:
            content = _rerendered(content, rendered)
        if isinstance(content, str):
            return buffer.write(content)  # what is no JSON stands in place of the tag
        context.assign(request.save, content)
        return 0


class AbortMessageNode(_TextNode):
    def check(self) -> None:
        found = _ABORT.fullmatch(self.text.strip())
        if found is None or "{{" in (found["reason"] or ""):
            raise LiquidSyntaxError("abort_message takes one text in quotes, without Liquid", token=self.token)
        self.reason = found["reason"] or ""

    def render_to_output(self, _context: RenderContext, _buffer: TextIO) -> int:
        raise Aborted(self.reason)


class MessageExtrasNode(_TextNode):
    """It adds to reports and not to the message."""

    def render_to_output(self, _context: RenderContext, _buffer: TextIO) -> int:
        return 0


class RandomNode(_TextNode):
    def check(self) -> None:
        bound = self.text.strip()
        if bound and not _BOUND.fullmatch(bound):
            raise LiquidSyntaxError("random takes a whole number above 0, or nothing", token=self.token)

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        state: State = context.globals[STATE]  # type: ignore[assignment]  # put there by the engine
        bound = self.text.strip()
        return buffer.write(str(state.random.randrange(int(bound)) if bound else state.random.random()))


class ConnectedContentTag(_Verbatim):
    name = "connected_content"
    node = ConnectedContentNode


class AbortMessageTag(_Verbatim):
    name = "abort_message"
    node = AbortMessageNode


class MessageExtrasTag(_Verbatim):
    name = "message_extras"
    node = MessageExtrasNode


class RandomTag(_Verbatim):
    name = "random"
    node = RandomNode


class BlankComparison(Expression):
    """`== blank` as Rails has it: nil, false, nothing but white space and what is empty are all blank."""

    def __init__(self, token: Token, value: Expression, wanted: bool) -> None:
        super().__init__(token)
        self.value = value
        self.wanted = wanted

    def evaluate(self, context: RenderContext) -> bool:
        return _is_blank(self.value.evaluate(context)) is self.wanted

    def children(self) -> list[Expression]:
        return [self.value]


class BrazeIfTag(IfTag):
    def parse(self, stream: TokenStream) -> Node:
        node = super().parse(stream)
        if isinstance(node, IfNode):
            _with_blank(node.condition)
            for alternative in node.alternatives:
                _with_blank(alternative.expression)
        return node


class BrazeUnlessTag(UnlessTag):
    def parse(self, stream: TokenStream) -> Node:
        node = super().parse(stream)
        if isinstance(node, UnlessNode):
            _with_blank(node.condition)
            for alternative in node.alternatives:
                _with_blank(alternative.expression)
        return node


def _with_blank(condition: Expression) -> None:
    if isinstance(condition, BooleanExpression):
        condition.expression = _compared(condition.expression)


def _compared(expression: Expression) -> Expression:
    if isinstance(expression, LogicalAndExpression | LogicalOrExpression):
        expression.left, expression.right = _compared(expression.left), _compared(expression.right)
    if isinstance(expression, EqExpression | NeExpression):
        wanted = isinstance(expression, EqExpression)
        for one, other in ((expression.left, expression.right), (expression.right, expression.left)):
            if isinstance(other, Blank):
                return BlankComparison(expression.token, one, wanted)
    return expression


def _is_blank(value: Any) -> bool:
    if value is None or value is False or is_undefined(value):
        return True
    return not value.strip() if isinstance(value, str) else isinstance(value, list | dict) and not value


def _within(text: str, context: RenderContext) -> str:
    """A piece of Liquid rendered with the variables of the template it stands in."""
    if "{{" not in text and "{%" not in text:
        return text
    try:
        nodes = context.env.from_string(plain_liquid(text)).nodes
    except BrazeSyntaxError as error:
        raise LiquidSyntaxError(str(error), token=None) from None
    buffer = context.get_buffer()
    for node in nodes:
        node.render(context, buffer)
    return buffer.getvalue()


def _rerendered(content: Any, rendered: Any) -> Any:
    """Liquid in the answer, rendered one level deep."""
    if isinstance(content, str):
        return rendered(content)
    if isinstance(content, Mapping):
        return {name: rendered(value) if isinstance(value, str) else value for name, value in content.items()}
    return content


TAGS = (ConnectedContentTag, AbortMessageTag, MessageExtrasTag, RandomTag, BrazeIfTag, BrazeUnlessTag)
