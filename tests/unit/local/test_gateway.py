"""An HTTP API without its socket: checks, limits, answers and the access log."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.local.environment import FunctionError
from infra.local.gateway import Gateway, TokenBucket
from infra.local.http_answers import HttpAnswer, function_answer
from infra.local.http_events import HttpRequest
from infra.local.views import Api, Authorizer, Route

MakeRequest = Callable[..., HttpRequest]
JSON = {"content-type": "application/json"}
LOG = (
    '{"id":"$context.requestId","route":"$context.routeKey",'
    '"status":"$context.status","who":"$context.authorizer.caller"}'
)
API = Api(
    "Api",
    "content",
    (Route("POST", "/open", "open", None), Route("POST", "/closed", "closed", "Callers")),
    {"Callers": Authorizer("Callers", "auth", ("$request.header.Authorization",), 60)},
    rate_limit=1000,
    burst_limit=1000,
    access_log_format=LOG,
)


def answering(**answers: Any) -> Callable[[str, Any], Any]:
    def invoke(function: str, _event: Any) -> Any:
        answer = answers[function]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return invoke


def message(answer: HttpAnswer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["message"]


def test_an_unknown_route_is_not_found(make_request: MakeRequest) -> None:
    assert message(Gateway(API, answering()).handle(make_request("GET", "/open"))) == (404, "Not Found")


@pytest.mark.parametrize(
    ("headers", "verdict", "expected"),
    [
        ({}, True, (401, "Unauthorized")),
        ({"authorization": "x"}, False, (403, "Forbidden")),
        ({"authorization": "x"}, None, (500, "Internal Server Error")),
    ],
)
def test_a_caller_turned_away_gets_the_gateways_own_answer(
    make_request: MakeRequest, headers: dict[str, str], verdict: bool | None, expected: tuple[int, str]
) -> None:
    gateway = Gateway(API, answering(auth={"isAuthorized": verdict}))
    assert message(gateway.handle(make_request("POST", "/closed", headers))) == expected


@pytest.mark.parametrize(
    "error", [FunctionError("Sandbox.Timedout", "Task timed out"), FunctionError("ValueError", "no")]
)
def test_a_function_that_fails_is_an_internal_error(make_request: MakeRequest, error: FunctionError) -> None:
    answer = Gateway(API, answering(open=error)).handle(make_request("POST", "/open"))
    assert message(answer) == (500, "Internal Server Error")
    assert answer.integration_error == str(error)


def test_what_is_too_large_is_refused(make_request: MakeRequest) -> None:
    gateway = Gateway(API, answering(open={}))
    too_long = make_request("POST", "/open", {"x": "a" * 10_240})
    assert message(gateway.handle(too_long)) == (431, "Request Header Fields Too Large")
    fits = make_request("POST", "/open", JSON, b"a" * 5_000_000)
    assert gateway.handle(fits).status == 200
    as_base64_too_large = make_request("POST", "/open", {}, b"a" * 5_000_000)
    assert message(gateway.handle(as_base64_too_large)) == (413, "Request Entity Too Large")
    too_large = make_request("POST", "/open", JSON, b"a" * (10 * 1024 * 1024 + 1))
    assert message(gateway.handle(too_large)) == (413, "Request Entity Too Large")


def test_a_burst_beyond_the_limit_is_throttled_until_tokens_return() -> None:
    now = [0.0]
    bucket = TokenBucket(rate=2, burst=3, clock=lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [bucket.take(), bucket.take()] == [True, False]
    now[0] = 100.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_a_throttled_request_reaches_no_function(make_request: MakeRequest) -> None:
    api = Api("Api", "content", API.routes, API.authorizers, rate_limit=0.001, burst_limit=1, access_log_format=None)
    gateway = Gateway(api, answering(open={}))
    assert gateway.handle(make_request("POST", "/open")).status == 200
    assert message(gateway.handle(make_request("POST", "/open"))) == (429, "Too Many Requests")


def test_the_access_log_has_the_templates_format_with_dashes_for_what_is_missing(make_request: MakeRequest) -> None:
    lines: list[str] = []
    invoke = answering(auth={"isAuthorized": True, "context": {"caller": "braze"}}, closed={"statusCode": 202})
    gateway = Gateway(API, invoke, lines.append)
    request = make_request("POST", "/closed", {"authorization": "x"})
    gateway.handle(request)
    gateway.handle(make_request("GET", "/nowhere"))
    assert json.loads(lines[0]) == {
        "id": request.request_id,
        "route": "POST /closed",
        "status": "202",
        "who": "braze",
    }
    missing = json.loads(lines[1])
    assert (missing["route"], missing["status"], missing["who"]) == ("-", "404", "-")


@pytest.mark.parametrize(
    ("result", "status", "content_type", "body"),
    [
        ({"statusCode": 201, "body": "é"}, 201, "text/plain; charset=utf-8", "é".encode()),
        ({"statusCode": "204"}, 204, "text/plain; charset=utf-8", b""),
        (
            {"statusCode": 200, "headers": {"Content-Type": "x/y"}, "body": "AAE=", "isBase64Encoded": True},
            200,
            "x/y",
            b"\0\1",
        ),
        ({"ok": True}, 200, "application/json", b'{"ok": true}'),
        ("text", 200, "application/json", b"text"),
        (None, 200, "application/json", b"null"),
        ([1], 200, "application/json", b"[1]"),
    ],
)
def test_a_result_becomes_an_answer(result: Any, status: int, content_type: str, body: bytes) -> None:
    answer = function_answer(result)
    assert (answer.status, dict(answer.headers)["content-type"], answer.body) == (status, content_type, body)


@pytest.mark.parametrize(
    "result",
    [
        {"statusCode": "abc"},
        {"statusCode": 99},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "body": "%%%", "isBase64Encoded": True},
        {"statusCode": 200, "headers": {"x": ["a"]}},
        {"statusCode": 200, "headers": "x"},
    ],
)
def test_a_result_that_does_not_fit_the_format_is_an_internal_error(result: Any) -> None:
    assert message(function_answer(result)) == (500, "Internal Server Error")


def test_cookies_and_plain_values_become_headers() -> None:
    answer = function_answer({"statusCode": 200, "headers": {"X-N": 1, "X-B": True}, "cookies": ["a=1", "b=2"]})
    assert answer.headers[:4] == (("x-n", "1"), ("x-b", "true"), ("set-cookie", "a=1"), ("set-cookie", "b=2"))
