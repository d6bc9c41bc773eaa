"""What travels through a simulator: the call that came in, the reply that goes out, and the record kept of both."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

Json = Any


class Refused(Exception):
    """Raised by a handler that has decided on its answer early; carries that answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request as a handler sees it.

    `path` is what stood on the wire, still percent-encoded and without the query. `segments` are its parts, each
    decoded on its own, so an encoded slash stays inside the part it came in. `received_at` is epoch seconds on the
    simulator's clock.
    """

    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]
    body: bytes
    received_at: float

    @property
    def route(self) -> str:
        """The text that fault and latency patterns are matched against: `METHOD /path`."""
        return f"{self.method} {self.path}"

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(unquote(part) for part in self.path.removeprefix("/").split("/"))

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; of a repeated one the last counts."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case; empty when there is none."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def authorization(self) -> bytes:
        """The Authorization header as it stood on the wire, also when that is no UTF-8; empty when there is none."""
        return self.headers.get("Authorization", "").encode(errors="surrogateescape")

    def json(self) -> Json:
        """The body as JSON. Raises ValueError when it is none (that includes bytes that are not UTF-8)."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer.

    `body` is bytes, text or a file's path, sent as they are, or anything else, sent as JSON; None is an empty body.
    """

    status: int
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=utf-8"

    def payload(self) -> bytes:
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, Path):
            return self.body.read_bytes()
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode()

    def all_headers(self) -> dict[str, str]:
        return {"Content-Type": self.content_type, **self.headers}

    def with_headers(self, headers: Mapping[str, str]) -> Reply:
        """The same answer carrying these headers too; where both have one, in whatever case, the reply's own stays."""
        own = {name.lower() for name in self.headers}
        added = {name: value for name, value in headers.items() if name.lower() not in own}
        return Reply(self.status, self.body, {**added, **self.headers}, self.content_type)


@dataclass(slots=True)
class RecordedRequest:
    """What a simulator remembers of one request. `status` is None when no status line was ever sent back."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    received_at: float
    status: int | None = None

    def json(self) -> Json:
        """The body as JSON. Raises ValueError when it is none."""
        return json.loads(self.body)


def basic_authorization(key: str, secret: str) -> str:
    """The value of an HTTP Basic Authorization header (RFC 7617) for this pair."""
    return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()
