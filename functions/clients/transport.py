"""HTTP to a vendor: a pool of connections, explicit time-outs, failures typed by whether the vendor may have acted."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from operator import attrgetter
from threading import Lock
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    SSLError,
)

from clients.pool import pooled
from shared.errors import (
    UpstreamError,
    UpstreamGarbled,
    UpstreamThrottled,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    UpstreamUnknown,
    UpstreamUnreachable,
)

# A connection that idled this long, in a frozen Lambda environment for instance, may be dead without either end having
# said so. A request written to it would end as "unknown", so it is dropped instead.
IDLE_SECONDS = 20.0

# Twice what Braze lets a message see. Reading and checking that much still fits a read's time.
MAX_ANSWER_BYTES = 2 * 1_048_576

# Reset headers hold either the seconds to wait or the epoch second to wait for (facts about Braze's rate limits: both
# occur). No vendor asks anybody to wait for years, so a large number is a moment.
_EPOCH_FROM = 1_000_000_000

# The vendor's own word that it failed. Any other 5xx, such as 502 or 504, comes from something in front of the vendor,
# which may have passed the request on before it gave up.
DID_NOTHING = frozenset({500, 503})

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "sessionm-braze-bundle"}

# No vendor asks for it and HTTP has them pass it over; it lets a vendor's support find a call that we speak of.
_CORRELATION_HEADER = "X-Correlation-Id"

# What an answer can break urllib3 and http.client with. All of it may come after the vendor acted.
_BROKEN = (HTTPError, HTTPException, OSError, ValueError)

_NOTHING_SENT = (ConnectTimeoutError, NewConnectionError, ClosedPoolError, LocationValueError)

_RESET_HEADERS = ("retry-after", "x-ratelimit-retry-after", "x-ratelimit-reset")


class Timeouts(NamedTuple):
    """Seconds to connect, and seconds between two bytes of the answer."""

    connect_seconds: float
    read_seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self, upstream: str) -> dict[str, Any]:
        """The body as a JSON object, else `UpstreamGarbled`."""
        try:
            body = msgspec.json.decode(self.content)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise UpstreamGarbled(upstream, f"status {self.status}, and no JSON") from None
        if not isinstance(body, dict):
            raise UpstreamGarbled(upstream, f"status {self.status}, and no JSON object")
        return body


def path_of(*segments: str) -> str:
    """Joins path segments, each percent-encoded whole, so that no value can leave its segment."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


class Watcher(Protocol):
    """Who looks on: says under which id a call is made, and is told of each call once it has ended.

    `status` is None when there was no whole answer, and else what the answer means (see `Transport`).
    """

    def correlation_id(self) -> str: ...

    def note(self, upstream: str, operation: str, duration_ms: float, status: int | None) -> None: ...


