"""The Lambda authorizer of an HTTP API: called for a decision, which is remembered for the identity it was made on.

Behaviour, from API Gateway's "Control access to HTTP APIs with AWS Lambda authorizers": a request lacking an identity
source is turned away without a call; a decision, yes or no, is cached under the identity sources' values for the TTL;
an authorizer that fails or answers something else makes a 500, which is not cached.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from infra.local.environment import FunctionError
from infra.local.http_events import HttpRequest, authorizer_event
from infra.local.routes import Match
from infra.local.views import Authorizer


@dataclass(frozen=True)
class Decision:
    """`status` is 200 to let the request pass, else the answer's status; `context` is what the authorizer added."""

    status: int
    context: Mapping[str, Any]
    error: str | None = None


class CallerCheck:
    """One authorizer of one API. `ttl_seconds` overrides the template's; 0 asks the function every time."""

    def __init__(
        self,
        authorizer: Authorizer,
        invoke: Callable[[str, Any], Any],
        ttl_seconds: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authorizer, self._invoke, self._clock = authorizer, invoke, clock
        self._ttl_seconds = authorizer.ttl_seconds if ttl_seconds is None else ttl_seconds
        self._lock = threading.Lock()
        self._decisions: dict[tuple[str, ...], tuple[float, Decision]] = {}

    def decide(self, request: HttpRequest, api_id: str, match: Match) -> Decision:
        """Whether `request` may take the route it matched."""
        found = [identity(source, request, match) for source in self._authorizer.identity_sources]
        values = tuple(value for value in found if value)
        if len(values) < len(found):
            return Decision(401, {}, "an identity source is missing")
        cached = self._cached(values)
        if cached is not None:
            return cached
        event = authorizer_event(request, api_id, match.route.key, match.path_parameters, values)
        try:
            answer = self._invoke(self._authorizer.function, event)
        except FunctionError as error:
            return Decision(500, {}, str(error))
        if not isinstance(answer, Mapping) or not isinstance(answer.get("isAuthorized"), bool):
            return Decision(500, {}, "the authorizer's answer has no isAuthorized")
        decision = Decision(200 if answer["isAuthorized"] else 403, answer.get("context") or {})
        with self._lock:
            self._decisions[values] = (self._clock(), decision)
        return decision

    def forget(self) -> None:
        """Drop every remembered decision, as a new deployment of the API does."""
        with self._lock:
            self._decisions.clear()

    def _cached(self, values: tuple[str, ...]) -> Decision | None:
        with self._lock:
            made_at, decision = self._decisions.get(values, (0.0, None))
        if decision is not None and self._clock() - made_at < self._ttl_seconds:
            return decision
        return None


def identity(source: str, request: HttpRequest, match: Match) -> str | None:
    """The value of an identity source.

    ``$request.header.X``, ``$request.querystring.X``, ``$context.routeKey`` or ``$context.identity.sourceIp``.
    """
    kind, _, name = source.rpartition(".")
    if kind == "$request.header":
        return request.header(name)
    if kind == "$request.querystring":
        return ",".join(parse_qs(request.raw_query).get(name, []))
    if source == "$context.routeKey":
        return match.route.key
    if source == "$context.identity.sourceIp":
        return request.source_ip
    raise ValueError(f"identity source {source} is not known here")
