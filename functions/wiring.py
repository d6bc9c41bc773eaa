"""The one place that knows both sides: vendor clients built from our settings and secrets.

Only what a function uses is imported and built, because all of it is paid for in the cold start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients.transport import MAX_ANSWER_BYTES, Transport
from shared import aws
from shared.config import Settings
from shared.observability import upstream_calls
from shared.secrets import Secret

if TYPE_CHECKING:
    from clients.braze import Braze
    from clients.sessionm import Sessionm


def sessionm(settings: Settings, *, connections: int) -> Sessionm:
    """A client that keeps up to `connections` connections open to each of Core and Connect."""
    from clients.sessionm import Sessionm, SessionmCredentials, meaning

    return Sessionm(
        core=Transport(
            "SessionM Core",
            settings.text("SESSIONM_CORE_URL"),
            connections=connections,
            watcher=upstream_calls,
            meaning=meaning,
        ),
        connect=Transport(
            "SessionM Connect",
            settings.text("SESSIONM_CONNECT_URL"),
            connections=connections,
            watcher=upstream_calls,
            meaning=meaning,
        ),
        credentials=Secret(aws.secretsmanager(), settings.text("SESSIONM_SECRET_ID"), SessionmCredentials),
    )


def braze(settings: Settings, *, connections: int, max_answer_bytes: int = MAX_ANSWER_BYTES) -> Braze:
    """A client that keeps up to `connections` connections open to Braze."""
    from clients.braze import Braze, BrazeCredentials

    return Braze(
        Transport(
            "Braze",
            settings.text("BRAZE_REST_URL"),
            connections=connections,
            max_answer_bytes=max_answer_bytes,
            watcher=upstream_calls,
        ),
        Secret(aws.secretsmanager(), settings.text("BRAZE_SECRET_ID"), BrazeCredentials),
    )
