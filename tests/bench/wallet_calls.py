"""Wallet calls as Connected Content makes them, put to an emulator."""

from __future__ import annotations

import json
from typing import Any

from infra.local.http_events import HttpRequest, proxy_event
from tests.bench.emulator import Emulator, answer_of

_CALLER_HEADERS = (
    ("host", "content.example.com"),
    ("user-agent", "Braze Sender 1.0"),
    ("authorization", f"Basic {'c' * 88}"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip, deflate"),
)


def wallet_event(user_id: str, query: str = "culture=en") -> bytes:
    """`GET /wallet/{user_id}`, arriving now: the wallet counts its time from there."""
    request = HttpRequest("GET", f"/wallet/{user_id}?{query}", _CALLER_HEADERS)
    caller = {"caller": "braze-connected-content"}
    event = proxy_event(request, "content", "GET /wallet/{user_id}", {"user_id": user_id}, caller)
    return json.dumps(event).encode()


def answered_text(wallet: Emulator, user_id: str, query: str = "culture=en") -> str:
    """The answer's body. Raises RuntimeError unless its status is 200."""
    return answer_of(json.loads(wallet.invoke(wallet_event(user_id, query))))


def answered_wallet(wallet: Emulator, user_id: str, query: str = "culture=en") -> dict[str, Any]:
    """A wallet that is ok. Raises RuntimeError for any other answer."""
    text = answered_text(wallet, user_id, query)
    body: dict[str, Any] = json.loads(text)
    if not body["ok"]:
        raise RuntimeError(f"the wallet answered {text}")
    return body
