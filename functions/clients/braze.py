"""Braze REST: triggered sends and segment analytics.

Sources: Braze's REST endpoint pages for campaigns/trigger/send, canvas/trigger/send and segments/data_series, and its
pages on rate limits and errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from clients.credentials import Credentials, Token, with_fresh_credentials
from clients.transport import Reply, Timeouts, Transport, raise_for_status
from clients.vocabulary import TargetKind
from shared.errors import UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamUnavailable

SEND_PATHS: Mapping[TargetKind, str] = {"campaign": "/campaigns/trigger/send", "canvas": "/canvas/trigger/send"}


class BrazeCredentials(msgspec.Struct, frozen=True):
    """The Braze secret: one REST API key of the workspace."""

    rest_api_key: Token


# Braze's texts are kept with a trigger's outcome; this is longer than any of its messages.
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What Braze said to a send. "success" means queued, not delivered.

    `notice` is set when a Canvas is paused or archived: accepted, yet nobody will get it. `error_count` counts
    recipients or fields Braze skipped.
    """

    dispatch_id: str
    notice: str
    error_count: int


@dataclass(frozen=True, slots=True)
class SegmentSize:
    """The estimated size of a segment on a day (`date` as YYYY-MM-DD)."""

    date: str
    size: int


class _DataPoint(msgspec.Struct):
    time: str
    size: int


class Braze:
    """Typed calls; every method may raise any `UpstreamError`."""

    def __init__(self, transport: Transport, credentials: Credentials[BrazeCredentials]) -> None:
        self._transport = transport
        self._credentials = credentials

    def send(self, kind: TargetKind, body: Mapping[str, Any], timeouts: Timeouts) -> Dispatch:
        """Sends an API-triggered campaign or Canvas; `body` is as Braze documents it, at most 50 recipients."""
        upstream = self._transport.upstream
        reply = self.relay("POST", SEND_PATHS[kind], timeouts=timeouts, body=body)
        raise_for_status(upstream, reply, _refusal)
        answer = reply.json(upstream)
        dispatch_id = answer.get("dispatch_id")
        if dispatch_id is None and answer.get("message") != "success" and _words(answer):
            raise UpstreamRefused(upstream, "no_success", _words(answer))
        if answer.get("message") != "success" or not isinstance(dispatch_id, str) or not dispatch_id:
            raise UpstreamGarbled(upstream, "neither a success with its dispatch_id nor a refusal")
        errors = answer.get("errors")
        notice = str(answer.get("notice") or "")[:_LONGEST_TEXT]
        return Dispatch(dispatch_id[:_LONGEST_TEXT], notice, len(errors) if isinstance(errors, list) else 0)

    def segment_sizes(
        self, segment_id: str, *, length: int, ending_at: str | None, timeouts: Timeouts
    ) -> list[SegmentSize]:
        """Estimated sizes of the `length` (1 to 100) days up to `ending_at` (ISO 8601, None for now), oldest first."""
        upstream = self._transport.upstream
        query = {"segment_id": segment_id, "length": str(length)} | ({"ending_at": ending_at} if ending_at else {})
        reply = self.relay("GET", "/segments/data_series", timeouts=timeouts, query=query)
        raise_for_status(upstream, reply, _refusal)
        answer = reply.json(upstream)
        try:
            points = msgspec.convert(answer["data"], list[_DataPoint])
        except (KeyError, msgspec.ValidationError):
            raise UpstreamGarbled(upstream, "the answer has no data series") from None
        return sorted((SegmentSize(point.time[:10], point.size) for point in points), key=lambda size: size.date)

    def relay(
        self,
        method: str,
        path: str,
        *,
        timeouts: Timeouts,
        body: Mapping[str, Any] | bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """Any endpoint, with the key added, and Braze's own answer whatever its status."""

        def call(credentials: BrazeCredentials) -> Reply:
            authorization = f"Bearer {credentials.rest_api_key}"
            return self._transport.send(
                method, path, authorization=authorization, timeouts=timeouts, body=body, query=query
            )

        return with_fresh_credentials(self._credentials, call)


def in_brazes_words(reply: Reply) -> bool:
    """Whether an answer is Braze's own: all of them are JSON objects with a `message`."""
    try:
        return bool(_words(reply.json("Braze")))
    except UpstreamGarbled:
        return False


def _refusal(upstream: str, reply: Reply) -> UpstreamError:
    """A 4xx in Braze's own words. One without is not Braze's: a wrong host, or something in front of it."""
    if not in_brazes_words(reply):
        return UpstreamUnavailable(upstream, f"status {reply.status}, but not in Braze's words")
    return UpstreamRefused(upstream, f"status_{reply.status}", _words(reply.json(upstream)))


def _words(body: dict[str, Any]) -> str:
    """Braze's own words for a fatal error, as in "Invalid Campaign ID"; Braze has no codes."""
    message = body.get("message")
    return message[:_LONGEST_TEXT] if isinstance(message, str) else ""
