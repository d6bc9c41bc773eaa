"""Lambda authorizer of both HTTP APIs (payload format 2.0, simple response).

A wrong credential is denied: 403, which Braze does not repeat. A callers secret that is missing, empty, malformed or
out of reach lets nobody in either, but raises: API Gateway then answers 500, remembers nothing, and Braze sends its
webhook again later, so that no tag is lost to our own mistake. The metric CallersUnreadable shows it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from authorizer.callers import Callers, authenticate, credential_of
from authorizer.roster import Roster
from authorizer.sources import comes_from
from shared import aws
from shared.config import Settings
from shared.errors import ConfigurationError, StoreUnavailable
from shared.observability import begin_request, count, flush, logger

Authorizer = Callable[[Mapping[str, Any], Any], dict[str, Any]]


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Authorizer:
    """The authorizer for these settings; `clock` gives epoch seconds."""
    rotation_seconds = settings.whole_number("CALLER_ROTATION_SECONDS")
    roster = Roster(aws.secretsmanager_for_callers(), settings.text("CALLERS_SECRET_ID"), rotation_seconds, clock)

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        begin_request(event)
        route = event.get("routeKey", "")
        try:
            callers, previous = roster.lists()
            credential = credential_of(_authorization(event))
            name = authenticate(credential, callers, previous, clock(), rotation_seconds) if credential else None
            refusal = _refusal(callers, name, route, event)
        except (ConfigurationError, StoreUnavailable) as error:
            count("CallersUnreadable")
            logger.error("callers unreadable", code=error.code, detail=str(error))
            flush()
            raise
        if refusal:
            count("CallersDenied")
            if refusal == "source":
                count("CallersElsewhere")
            logger.warning("denied", route=route, caller=name or "unknown", reason=refusal)
        flush()
        return {"isAuthorized": not refusal, "context": {"caller": "" if refusal else name}}

    return handle


def _authorization(event: Mapping[str, Any]) -> str:
    """The header, whatever the case of its name; empty when there is none, or more than one."""
    found = [value for name, value in (event.get("headers") or {}).items() if name.lower() == "authorization"]
    return found[0] if len(found) == 1 else ""


def _refusal(callers: Callers, name: str | None, route: str, event: Mapping[str, Any]) -> str:
    """What is against the request: its credential, its route or its source; empty when nothing is."""
    if name is None:
        return "credential"
    caller = callers.callers[name]
    if not caller.may_use(route):
        return "route"
    address = event.get("requestContext", {}).get("http", {}).get("sourceIp", "")
    return "" if caller.sources is None or comes_from(caller.sources, address) else "source"


handle = build(Settings(os.environ))
