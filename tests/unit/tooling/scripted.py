"""A server that answers each route with what a test has written down, in order, the last one for ever."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    route: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Scripted:
    """`answers` by "METHOD /path": pairs of status and body (JSON, or bytes); None hangs up without an answer."""

    url: str = ""
    answers: dict[str, list[tuple[int, Any] | None]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    def routes(self) -> list[str]:
        return [each.route for each in self.received]

    def take(self, route: str) -> tuple[int, Any] | None:
        waiting = self.answers[route]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def scripted() -> Iterator[Scripted]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            route = f"{self.command} {self.path.partition('?')[0]}"
            script.received.append(Received(route, dict(self.headers.items()), body))
            answer = script.take(route)
            if answer is None:
                self.close_connection = True
                return
            status, content = answer
            encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_PUT = do_POST = _serve

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Says nothing: clients hang up."""

    server = Server(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield script
    server.shutdown()
    server.server_close()
