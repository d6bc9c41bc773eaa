"""`make lint-liquid FILE=message.liquid`: the mistakes in a template that Braze shows late or never.

Each finding has a code, a line, what is wrong and what to do. An `error` breaks the message or the call; a `warning`
works today and fails on a bad day. The rules are those mistakes that Braze's documentation, its issues and partners'
guides show people making.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from infra.liquid import call, filters
from infra.liquid.syntax import BrazeSyntaxError, Piece, pieces, without_comments
from infra.liquid.tags import ONLY_IN_BRAZE
from infra.liquid.webhook import is_webhook

Level = Literal["error", "warning"]

_TAGS = frozenset(
    {"if", "elsif", "else", "endif", "unless", "endunless", "case", "when", "endcase", "for", "endfor", "break"}
    | {"continue", "assign", "capture", "endcapture", "comment", "endcomment", "raw", "echo", "liquid", "cycle"}
    | {"increment", "decrement", "connected_content", "abort_message", "message_extras", "random", "#"}
    | {"multi_language", "translation", "endtranslation", *ONLY_IN_BRAZE}
)
_BLOCKS = {"if": "endif", "unless": "endunless", "case": "endcase", "for": "endfor", "capture": "endcapture"}

# Filters of other engines, by what Braze calls them.
_MEANT = {"json": "as_json_string", "to_json": "as_json_string", "html_escape": "escape", "sha256": "sha2"}

# Names of the documentation's samples that nobody replaced.
_PLACEHOLDER = re.compile(r"\{\{\s*(endpoint_\w+|ap[ip]key_\w+|base64_encoded_string|\w*_placeholder)\s*\}\}")
_YOURS = re.compile(r"YOUR[-_](?!RETAIL)[A-Z0-9_-]+")  # the retailer id is filled in by the bundle
_HOST = re.compile(r"(?<=://)(CONTENT_HOST|INTAKE_HOST)\b")
_KEY = re.compile(r"\b(?:Bearer|Basic)\s+([A-Z]+(?:_[A-Z]+)+)(?![\w+/=.-])")
_OUTPUT = re.compile(r"\{\{(?:[^{}]|\$\{[^}]*\})*\}\}")
_LIQUID = re.compile(r"\{%(.*?)%\}|\{\{(.*?)\}\}(?!\})", re.DOTALL)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
# What a piece of Liquid reads: `${user_id}`, `custom_attribute.${tier}`, `cart.total`, or a variable of the template.
_READ = re.compile(r"(?P<first>\w+)?(?P<rest>(?:\.?\$\{[^}]*\}|\.\w+)*)")
# The last name of an attribute that no two members share.
_ONE_MEMBER = re.compile(
    r"\b(?:\w*(?:user|external|braze|member|customer|profile|loyalty|sessionm|device)_?(?:id|identifier|number)"
    r"|email(?:_address)?|phone(?:_number)?|(?:user_)?alias(?:_name)?|card_number)\}?\Z|device\.\$\{id\}\Z",
    re.IGNORECASE,
)
_OPENING = re.compile(r"\{[{%]")
_SMART_QUOTES = re.compile("[\u2018\u2019\u201a\u201b\u201c\u201d\u201e]")
_SECRET = re.compile(r"Authorization\"?\s*:\s*\"?(Basic|Bearer)\s+[A-Za-z0-9+/=._-]{8,}")
_USER_INFO = re.compile(r"https?://[^/\s{][^/\s{:]*:[^/\s{]+@")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One mistake; `line` counts from 1."""

    line: int
    code: str
    level: Level
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class _Tag:
    """A connected_content tag with its place."""

    at: int
    markup: call.Markup

    @property
    def saves(self) -> str:
        return self.markup.options.get("save", "") or "connected"

    @property
    def method(self) -> str:
        return self.markup.options.get("method", "get").upper()


