"""Where a client gets its credentials from, and what a vendor's 401 does to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol, TypeVar

from msgspec import Meta

from clients.transport import Reply

# What can stand in a header or a path: anything else is a slip of the clipboard.
Token = Annotated[str, Meta(pattern=r"^[\x21-\x7e]+\Z", max_length=4096)]

Held = TypeVar("Held")
HeldBySource = TypeVar("HeldBySource", covariant=True)


class Credentials(Protocol[HeldBySource]):
    """`current` may be cached; `refreshed` is read anew."""

    def current(self) -> HeldBySource: ...

    def refreshed(self) -> HeldBySource: ...


def with_fresh_credentials(credentials: Credentials[Held], call: Callable[[Held], Reply]) -> Reply:
    """Calls, and after a 401 once more with credentials read anew, if those differ."""
    held = credentials.current()
    reply = call(held)
    if reply.status == 401:
        renewed = credentials.refreshed()
        if renewed != held:
            return call(renewed)
    return reply


def noting_a_401(credentials: Credentials[Held], call: Callable[[Held], Reply]) -> Reply:
    """Calls once. After a 401 credentials are read anew for the next call, which is the caller's to make."""
    reply = call(credentials.current())
    if reply.status == 401:
        credentials.refreshed()
    return reply
