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

from authorizer.callers import Callers, authenticate, credential_of
from shared import aws
from shared.config import Settings
from shared.errors import ConfigurationError
from shared.observability import count, flush, logger
from shared.secrets import Secret

Authorizer = Callable[[Mapping[str, Any], Any], dict[str, Any]]


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Authorizer:
    """The authorizer for these settings; `clock` gives epoch seconds."""
    client = aws.secretsmanager()
    secret_id = settings.text("CALLERS_SECRET_ID")
    rotation_seconds = settings.whole_number("CALLER_ROTATION_SECONDS")
    # A caller check must never live on an old list because the new one cannot be read.
    current = Secret(client, secret_id, Callers, max_stale_seconds=0)
    previous = Secret(client, secret_id, Callers, stage="AWSPREVIOUS", max_stale_seconds=0)

    def previous_callers() -> Callers | None:
        if clock() - current.created_at > rotation_seconds:
            return None
        try:
            return previous.current()
        except ConfigurationError:
            return None  # the first version has none before it

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        route = event.get("routeKey", "")
        header = {name.lower(): value for name, value in (event.get("headers") or {}).items()}.get("authorization", "")
        callers = current.current()
        credential = credential_of(header)
        name = authenticate(credential, callers, previous_callers()) if credential else None
        allowed = name is not None and callers.callers[name].may_use(route)
        if not allowed:
            count("CallersDenied")
            logger.warning("denied", route=route, caller=name or "unknown")
        flush()
        return {"isAuthorized": allowed, "context": {"caller": name if allowed else ""}}

    return handle


handle = build(Settings(os.environ))