class _Report:
    """Findings of one template, placed by position."""

    def __init__(self, text: str) -> None:
        self._line_ends = [found.start() for found in re.finditer("\n", text)]
        self.findings: set[Finding] = set()

    def add(self, at: int, code: str, message: str, hint: str, level: Level = "error") -> None:
        self.findings.add(Finding(bisect_left(self._line_ends, at) + 1, code, level, message, hint))


def lint(source: str) -> list[Finding]:
    """Every mistake found in a template, from top to bottom."""
    text = without_comments(source)
    report = _Report(text)
    for rule in _TEXT_RULES:
        rule(text, report)
    try:
        cut = list(pieces(text))
    except BrazeSyntaxError as error:
        report.add(error.at, "braces", str(error), "Write {{${name}}} with two braces around, and close each of them.")
        return sorted(report.findings)
    if _left_open(cut, report):
        return sorted(report.findings)
    tags = []
    for piece in cut:
        if piece.tag == "connected_content":
            for output in _OUTPUT.finditer(piece.text):
                _filter_rules(output[0], piece.at + output.start(), report)
            try:
                tags.append(_Tag(piece.at, call.parsed(_arguments(piece))))
            except BrazeSyntaxError as error:
                report.add(piece.at, "no_url", str(error), "Begin the tag with the address to call.")
        elif piece.kind in ("tag", "output"):
            _expression_rules(piece, report)
    _block_rules(cut, report)
    for tag in tags:
        _option_rules(tag, report)
        _cache_rules(tag, text, report)
        _body_rules(tag, text, report)
    _answer_rules(text, tags, report)
    return sorted(report.findings)


# --- the text as it is ------------------------------------------------------------------------------------------------


def _smart_quotes(text: str, report: _Report) -> None:
    for begin, end in _within_braces(text):
        if found := _SMART_QUOTES.search(text, begin, end):
            report.add(found.start(), "smart_quotes", "curly quotes inside Liquid", "Type straight quotes, ' or \".")


def _within_braces(text: str) -> Iterator[tuple[int, int]]:
    """Where each tag and output begins and ends, in a text whose braces may be open; in one pass, however many are."""
    closing = {"{%": "%}", "{{": "}}"}
    at = 0
    while opening := _OPENING.search(text, at):
        at = opening.start() + 1
        if opening[0] in closing:
            end = text.find(closing[opening[0]], opening.end())
            if end < 0:
                del closing[opening[0]]  # none after it is closed either
                continue
            at = end + 2
            yield opening.start(), at


def _placeholders(text: str, report: _Report) -> None:
    for pattern in (_PLACEHOLDER, _YOURS):
        for found in pattern.finditer(text):
            hint = "Braze prints nothing for it. Put in the value itself."
            report.add(found.start(), "placeholder", f"{found[0]} is the documentation's placeholder", hint)
    for found in _HOST.finditer(text):
        hint = "Put in the host of your ContentApiUrl or IntakeApiUrl."
        report.add(found.start(), "host_placeholder", f"{found[0]} stands for a host", hint, "warning")
    for found in _KEY.finditer(text):
        hint = "Put in the key that `make caller` has shown."
        report.add(found.start(1), "key_placeholder", f"{found[1]} stands for a key", hint, "warning")


def _secrets(text: str, report: _Report) -> None:
    if is_webhook(text):
        return  # a webhook can use no stored credential
    for pattern in (_SECRET, _USER_INFO):
        for found in pattern.finditer(text):
            hint = "Store a credential under Settings > Connected Content and name it with :basic_auth."
            report.add(found.start(), "secret_in_template", "a credential in the template", hint, "warning")


def _misspelt(text: str, report: _Report) -> None:
    for found in re.finditer(r"\{%-?\s*connected content\b", text):
        report.add(found.start(), "unknown_tag", "connected content without its underscore", "Write connected_content.")
    for found in re.finditer(r"(?<!\{)\{[ \t]+[{%]|[}%][ \t]+\}(?!\})", text):
        report.add(found.start(), "split_braces", "a space between two braces of Liquid", "Write {{, }}, {% and %}.")


_TEXT_RULES: tuple[Callable[[str, _Report], None], ...] = (_smart_quotes, _placeholders, _secrets, _misspelt)


