"""Lets containers reach what listens on this machine's loopback, and nobody else.

On Linux a container reaches its host at the address of Docker's bridge, where a server bound to 127.0.0.1 does not
answer. A relay listens there, on the same port, for as long as it is needed. Where Docker itself forwards to the
loopback (Docker Desktop), the bridge has no address on this machine and nothing is relayed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def relayed(address: str, ports: Iterable[int]) -> Iterator[None]:
    """Relay connections to `ports` of `address` to the same ports of 127.0.0.1."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="relay", daemon=True)
    thread.start()
    servers = [asyncio.run_coroutine_threadsafe(_listen(address, port), loop).result() for port in ports]
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_close([server for server in servers if server]), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(address: str, port: int) -> asyncio.Server | None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    try:
        return await asyncio.start_server(accept, address, port)
    except OSError:
        return None  # not an address of this machine, or the server listens there itself


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _close(servers: list[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
