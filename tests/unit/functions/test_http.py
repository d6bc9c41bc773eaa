"""Events into requests, errors into status codes."""

from __future__ import annotations

import base64
import time
from typing import Any

import msgspec
import pytest

from shared.errors import (
    BundleError,
    ConfigurationError,
    DeadlineExceeded,
    InProgress,
    InvalidInput,
    NotAllowed,
    NotFound,
    RequestError,
    StoreUnavailable,
    TooLarge,
    UnsupportedMediaType,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    UpstreamUnknown,
    UpstreamUnreachable,
)
from shared.http import MAX_BODY_BYTES, Answer, Request, error_answer, http_handler, request_of
from tests.integration.support.events import call, http_event

ROUTE = "POST /tags"


def request(body: bytes = b"{}", content_type: str = "application/json", arrived_at: float = 0.0) -> Request:
    return Request(ROUTE, {}, {}, {"content-type": content_type}, body, arrived_at)


def test_a_request_has_lower_case_headers_and_decoded_parts() -> None:
    event = http_event(
        ROUTE, path={"user_id": "a b"}, query={"v": "1"}, headers={"Content-TYPE": "x/y"}, body="é", arrived_at=12.5
    )

    found = request_of(event)

    assert found == Request(ROUTE, {"user_id": "a b"}, {"v": "1"}, {"content-type": "x/y"}, "é".encode(), 12.5)


def test_a_request_without_parameters_headers_and_body_is_empty_and_not_an_error() -> None:
    event = {"routeKey": ROUTE, "headers": None, "requestContext": {"timeEpoch": 1000, "requestId": "r"}}

    assert request_of(event) == Request(ROUTE, {}, {}, {}, b"", 1.0)


def test_a_base64_body_is_decoded() -> None:
    event = http_event(ROUTE, body=base64.b64encode(b'{"a": "\xc3\xa9"}').decode(), base64=True)

    assert request_of(event).body == b'{"a": "\xc3\xa9"}'


@pytest.mark.parametrize("body", ["not base64!", "YQ", "é"])
def test_a_body_announced_as_base64_that_is_none_is_refused(body: str) -> None:
    with pytest.raises(InvalidInput, match="not valid base64"):
        request_of(http_event(ROUTE, body=body, base64=True))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        "application/vnd.x+json",
        " text/x+json",
    ],
)
def test_json_is_taken_by_any_of_its_names(content_type: str) -> None:
    assert request(b"{}", content_type).json_bytes() == b"{}"


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_another_content_type_is_refused_with_the_header_to_add(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaType) as error:
        request(b"{}", content_type).json_bytes()
    assert error.value.field == "content-type"
    assert "application/json" in error.value.hint


def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert len(request(b" " * MAX_BODY_BYTES).json_bytes()) == MAX_BODY_BYTES
    with pytest.raises(TooLarge):
        request(b" " * (MAX_BODY_BYTES + 1)).json_bytes()


def test_a_body_too_large_is_told_what_fits_its_route() -> None:
    large = request(b" " * (MAX_BODY_BYTES + 1))

    with pytest.raises(TooLarge) as of_any_route:
        large.json(dict[str, Any])
    assert of_any_route.value.hint == "Send less at a time.", "a CSV file makes tags, and nothing else"
    with pytest.raises(TooLarge) as of_this:
        large.json(dict[str, Any], too_large_hint="Name a segment.")
    assert of_this.value.hint == "Name a segment."


@pytest.mark.parametrize(("waited", "left"), [(0.0, 1.5), (0.5, 1.0), (2.0, 0.0), (60.0, 1.5), (-60.0, 1.5)])
def test_a_deadline_counts_from_arrival_unless_the_arrival_makes_no_sense(waited: float, left: float) -> None:
    deadline = request(arrived_at=time.time() - waited).deadline(1.5)

    assert deadline.remaining_seconds() == pytest.approx(left, abs=0.1)


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (InvalidInput("wrong"), 400, "invalid_field", None),
        (InvalidInput("wrong", code="missing_field"), 400, "missing_field", None),
        (NotAllowed("no"), 403, "not_allowed", None),
        (NotFound("where"), 404, "not_found", None),
        (TooLarge("much"), 413, "too_large", None),
        (UnsupportedMediaType("what"), 415, "unsupported_media_type", None),
        (RequestError("odd"), 400, "invalid_request", None),
        (UpstreamThrottled("Braze", 7.4), 429, "upstream_throttled", "7"),
        (UpstreamThrottled("Braze", 0.2), 429, "upstream_throttled", "1"),
        (UpstreamThrottled("Braze", None), 429, "upstream_throttled", "5"),
        (StoreUnavailable("queue: x"), 503, "store_unavailable", "5"),
        (InProgress("x"), 503, "in_progress", "5"),
        (UpstreamUnreachable("Braze"), 503, "upstream_unreachable", "5"),
        (UpstreamUnavailable("Braze"), 503, "upstream_unavailable", "5"),
        (UpstreamUnknown("Braze"), 409, "upstream_no_answer", None),
        (DeadlineExceeded("late"), 409, "deadline_exceeded", None),
        (UpstreamUnauthorized("Braze"), 502, "upstream_unauthorized", None),
        (UpstreamGarbled("Braze"), 502, "upstream_garbled", None),
        (UpstreamRefused("Braze", "x"), 502, "upstream_refused", None),
        (ConfigurationError("the secret x"), 500, "misconfigured", None),
        (BundleError("x"), 500, "error", None),
    ],
)
def test_each_error_has_one_status_and_says_whether_to_send_again(
    error: BundleError, status: int, code: str, retry_after: str | None
) -> None:
    answer = error_answer(error)

    assert (answer.status, answer.body["code"], answer.headers.get("Retry-After")) == (status, code, retry_after)
    assert set(answer.body) == {"ok", "code", "field", "message", "hint"}
    assert answer.body["ok"] is False
    assert answer.body["message"]


def test_a_misconfiguration_is_not_described_to_the_caller() -> None:
    assert "CALLERS" not in str(error_answer(ConfigurationError("the secret CALLERS is not JSON")).body)


def handler(answer: Answer | BundleError) -> Any:
    def route(_: Request) -> Answer:
        if isinstance(answer, BundleError):
            raise answer
        return answer

    return http_handler({ROUTE: route})


def test_an_answer_is_json_that_nobody_may_keep() -> None:
    answered = call(handler(Answer(202, {"ok": True})), http_event(ROUTE))

    assert (answered.status, answered.body) == (202, {"ok": True})
    assert answered.headers == {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Correlation-Id": "request-1",
    }


@pytest.mark.parametrize(
    ("sent", "used"),
    [
        ("order-4711-a8", "order-4711-a8"),
        ("95a7c8a3-e174-456c-92b5-064eacdbd998", "95a7c8a3-e174-456c-92b5-064eacdbd998"),
        ("short", "request-1"),
        ("a" * 65, "request-1"),
        ("someone@example.com", "request-1"),
        ("two words here", "request-1"),
        ("a-line-break\n", "request-1"),
    ],
)
def test_a_well_formed_correlation_id_of_the_callers_is_kept_and_told(sent: str, used: str) -> None:
    answered = call(handler(Answer(200, {})), http_event(ROUTE, headers={"x-correlation-id": sent}))

    assert answered.headers["X-Correlation-Id"] == used


def test_an_answer_of_bytes_goes_out_as_it_is_with_its_own_headers() -> None:
    answered = call(handler(Answer(201, b'{"b" : 1, "a":2}', {"x-ratelimit-limit": "9"})), http_event(ROUTE))

    assert answered.text == '{"b" : 1, "a":2}'
    assert answered.headers["x-ratelimit-limit"] == "9"


def test_an_error_becomes_an_answer_with_its_field() -> None:
    answered = call(handler(InvalidInput("wrong", field="ttl", hint="Mend it.")), http_event(ROUTE))

    assert answered.status == 400
    assert answered.body == {
        "ok": False,
        "code": "invalid_field",
        "field": "ttl",
        "message": "wrong",
        "hint": "Mend it.",
    }


def test_an_unreadable_body_is_refused_before_the_route_runs() -> None:
    answered = call(handler(Answer(200, {})), http_event(ROUTE, body="!", base64=True))

    assert answered.status == 400


def test_a_json_body_is_checked_against_its_shape() -> None:
    class Shape(msgspec.Struct):
        tags: list[str]

    assert request(b'{"tags": ["a"]}').json(Shape) == Shape(["a"])
    with pytest.raises(InvalidInput, match="this field is required"):
        request(b"{}").json(Shape)
