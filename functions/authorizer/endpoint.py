"""Lambda authorizer of both HTTP APIs (payload format 2.0, simple response).

A wrong credential is denied: 403, which Braze does not repeat. A callers secret that is missing, empty, malformed or
out of reach lets nobody in either, but raises: API Gateway then answers 500, remembers nothing, and Braze sends its
webhook again later, so that no tag is lost to our own mistake. The function's Errors metric shows it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from authorizer.callers import authenticate, credential_of
from authorizer.roster import Roster
from shared import aws
from shared.config import Settings
from shared.observability import count, flush, logger

Authorizer = Callable[[Mapping[str, Any], Any], dict[str, Any]]


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Authorizer:
    """The authorizer for these settings; `clock` gives epoch seconds."""
    roster = Roster(
        aws.secretsmanager(),
        settings.text("CALLERS_SECRET_ID"),
        settings.whole_number("CALLER_ROTATION_SECONDS"),
        clock,
    )

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        route = event.get("routeKey", "")
        header = {name.lower(): value for name, value in (event.get("headers") or {}).items()}.get("authorization", "")
        callers = roster.current()
        credential = credential_of(header)
        name = authenticate(credential, callers, roster.previous()) if credential else None
        allowed = name is not None and callers.callers[name].may_use(route)
        if not allowed:
            count("CallersDenied")
            logger.warning("denied", route=route, caller=name or "unknown")
        flush()
        return {"isAuthorized": allowed, "context": {"caller": name if allowed else ""}}

    return handle


handle = build(Settings(os.environ))
