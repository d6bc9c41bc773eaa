"""A vendor on a local port: an HTTP server in its own thread that answers, remembers, takes its time and can fail."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from aiohttp import web

from infra.local.simulators import wire
from infra.local.simulators.control import PREFIX as CONTROL_PREFIX
from infra.local.simulators.control import answer_control
from infra.local.simulators.faults import ErrorInside200, Fault, FaultBook, Garbage, Status, Throttle, WrongShape
from infra.local.simulators.messages import Call, Json, RecordedRequest, Refused, Reply
from infra.local.simulators.routing import Latency, Route, Router

BACKLOG = 4096
START_SECONDS = 10.0
STOP_SECONDS = 0.01  # grace for requests under way; zero would mean to wait for ever
KEPT_REQUESTS = 10_000

GARBAGE = b"<html><head><title>502</title></head><body>upstream said something { else \xff\xfe</body></html>"
WRONG_TYPES = {"status": 7, "message": [], "payload": "seven", "data": {"size": None}, "dispatch_id": False}


class Simulator:
    """The part every vendor simulator shares; a vendor adds routes, state and the shape of its errors.

    `host`, `port`: where to listen; port 0 takes a free one. `latency_scale`: 1 for the vendor's usual times, 0 for
    none. `seed`: fixes jitter, fault chances and made-up ids. `clock`: epoch seconds, for all that depends on the date.
    `keep_requests`: how many requests are remembered, the oldest going first.

    A request's effect happens when it arrives, the wait comes after, then the answer: a client that gives up waiting
    finds the work done, as with the real thing. `lock` guards the vendor's state; the Python methods of a vendor take
    it too.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        latency_scale: float = 1.0,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
        keep_requests: int = KEPT_REQUESTS,
    ) -> None:
        self.host = host
        self.port = port
        self.clock = clock
        self.faults = FaultBook(seed)
        self.lock = threading.RLock()
        self._latency = Latency(latency_scale, seed)
        self._router = Router([])
        self._recorded: deque[RecordedRequest] = deque(maxlen=keep_requests)
        self._recorded_lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._halt: asyncio.Event | None = None
        self._bound_port = 0

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen, and return once connections are accepted. Raises OSError when the port is taken."""
        if self._thread is not None:
            raise RuntimeError("already started")
        started = threading.Event()
        failure: list[BaseException] = []
        self._thread = threading.Thread(
            target=self._run, args=(started, failure), name=type(self).__name__, daemon=True
        )
        self._thread.start()
        if not started.wait(START_SECONDS):
            raise TimeoutError("the simulator did not start")
        if failure:
            self._thread.join()
            self._thread = None
            raise failure[0]
        return self

    def stop(self) -> None:
        """Stop listening and drop every connection, also those that a fault keeps hanging.

        Stopping twice is harmless.
        """
        if self._thread is None or self._loop is None or self._halt is None:
            return
        self._loop.call_soon_threadsafe(self._halt.set)
        self._thread.join()
        self._thread = self._loop = self._halt = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        if self._thread is None:
            raise RuntimeError("not started")
        return f"http://{self.host}:{self._bound_port}"

    def _run(self, started: threading.Event, failure: list[BaseException]) -> None:
        try:
            asyncio.run(self._listen(started))
        except OSError as error:
            failure.append(error)
            started.set()

    async def _listen(self, started: threading.Event) -> None:
        self._loop, self._halt = asyncio.get_running_loop(), asyncio.Event()
        # The low-level server: no framework routing between the socket and the table above, and raw paths kept raw.
        runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=STOP_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port, backlog=BACKLOG).start()
            self._bound_port = runner.addresses[0][1]
            started.set()
            await self._halt.wait()
        finally:
            await runner.cleanup()

    # --- what a vendor fills in -------------------------------------------------------------------------------------

    def use_routes(self, routes: list[Route]) -> None:
        self._router = Router(routes)

    def answer(self, call: Call, found: tuple[Route, dict[str, str]] | None) -> Reply:
        """The vendor's answer, effect included; `found` is the route and its path values. Called with `lock` held."""
        if found is None:
            return self.error_reply(404, "not_found", "no such route")
        route, params = found
        return route.handler(call, params)

    def error_reply(self, status: int, code: str, message: str) -> Reply:
        """An error in the vendor's shape."""
        return Reply(status, {"code": code, "message": message})

    def standing_headers(self) -> dict[str, str]:
        """Headers the vendor puts on every answer, faults included, except a `Throttle`, which brings its own."""
        return {}

    def state(self) -> dict[str, Json]:
        """What the vendor knows, as JSON."""
        return {}

    def forget(self) -> None:
        """Forget what callers did: their effects, their requests. What was set up from Python stays."""
        with self._recorded_lock:
            self._recorded.clear()

    # --- watching and steering --------------------------------------------------------------------------------------

    def requests(self) -> list[RecordedRequest]:
        """Copies of the remembered requests, oldest first; control requests are not among them."""
        with self._recorded_lock:
            return [replace(record) for record in self._recorded]

    def asked(self) -> Counter[str]:
        """How often each route was asked since the start, as in "POST /users/track"; none of these is forgotten."""
        with self._recorded_lock:
            return self._asked.copy()

    def set_latency(self, route: str, seconds: float) -> None:
        """From now on answers on `route` (a pattern as for faults) usually take `seconds`, before `latency_scale`."""
        self._latency.override(route, seconds)

    # --- one request ------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        received_at = self.clock()
        path, _, query = request.raw_path.partition("?")
        call = Call(request.method, path, query, request.headers, await request.content.read(), received_at)
        if path.startswith(CONTROL_PREFIX):
            shown = answer_control(self, call)
            return web.Response(status=shown.status, body=shown.payload(), headers=shown.all_headers())

        record = RecordedRequest(call.method, path, query, call.headers, call.body, received_at)
        with self._recorded_lock:
            self._recorded.append(record)
        found = self._router.find(call)
        if found is not None:
            with self._recorded_lock:
                self._asked[f"{found[0].method} {found[0].template}"] += 1
        fault = self.faults.draw(call.route, call.body)
        if fault is None or fault.applies_effect:
            with self.lock:
                try:
                    reply = self.answer(call, found)
                except Refused as refusal:
                    reply = refusal.reply
        else:
            reply = self._false_reply(fault)
        if not isinstance(fault, Throttle):
            reply = reply.with_headers(self.standing_headers())
        wait = self._latency.draw(call.route, found[0].latency_seconds if found else 0.0)
        if wait > 0:
            await asyncio.sleep(wait)
        try:
            return await wire.send(request, reply, fault, record)
        except ConnectionError:  # the reader has left, as is right before an answer that drips or never ends
            return wire.reset(request)

    def _false_reply(self, fault: Fault) -> Reply:
        match fault:
            case Status(code, body, headers):
                sent = dict(headers or {})
                if 300 <= code < 400 and not any(name.lower() == "location" for name in sent):
                    sent["Location"] = "/elsewhere"
                usual = self.error_reply(code, _usual_code(code), f"simulated {code}")
                return replace(usual, headers=sent, body=usual.body if body is None else body)
            case Throttle():
                usual = self.error_reply(429, "not_available", "simulated rate limit")
                return replace(usual, headers=self._throttle_headers(fault))
            case Garbage(content_type):
                return Reply(200, GARBAGE, content_type=content_type)
            case ErrorInside200(code):
                return self.error_reply(200, code, "simulated error inside a 200")
            case WrongShape(form):
                return Reply(200, [1, "two", None] if form == "array" else WRONG_TYPES)
        return Reply(500)  # Reset: nothing of it is sent

    def _throttle_headers(self, fault: Throttle) -> dict[str, str]:
        seconds = math.ceil(fault.retry_after_seconds)
        if fault.form == "retry-after":
            return {"Retry-After": str(seconds)}
        if fault.form == "x-ratelimit-retry-after":
            return {"X-Ratelimit-Retry-After": str(seconds)}
        reset = math.ceil(self.clock() + fault.retry_after_seconds) if fault.form == "reset-epoch" else seconds
        return {"X-RateLimit-Limit": "250000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}


def _usual_code(status: int) -> str:
    """SessionM's code word that goes best with an HTTP status (the pairing itself is not published)."""
    return {401: "invalid_api_key", 403: "access_denied", 404: "not_found"}.get(
        status, "internal_server_error" if status >= 500 else "not_available"
    )
