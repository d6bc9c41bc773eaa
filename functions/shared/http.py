"""API Gateway events in, answers out, and the one place where an error becomes a status code.

API Gateway has already matched the route, so a handler is a table of route keys ("POST /tags") and functions. Status
codes speak to Braze's webhook retries: 429 and 5xx mean "send it again", every other 4xx "never again".
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from shared import observability, validation
from shared.deadline import Deadline
from shared.errors import (
    BundleError,
    DeadlineExceeded,
    InProgress,
    InvalidInput,
    NotFound,
    RequestError,
    StoreUnavailable,
    TooLarge,
    UnsupportedMediaType,
    UpstreamError,
    UpstreamThrottled,
    UpstreamUnavailable,
    UpstreamUnknown,
    UpstreamUnreachable,
)
from shared.observability import CORRELATION_HEADER, correlation_id, logger

Shape = TypeVar("Shape")

MAX_BODY_BYTES = 1_048_576
SEND_LESS = "Send less at a time."

# An HTTP API waits 30 seconds for a function. An arrival time further back is a recorded event, not a late request.
_LONGEST_WAIT_SECONDS = 30.0

_RETRY_AFTER_SECONDS = 5

# What Braze counts as a failure of the host; more than 3,000 in sixty seconds, and it stops calling for a minute.
_AGAINST_HEALTH = frozenset({408, 429, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are lower case, path and query values decoded, `arrived_at` epoch seconds.

    `caller` is the name the caller check found; empty on a route without one.
    """

    route: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    arrived_at: float
    caller: str = ""

    @property
    def idempotency_key(self) -> str:
        """The header of that name, beside the caller's: one caller's key means nothing for another's request."""
        key = self.headers.get("idempotency-key", "")
        return f"{self.caller} {key}" if key and self.caller else key

    def json(self, shape: type[Shape], max_bytes: int = MAX_BODY_BYTES, too_large_hint: str = SEND_LESS) -> Shape:
        """The JSON body as `shape`; raises `UnsupportedMediaType`, `TooLarge` or `InvalidInput`."""
        return validation.decode(self.json_bytes(max_bytes, too_large_hint), shape)

    def json_bytes(self, max_bytes: int = MAX_BODY_BYTES, too_large_hint: str = SEND_LESS) -> bytes:
        """The body, once its announced type and its size are found right; the hint is for one too large."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise UnsupportedMediaType(
                "the content type must be application/json",
                field="content-type",
                hint="Add Content-Type: application/json (in Connected Content :content_type application/json).",
            )
        if len(self.body) > max_bytes:
            raise TooLarge(
                f"the body exceeds {max_bytes} bytes",
                field="body",
                hint=too_large_hint,
            )
        return self.body

    def deadline(self, budget_seconds: float) -> Deadline:
        """What is left of `budget_seconds` counted from the arrival at API Gateway, a cold start included."""
        waited = time.time() - self.arrived_at
        if not 0 <= waited <= _LONGEST_WAIT_SECONDS:
            waited = 0.0
        return Deadline(budget_seconds - waited)


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is encoded as JSON unless it already is bytes."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


Route = Callable[[Request], Answer]
Handler = Callable[[Mapping[str, Any], Any], dict[str, Any]]


def http_handler(routes: Mapping[str, Route]) -> Handler:
    """A Lambda handler (HTTP API, payload format 2.0) for these routes."""

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        route = event["routeKey"]
        code = "ok"
        observability.begin_request(event)
        try:
            if route not in routes:
                raise NotFound("there is no such route", field="path", hint="See the API description for the routes.")
            answer = routes[route](request_of(event))
        except BundleError as error:
            code = error.code
            answer = error_answer(error)
        if answer.status in _AGAINST_HEALTH:
            observability.count("AnswersAgainstHealth")
        took_ms = (time.perf_counter() - started) * 1000
        observability.request(route, answer.status, code, took_ms, event["requestContext"]["requestId"])
        return _gateway_result(answer)

    return handle


def request_of(event: Mapping[str, Any]) -> Request:
    """Reads an HTTP API event of payload format 2.0; raises `InvalidInput` for a body not base64 as announced."""
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        try:
            raw = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidInput("the body is not valid base64", field="body", hint="Send plain JSON.") from None
    else:
        raw = body.encode("utf-8", "surrogatepass")
    return Request(
        route=event["routeKey"],
        path=event.get("pathParameters") or {},
        query=event.get("queryStringParameters") or {},
        headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
        body=raw,
        arrived_at=event["requestContext"]["timeEpoch"] / 1000,
        caller=_caller_of(event["requestContext"]),
    )


def _caller_of(context: Mapping[str, Any]) -> str:
    """What the caller check said, which is the only one that can write there."""
    said = (context.get("authorizer") or {}).get("lambda") or {}
    return str(said.get("caller") or "")


def error_answer(error: BundleError) -> Answer:
    """`{ok: false, code, field, message, hint}` with the status that tells the caller whether to send it again."""
    if isinstance(error, RequestError):
        return _refusal(error.status, error.code, error.message, error.hint, error.field)
    if isinstance(error, UpstreamThrottled):
        wait = error.retry_after_seconds or _RETRY_AFTER_SECONDS
        return _refusal(429, error.code, str(error), "Send it again after the time in Retry-After.", wait_seconds=wait)
    if isinstance(error, StoreUnavailable | InProgress | UpstreamUnreachable | UpstreamUnavailable):
        logger.error("unavailable", code=error.code, detail=str(error))
        return _refusal(
            503,
            error.code,
            "nothing was done",
            "Send it again after the time in Retry-After.",
            wait_seconds=_RETRY_AFTER_SECONDS,
        )
    if isinstance(error, UpstreamUnknown | DeadlineExceeded):
        # No 5xx, for Braze's webhooks and most clients repeat those, and the vendor may have acted.
        return _refusal(
            409, error.code, str(error), "The vendor may or may not have acted: look before you send it again."
        )
    logger.error("failed", code=error.code, detail=str(error))
    if isinstance(error, UpstreamError):
        return _refusal(502, error.code, str(error), "Tell the operator of this bundle.")
    return _refusal(
        500, error.code, "the bundle is not set up", "Tell the operator: the function's log says what is missing."
    )


def _refusal(
    status: int, code: str, message: str, hint: str, at_field: str | None = None, wait_seconds: float | None = None
) -> Answer:
    body = {"ok": False, "code": code, "field": at_field, "message": message, "hint": hint}
    headers = {} if wait_seconds is None else {"Retry-After": str(max(1, round(wait_seconds)))}
    return Answer(status, body, headers)


def _gateway_result(answer: Answer) -> dict[str, Any]:
    body = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
    return {
        "statusCode": answer.status,
        "headers": {
            "Content-Type": "application/json",
            "Cache-Control": "no-store",
            CORRELATION_HEADER: correlation_id(),
            **answer.headers,
        },
        "body": body.decode("utf-8", "replace"),
    }
