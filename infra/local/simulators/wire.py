"""Putting an answer on the wire, well or badly."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

from aiohttp import web

from infra.local.simulators.faults import (
    EndlessBody,
    Fault,
    HangAfterAccept,
    Reset,
    ResetAfterEffect,
    ResetMidBody,
    Slow,
    SlowBody,
)
from infra.local.simulators.messages import RecordedRequest, Reply

# A dripped body goes out in this many pieces, so that each arrives alone and the whole lasts as long as asked.
DRIP_PIECES = 20

# An endless body: some 1.6 MB/s, enough to pass a size limit of 1 MB within a second without keeping a core busy.
ENDLESS_CHUNK = b" " * 16_384
ENDLESS_PAUSE_SECONDS = 0.01

FILE_PIECE_BYTES = 262_144

# Time for the kernel to hand over what was written before a reset throws the rest away.
FLUSH_SECONDS = 0.05

# SO_LINGER on, zero seconds: closing sends RST instead of FIN.
LINGER_ZERO = struct.pack("ii", 1, 0)


async def send(
    request: web.BaseRequest, reply: Reply, fault: Fault | None, record: RecordedRequest
) -> web.StreamResponse:
    """Answer `request` with `reply`, disturbed as `fault` says, and note in `record` the status sent, if one was."""
    if isinstance(fault, Reset | ResetAfterEffect):
        return reset(request)
    if isinstance(fault, HangAfterAccept):
        await asyncio.sleep(fault.seconds)
        return reset(request)
    if isinstance(fault, Slow):
        await asyncio.sleep(fault.seconds)
    record.status = reply.status
    if isinstance(fault, SlowBody):
        return await _drip(request, reply, fault.seconds)
    if isinstance(fault, EndlessBody):
        return await _never_end(request, reply)
    if isinstance(fault, ResetMidBody):
        return await _break_off(request, reply)
    if isinstance(reply.body, Path):
        return await _send_file(request, reply, reply.body)
    return web.Response(status=reply.status, body=reply.payload(), headers=reply.all_headers())


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """Reset the connection. What is returned can no longer reach anyone; the server only needs something to return."""
    transport = request.transport
    if transport is not None:
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        transport.abort()
    return web.Response(status=500)


async def _start(request: web.BaseRequest, reply: Reply, content_length: int | None) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.all_headers())
    if content_length is None:
        response.enable_chunked_encoding()
    else:
        response.content_length = content_length
    await response.prepare(request)
    return response


async def _send_file(request: web.BaseRequest, reply: Reply, path: Path) -> web.StreamResponse:
    """A piece at a time: the export of a large segment is larger than a simulator's memory should be."""
    response = await _start(request, reply, path.stat().st_size)
    with path.open("rb") as file:
        while piece := file.read(FILE_PIECE_BYTES):
            await response.write(piece)
    await response.write_eof()
    return response


async def _drip(request: web.BaseRequest, reply: Reply, seconds: float) -> web.StreamResponse:
    payload = reply.payload()
    response = await _start(request, reply, len(payload))
    step = max(1, -(-len(payload) // DRIP_PIECES))
    pieces = [payload[at : at + step] for at in range(0, len(payload), step)]
    for piece in pieces:
        await asyncio.sleep(seconds / len(pieces))
        await response.write(piece)
    await response.write_eof()
    return response


async def _never_end(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    response = await _start(request, reply, None)
    await response.write(b'{"status":"ok","payload":[')
    while True:  # ends with the reader, by a ConnectionError, or with the simulator
        await response.write(ENDLESS_CHUNK)
        await asyncio.sleep(ENDLESS_PAUSE_SECONDS)


async def _break_off(request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    payload = reply.payload()
    response = await _start(request, reply, len(payload))
    await response.write(payload[: len(payload) // 2])
    await asyncio.sleep(FLUSH_SECONDS)
    reset(request)
    return response
