"""Events as Lambda hands them to a handler, and its answers made readable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JSON = {"content-type": "application/json"}

Invoked = Callable[[Mapping[str, Any], Any], dict[str, Any]]


@dataclass(frozen=True)
class Context:
    """A Lambda context, as far as handlers read it."""

    remaining_ms: int = 120_000
    aws_request_id: str = "invocation-1"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@dataclass(frozen=True)
class Answered:
    """A handler's answer to an HTTP event."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


def http_event(
    route: str,
    *,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
    base64: bool = False,
    arrived_at: float | None = None,
) -> dict[str, Any]:
    """An HTTP API event of payload format 2.0; keys without a value are left out, as API Gateway does."""
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route,
        "headers": dict(headers or {}),
        "requestContext": {
            "requestId": "request-1",
            "routeKey": route,
            "timeEpoch": int((time.time() if arrived_at is None else arrived_at) * 1000),
        },
        "isBase64Encoded": base64,
    }
    if path:
        event["pathParameters"] = dict(path)
    if query:
        event["queryStringParameters"] = dict(query)
    if body is not None:
        event["body"] = body
    return event


def call(handler: Invoked, event: Mapping[str, Any]) -> Answered:
    """Invokes a handler of an HTTP API."""
    result = handler(event, Context())
    return Answered(result["statusCode"], result["headers"], result["body"])


def post(handler: Invoked, route: str, body: Any, *, path: Mapping[str, str] | None = None, **headers: str) -> Answered:
    """Posts JSON (or text as it is); header names are written with underscores."""
    text = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(handler, http_event(route, path=path, headers={**JSON, **named}, body=text))


def get(
    handler: Invoked, route: str, *, path: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None
) -> Answered:
    return call(handler, http_event(route, path=path, query=query))


def sqs_event(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"Records": list(records)}


def sqs_record(body: str, message_id: str = "message-1", receive_count: int = 1) -> dict[str, Any]:
    """A record that was never in a queue."""
    return {
        "messageId": message_id,
        "receiptHandle": f"handle of {message_id}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": str(receive_count)},
    }


def failures(result: Mapping[str, Any]) -> list[str]:
    """The ids of the messages that stay in the queue."""
    return [failure["itemIdentifier"] for failure in result["batchItemFailures"]]
