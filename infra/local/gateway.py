"""An HTTP API without its socket: a request in, an answer and an access log line out.

Checks come in API Gateway's order: size of the headers, route, throttle, caller, size of the body, function. Limits are
those of "Quotas for configuring and running an HTTP API" (10,240 bytes of request line and headers, 10 MB of payload,
30 s for an integration) and of Lambda (6 MB for an event).
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from infra.local.caller_check import CallerCheck, Decision
from infra.local.environment import FunctionError
from infra.local.http_answers import HttpAnswer, function_answer, gateway_answer
from infra.local.http_events import HttpRequest, proxy_event
from infra.local.routes import Match, Router
from infra.local.views import Api

HEADER_LIMIT_BYTES: Final = 10_240
BODY_LIMIT_BYTES: Final = 10 * 1024 * 1024
EVENT_LIMIT_BYTES: Final = 6 * 1024 * 1024

Invoke = Callable[[str, Any], Any]


class TokenBucket:
    """API Gateway's throttle: `burst` requests at once, refilled at `rate` a second."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._filled_at = float(burst), clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether another request may pass now."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class Gateway:
    """One HTTP API. `invoke(function id, event)` runs functions; `log(line)` takes access log lines.

    `authorizer_ttl_seconds` overrides the template's; 0 switches the authorizer's cache off.
    """

    def __init__(
        self,
        api: Api,
        invoke: Invoke,
        log: Callable[[str], None] = lambda _line: None,
        authorizer_ttl_seconds: int | None = None,
    ) -> None:
        self._api, self._invoke, self._log = api, invoke, log
        self._router = Router(api.routes)
        self._checks = {
            name: CallerCheck(authorizer, invoke, authorizer_ttl_seconds)
            for name, authorizer in api.authorizers.items()
        }
        self._bucket = (
            TokenBucket(api.rate_limit, api.burst_limit) if api.rate_limit and api.burst_limit is not None else None
        )

    def handle(self, request: HttpRequest) -> HttpAnswer:
        """Answer one request, and log it."""
        started = time.monotonic()
        match = self._router.match(request.method, request.raw_path)
        decision: Decision | None = None
        if _header_bytes(request) > HEADER_LIMIT_BYTES:
            answer = gateway_answer(431)
        elif match is None:
            answer = gateway_answer(404)
        elif self._bucket is not None and not self._bucket.take():
            answer = gateway_answer(429)
        else:
            if match.route.authorizer is not None:
                decision = self._checks[match.route.authorizer].decide(request, self._api.logical_id, match)
            answer = self._pass_on(request, match, decision)
        latency_ms = int((time.monotonic() - started) * 1000)
        if self._api.access_log_format is not None:
            self._log(access_log_line(self._api.access_log_format, request, match, decision, answer, latency_ms))
        return answer

    def forget_callers(self) -> None:
        """Drop remembered decisions of the authorizers."""
        for check in self._checks.values():
            check.forget()

    def _pass_on(self, request: HttpRequest, match: Match, decision: Decision | None) -> HttpAnswer:
        if decision is not None and decision.status != 200:
            return gateway_answer(decision.status)
        if len(request.body) > BODY_LIMIT_BYTES:
            return gateway_answer(413)
        context = None if decision is None else decision.context
        event = proxy_event(request, self._api.logical_id, match.route.key, match.path_parameters, context)
        if len(json.dumps(event).encode()) > EVENT_LIMIT_BYTES:
            return gateway_answer(413)
        try:
            return function_answer(self._invoke(match.route.function, event))
        except FunctionError as error:
            return gateway_answer(500, str(error))


def access_log_line(
    log_format: str,
    request: HttpRequest,
    match: Match | None,
    decision: Decision | None,
    answer: HttpAnswer,
    latency_ms: int,
) -> str:
    """One line in the template's format; a variable without a value is ``-``, as in API Gateway."""
    values: dict[str, Any] = {
        "requestId": request.request_id,
        "requestTimeEpoch": int(request.received_at * 1000),
        "routeKey": match.route.key if match else None,
        "status": answer.status,
        "responseLatency": latency_ms,
        "responseLength": len(answer.body),
        "integrationStatus": answer.integration_status,
        "integrationErrorMessage": answer.integration_error,
        "authorizer.error": decision.error if decision else None,
        "identity.sourceIp": request.source_ip,
        "identity.userAgent": request.header("user-agent"),
        "httpMethod": request.method,
        "protocol": request.protocol,
    }
    for name, value in (decision.context if decision else {}).items():
        values[f"authorizer.{name}"] = value
    return re.sub(r"\$context\.([\w.]+)", lambda found: _logged(values.get(found[1])), log_format)


def _logged(value: Any) -> str:
    return "-" if value is None else json.dumps(str(value), ensure_ascii=False)[1:-1]


def _header_bytes(request: HttpRequest) -> int:
    line = len(request.method) + len(request.target) + len(request.protocol) + 4
    return line + sum(len(name.encode()) + len(value.encode()) + 4 for name, value in request.headers)
