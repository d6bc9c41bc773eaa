"""Connections to one vendor, kept open: urllib3's, with three settings that hold for every call."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from shared.tls import trusting


class _InOnePiece(HTTPConnection):
    """Sends head and body of a request together: one call of the system and one packet, where there would be two."""

    _pieces: list[bytes] | None = None

    def request(self, *args: Any, **options: Any) -> None:
        self._pieces = []
        try:
            super().request(*args, **options)
        finally:
            pieces, self._pieces = self._pieces, None
        self.send(b"".join(pieces))

    def send(self, data: Any) -> None:
        if self._pieces is None:
            super().send(data)
        else:
            self._pieces.append(data)


class _InOnePieceByTls(_InOnePiece, HTTPSConnection):
    """The same, encrypted."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _InOnePiece


class _PoolByTls(HTTPSConnectionPool):
    ConnectionCls = _InOnePieceByTls


def pooled(base_url: str, connections: int, authorities: str | None = None) -> HTTPConnectionPool:
    """A pool that keeps up to `connections` connections open to the host of `base_url`, whose certificate is checked.

    Raises `ValueError` when that is no address.
    """
    address = urlsplit(base_url)
    if not address.hostname:
        raise ValueError("no host")
    if address.scheme == "https":
        context = trusting(authorities)
        return _PoolByTls(address.hostname, address.port, maxsize=connections, ssl_context=context)
    return _Pool(address.hostname, address.port, maxsize=connections)
