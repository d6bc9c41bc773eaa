"""The one TLS context of a function: reading the authorities' certificates takes longer than a handshake."""

from __future__ import annotations

import ssl
from functools import cache


@cache
def trusting(authorities: str | None = None) -> ssl.SSLContext:
    """TLS that checks certificate and host name; `authorities` is a file of certificates, None for the system's."""
    context = ssl.create_default_context(cafile=authorities)
    context.hostname_checks_common_name = False
    return context
