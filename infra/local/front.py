"""The HTTP front: a port for each HTTP API, served by aiohttp in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from aiohttp import web

from infra.local.gateway import BODY_LIMIT_BYTES, Gateway, Invoke
from infra.local.http_answers import HttpAnswer, gateway_answer
from infra.local.http_events import HttpRequest
from infra.local.views import Api

INTEGRATION_LIMIT_SECONDS: Final = 30.0  # the longest an HTTP API waits for a function
_CALLERS_AT_ONCE: Final = 128


class Front:
    """Serves `apis` on `ports` (by API name; 0 or none for any free port) of `host` until stopped."""

    def __init__(
        self,
        apis: Mapping[str, Api],
        invoke: Invoke,
        log_dir: Path,
        host: str = "127.0.0.1",
        ports: Mapping[str, int] | None = None,
        authorizer_ttl_seconds: int | None = None,
    ) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._host, self._wanted_ports = host, ports or {}
        self._threads = ThreadPoolExecutor(_CALLERS_AT_ONCE, thread_name_prefix="front")
        self._gateways = {
            api.name: Gateway(api, invoke, _line_writer(log_dir / f"{api.name}-access.log"), authorizer_ttl_seconds)
            for api in apis.values()
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="front", daemon=True)
        self._runners: list[web.AppRunner] = []
        self.urls: dict[str, str] = {}

    def start(self) -> None:
        """Begin to serve; `urls` then holds each API's base URL, by name. Raises OSError for a port in use."""
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop serving; requests under way are cut off."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def forget_callers(self) -> None:
        """Drop what the APIs remember of their authorizers' decisions."""
        for gateway in self._gateways.values():
            gateway.forget_callers()

    async def _listen(self) -> None:
        for name, gateway in self._gateways.items():
            application = web.Application(client_max_size=BODY_LIMIT_BYTES)
            application.router.add_route("*", r"/{any:[\s\S]*}", self._handler(gateway))  # an encoded line end too
            runner = web.AppRunner(
                application,
                access_log=None,
                shutdown_timeout=0.1,
                max_line_size=65_536,  # this front enforces API Gateway's own limit
                max_field_size=65_536,
            )
            self._runners.append(runner)
            await runner.setup()
            site = web.TCPSite(runner, self._host, self._wanted_ports.get(name, 0))
            await site.start()
            port = runner.addresses[0][1]
            self.urls[name] = f"http://127.0.0.1:{port}"

    async def _close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    def _handler(self, gateway: Gateway) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(incoming: web.Request) -> web.Response:
            try:
                body = await incoming.read()
            except web.HTTPRequestEntityTooLarge:
                return _response(gateway_answer(413))
            request = HttpRequest(
                method=incoming.method,
                target=incoming.raw_path,
                headers=[(name.decode(), value.decode("utf-8", "replace")) for name, value in incoming.raw_headers],
                body=body,
                source_ip=incoming.remote or "",
                protocol=f"HTTP/{incoming.version.major}.{incoming.version.minor}",
            )
            answer = asyncio.get_running_loop().run_in_executor(self._threads, gateway.handle, request)
            try:
                return _response(await asyncio.wait_for(answer, INTEGRATION_LIMIT_SECONDS), request.request_id)
            except TimeoutError:
                return _response(gateway_answer(503), request.request_id)

        return handle


def _response(answer: HttpAnswer, request_id: str = "-") -> web.Response:
    response = web.Response(status=answer.status, body=answer.body)
    response.headers.popall("content-type", None)
    for name, value in answer.headers:
        response.headers.add(name, value)
    response.headers["apigw-requestid"] = request_id
    return response


def _line_writer(path: Path) -> Callable[[str], None]:
    lock = threading.Lock()

    def write(line: str) -> None:
        with lock, path.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    return write
