"""Connected Content as Braze does it: 2 s, 1 MB, 2xx only, a cache, retries, and what the variable then holds."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from infra.liquid.fetching import Fetcher
from infra.liquid.message import Message, render
from infra.local.simulators import (
    BrazeSimulator,
    EndlessBody,
    Garbage,
    Reset,
    Slow,
    SlowBody,
    Status,
    SteppedClock,
    WrongShape,
)
from tests.unit.liquid.conftest import TAG

GUARD = "{% if series.__http_status_code__ != 200 %}{% abort_message('none') %}{% endif %}"
PRINT = "[{{series.data[0].size}}]"
KNOWN = {"user": {"user_id": "u :no_cache", "language": "en"}}


def rendered(source: str, fetcher: Fetcher, **options: Any) -> Message:
    return render(source, KNOWN, fetcher, sleep=lambda _seconds: None, **options)


def sent(braze: BrazeSimulator) -> int:
    return len(braze.requests())


def post(options: str = "") -> str:
    return f"{{% connected_content https://CONTENT_HOST/campaigns/trigger/send :method post :save sent {options} %}}"


def test_a_json_object_is_read_and_has_the_status(fetcher: Fetcher) -> None:
    message = rendered(TAG + "{{series.__http_status_code__}} {{series.message}} {{series.data.size}}", fetcher)

    assert message.text == "200 success 1"
    assert [fetched.status for fetched in message.calls] == [200]


@pytest.mark.parametrize(
    "fault",
    [Status(404), Status(302), Status(500), Reset(), Status(200, "x" * 1_100_000)],
    ids=lambda fault: str(fault)[:30],
)
def test_anything_but_a_small_2xx_leaves_the_variable_empty(
    braze: BrazeSimulator, fetcher: Fetcher, fault: Any
) -> None:
    braze.faults.add("GET *", fault)

    message = rendered(TAG + PRINT, fetcher)

    assert (message.text, message.abort) == ("[]", "")
    assert message.calls[0].failure


def test_a_body_that_is_no_text_is_not_sent_and_says_why(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    message = render(post(":body {{b}}") + "[{{sent.message}}]", {"b": "\ud83d"}, fetcher)

    assert (message.text, sent(braze)) == ("[]", 0)
    assert message.calls[0].failure.startswith("it cannot be sent over HTTP")


def test_an_answer_nested_too_deep_to_be_read_is_text(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    braze.faults.add("GET *", Status(200, "[" * 100_000))

    assert rendered(TAG, fetcher).text == "[" * 100_000


@pytest.mark.parametrize("fault", [Slow(2.4), SlowBody(4)], ids=str)
def test_an_answer_that_takes_more_than_two_seconds_is_none(
    braze: BrazeSimulator, fetcher: Fetcher, fault: Any
) -> None:
    braze.faults.add("GET *", fault)
    started = time.monotonic()

    message = rendered(TAG + GUARD, fetcher)

    assert 1.9 < time.monotonic() - started < 3.0
    assert (message.abort, message.reason) == ("liquid_abort_message", "none")


def test_an_answer_without_end_is_given_up(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    braze.faults.add("GET *", EndlessBody())

    assert rendered(TAG + PRINT, fetcher).text == "[]"


def test_an_array_has_no_status_and_text_stands_in_place_of_the_tag(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    braze.faults.add("GET *", WrongShape("array"), times=1)
    braze.faults.add("GET *", Garbage(), times=1)
    no_cache = TAG.replace(" %}", " :no_cache %}")

    assert rendered(no_cache + GUARD, fetcher).abort == "liquid_abort_message"
    assert "<html" in rendered(no_cache, fetcher).text.lower()


@pytest.mark.parametrize(
    ("url", "failure"),
    [
        ("https://elsewhere.example/x", "elsewhere.example is not on this machine"),
        ("https://CONTENT_HOST:8443/x", "ports 80 and 443"),
        ("ftp://CONTENT_HOST/x", "ports 80 and 443"),
        ("https://CONTENT_HOST:x/x", "malformed"),
    ],
)
def test_what_braze_would_not_call_is_not_called(
    braze: BrazeSimulator, fetcher: Fetcher, url: str, failure: str
) -> None:
    message = rendered(f"{{% connected_content {url} :save series %}}", fetcher)

    assert failure in message.calls[0].failure
    assert sent(braze) == 0


def test_requests_carry_brazes_headers(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    rendered(TAG, fetcher)
    rendered(post(":basic_auth stored :body a=1&b=x%20y"), fetcher)
    rendered(post(":content_type application/json :body a=1"), fetcher)
    rendered(post(':content_type application/json :body {"a":{{${user_id}}}}'), fetcher)

    get, form, as_json, raw = braze.requests()
    assert get.headers["User-Agent"].startswith("Braze Sender ")
    assert (get.headers["Accept"], get.headers["Content-Type"]) == ("*/*", "application/json")
    assert form.headers["Authorization"] == "Basic bmFtZTprZXk="
    assert (form.headers["Content-Type"], form.body) == ("application/x-www-form-urlencoded", b"a=1&b=x%20y")
    assert (as_json.headers["Accept"], json.loads(as_json.body)) == ("application/json", {"a": "1"})
    assert raw.body == b"{}" or b"u :no_cache" in raw.body


def test_a_credential_that_is_not_stored_aborts_the_message(fetcher: Fetcher) -> None:
    assert rendered(post(":basic_auth gone"), fetcher).abort == "missing_credential"


def test_a_value_cannot_become_an_option(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    source = "{% assign name = 'seg :no_cache' %}" + TAG.replace("segment_id=seg", "segment_id={{name}}")

    for _ in range(2):
        rendered(source.replace("segment_id={{name}}", "segment_id=seg&x={{name | url_encode}}"), fetcher)

    assert sent(braze) == 1


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_get_is_remembered_for_five_minutes(braze: BrazeSimulator, fetcher: Fetcher, clock: SteppedClock) -> None:
    assert [rendered(TAG + PRINT, fetcher).calls[0].from_cache for _ in range(2)] == [False, True]
    clock.advance(301)
    rendered(TAG, fetcher)

    assert sent(braze) == 2


@pytest.mark.parametrize(
    ("option", "seconds"), [(":cache_max_age 10", 299), (":cache_max_age 900", 899), (":cache_max_age 99999", 14_399)]
)
def test_how_long_is_up_to_the_tag_within_bounds(
    braze: BrazeSimulator, fetcher: Fetcher, clock: SteppedClock, option: str, seconds: int
) -> None:
    tag = TAG.replace(" %}", f" {option} %}}")
    for step in (0, seconds, 2):
        clock.advance(step)
        rendered(tag, fetcher)

    assert sent(braze) == 2


@pytest.mark.parametrize(
    "tag", [TAG.replace(" %}", " :no_cache %}"), TAG.replace("length=1", "length=1&u={{${user_id} | url_encode}}")]
)
def test_a_tag_that_names_the_member_or_forbids_it_is_never_remembered(
    braze: BrazeSimulator, fetcher: Fetcher, tag: str
) -> None:
    for _ in range(2):
        rendered(tag, fetcher)

    assert sent(braze) == 2


def test_a_failure_is_not_remembered(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    braze.faults.add("GET *", Status(500), times=1)

    assert [rendered(TAG + GUARD, fetcher).abort for _ in range(2)] == ["liquid_abort_message", ""]


def test_by_the_older_rule_a_post_with_a_cache_gives_one_members_answer_to_another(braze: BrazeSimulator) -> None:
    for older, requests in ((True, 1), (False, 2)):
        braze.forget()
        fetcher = Fetcher({"CONTENT_HOST": braze.url}, cache_by_url_alone=older)
        braze.faults.add("POST *", Status(200, {}), times=2)
        for member in "ab":
            rendered(post(f":cache_max_age 300 :body m={member}"), fetcher)

        assert sent(braze) == requests
        braze.faults.clear()


# --- retries ----------------------------------------------------------------------------------------------------------

RETRIED = TAG.replace(" %}", " :retry %}")


def test_a_failure_that_passes_is_retried_until_it_has(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    braze.faults.add("GET *", Status(503), times=3)

    message = rendered(RETRIED + PRINT, fetcher)

    assert (message.attempts, message.abort) == (4, "")
    assert message.text != "[]"


def test_after_five_retries_the_message_is_aborted(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    braze.faults.add("GET *", Status(500))

    message = rendered(RETRIED, fetcher)

    assert (message.abort, message.attempts, sent(braze)) == ("exhausted_cc_retries", 6, 6)


def test_a_404_is_not_retried(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    braze.faults.add("GET *", Status(404))

    assert rendered(RETRIED + PRINT, fetcher).text == "[]"
    assert sent(braze) == 1


def test_an_abort_wins_over_a_retry(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    braze.faults.add("GET *", Status(500))

    message = rendered(RETRIED + GUARD, fetcher)

    assert (message.abort, sent(braze), len(message.calls)) == ("liquid_abort_message", 1, 1)


def test_a_preview_does_not_retry_and_says_that_it_would(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    braze.faults.add("GET *", Status(500))

    assert rendered(RETRIED, fetcher, preview=True).abort == "retry_in_preview"
    assert sent(braze) == 1


def test_liquid_in_an_answer_is_rendered_only_when_asked(braze: BrazeSimulator, fetcher: Fetcher) -> None:
    braze.faults.add("GET *", Status(200, {"greeting": "Hello {{${language}}}"}))

    plain = rendered(TAG + "{{series.greeting}}", fetcher).text
    again = rendered(TAG.replace(" %}", " :rerender :no_cache %}") + "{{series.greeting}}", fetcher).text
    assert (plain, again) == ("Hello {{${language}}}", "Hello en")
