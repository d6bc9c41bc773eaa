"""Connections to one vendor, kept open: urllib3's, with certificates checked and requests in one piece."""

from __future__ import annotations

from urllib.parse import urlsplit

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from shared.final_answer import FinalAnswer
from shared.one_piece import InOnePiece
from shared.tls import trusting


class _InOnePiece(InOnePiece, HTTPConnection):
    """A connection of urllib3's."""

    response_class = FinalAnswer


class _InOnePieceByTls(InOnePiece, HTTPSConnection):
    """The same, encrypted."""

    response_class = FinalAnswer


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
