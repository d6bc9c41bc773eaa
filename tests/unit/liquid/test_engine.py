"""Liquid as Braze runs it: its spellings, its filters, its tags, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from infra.liquid.fetching import Fetcher
from infra.liquid.message import Message, render
from infra.liquid.syntax import plain_liquid

# A body of JSON that no reader follows to its end, captured in the first line.
DEEP = "{% capture d %}" + '{"a":' * 100_000 + "1" + "}" * 100_000 + "{% endcapture %}\n"
NINES = "9" * 4_000
LONG_LOOP = "{% for i in (1..1000) %}"
NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
KNOWN: dict[str, Any] = {
    "user": {"user_id": "u1", "language": "ko", "empty": "", "spaces": "  "},
    "custom_attribute": {"a b": 1, "n": {"b": 5}, "no": False, "점수": 7, "list": [{"c": 3}]},
    "api_trigger_properties": {"a": {"b": [7]}},
}


def rendered(source: str) -> Message:
    return render(source, KNOWN, Fetcher({}), now=lambda: NOW)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{${user_id}}}", "u1"),
        ("{{ ${user_id} | upcase }}", "U1"),
        ("{{custom_attribute.${a b}}}{{custom_attribute.${점수}}}", "17"),
        ("{{custom_attribute.${n}.b}}{{custom_attribute.${n.b}}}{{custom_attribute.${list}[0].c}}", "553"),
        ("{{api_trigger_properties.${a}.${b}[0]}}", "7"),
        ("{{${nothing}}}{{custom_attribute.${nothing}}}", ""),
        ("{% if {{${language}}} == 'ko' %}K{% endif %}{% if ${language} == 'ko' %}K{% endif %}", "KK"),
        ("{% assign x = {{${user_id}}} | append: '}}' %}{{x}}", "u1}}"),
        ("a<!-- {{{ {% broken -->b", "ab"),
        ('{"a":{{${user_id}}}}', '{"a":u1}'),
        ("{% raw %}{{${user_id}}}{% endraw %}", "{{${user_id}}}"),
        ("a {%- if true -%} b {%- endif -%} c", "abc"),
        ("{% comment %}{{ 'x' }}{% endcomment %}", ""),
    ],
)
def test_a_spelling_of_brazes_is_understood(source: str, text: str) -> None:
    message = rendered(source)

    assert (message.text, message.abort) == (text, "")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("${nothing} == blank", True),
        ("${empty} == blank", True),
        ("${spaces} == blank", True),
        ("custom_attribute.${no} == blank", True),
        ("blank == ${nothing}", True),
        ("${user_id} == blank", False),
        ("custom_attribute.${a b} == blank", False),
        ("${user_id} != blank and ${language} == 'ko'", True),
        ("${nothing} != blank or ${empty} != blank", False),
        ("true or false and false", True),
    ],
)
def test_a_condition_holds_as_in_braze(condition: str, holds: bool) -> None:
    assert rendered(f"{{% if {condition} %}}yes{{% else %}}no{{% endif %}}").text == ("yes" if holds else "no")
    assert rendered(f"{{% unless {condition} %}}no{{% else %}}yes{{% endunless %}}").text == ("yes" if holds else "no")
    assert rendered(f"{{% if false %}}{{% elsif {condition} %}}yes{{% endif %}}").text == ("yes" if holds else "")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("2.5 | round", "3"),
        ("-2.5 | round", "-3"),
        ("1.25 | round: 1", "1.3"),
        ("123456 | number_with_delimiter", "123,456"),
        ("-1234.5 | number_with_delimiter", "-1,234.5"),
        ("'many' | number_with_delimiter", "many"),
        ("145 | money", "$145.00"),
        ("'now' | date: '%Y-%m-%d %H:%M'", "2026-11-22 12:30"),
        ("'now' | date: '%s'", "1795350600"),
        ("'now' | date: '%s' | minus: 86400 | date: '%Y-%m-%d'", "2026-11-21"),
        ("'2026-11-22T10:00:00Z' | time_zone: 'Asia/Seoul' | date: '%H:%M'", "19:00"),
        ("'not a date' | date: '%Y'", "not a date"),
        ("'a b&c/é' | url_param_escape", "a%20b%26c%2F%C3%A9"),
        ("'a b' | url_encode", "a+b"),
        ("'a b&c' | url_escape", "a%20b&c"),
        ("'a\"b' | json_escape", 'a\\"b'),
        ("'abc' | md5", "900150983cd24fb0d6963f7d28e17f72"),
        ("'abc' | sha2 | slice: 0, 8", "ba7816bf"),
        ("'abc' | hmac_sha256_hex: 'k' | size", "64"),
        ("'abc' | hmac_sha1_base64: 'k' | size", "28"),
        ("custom_attribute.${n} | as_json_string", '{"b":5}'),
        ("custom_attribute.${n} | property_accessor: 'b'", "5"),
        ("nothing | default: 'none'", "none"),
    ],
)
def test_a_filter_prints_what_brazes_prints(expression: str, text: str) -> None:
    assert rendered(f"{{{{ {expression} }}}}").text == text


def test_json_in_a_text_can_be_read() -> None:
    assert rendered("{% assign x = '{\"a\":[1,2]}' | json_parse %}{{x.a[1]}}{{ 'no json' | json_parse }}").text == "2"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("line one\n{{{${user_id}}}}", "line 2: three opening braces"),
        ("{{${user_id}}", "a closing brace is missing"),
        ("{{ 'a'", "an output is not closed"),
        ("{% if true", "a tag is not closed"),
        ("{% raw %}", "raw is not closed"),
        ("{{ ${} }}", "no name"),
        ("{% assign a = {{${user_id} | upcase}} %}", "a filter inside the inner braces"),
        ("{{ {{${user_id}}} }}", "braces inside"),
        ("{% if (1 == 1) %}{% endif %}", "parentheses"),
        ("{% if true %}", "expected tag endif"),
        ("{{ 'x' | handleize }}", "handleize"),
        ("{% cancel_message %}", "cancel_message"),
        ("{% render 'x' %}", "render"),
        ("{% promotion('list') %}", "promotion needs Braze's own data"),
        ("{% if '5' > 3 %}x{% endif %}", "not supported between"),
        ("{{ 1 | divided_by: 0 }}", "divide by 0"),
        ("{{ 'now' | time_zone: 'Nowhere' }}", "no time zone"),
        ("{% abort_message('{{x}}') %}", "without Liquid"),
        ("{% connected_content :save x %}", "no URL"),
        ("{% connected_content https://CONTENT_HOST/x :method put %}", "no method PUT"),
        ("{% connected_content https://CONTENT_HOST/x :headers {nonsense} %}", ":headers is not one JSON object"),
        (
            'a\n{% connected_content https://CONTENT_HOST/x :headers {"X":"a\\nb"} %}',
            "line 2: the header X has a line break",
        ),
        (
            'a\n{% connected_content https://CONTENT_HOST/x :headers {"X A:":"b"} %}',
            "line 2: 'X A:' is no name for a header",
        ),
        ('a\n{% connected_content https://CONTENT_HOST/x :headers {"X":"\u4e2d"} %}', "line 2: the header X has"),
        (
            f"{DEEP}{{% connected_content https://CONTENT_HOST/x :headers {{{{d}}}} %}}",
            ":headers is not one JSON object",
        ),
        (
            f"{DEEP}{{% connected_content https://CONTENT_HOST/x :body {{{{d}}}} :content_type application/json %}}",
            "line 2: :body is nested too deep",
        ),
        ("a\n{{ 99999999999999999 | date: '%Y' }}", "line 2: 99999999999999999 seconds since 1970 are no date"),
        ("a\n{{ '99999999999999999' | time_zone: 'UTC' }}", "line 2: 99999999999999999 seconds since 1970"),
        ("a\n{{ '9999-12-31T23:59:59Z' | time_zone: 'Asia/Tokyo' }}", "line 2: time_zone cannot be applied"),
        ("a\n{{ 1.5 | round: 400 }}", "line 2: round cannot be applied"),
        ("a\n{{ 1 | round: 400000000 }}", "line 2: round cannot be applied"),
        ("{% for i in (1..2000000000) %}x{% endfor %}", "goes more than 100,000 rounds"),
        (f"{LONG_LOOP}{LONG_LOOP}x{{% endfor %}}{{% endfor %}}", "goes more than 100,000 rounds"),
        (f"{LONG_LOOP}{'x' * 20_000}{{% endfor %}}", "the text grows beyond 10,000,000 characters"),
        (f"{LONG_LOOP}{{% capture s %}}xx{{{{s}}}}{{{{s}}}}{{% endcapture %}}{{% endfor %}}", "the text grows beyond"),
        (f"{LONG_LOOP}{{% assign s = s | append: s | append: 'x' %}}{{% endfor %}}", "the variables grow beyond"),
        (f"{{% assign n = 9 %}}{LONG_LOOP}{{% assign n = n | times: n %}}{{% endfor %}}", "the number grows too large"),
        ("a\n{{ 'inf' | ceil }}", "line 2: ceil cannot be applied"),
        ("a\n{{ '\u00b2' | date: '%Y' }}", "line 2: date cannot be applied"),
        (f"{{{{ '{NINES}' | times: {NINES} }}}}", "a value is too large"),
        ("a\n{% random 0 %}", "line 2: random takes a whole number above 0"),
        ("a\n{% random \u00b2 %}", "line 2: random takes a whole number above 0"),
        ("{% if true %}" * 3_000 + "{% endif %}" * 3_000, "line 1: block nesting limit"),
    ],
)
def test_what_braze_would_not_render_is_an_abort_with_the_place(source: str, said: str) -> None:
    message = rendered(source)

    assert message.abort == "template_parse_error"
    assert said in message.reason


def test_what_no_memory_holds_is_an_abort() -> None:
    class Endless:
        def __str__(self) -> str:
            raise MemoryError

    message = render("{{ endless }}", {"endless": Endless()}, Fetcher({}))

    assert (message.abort, "too large for the memory" in message.reason) == ("template_parse_error", True)


def test_a_loop_may_be_long_and_left_early() -> None:
    source = f"{LONG_LOOP}{{{{ i }}}}{{% if i == 3 %}}{{% break %}}{{% endif %}}{{% endfor %}}"

    assert rendered(source).text == "123"
    assert len(rendered("{% for i in (1..100000) %}x{% endfor %}").text) == 100_000


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("{% abort_message %}", ""),
        ("{% abort_message() %}", ""),
        ("{% abort_message('no wallet') %}", "no wallet"),
        ('{% abort_message("no wallet") %}', "no wallet"),
    ],
)
def test_a_message_can_be_aborted_with_a_reason(tag: str, reason: str) -> None:
    message = rendered(f"before {tag} after")

    assert (message.text, message.abort, message.reason) == ("", "liquid_abort_message", reason)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ '\u00b2' | number_with_delimiter }}", "\u00b2"),
        (DEEP.rstrip() + "{{ d | json_parse }}", ""),
    ],
)
def test_what_is_no_number_and_no_json_is_left_or_nothing(source: str, text: str) -> None:
    assert rendered(source).text == text


def test_extras_and_random_numbers_are_taken() -> None:
    message = rendered("{% message_extras :key a :value b %}[{% random 10 %}][{% random %}]")

    inside = message.text.strip("[]").split("][")
    assert 0 <= int(inside[0]) <= 9
    assert 0 <= float(inside[1]) < 1


def test_the_text_of_braze_tags_is_left_as_it_is() -> None:
    tag = "{% connected_content https://CONTENT_HOST/{{${user_id}}} :save x %}"

    assert plain_liquid(f"{tag}{{{{${{user_id}}}}}}") == tag + '{{ __user["user_id"] }}'
