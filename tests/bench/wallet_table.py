"""What the emulated CacheTable itself takes for a wallet: the wallet's own requests, sent by the plainest client."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from clients.wallet import Wallet
from shared.cache import Cache
from shared.deadline import Deadline
from shared.flight import SingleFlight

_TARGET = "DynamoDB_20120810"
_CONTENT_TYPE = "application/x-amz-json-1.0"
_UNSIGNED = (
    "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=none"
)

# An operation and its request as JSON.
TableRequest = tuple[str, bytes]


class WalletTable:
    """A connection to the table `name` at `url`, which takes one request after the other."""

    def __init__(self, url: str, name: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)
        self._name = name

    def requests_of(self, key: str, culture: str, wallet: Wallet) -> Sequence[TableRequest]:
        """What a wallet that has to be fetched asks of the table: to look for it, to take the lease, to keep it."""
        client = _Recording()
        cache = Cache(client, self._name, Wallet, keep_seconds=3600)  # type: ignore[arg-type]
        SingleFlight(cache, fresh_seconds=60).read(key, lambda: wallet, Deadline(5), culture)
        return client.requests

    def ask(self, requests: Sequence[TableRequest]) -> None:
        """Sends them. Raises RuntimeError for one that is refused."""
        for operation, body in requests:
            headers = {
                "X-Amz-Target": f"{_TARGET}.{operation}",
                "Content-Type": _CONTENT_TYPE,
                "Authorization": _UNSIGNED,
            }
            self._connection.request("POST", "/", body, headers)
            reply = self._connection.getresponse()
            answer = reply.read()
            if reply.status != 200:
                raise RuntimeError(f"{operation}: {answer.decode()}")


class _Recording:
    """A table without anything in it that notes what it is asked."""

    class exceptions:
        class ConditionalCheckFailedException(Exception):
            """Never raised: nobody else is there."""

    def __init__(self) -> None:
        self.requests: list[TableRequest] = []

    def get_item(self, **request: Any) -> dict[str, Any]:
        return self._noted("GetItem", request)

    def update_item(self, **request: Any) -> dict[str, Any]:
        return self._noted("UpdateItem", request)

    def _noted(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append((operation, msgspec.json.encode(request)))
        return {}
