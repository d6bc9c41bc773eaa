"""Braze's own requests as Braze documents them: checked, the key added, and Braze's own answer.

Nothing is queued here and no repeat is recognised. Only a read is asked a second time when the first gave no answer.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Container, Mapping
from functools import cache
from typing import NoReturn

import msgspec

import wiring
from clients.braze import Braze, in_brazes_words
from clients.transport import DID_NOTHING, Reply, Timeouts
from shared import aws
from shared.config import Settings
from shared.deadline import Deadline, within
from shared.errors import (
    DeadlineExceeded,
    NotAllowed,
    UpstreamError,
    UpstreamGarbled,
    UpstreamThrottled,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    UpstreamUnknown,
)
from shared.http import Answer, Handler, Request, Route, http_handler
from shared.observability import count
from shared.retries import REPEATABLE, repeated
from shared.validation import convert
from trigger_relay.broadcasts import Broadcasts
from trigger_relay.vendor_paths import ENDPOINTS, Endpoint, groups_of
from trigger_relay.vendor_queries import Query, as_sent

_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=20)

# Below the 29 seconds of the function, which is below the 30 an HTTP API waits: whoever is cut off there gets a 5xx,
# sends again, and a message may go out twice.
_BUDGET_SECONDS = 27.0

# Braze takes 4 MB on most endpoints. An answer may be as large: Lambda takes 6 MB with all that JSON needs around it.
MAX_BODY_BYTES = 4_000_000
MAX_ANSWER_BYTES = 4_000_000

_PLAIN = re.compile(r"[\x20-\x7e]{1,64}\Z")

_KEPT_HEADERS = (
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-retry-after",
    "retry-after",
)


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Handler:
    braze = wiring.braze(settings, connections=2, max_answer_bytes=MAX_ANSWER_BYTES)
    switched_on = groups_of(settings.names("BRAZE_PATH_GROUPS"))
    broadcast_allowed = frozenset(settings.names("BROADCAST_ALLOWED_IDS"))

    @cache
    def broadcasts() -> Broadcasts:
        """Made for the first broadcast: no other request pays for a client of DynamoDB's."""
        return Broadcasts(aws.dynamodb_for_requests(), settings.text("CACHE_TABLE"), clock)

    def route_for(endpoint: Endpoint) -> Route:
        if endpoint.group not in switched_on:
            return lambda _: _switched_off(endpoint)
        return lambda request: passed_on(request, endpoint, braze, broadcast_allowed, broadcasts)

    return http_handler({route: route_for(endpoint) for route, endpoint in ENDPOINTS.items()})


def passed_on(
    request: Request,
    endpoint: Endpoint,
    braze: Braze,
    broadcast_allowed: Container[str],
    broadcasts: Callable[[], Broadcasts],
) -> Answer:
    """Checks a request and asks Braze.

    Raises a `RequestError`, or `UpstreamThrottled` for one broadcast too many, before Braze is asked, and errors as
    `relay` does.
    """
    query: Mapping[str, str] | None = None
    body: bytes | None = None
    if endpoint.method == "GET":
        query = as_sent(convert(dict(request.query), endpoint.shape, strict=False))
    else:
        convert(dict(request.query), Query)
        content = request.json(endpoint.shape, MAX_BODY_BYTES)
        if endpoint.check is not None:
            audience = endpoint.check(content, broadcast_allowed)
            if audience and (wait := broadcasts().take(audience)):
                raise UpstreamThrottled("Braze", wait)
        body = msgspec.json.encode(content)
    return relay(
        lambda: braze.relay(endpoint.method, endpoint.path, timeouts=_TIMEOUTS, body=body, query=query),
        endpoint,
        request.deadline(_BUDGET_SECONDS),
    )


def relay(call: Callable[[], Reply], endpoint: Endpoint, deadline: Deadline) -> Answer:
    """Braze's status, body and rate-limit headers, unless they are not Braze's, or about our key, not the caller's.

    Raises `UpstreamUnknown` or `DeadlineExceeded` when nobody can say whether Braze acted; a read raises
    `UpstreamUnavailable` or `UpstreamGarbled` instead.
    """
    if not endpoint.is_read:
        try:
            return _brazes_own(within(deadline, call), endpoint)
        except UpstreamGarbled as error:
            raise UpstreamUnknown("Braze", error.detail) from None
    try:
        return _brazes_own(within(deadline, lambda: repeated(call, REPEATABLE, deadline)), endpoint)
    except (UpstreamUnknown, DeadlineExceeded) as error:
        detail = error.detail if isinstance(error, UpstreamError) else str(error)
        raise UpstreamUnavailable("Braze", detail) from None


def _brazes_own(reply: Reply, endpoint: Endpoint) -> Answer:
    if reply.status in (401, 403):
        raise UpstreamUnauthorized("Braze", f"status {reply.status}; {endpoint.path} needs {endpoint.permission}")
    if 300 <= reply.status < 400:
        raise UpstreamUnavailable("Braze", f"status {reply.status}; redirects are not followed")
    if not in_brazes_words(reply):
        if reply.status in DID_NOTHING or 400 <= reply.status < 500:
            raise UpstreamUnavailable("Braze", f"status {reply.status}, but not in Braze's words")
        raise UpstreamUnknown("Braze", f"status {reply.status}, but not in Braze's words")
    if reply.status >= 500 and reply.status not in DID_NOTHING:
        raise UpstreamUnknown("Braze", f"status {reply.status}")
    count("RequestsRelayed")
    return Answer(reply.status, reply.content, _headers_of(reply))


def _switched_off(endpoint: Endpoint) -> NoReturn:
    raise NotAllowed(
        "this part of Braze's API is switched off here",
        code="path_switched_off",
        field="path",
        hint=f"Have the operator add {endpoint.group} to the parameter BrazePathGroups.",
    )


def _headers_of(reply: Reply) -> dict[str, str]:
    return {name: value for name in _KEPT_HEADERS if _PLAIN.match(value := reply.headers.get(name, ""))}


handle = build(Settings(os.environ))
