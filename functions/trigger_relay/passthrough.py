"""Braze's own trigger endpoints: the request as Braze documents it, checked, the key added, and Braze's own answer."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from typing import Any

import msgspec

import wiring
from clients.braze import SEND_PATHS, Braze, in_brazes_words
from clients.transport import DID_NOTHING, Reply, Timeouts
from clients.vocabulary import TargetKind
from shared.config import Settings
from shared.deadline import Deadline, within
from shared.errors import UpstreamGarbled, UpstreamUnauthorized, UpstreamUnavailable, UpstreamUnknown
from shared.http import Answer, Handler, Request, http_handler
from shared.observability import count
from trigger_relay.triggers import check_audience, check_properties

_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=20)

# Below the 29 seconds of the function, which is below the 30 an HTTP API waits: whoever is cut off there gets a 5xx,
# sends again, and a message may go out twice.
_BUDGET_SECONDS = 27.0

_PLAIN = re.compile(r"[\x20-\x7e]{1,64}\Z")

_KEPT_HEADERS = (
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-retry-after",
    "retry-after",
)


class CampaignSend(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of campaigns/trigger/send. Source: Braze's page on that endpoint."""

    campaign_id: str
    send_id: str | None = None
    trigger_properties: dict[str, Any] | None = None
    broadcast: bool = False
    audience: dict[str, Any] | None = None
    recipients: list[dict[str, Any]] | None = None
    attachments: list[dict[str, Any]] | None = None


class CanvasSend(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of canvas/trigger/send, with the older name of context. Source: Braze's page on that endpoint."""

    canvas_id: str
    context: dict[str, Any] | None = None
    broadcast: bool = False
    audience: dict[str, Any] | None = None
    recipients: list[dict[str, Any]] | None = None
    canvas_entry_properties: dict[str, Any] | None = None


def build(settings: Settings) -> Handler:
    braze = wiring.braze(settings, connections=2)
    broadcast_allowed = frozenset(settings.names("BROADCAST_ALLOWED_IDS"))

    def campaign(request: Request) -> Answer:
        body = request.json(CampaignSend)
        _check("campaign", body.campaign_id, body, body.trigger_properties, broadcast_allowed)
        return relay(braze, "campaign", body, request.deadline(_BUDGET_SECONDS))

    def canvas(request: Request) -> Answer:
        body = request.json(CanvasSend)
        _check("canvas", body.canvas_id, body, body.context or body.canvas_entry_properties, broadcast_allowed)
        return relay(braze, "canvas", body, request.deadline(_BUDGET_SECONDS))

    return http_handler({"POST /campaigns/trigger/send": campaign, "POST /canvas/trigger/send": canvas})


def relay(braze: Braze, kind: TargetKind, body: CampaignSend | CanvasSend, deadline: Deadline) -> Answer:
    """Braze's status, body and rate-limit headers, unless they are not Braze's, or about our key, not the caller's.

    What goes out is the body as it was checked, not the caller's bytes, in which a name may stand twice. Raises
    `UpstreamUnknown` or `DeadlineExceeded` when nobody can say whether Braze sent the message.
    """
    content = msgspec.json.encode(body)
    try:
        reply = within(deadline, lambda: braze.relay("POST", SEND_PATHS[kind], timeouts=_TIMEOUTS, body=content))
    except UpstreamGarbled as error:
        raise UpstreamUnknown("Braze", error.detail) from None
    if reply.status in (401, 403):
        raise UpstreamUnauthorized("Braze", f"status {reply.status}")
    if 300 <= reply.status < 400:
        raise UpstreamUnavailable("Braze", f"status {reply.status}; redirects are not followed")
    if not in_brazes_words(reply):
        if reply.status in DID_NOTHING or 400 <= reply.status < 500:
            raise UpstreamUnavailable("Braze", f"status {reply.status}, but not in Braze's words")
        raise UpstreamUnknown("Braze", f"status {reply.status}, but not in Braze's words")
    if reply.status >= 500 and reply.status not in DID_NOTHING:
        raise UpstreamUnknown("Braze", f"status {reply.status}")
    count("SendsRelayed")
    return Answer(reply.status, reply.content, _headers_of(reply))


def _headers_of(reply: Reply) -> dict[str, str]:
    return {name: value for name in _KEPT_HEADERS if _PLAIN.match(value := reply.headers.get(name, ""))}


def _check(
    kind: TargetKind,
    target_id: str,
    body: CampaignSend | CanvasSend,
    properties: dict[str, Any] | None,
    broadcast_allowed: Container[str],
) -> None:
    check_audience(kind, target_id, body.recipients, body.broadcast, broadcast_allowed)
    check_properties(kind, properties or {})
    for position, recipient in enumerate(body.recipients or ()):
        check_properties(
            kind, recipient.get("trigger_properties") or recipient.get("context") or {}, f"recipients[{position}]."
        )


handle = build(Settings(os.environ))
