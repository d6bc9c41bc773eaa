"""GET /health, without a caller check, so it tells only that the API reaches a function."""

from __future__ import annotations

from shared.http import Answer, Request, http_handler


def health(_: Request) -> Answer:
    return Answer(200, {"ok": True})


handle = http_handler({"GET /health": health})
