"""HTTP requests as the events API Gateway's HTTP APIs hand to Lambda: payload format 2.0, and the authorizer's request.

Shapes: the API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs" and "Control access to
HTTP APIs with AWS Lambda authorizers". What the guide leaves open follows what people recorded from real APIs:

- `rawPath` and `requestContext.http.path` arrive percent-decoded, `rawQueryString` still encoded
  (github.com/middleapi/standard-server/pull/93);
- a body is text for ``text/*`` and JSON, XML and JavaScript types; any other type, form-urlencoded and a missing one
  included, is base64 (github.com/ministackorg/ministack/pull/766). Types ending in ``+json`` and ``+xml``
  are taken as text too; no record of them was found, so a function must read `isBase64Encoded` anyway;
- keys without a value (`cookies`, `queryStringParameters`, `pathParameters`, `body`) are left out.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from infra.emulated import ACCOUNT_ID, REGION

# Cookies have a key of their own; the others are about the connection between the caller and the gateway.
_NOT_PASSED_ON: Final = ("cookie", "connection", "keep-alive", "transfer-encoding")
_TEXT_TYPES: Final = ("application/json", "application/xml", "application/javascript")


@dataclass(frozen=True)
class HttpRequest:
    """A request as it came off the wire. `target` is path and query, still encoded; header names keep their case."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""
    source_ip: str = "127.0.0.1"
    protocol: str = "HTTP/1.1"
    request_id: str = field(default_factory=lambda: base64.b64encode(uuid.uuid4().bytes[:11]).decode())
    received_at: float = field(default_factory=time.time)  # seconds since the epoch

    @property
    def raw_path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def raw_query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """The value of a header, its repetitions joined by commas; None if absent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ",".join(values) if values else None


def is_text(content_type: str | None) -> bool:
    """Whether a body of this content type reaches the function as text rather than base64."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(("+json", "+xml"))


def joined(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Repeated names joined by commas, in order of appearance."""
    merged: dict[str, str] = {}
    for name, value in pairs:
        merged[name] = f"{merged[name]},{value}" if name in merged else value
    return merged


def proxy_event(
    request: HttpRequest,
    api_id: str,
    route_key: str,
    path_parameters: Mapping[str, str],
    authorizer_context: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The event of a Lambda proxy integration; `authorizer_context` is None on a route without a caller check."""
    event = _common(request, api_id, route_key, path_parameters)
    if authorizer_context is not None:
        event["requestContext"]["authorizer"] = {"lambda": dict(authorizer_context)}
    event["isBase64Encoded"] = False
    if request.body:
        event["isBase64Encoded"] = not is_text(request.header("content-type"))
        event["body"] = (
            base64.b64encode(request.body).decode()
            if event["isBase64Encoded"]
            else request.body.decode("utf-8", errors="replace")
        )
    return event


def authorizer_event(
    request: HttpRequest,
    api_id: str,
    route_key: str,
    path_parameters: Mapping[str, str],
    identity_source: Sequence[str],
) -> dict[str, Any]:
    """The event of a Lambda authorizer, payload format 2.0: the request without its body, and what it is judged by."""
    path = unquote(request.raw_path)
    return {
        **_common(request, api_id, route_key, path_parameters),
        "type": "REQUEST",
        "routeArn": f"arn:aws:execute-api:{REGION}:{ACCOUNT_ID}:{api_id}/$default/{request.method}{path}",
        "identitySource": list(identity_source),
    }


def _common(request: HttpRequest, api_id: str, route_key: str, path_parameters: Mapping[str, str]) -> dict[str, Any]:
    path = unquote(request.raw_path)
    domain_prefix = api_id.lower()
    moment = time.gmtime(request.received_at)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": request.raw_query,
        "headers": _headers(request),
        "requestContext": {
            "accountId": ACCOUNT_ID,
            "apiId": api_id,
            "domainName": f"{domain_prefix}.execute-api.{REGION}.amazonaws.com",
            "domainPrefix": domain_prefix,
            "http": {
                "method": request.method,
                "path": path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": request.header("user-agent") or "",
            },
            "requestId": request.request_id,
            "routeKey": route_key,
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", moment),
            "timeEpoch": int(request.received_at * 1000),
        },
    }
    cookies = [part.strip() for part in (request.header("cookie") or "").split(";") if part.strip()]
    if cookies:
        event["cookies"] = cookies
    if request.raw_query:
        event["queryStringParameters"] = joined(parse_qsl(request.raw_query, keep_blank_values=True))
    if path_parameters:
        event["pathParameters"] = dict(path_parameters)
    return event


def _headers(request: HttpRequest) -> dict[str, str]:
    headers = joined([(name.lower(), value) for name, value in request.headers if name.lower() not in _NOT_PASSED_ON])
    forwarded = f"{headers['x-forwarded-for']}, " if "x-forwarded-for" in headers else ""
    return headers | {
        "x-amzn-trace-id": f"Root=1-{int(request.received_at):08x}-{uuid.uuid4().hex[:24]}",
        "x-forwarded-for": f"{forwarded}{request.source_ip}",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }
