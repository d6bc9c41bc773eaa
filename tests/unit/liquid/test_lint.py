"""The linter finds each mistake people make, where it is, and nothing in the snippets we give away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.liquid.lint import lint

ROOT = Path(__file__).resolve().parents[3]
SNIPPETS = sorted((ROOT / "docs" / "snippets").glob("*.liquid"))
PASS_SECONDS = 3.0  # each takes some tenths at most; in several passes they took from 5 to 300
GUARD = "{% if x.__http_status_code__ != 200 %}{% abort_message('none') %}{% endif %}"


def tag(options: str = ":basic_auth bundle", url: str = "https://content.example.com/wallet") -> str:
    return f"{{% connected_content {url} {options} :save x %}}"


def codes(source: str) -> set[str]:
    return {finding.code for finding in lint(source)}


@pytest.mark.parametrize("path", SNIPPETS, ids=lambda path: path.name)
def test_our_snippets_have_no_mistake(path: Path) -> None:
    findings = [finding for finding in lint(path.read_text(encoding="utf-8")) if finding.code != "host_placeholder"]

    told = {"wallet-by-url.liquid": {"member_in_url"}, "webhook-tags.liquid": {"key_placeholder"}}
    assert {finding.code for finding in findings} == told.get(path.name, set())


@pytest.mark.parametrize(
    ("code", "source"),
    [
        ("smart_quotes", "{% if ${language} == \u2018ko\u2019 %}x{% endif %}"),
        ("smart_quotes", tag(":save \u201cx\u201d", url="https://content.example.com/wallet/{{${user_id}}}") + GUARD),
        ("placeholder", tag(url="{{endpoint_connect}}/offers/api/2.0/offers/get_user_offers") + GUARD),
        ("placeholder", "{{apikey_core}}"),
        ("placeholder", '{"key":"YOUR-CORE-KEY"}'),
        ("host_placeholder", tag(url="https://CONTENT_HOST/wallet") + GUARD),
        ("key_placeholder", "POST https://intake.example.com/tags\nAuthorization: Bearer WEBHOOK_KEY\n\n{}"),
        ("key_placeholder", tag(':headers {"Authorization": "Basic CALLER_KEY"}') + GUARD),
        ("url_with_space", tag(url="https://content.example.com/events/joined club/count?window=24hours") + GUARD),
        ("url_with_space", tag(url="https://content.example.com/segments/\n  sizes") + GUARD),
        ("url_with_space", tag("save x", url="https://content.example.com/wallet") + GUARD),
        ("secret_in_template", tag(':headers {"Authorization": "Basic YWJjZGVmZ2hpamtsbW5v"}') + GUARD),
        ("secret_in_template", tag(url="https://name:secret@content.example.com/x") + GUARD),
        ("unknown_tag", "{% connected content https://content.example.com/x :save x %}"),
        ("unknown_tag", "{% cancel_message %}"),
        ("split_braces", "{ { ${language} } }"),
        ("braces", "{{{${language}}}}"),
        ("braces", "{{wallet.payload.available_points}"),
        ("braces", "{% if true"),
        ("braces", "{% connected_content https://content.example.com/wallet :save x }" + GUARD),
        ("braces", tag(url="https://content.example.com/wallet/{{${user_id}}") + GUARD),
        ("no_url", "{% connected_content :save x %}"),
        ("no_url", tag(url="content.example.com/wallet") + GUARD),
        ("parentheses", "{% if (a or b) and c %}{% endif %}"),
        ("operator", "{% if a && b %}{% endif %}"),
        ("operator", "{% if a = 1 %}{% endif %}"),
        ("filter_in_condition", "{% if a | size > 1 %}{% endif %}"),
        ("unknown_filter", "{{ a | handleize }}"),
        ("unknown_filter", "{{ a | default: 'x | y' | capitlize }}"),
        ("unknown_filter", "{% assign a = b | upcase | dwoncase %}"),
        ("unknown_filter", "{{ a | safe }}"),
        ("unknown_filter", tag(url="https://content.example.com/events/{{${name} | url_param_escpe}}/count") + GUARD),
        ("unknown_filter", tag(':headers {"X-Language": "{{${language} | dwoncase}}"}') + GUARD),
        ("abort_reason", "{% abort_message(no wallet) %}"),
        ("abort_reason", "{% abort_message('{{x}}') %}"),
        ("blocks", "{% if a %}"),
        ("blocks", "{% if a %}{% for b in c %}{% endif %}{% endfor %}"),
        ("blocks", "{% endif %}"),
        ("unknown_option", tag(":cache 300") + GUARD),
        ("unknown_option", tag(":timeout 5") + GUARD),
        ("empty_option", tag(":basic_auth") + GUARD),
        ("cache_max_age", tag(":cache_max_age") + GUARD),
        ("cache_max_age", tag(":cache_max_age 60") + GUARD),
        ("cache_max_age", tag(":cache_max_age \u00b2") + GUARD),
        ("cache_max_age", tag(":cache_max_age " + "9" * 5_000) + GUARD),
        ("method", tag(":method put") + GUARD),
        ("port", tag(url="https://content.example.com:8443/wallet") + GUARD),
        ("shared_cache", tag(":method post :cache_max_age 900 :content_type application/json :body a={{${user_id}}}")),
        ("member_in_url", tag(url="https://content.example.com/wallet/{{${user_id}}}") + GUARD),
        ("invalid_json", tag(':headers {"A": "b",}') + GUARD),
        (
            "invalid_json",
            '{% capture b %}{"user_id":"{{${user_id}}}",}{% endcapture %}' + tag(":method post :body {{b}}"),
        ),
        (
            "invalid_json",
            "{% capture b %}"
            + '{"a":' * 100_000
            + "1"
            + "}" * 100_000
            + "{% endcapture %}"
            + tag(":method post :body {{b}}"),
        ),
        ("body_with_spaces", tag(':method post :body {"a": "b c"}') + GUARD),
        ("unknown_variable", tag(":method post :body {{postbody}}") + GUARD),
        ("content_type", "{% capture b %}{}{% endcapture %}" + tag(":method post :body {{b}}") + GUARD),
        ("no_guard", tag() + "{{x.available_points}}"),
        ("not_saved", "{% if other.__http_status_code__ != 200 %}{% endif %}"),
        ("abort_defeats_retry", tag(":retry") + GUARD),
        ("retry_without_status", tag(":retry") + "{% if x.ok == false %}{% endif %}"),
    ],
)
def test_a_mistake_is_found(code: str, source: str) -> None:
    assert code in codes(source)


@pytest.mark.parametrize(
    "source",
    [
        "Hello {{${first_name} | default: 'you'}} <!-- {{{ -->",
        '{"a":{{custom_attribute.${n}}}}',
        "{% if a == 1 and b contains 'x (y)' %}{% elsif c %}{% else %}{% endif %}",
        "{% abort_message %}{% abort_message() %}{% abort_message('a reason') %}",
        "{% raw %}{{{ ( && {% endraw %}",
        "{{ a | default: 'x | y' | date: '%s' | hmac_sha256_hex: 'k' | capitalize }}{% assign b = c|split:',' %}",
        tag(url="https://content.example.com/segments/s/size?a=b|c&d={{${name} | url_param_escape}}") + GUARD,
        tag(":cache_max_age 900 :no_cache") + GUARD,
        tag(':headers {"X-Language": "{{${language}}}"}') + GUARD,
        tag(url="https://content.example.com/wallet?on_error=retry")[:-2]
        + ":retry %}{% if x.ok == false %}{% endif %}",
        "Men say \u201chello\u201d",
    ],
)
def test_what_is_right_is_let_be(source: str) -> None:
    assert codes(source) == set()


BY_MEMBER = '{% capture b %}{"user_id":"{{${user_id}}}","culture":"{{${language}}}"}{% endcapture %}'
BY_LANGUAGE = '{% capture b %}{"culture":"{{${language}}}"}{% endcapture %}'
CACHED = ":method post :body {{b}} :content_type application/json :cache_max_age 900"


@pytest.mark.parametrize(
    "varied",
    [
        "{{${language}}}",
        "{{${language} | default: '${user_id}'}}",
        "{{custom_attribute.${store_id}}}",
        "{{campaign.${api_id}}}",
        "{{v}}",
        "{{w}}",
        "{{user_id}}",
        "{{'now' | date: '%F'}}",
    ],
)
def test_a_cached_post_whose_url_names_no_member_is_shared_by_many(varied: str) -> None:
    assigned = "{% assign v = ${language} | downcase %}{% capture w %}{{v}}{% endcapture %}{% assign v = v | upcase %}"
    source = assigned + BY_MEMBER + tag(CACHED, url=f"https://content.example.com/wallet?v={varied}") + GUARD

    assert codes(source) == {"shared_cache"}


@pytest.mark.parametrize(
    "varied",
    [
        "{{${user_id}}}",
        "{{${language}}}-{{${braze_id} | md5}}",
        "{{${email_address} | sha2}}",
        "{{${phone_number}}}",
        "{{custom_attribute.${loyalty_id}}}",
        "{{event_properties.${external_id}}}",
        "{{profile.user_id}}",
        "{{v}}",
        "{{w}}",
    ],
)
def test_a_cached_post_whose_url_names_the_member_is_let_be(varied: str) -> None:
    assigned = "{% assign v = {{${user_id}}} | md5 %}{% capture w %}{{v}}{% endcapture %}"
    source = assigned + BY_MEMBER + tag(CACHED, url=f"https://content.example.com/wallet?v={varied}") + GUARD

    assert codes(source) == set()


def test_a_cached_post_that_varies_by_no_more_than_its_url_is_let_be() -> None:
    url = "https://content.example.com/offers?v={{${language}}}"

    assert codes(BY_LANGUAGE + tag(CACHED, url=url) + GUARD) == set()
    assert codes(BY_LANGUAGE + tag(CACHED + ' :headers {"X-A":"{{${city}}}"}', url=url) + GUARD) == {"shared_cache"}
    assert codes(BY_LANGUAGE + tag(CACHED, url="https://content.example.com/offers") + GUARD) == {"shared_cache"}


def test_a_finding_names_its_line() -> None:
    (finding,) = lint("one\ntwo {{ a | handleize }}\n")

    assert (finding.line, finding.level) == (2, "error")


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("capitlize", "Did you mean capitalize?"),
        ("number_with_delimeter", "Did you mean number_with_delimiter?"),
        ("to_json", "Did you mean as_json_string?"),
        ("handleize", "Braze's filters are listed on its page on filters."),
    ],
)
def test_a_filter_that_there_is_not_is_named_with_the_nearest_there_is(written: str, hint: str) -> None:
    (finding,) = lint("one {{ a\n| " + written + ": 'x' }}")

    assert (finding.line, finding.level, finding.message, finding.hint) == (
        2,
        "error",
        f"Braze has no filter {written}",
        hint,
    )


@pytest.mark.parametrize(
    "name",
    [
        *("md5", "sha1", "sha2", "base64_encode", "hmac_sha1", "hmac_sha1_hex", "hmac_sha1_base64", "hmac_sha256"),
        *("hmac_sha256_hex", "hmac_sha256_base64", "hmac_sha512", "url_escape", "url_param_escape", "url_encode"),
        *("json_escape", "json_parse", "as_json_string", "property_accessor", "number_with_delimiter", "time_zone"),
        *("date", "money", "default", "append", "capitalize", "where", "truncatewords", "sort_natural", "at_least"),
    ],
)
def test_a_filter_that_there_is_is_let_be(name: str) -> None:
    assert codes(f"{{{{ a | {name}: 'x' }}}}") == set()


@pytest.mark.parametrize(
    "text",
    [
        *("{{" * 50_000, "{%" * 50_000, "{{ '" * 50_000, "<!--" * 100_000, "{{x}}<!--" * 50_000, "{% raw %}" * 50_000),
        *("{% if a %}\n" * 30_000, "https://" + "a:" * 50_000, "{% if " + "{{a}} and " * 20_000 + "b %}{% endif %}"),
    ],
    ids=lambda text: text[:10],
)
def test_a_long_template_is_read_in_one_pass(text: str) -> None:
    begin = time.process_time()

    lint(text)

    assert time.process_time() - begin < PASS_SECONDS


@pytest.mark.parametrize(
    "source",
    [
        tag(url="https://content.example.com/events/{{${name} | url_param_escape}}/count?window=24hours") + GUARD,
        tag(url="https://content.example.com/events/{% if a %}b c{% endif %}/count") + GUARD,
        tag("\n  :basic_auth a bundle ", url="\n https://content.example.com/wallet") + GUARD,
        "POST https://intake.example.com/tags\nAuthorization: Bearer a_KEY_of_ours9\n\n{}",
        "POST https://intake.example.com/tags\nAuthorization: Bearer WEBHOOK_KEY9\n\n{}",
    ],
)
def test_what_is_a_whole_url_or_a_key_is_let_be(source: str) -> None:
    assert codes(source) & {"url_with_space", "key_placeholder"} == set()


@pytest.mark.parametrize("open_piece", ["{{ a", "{% if", "<!--"])
def test_what_is_never_closed_hides_nothing_before_it(open_piece: str) -> None:
    findings = lint(f"<!-- {{% \n -->\n{{{{ “a” }}}}\n{open_piece} “b")

    assert [(each.line, each.code) for each in findings if each.code == "smart_quotes"] == [(3, "smart_quotes")]


@pytest.mark.parametrize(("text", "status"), [("{{{x}}}", 1), ("{{x}}", 0), (None, 2)])
def test_the_command_prints_findings_and_fails_on_errors(tmp_path: Path, text: str | None, status: int) -> None:
    path = tmp_path / "message.liquid"
    if text is not None:
        path.write_text(text)

    environment = {**os.environ, "FILE": str(path)}
    done = subprocess.run(
        [sys.executable, "-m", "infra.liquid", "lint"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == status
    assert ("error braces" in done.stdout) is (status == 1)
