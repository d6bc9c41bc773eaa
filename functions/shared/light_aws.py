"""AWS services that speak JSON, for functions that somebody waits for: boto3's errors at a quarter of its time.

boto3 takes 1.1 ms of a processor for a call, mostly to check and to spell parameters by a model of the service, and
urllib3 below it as long again as the standard library's client. A wallet that is fetched makes three calls. To read the
model is also a good part of a cold start. There is no paging here and no check: what is sent is what AWS documents for
the operation.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from weakref import finalize

import msgspec
from botocore.auth import SigV4Auth
from botocore.exceptions import ClientError, EndpointConnectionError
from urllib3.util import wait_for_read

from shared.final_answer import FinalAnswer
from shared.one_piece import InOnePiece
from shared.tls import trusting

if TYPE_CHECKING:
    from boto3 import Session

# Between two tries.
_PAUSE_SECONDS = 0.1

# What says nothing of the request, so that the same one may be answered a moment later; any status from 500 as well.
_PASSING = {
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
    "RequestThrottled",
    "ProvisionedThroughputExceededException",
}

# Where a service that once spoke another protocol says which error it was in that.
_FORMER_CODE = "x-amzn-query-error"


class Patience(NamedTuple):
    """Seconds to connect, seconds between two bytes of the answer, and how often a call is tried."""

    connect_seconds: float
    read_seconds: float
    tries: int


class LightService:
    """One service, such as `dynamodb`, whose operations are called `target.Operation` in JSON of a `version`.

    `url` is another address than AWS's own; empty for AWS's. `headers` go with every call. Calls raise `ClientError`
    for what AWS refuses, with the answer in its `response`, and `EndpointConnectionError` when there is no answer that
    can be read.
    """

    def __init__(
        self,
        session: Session,
        service: str,
        target: str,
        version: str,
        url: str,
        patience: Patience,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._target, self._tries = target, patience.tries
        region: Any = session.region_name
        self.url = url or f"https://{service}.{domain_of(region)}"
        self._headers = {
            "Host": urlsplit(self.url).netloc,  # or botocore reads it out of the address, twice
            "Content-Type": f"application/x-amz-json-{version}",
            **headers,
        }
        credentials: Any = session.get_credentials()  # None is refused when there is something to sign
        self._signer = _Signer(credentials, service, region)
        self._connections = _Connections(self.url, patience)

    def call(self, operation: str, request: dict[str, Any]) -> Any:
        """The answer to one operation, decoded."""
        for _ in range(self._tries - 1):
            try:
                return self._once(operation, request)
            except EndpointConnectionError:
                pass
            except ClientError as error:
                if not _is_passing(error):
                    raise
            time.sleep(_PAUSE_SECONDS)
        return self._once(operation, request)

    def _once(self, operation: str, request: dict[str, Any]) -> Any:
        body = msgspec.json.encode(request)
        headers = {"X-Amz-Target": f"{self._target}.{operation}", **self._headers}
        signed: Any = _Request(f"{self.url}/", headers, body)
        self._signer.add_auth(signed)
        try:
            status, content, former_code = self._connections.post(body, headers)
            answer = msgspec.json.decode(content, type=dict[str, Any]) if content else {}
        except (OSError, HTTPException, ValueError) as error:
            raise EndpointConnectionError(endpoint_url=self.url) from error
        if status == 200:
            return answer
        code = former_code or str(answer.get("__type", status)).rpartition("#")[2]
        details: Any = {
            **answer,
            "Error": {"Code": code, "Message": ""},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
        raise ClientError(details, operation)


def domain_of(region: str) -> str:
    """The end of the names of AWS's hosts in a region."""
    return f"{region}.amazonaws.com.cn" if region.startswith("cn-") else f"{region}.amazonaws.com"


class _Request:
    """What botocore's signer reads of a request, and whose headers it adds to.

    Its own class has them in the form of an email, and most of the time that signing takes goes into that.
    """

    method = "POST"
    params = None

    def __init__(self, url: str, headers: dict[str, str], body: bytes) -> None:
        self.url, self.headers, self.body = url, headers, body
        self.context: dict[str, Any] = {}


class _SignedHeaders(dict[str, str]):
    """Each once, under its name in lower case."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]]


class _Signer(SigV4Auth):
    """Signs all headers of a `_Request`."""

    def headers_to_sign(self, request: Any) -> Any:
        return _SignedHeaders((name.lower(), value) for name, value in request.headers.items())


class _Plain(InOnePiece, HTTPConnection):
    """A connection of the standard library's."""

    response_class = FinalAnswer


class _ByTls(InOnePiece, HTTPSConnection):
    """The same, encrypted."""

    response_class = FinalAnswer


class _Connections:
    """Connections to the host of `url`, kept open; as many as threads have used at once."""

    def __init__(self, url: str, patience: Patience) -> None:
        self._address = urlsplit(url)
        self._patience = patience
        self._idle: list[HTTPConnection] = []
        finalize(self, _close, self._idle)

    def post(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, str]:
        """Status and body of the answer, and its error's former code. Raises what sockets and `http.client` raise."""
        connection = self._kept() or self._opened()
        try:
            connection.request("POST", "/", body, headers)
            reply = connection.getresponse()
            content = reply.read()
        except BaseException:
            connection.close()
            raise
        if not reply.will_close:
            self._idle.append(connection)
        return reply.status, content, reply.getheader(_FORMER_CODE, "").partition(";")[0]

    def _kept(self) -> HTTPConnection | None:
        """One that the other end has not closed meanwhile."""
        with suppress(IndexError):  # of the last one taken
            while True:
                connection = self._idle.pop()
                if not wait_for_read(connection.sock, timeout=0):
                    return connection
                connection.close()
        return None

    def _opened(self) -> HTTPConnection:
        connection = self._new()
        connection.connect()
        connection.sock.settimeout(self._patience.read_seconds)
        return connection

    def _new(self) -> HTTPConnection:
        host, port, seconds = self._address.hostname or "", self._address.port, self._patience.connect_seconds
        if self._address.scheme == "https":
            return _ByTls(host, port, timeout=seconds, context=trusting())
        return _Plain(host, port, timeout=seconds)


def _is_passing(error: ClientError) -> bool:
    return error.response["Error"]["Code"] in _PASSING or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500


def _close(connections: list[HTTPConnection]) -> None:
    for connection in connections:
        connection.close()