class Transport:
    """Requests to one vendor API; `upstream` names it in errors.

    Raises `UpstreamUnreachable` when nothing was sent, `UpstreamUnknown` when it was but no whole answer came in time,
    and `UpstreamGarbled` when the answer exceeds `max_answer_bytes`. `meaning` is the status an answer counts as, where
    a vendor says inside what others say by the status. It follows no redirect, repeats nothing (the one
    retry policy is ours) and reads no proxy or netrc from the environment.
    """

    def __init__(
        self,
        upstream: str,
        base_url: str,
        *,
        connections: int,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        clock: Callable[[], float] = time.monotonic,
        open_pool: Callable[[str, int], HTTPConnectionPool] = pooled,
        watcher: Watcher | None = None,
        meaning: Callable[[Reply], int] = attrgetter("status"),
    ) -> None:
        self.upstream = upstream
        self._base_url = base_url.rstrip("/")
        self._connections = connections
        self._max_answer_bytes = max_answer_bytes
        self._clock = clock
        self._open_pool = open_pool
        self._watcher = watcher
        self._meaning = meaning
        self._pool: HTTPConnectionPool | None = None
        self._last_used = clock()
        self._lock = Lock()

    def send(
        self,
        method: str,
        path: str,
        *,
        authorization: str,
        timeouts: Timeouts,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        operation: str = "other",
    ) -> Reply:
        """Sends `body` (encoded as JSON, or bytes as they are) and returns the answer, whatever its status.

        `operation` is what the call counts as, one of few: never a path that names a member.
        """
        headers = {"Authorization": authorization, **_HEADERS}
        if self._watcher is None:
            return self._sent(method, path, body, query, headers, timeouts)
        if correlation_id := self._watcher.correlation_id():
            headers[_CORRELATION_HEADER] = correlation_id
        begun_at, status = time.perf_counter(), None
        try:
            reply = self._sent(method, path, body, query, headers, timeouts)
            status = self._meaning(reply)
            return reply
        finally:
            self._watcher.note(self.upstream, operation, (time.perf_counter() - begun_at) * 1000, status)

    def forget_connections(self) -> None:
        """Closes those that are kept: what comes over one of them is not the answer to what was asked."""
        with self._lock:
            old, self._pool = self._pool, None
        if old is not None:
            old.close()

    def _sent(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, str] | None,
        headers: dict[str, str],
        timeouts: Timeouts,
    ) -> Reply:
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        try:
            pool = self._fresh_pool()
            target = urlsplit(self._base_url).path + path + ("?" + urlencode(query) if query else "")
        except ValueError as error:
            raise UpstreamUnreachable(self.upstream, f"no request can be formed: {type(error).__name__}") from None
        done_by = self._clock() + timeouts.connect_seconds + timeouts.read_seconds
        try:
            with pool.urlopen(
                method,
                target,
                body,
                headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=Timeout(connect=timeouts.connect_seconds, read=timeouts.read_seconds),
                preload_content=False,
            ) as response:
                content = self._read(response, done_by)
                answer_headers = {name.lower(): value for name, value in response.headers.itermerged()}
                return Reply(response.status, answer_headers, content)
        except _BROKEN as error:
            raise self._failure(error) from None

    def _read(self, response: BaseHTTPResponse, done_by: float) -> bytes:
        content = bytearray()
        # What has arrived, rather than 64 KiB however long they take.
        while chunk := response.read1(65_536, decode_content=True):
            content += chunk
            if len(content) > self._max_answer_bytes:
                raise UpstreamGarbled(self.upstream, f"the answer exceeds {self._max_answer_bytes} bytes")
            if self._clock() > done_by:
                raise UpstreamUnknown(self.upstream, "the answer came in drop by drop")
        return bytes(content)

    def _fresh_pool(self) -> HTTPConnectionPool:
        """The pool, but another one after a time in which nobody asked for it.

        Without the lock where nothing is to be done: hundreds of threads that queue for a lock at every call, however
        short it is held, halve what they get done.
        """
        pool = self._pool
        if pool is None or self._clock() - self._last_used > IDLE_SECONDS:
            with self._lock:
                pool = self._renewed_pool()
        self._last_used = self._clock()
        return pool

    def _renewed_pool(self) -> HTTPConnectionPool:
        old, now = self._pool, self._clock()
        if old is not None and now - self._last_used <= IDLE_SECONDS:
            return old  # another thread was faster
        self._pool = self._open_pool(self._base_url, self._connections)
        if old is not None:
            old.close()
        self._last_used = now
        return self._pool

    def _failure(self, error: Exception) -> UpstreamError:
        if _nothing_was_sent(error):
            return UpstreamUnreachable(self.upstream, type(error).__name__)
        return UpstreamUnknown(self.upstream, type(error).__name__)


def raise_for_status(
    upstream: str,
    reply: Reply,
    refusal: Callable[[str, Reply], UpstreamError],
    clock: Callable[[], float] = time.time,
) -> None:
    """Raises the typed error of a status outside 2xx; `refusal` words a plain 4xx the vendor's way.

    `clock` gives epoch seconds and turns a reset moment into a wait.
    """
    status = reply.status
    if 200 <= status < 300:
        return
    if status == 429:
        raise UpstreamThrottled(upstream, retry_after_seconds(reply.headers, clock()))
    if status in DID_NOTHING:
        raise UpstreamUnavailable(upstream, f"status {status}", overloaded=status == 503)
    if status >= 500:
        raise UpstreamUnknown(upstream, f"status {status}")
    if status in (401, 403):
        raise UpstreamUnauthorized(upstream, f"status {status}")
    if status == 408 or status < 200:
        raise UpstreamUnknown(upstream, f"status {status}")
    if status < 400:
        raise UpstreamUnavailable(upstream, f"status {status}; redirects are not followed")
    raise refusal(upstream, reply)


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """The wait a vendor asks for, in seconds, from any of the headers in use; None when it names none."""
    for name in _RESET_HEADERS:
        wait = _wait(headers.get(name, ""), now)
        if wait is not None:
            return max(0.0, wait)
    return None


def _wait(text: str, now: float) -> float | None:
    """Seconds from a number of them, from an epoch second, or from an HTTP date (RFC 9110)."""
    try:
        value = float(text)
    except ValueError:
        try:
            return parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError, OSError):
            return None
    if not math.isfinite(value):
        return None
    return value - now if value >= _EPOCH_FROM else value


def _nothing_was_sent(error: Exception) -> bool:
    if isinstance(error, SSLError) and error.args:
        return isinstance(error.args[0], ssl.SSLCertVerificationError)
    return isinstance(error, _NOTHING_SENT)
