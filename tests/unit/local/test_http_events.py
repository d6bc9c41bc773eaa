"""HTTP requests as the events API Gateway sends."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import pytest

from infra.local.http_events import HttpRequest, authorizer_event, is_text, proxy_event

MakeRequest = Callable[..., HttpRequest]


def test_a_request_becomes_an_event_of_payload_format_2() -> None:
    request = HttpRequest(
        "POST",
        "/users/caf%C3%A9%20one?tag=a%26b&tag=c&empty=&plus=1+2",
        [
            ("Host", "api.example.com"),
            ("Content-Type", "application/json; charset=utf-8"),
            ("X-Twice", "one"),
            ("x-twice", "two"),
            ("Cookie", "a=1; b=2"),
            ("Connection", "keep-alive"),
            ("User-Agent", "Braze Sender 1"),
        ],
        '{"name":"é"}'.encode(),
        source_ip="203.0.113.9",
        received_at=1_767_225_600.25,
    )
    event = proxy_event(request, "ContentApi", "POST /users/{user_id}", {"user_id": "café one"}, {"caller": "braze"})
    headers, context = event.pop("headers"), event.pop("requestContext")
    assert event == {
        "version": "2.0",
        "routeKey": "POST /users/{user_id}",
        "rawPath": "/users/café one",
        "rawQueryString": "tag=a%26b&tag=c&empty=&plus=1+2",
        "cookies": ["a=1", "b=2"],
        "queryStringParameters": {"tag": "a&b,c", "empty": "", "plus": "1 2"},
        "pathParameters": {"user_id": "café one"},
        "body": '{"name":"é"}',
        "isBase64Encoded": False,
    }
    trace = headers.pop("x-amzn-trace-id")
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", trace)
    assert headers == {
        "host": "api.example.com",
        "content-type": "application/json; charset=utf-8",
        "x-twice": "one,two",
        "user-agent": "Braze Sender 1",
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }
    assert context.pop("requestId") == request.request_id
    assert context == {
        "accountId": "123456789012",
        "apiId": "ContentApi",
        "authorizer": {"lambda": {"caller": "braze"}},
        "domainName": "contentapi.execute-api.us-east-1.amazonaws.com",
        "domainPrefix": "contentapi",
        "http": {
            "method": "POST",
            "path": "/users/café one",
            "protocol": "HTTP/1.1",
            "sourceIp": "203.0.113.9",
            "userAgent": "Braze Sender 1",
        },
        "routeKey": "POST /users/{user_id}",
        "stage": "$default",
        "time": "01/Jan/2026:00:00:00 +0000",
        "timeEpoch": 1_767_225_600_250,
    }


def test_keys_without_a_value_are_left_out(make_request: MakeRequest) -> None:
    event = proxy_event(make_request(), "Api", "GET /", {}, None)
    assert not {"cookies", "queryStringParameters", "pathParameters", "body"} & set(event)
    assert "authorizer" not in event["requestContext"]
    assert event["isBase64Encoded"] is False


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/csv", True),
        ("application/xml", True),
        ("application/javascript", True),
        ("application/vnd.api+json", True),
        ("application/x-www-form-urlencoded", False),
        ("application/octet-stream", False),
        ("multipart/form-data; boundary=x", False),
        ("", False),
        (None, False),
    ],
)
def test_only_bodies_of_text_types_arrive_as_text(
    make_request: MakeRequest, content_type: str | None, text: bool
) -> None:
    assert is_text(content_type) is text
    headers = {} if content_type is None else {"content-type": content_type}
    event = proxy_event(make_request("POST", headers=headers, body=b"a=1"), "Api", "POST /", {}, None)
    assert event["isBase64Encoded"] is not text
    assert event["body"] == ("a=1" if text else base64.b64encode(b"a=1").decode())


def test_an_authorizer_sees_the_request_but_not_its_body(make_request: MakeRequest) -> None:
    request = make_request("POST", "/a%20b?x=1", {"Authorization": "Bearer k"}, b"secret")
    event = authorizer_event(request, "Api", "POST /{name}", {"name": "a b"}, ["Bearer k", "POST /{name}"])
    assert event["type"] == "REQUEST"
    assert event["version"] == "2.0"
    assert event["identitySource"] == ["Bearer k", "POST /{name}"]
    assert event["routeArn"] == "arn:aws:execute-api:us-east-1:123456789012:Api/$default/POST/a b"
    assert event["pathParameters"] == {"name": "a b"}
    assert "body" not in event