# --- tags and outputs -------------------------------------------------------------------------------------------------


def _arguments(piece: Piece) -> str:
    return piece.inner.strip().removeprefix(piece.tag)


def _left_open(cut: list[Piece], report: _Report) -> bool:
    """Whether a tag runs on into what follows it, so that the rest means nothing."""
    found = False
    for piece in cut:
        inner = piece.inner if piece.kind == "tag" else ""
        if "{%" in inner:
            report.add(piece.at, "braces", "a tag is not closed with %}", "Close it before the next tag begins.")
        elif piece.tag == "connected_content" and inner.count("{") != inner.count("}"):
            hint = "Write {{${name}}} with two braces around, and close each of them."
            report.add(piece.at, "braces", "not every brace of connected_content is closed", hint)
        else:
            continue
        found = True
    return found


def _expression_rules(piece: Piece, report: _Report) -> None:
    inner = re.sub(r"'[^']*'|\"[^\"]*\"", "''", piece.inner)
    if piece.kind == "tag" and piece.tag not in _TAGS:
        hint = "Braze's tags are listed on its page on Liquid. To stop a message write {% abort_message('why') %}."
        report.add(piece.at, "unknown_tag", f"there is no tag {piece.tag or 'without a name'}", hint)
    if piece.tag in ("if", "elsif", "unless"):
        if "(" in inner:
            hint = "Braze's Liquid reads and/or from right to left; nest two ifs instead."
            report.add(piece.at, "parentheses", "parentheses in a condition", hint)
        if found := re.search(r"&&|\|\|", inner):
            report.add(piece.at, "operator", f"{found[0]} is no operator of Liquid", "Write and, or.")
        elif "|" in inner:
            report.add(piece.at, "filter_in_condition", "a filter in a condition", "Assign the filtered value first.")
        if re.search(r"(?<![=!<>])=(?!=)", inner):
            report.add(piece.at, "operator", "= compares nothing", "Write == to compare.")
    _filter_rules(piece.text, piece.at, report)
    if piece.tag == "abort_message":
        reason = _arguments(piece).strip()
        if not re.fullmatch(r"(\(\s*('[^']*'|\"[^\"]*\")?\s*\))?", reason) or "{{" in reason:
            hint = "Write {% abort_message('no wallet') %}."
            report.add(piece.at, "abort_reason", "the reason of abort_message is one plain text in quotes", hint)


def _filter_rules(expression: str, at: int, report: _Report) -> None:
    """A filter that there is not either aborts the message, or is passed over and leaves the text as it was."""
    plain = re.sub(r"'[^']*'|\"[^\"]*\"", lambda text: "'" * len(text[0]), expression)
    for found in re.finditer(r"(?<!\|)\|(?!\|)\s*(\w+)", plain):
        if found[1] not in filters.names():
            near = _MEANT.get(found[1]) or next(iter(get_close_matches(found[1], sorted(filters.names()), n=1)), "")
            hint = f"Did you mean {near}?" if near else "Braze's filters are listed on its page on filters."
            report.add(at + found.start(1), "unknown_filter", f"Braze has no filter {found[1]}", hint)


def _block_rules(cut: list[Piece], report: _Report) -> None:
    opened: list[Piece] = []
    for piece in cut:
        if piece.tag in _BLOCKS:
            opened.append(piece)
        elif piece.tag in _BLOCKS.values():
            if not opened or _BLOCKS[opened[-1].tag] != piece.tag:
                report.add(piece.at, "blocks", f"{piece.tag} closes nothing", "Open and close blocks in their order.")
                return
            opened.pop()
    for piece in opened:
        report.add(piece.at, "blocks", f"{piece.tag} is not closed", f"Add {{% {_BLOCKS[piece.tag]} %}}.")


# --- connected_content ------------------------------------------------------------------------------------------------


