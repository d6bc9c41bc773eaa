"""HTTP to a vendor: one pooled session, explicit time-outs, failures typed by whether the vendor may have acted."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ClosedPoolError, HTTPError, MaxRetryError, NewConnectionError, SSLError

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

# What an answer can break requests, urllib3 and http.client with. All of it may come after the vendor acted.
_BROKEN = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)

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


def pooled_session(connections: int) -> requests.Session:
    """A session that keeps `connections` connections open.

    It does not read proxies or netrc from the environment at every request, and repeats nothing by itself: the one
    retry policy is ours.
    """
    session = requests.Session()
    session.trust_env = False
    adapter = HTTPAdapter(pool_connections=2, pool_maxsize=connections, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def path_of(*segments: str) -> str:
    """Joins path segments, each percent-encoded whole, so that no value can leave its segment."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


class Transport:
    """Requests to one vendor API; `upstream` names it in errors, `base_url` has no path.

    Raises `UpstreamUnreachable` when nothing was sent, `UpstreamUnknown` when it was but no whole answer came in time,
    and `UpstreamGarbled` when the answer exceeds `max_answer_bytes`.
    """

    def __init__(
        self,
        upstream: str,
        base_url: str,
        session: requests.Session,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.upstream = upstream
        self._base_url = base_url.rstrip("/")
        self._session = session
        self._max_answer_bytes = max_answer_bytes
        self._clock = clock
        self._last_used = clock()
        self._idle_check = Lock()

    def send(
        self,
        method: str,
        path: str,
        *,
        authorization: str,
        timeouts: Timeouts,
        body: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """Sends `body` (encoded as JSON, or bytes as they are) and returns the answer, whatever its status."""
        self._drop_idle_connections()
        headers = {"Authorization": authorization, **_HEADERS}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        request = self._formed(method, path, query, headers, body)
        done_by = self._clock() + timeouts.connect_seconds + timeouts.read_seconds
        try:
            # Straight to the session's pool: cookies, proxies, netrc and redirects, none of which a vendor's API has,
            # would take a third of a millisecond of every call.
            adapter = self._session.get_adapter(request.url or "")
            with adapter.send(request, stream=True, timeout=timeouts) as response:
                content = self._read(response, done_by)
                answer_headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, answer_headers, content)
        except _BROKEN as error:
            raise self._failure(error) from None

    def _formed(
        self, method: str, path: str, query: Mapping[str, str] | None, headers: Mapping[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        request = requests.PreparedRequest()
        try:
            request.prepare_method(method)
            request.prepare_url(self._base_url + path, query)
            request.prepare_headers(headers)
            request.prepare_body(body, files=None)
        except (requests.RequestException, ValueError) as error:
            raise UpstreamUnreachable(self.upstream, f"no request can be formed: {type(error).__name__}") from None
        return request

    def _read(self, response: requests.Response, done_by: float) -> bytes:
        content = bytearray()
        # What has arrived, rather than 64 KiB however long they take.
        while chunk := response.raw.read1(65_536, decode_content=True):
            content += chunk
            if len(content) > self._max_answer_bytes:
                raise UpstreamGarbled(self.upstream, f"the answer exceeds {self._max_answer_bytes} bytes")
            if self._clock() > done_by:
                raise UpstreamUnknown(self.upstream, "the answer came in drop by drop")
        return bytes(content)

    def _drop_idle_connections(self) -> None:
        with self._idle_check:
            now = self._clock()
            if now - self._last_used > IDLE_SECONDS:
                self._session.close()
            self._last_used = now

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
        raise UpstreamUnavailable(upstream, f"status {status}")
    if status >= 500:
        raise UpstreamUnknown(upstream, f"status {status}")
    if status in (401, 403):
        raise UpstreamUnauthorized(upstream, f"status {status}")
    if status == 408:
        raise UpstreamUnknown(upstream, "status 408")
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
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    if isinstance(reason, SSLError) and reason.args:
        return isinstance(reason.args[0], ssl.SSLCertVerificationError)
    return isinstance(reason, NewConnectionError | ClosedPoolError)
