"""A server between a handler and moto that passes calls on, counts them, and answers some of them itself, wrongly."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.integration.support.sockets import reset

# (status, headers, body); the body may be shorter than the Content-Length in the headers.
Answer = tuple[int, dict[str, str], bytes]
Rule = Callable[[bytes], Answer | None]

# Services by what stands before the dot of X-Amz-Target; S3 has no such header.
SECRETS_MANAGER, SQS, DYNAMODB, EVENTBRIDGE, S3 = "secretsmanager", "AmazonSQS", "DynamoDB_20120810", "AWSEvents", ""

# In place of an answer: the connection is reset, before AWS hears of the call or after it did what was asked.
DROPPED: Answer = (0, {}, b"")
LOST: Answer = (1, {}, b"")


class FaultyAws:
    """`calls` holds the operations in their order: "GetSecretValue", or "GET /bucket/key" for S3.

    `failed` holds those of services that were told to fail.
    """

    def __init__(self, backend_url: str) -> None:
        self.calls: list[str] = []
        self.failed: list[str] = []
        self._rules: dict[str, Rule] = {}
        self._services: dict[str, Callable[[str], Answer]] = {}
        self.first: Callable[[], Answer | None] = lambda: None  # asked before all else, whatever the call
        backend = urlsplit(backend_url)
        parent = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                target = self.headers.get("X-Amz-Target", "")
                operation = target.rpartition(".")[2] or f"{self.command} {urlsplit(self.path).path}"
                parent.calls.append(operation)
                rule = parent._rules.get(operation)
                answer = rule(body) if rule else None
                if (failing := parent._services.get(target.partition(".")[0])) is not None:
                    parent.failed.append(operation)
                    answer = failing(operation)
                answer = parent.first() or answer
                if answer is DROPPED or answer is LOST:
                    if answer is LOST:
                        self._passed_on(body)
                    reset(self.connection)
                    self.close_connection = True
                    return
                status, headers, content = answer or self._passed_on(body)
                parent.saw(self.command, self.path, self.headers, body, status)
                try:
                    self.send_response(status)
                    for name, value in ({"Content-Length": str(len(content))} | headers).items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True  # the client would not wait
                if int(headers.get("Content-Length", len(content))) != len(content):
                    self.close_connection = True

            def _passed_on(self, body: bytes) -> Answer:
                connection = http.client.HTTPConnection(backend.hostname or "", backend.port, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                connection.request(self.command, self.path, body, headers)
                reply = connection.getresponse()
                content = reply.read()
                kept = {"Content-Type", "ETag", "Last-Modified", "Content-Length", "Content-Range", "x-amz-version-id"}
                connection.close()
                return reply.status, {name: value for name, value in reply.getheaders() if name in kept}, content

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def saw(self, method: str, target: str, headers: Message, body: bytes, status: int) -> None:
        """Told of every call once it has its answer; does nothing here."""

    def answer(self, operation: str, rule: Rule) -> None:
        """From now on `rule` answers this operation; where it returns None the call is passed on."""
        self._rules[operation] = rule

    def refuse(self, operation: str) -> None:
        """AWS says no, in a way that no client repeats."""
        self.answer(operation, lambda _: refusal("AccessDeniedException"))

    def refuse_after(self, operation: str, passed: int) -> None:
        """Lets so many calls of this operation pass, then says no."""
        before = self.calls.count(operation)
        self.answer(
            operation,
            lambda _: refusal("AccessDeniedException") if self.calls.count(operation) > before + passed else None,
        )

    def hang(self, operation: str, seconds: float) -> None:
        def rule(_: bytes) -> Answer:
            time.sleep(seconds)
            return refusal("AccessDeniedException")

        self.answer(operation, rule)

    def fail(self, service: str, answer: Callable[[str], Answer]) -> None:
        """Every call to a service is answered so from now on; `answer` is told the operation."""
        self._services[service] = answer

    def heal(self) -> None:
        self._rules.clear()
        self._services.clear()


def refusal(code: str) -> Answer:
    return 400, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps({"__type": code, "message": "no"}).encode()
