"""HTTP to a vendor: one pooled session, explicit time-outs, failures typed by whether the vendor may have acted."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ClosedPoolError, MaxRetryError, NewConnectionError, SSLError

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

# Reset headers hold either the seconds to wait or the epoch second to wait for (facts about Braze's rate limits: both
# occur). No vendor asks anybody to wait for years, so a large number is a moment.
_EPOCH_FROM = 1_000_000_000

# The vendor's own word that it failed. Any other 5xx, such as 502 or 504, comes from something in front of the vendor,
# which may have passed the request on before it gave up.
_DID_NOTHING = frozenset({500, 503})

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

    Raises `UpstreamUnreachable` when nothing was sent and `UpstreamUnknown` when it was but no whole answer came.
    """

    def __init__(
        self,
        upstream: str,
        base_url: str,
        session: requests.Session,
        *,
        max_answer_bytes: int = 10_485_760,
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
        headers = {"Authorization": authorization, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        try:
            with self._session.request(
                method,
                self._base_url + path,
                params=query,
                data=body,
                headers=headers,
                timeout=timeouts,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = self._read(response)
                answer_headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, answer_headers, content)
        except requests.RequestException as error:
            raise self._failure(error) from None

    def _read(self, response: requests.Response) -> bytes:
        content = bytearray()
        for chunk in response.iter_content(65_536):
            content += chunk
            if len(content) > self._max_answer_bytes:
                raise UpstreamGarbled(self.upstream, f"the answer exceeds {self._max_answer_bytes} bytes")
        return bytes(content)

    def _drop_idle_connections(self) -> None:
        with self._idle_check:
            now = self._clock()
            if now - self._last_used > IDLE_SECONDS:
                self._session.close()
            self._last_used = now

    def _failure(self, error: requests.RequestException) -> UpstreamError:
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
    if status in _DID_NOTHING:
        raise UpstreamUnavailable(upstream, f"status {status}")
    if status >= 500:
        raise UpstreamUnknown(upstream, f"status {status}")
    if status in (401, 403):
        raise UpstreamUnauthorized(upstream, f"status {status}")
    if status == 408:
        raise UpstreamUnknown(upstream, "status 408")
    if status < 400:
        raise UpstreamGarbled(upstream, f"status {status}; redirects are not followed")
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
        except ValueError:
            return None
    if not math.isfinite(value):
        return None
    return value - now if value >= _EPOCH_FROM else value


def _nothing_was_sent(error: requests.RequestException) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout | ValueError):  # ValueError: a URL or header we cannot form
        return True
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    if isinstance(reason, SSLError) and reason.args:
        return isinstance(reason.args[0], ssl.SSLCertVerificationError)
    return isinstance(reason, NewConnectionError | ClosedPoolError)
