"""What an HTTP API makes of a function's result, and its own answers.

API Gateway's "Lambda function response for format 2.0": a result without `statusCode` is sent as a JSON body with
status 200; one that does not fit the format is a 500. Error bodies are ``{"message": "..."}``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MESSAGES: Final = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP answer; headers in order, repeated ones as often as they are sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    integration_status: int | None = None
    integration_error: str | None = None


def gateway_answer(status: int, integration_error: str | None = None) -> HttpAnswer:
    """An answer API Gateway gives by itself."""
    body = json.dumps({"message": MESSAGES[status]}, separators=(",", ":")).encode()
    return HttpAnswer(status, (("content-type", "application/json"),), body, integration_error=integration_error)


def function_answer(result: Any) -> HttpAnswer:
    """A function's result as an HTTP answer."""
    if not isinstance(result, Mapping) or "statusCode" not in result:
        body = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        return HttpAnswer(200, (("content-type", "application/json"),), body.encode(), integration_status=200)
    try:
        status = int(result["statusCode"])
        headers = [(str(name).lower(), _text(value)) for name, value in (result.get("headers") or {}).items()]
        headers += [("set-cookie", str(cookie)) for cookie in result.get("cookies") or []]
        body_bytes = _body(result.get("body"), bool(result.get("isBase64Encoded")))
    except (TypeError, ValueError, AttributeError, binascii.Error) as error:
        return gateway_answer(500, f"the function's result does not fit format 2.0: {error}")
    if not 100 <= status <= 599:
        return gateway_answer(500, f"the function answered status {status}")
    if not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", "text/plain; charset=utf-8"))
    kept = tuple((name, value) for name, value in headers if name not in ("content-length", "connection"))
    return HttpAnswer(status, kept, body_bytes, integration_status=status)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"a header of type {type(value).__name__}")


def _body(body: Any, is_base64: bool) -> bytes:
    if body is None:
        return b""
    if not isinstance(body, str):
        raise ValueError(f"a body of type {type(body).__name__}")
    return base64.b64decode(body, validate=True) if is_base64 else body.encode()