def _option_rules(tag: _Tag, report: _Report) -> None:
    markup, options = tag.markup, tag.markup.options
    for name in sorted(options.keys() - call.OPTIONS):
        meant = {"cache": "cache_max_age", "timeout": "", "max_retries": "retry", "header": "headers"}.get(name)
        hint = f"Write :{meant}." if meant else f"Braze has {', '.join(sorted(call.OPTIONS))}."
        report.add(tag.at, "unknown_option", f"connected_content has no option :{name}", hint)
    for name in ("method", "save", "basic_auth", "auth_credentials", "content_type", "headers", "body"):
        if name in options and not options[name]:
            report.add(tag.at, "empty_option", f":{name} has no value", "Give it one, or leave the option out.")
    if "cache_max_age" in options:
        age = call.whole_number(options["cache_max_age"])
        if age is None or not call.LEAST_CACHE_SECONDS <= age <= call.MOST_CACHE_SECONDS:
            report.add(
                tag.at, "cache_max_age", ":cache_max_age takes 300 to 14400 seconds", "As in :cache_max_age 900."
            )
    if tag.method not in ("GET", "POST"):
        report.add(tag.at, "method", f"Connected Content has no method {tag.method}", "Use get or post.")
    if found := re.match(r"https?://[^/\s{]+:(\d+)", markup.url):
        if found[1] not in ("80", "443"):
            report.add(tag.at, "port", f"Braze does not call port {found[1]}", "Serve it on 443.")
    elif not re.match(r"https?://|\{\{", markup.url):
        report.add(tag.at, "no_url", "the address is no http or https address", "Begin it with https://.")
    if markup.lost and not markup.lost.startswith(":"):
        hint = "Write %20 for a blank, put | url_param_escape behind a name, and begin each option with a colon."
        report.add(tag.at, "url_with_space", f"the address ends at the blank before {markup.lost}", hint)
    if tag.method == "GET" and any(name in markup.url for name in call.PERSONAL):
        hint = "Braze keeps URLs for 30 days. Send the member's id in the body of a POST."
        report.add(tag.at, "member_in_url", "the URL names the member", hint, "warning")


def _cache_rules(tag: _Tag, text: str, report: _Report) -> None:
    """A cached answer to a POST is known by its URL alone, by Braze's older rule: what varies has to stand in the URL.

    It is enough that the URL names the member, or that nothing else of the request varies by more than the URL does.
    """
    if tag.method != "POST" or "cache_max_age" not in tag.markup.options:
        return
    in_url = _attributes(tag.markup.url, text[: tag.at])
    names_one = any(_ONE_MEMBER.search(attribute) for attribute in in_url)
    if not names_one and ("{{" not in tag.markup.url or _attributes(tag.markup.text, text[: tag.at]) - in_url):
        hint = "Leave :cache_max_age out, or vary the URL, as in ?cache_id={{${user_id}}}."
        report.add(tag.at, "shared_cache", "an older rule of Braze's gives everybody the first member's answer", hint)


def _attributes(text: str, before: str) -> set[str]:
    """What the Liquid in a text reads, also by way of the variables that were assigned or captured `before`."""
    found: set[str] = set()
    waiting, followed = [text], set()
    while waiting:
        for piece in _LIQUID.finditer(waiting.pop()):
            for read in _READ.finditer(_QUOTED.sub("''", piece[1] or piece[2] or "")):
                if read["rest"]:
                    found.add(read[0])
                if (name := read["first"]) and name not in followed:
                    followed.add(name)
                    waiting += _assigned(name, before)
    return found


def _assigned(name: str, before: str) -> Iterator[str]:
    """Each text that a variable was given."""
    pattern = rf"\{{%-?\s*(?:capture {name}\s*-?%\}}(.*?)\{{%-?\s*endcapture|assign {name}\s*=(.*?)%\}})"
    for found in re.finditer(pattern, before, re.DOTALL):
        yield found[1] if found[1] is not None else f"{{%{found[2]}%}}"


def _body_rules(tag: _Tag, text: str, report: _Report) -> None:
    options = tag.markup.options
    for name in ("headers", "body"):
        value = options.get(name, "")
        if not value.startswith("{") or value.startswith("{{"):
            continue
        _check_json(value, tag.at, f":{name}", report)
        if name == "body" and re.search(r"\s", value):
            hint = "Capture the body first and write :body {{postbody}}."
            report.add(tag.at, "body_with_spaces", "JSON with spaces after :body is cut at the first", hint)
    captured = re.fullmatch(r"\{\{\s*(\w+)\s*\}\}", options.get("body", ""))
    if captured:
        pattern = rf"\{{%-?\s*(?:capture {captured[1]}\s*-?%\}}(.*?)\{{%-?\s*endcapture|assign {captured[1]}\s*=)"
        found = re.search(pattern, text[: tag.at], re.DOTALL)
        if found is None:
            report.add(tag.at, "unknown_variable", f"{captured[1]} is not captured before it is sent", "Capture it.")
        elif found[1] and found[1].strip().startswith("{"):
            _check_json(found[1].strip(), found.start(), "the body", report)
    if tag.method == "POST" and captured and "content_type" not in options and "ontent-" not in text[tag.at :]:
        hint = "Add :content_type application/json; without it Braze says it sends a form."
        report.add(tag.at, "content_type", "a POST without a content type", hint, "warning")


def _check_json(text: str, at: int, what: str, report: _Report) -> None:
    """The text is JSON once something stands for each piece of Liquid in it, a number or a text."""
    if "{%" in text:
        return
    for filler in ("0", "x", '"x"'):
        filled = _OUTPUT.sub(filler, text)
        try:
            json.loads(filled)
            return
        except ValueError:
            continue
        except RecursionError:
            report.add(at, "invalid_json", f"{what} is nested too deep to be read", "Send what the call needs.")
            return
    hint = "A comma before } or ] is the usual reason; names and texts need double quotes."
    report.add(at, "invalid_json", f"{what} is not JSON", hint)


def _answer_rules(text: str, tags: list[_Tag], report: _Report) -> None:
    saved = {tag.saves for tag in tags}
    for tag in tags:
        if "retry" in tag.markup.options:
            _retry_rules(tag, text, report)
        elif not _guarded(tag.saves, text[tag.at :]):
            hint = f"{{% if {tag.saves}.__http_status_code__ != 200 %}}{{% abort_message('why') %}}{{% endif %}}"
            report.add(tag.at, "no_guard", f"nothing asks whether {tag.saves} arrived", hint, "warning")
    for found in re.finditer(r"\b(\w+)\.__http_status_code__", text):
        if found[1] not in saved:
            hint = "Each field (subject, body ...) needs a connected_content tag of its own."
            report.add(found.start(), "not_saved", f"no tag here saves {found[1]}", hint)


def _retry_rules(tag: _Tag, text: str, report: _Report) -> None:
    for guard in re.finditer(
        r"\{%-?\s*(?:if|unless)[^%]*__http_status_code__[^%]*%\}(.*?)\{%-?\s*end", text, re.DOTALL
    ):
        if tag.saves in guard[0] and "abort_message" in guard[1]:
            hint = f"A message that is aborted is not retried. Abort on {tag.saves}.ok == false instead."
            report.add(guard.start(), "abort_defeats_retry", "this guard aborts before Braze can ask again", hint)
    ours = "/wallet" in tag.markup.url or "/segments/" in tag.markup.url
    if ours and "retry" not in re.sub(r":retry\b", "", text[: tag.at] + tag.markup.text).replace("retries", ""):
        hint = 'Add "on_error":"retry" to the body, or on_error=retry to the URL.'
        report.add(tag.at, "retry_without_status", ":retry, but failures are answered as data", hint)


def _guarded(name: str, rest: str) -> bool:
    return any(re.search(rf"\b{re.escape(name)}\b", condition) for condition in _conditions(rest))


def _conditions(text: str) -> Iterator[str]:
    for found in re.finditer(r"\{%-?\s*(?:if|unless|elsif|case)\b(.*?)%\}", text, re.DOTALL):
        yield found[1]
