"""What Braze does with a Connected Content request: its time, its size, its cache, and what it lets a template see.

Source: Braze's pages on making an API call, on caching responses and on local variables. Assumed, where they do not
say: a failure that :retry repeats is a time-out, no connection, 408, 429 or any 5xx; a 404 and the other 4xx are not.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from infra.liquid.call import Call

TIMEOUT_SECONDS = 2.0
MAX_BYTES = 1_048_576
_PORTS = (None, 80, 443)
_SENDER = {"User-Agent": "Braze Sender 0000000", "X-Braze-Sender-Version": "0", "Accept-Encoding": "gzip"}
_REPEATED_STATUSES = (408, 429)
_SHOWN_BYTES = 400


class NoCredential(Exception):
    """A tag names a stored credential that is not there; Braze aborts the message."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a call. `content` is what the variable holds; None after a failure, which `failure` names.

    `refusal` is how the answer begins that the status says is none; Braze shows it to nobody.
    """

    call: Call
    status: int | None
    content: Any = None
    failure: str = ""
    refusal: str = ""
    seconds: float = 0.0
    from_cache: bool = False
    may_pass: bool = False


@dataclass
class Fetcher:
    """Braze's side of Connected Content.

    `hosts`: where a host of a template is on this machine, as in {"CONTENT_HOST": "http://127.0.0.1:8801"}; another
    host is not called. `credentials`: name and key by the name of the stored credential. `cache_by_url_alone`: the
    older rule, by which the body is no part of what an answer is remembered for. `clock` gives epoch seconds.
    """

    hosts: Mapping[str, str]
    credentials: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    cache_by_url_alone: bool = False
    clock: Callable[[], float] = time.time
    _cache: dict[tuple[str, ...], tuple[float, Fetched]] = field(default_factory=dict)
    _pool: PoolManager = field(default_factory=PoolManager)

    def fetch(self, call: Call) -> Fetched:
        """Raises `NoCredential`."""
        key = (call.url,) if self.cache_by_url_alone else (call.url, call.headers["Content-Type"], call.body)
        if call.cache_seconds and (kept := self._cache.get(key)) and kept[0] > self.clock():
            return Fetched(call, kept[1].status, kept[1].content, from_cache=True)
        fetched = self._ask(call)
        if call.cache_seconds and not fetched.failure:
            self._cache[key] = (self.clock() + call.cache_seconds, fetched)
        return fetched

    def _ask(self, call: Call) -> Fetched:
        headers = {**_SENDER, **call.headers}
        if call.credential:
            if call.credential not in self.credentials:
                raise NoCredential(call.credential)
            pair = ":".join(self.credentials[call.credential])
            headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        try:
            split = urlsplit(call.url)
            port = split.port
        except ValueError:
            return Fetched(call, None, failure="the URL is malformed")
        base = self.hosts.get(split.hostname or "") or self.hosts.get(split.netloc)
        if split.scheme not in ("http", "https") or port not in _PORTS:
            return Fetched(call, None, failure="Braze calls http and https on ports 80 and 443 only")
        if base is None:
            return Fetched(call, None, failure=f"{split.netloc} is not on this machine")
        started = time.monotonic()
        target = base + split.path + (f"?{split.query}" if split.query else "")
        try:
            status, body = self._answer(call, target, headers, started + TIMEOUT_SECONDS)
        except (HTTPError, OSError) as error:
            failure, took = type(error).__name__, time.monotonic() - started
            return Fetched(call, None, failure=f"no answer within 2 s: {failure}", seconds=took, may_pass=True)
        except ValueError as error:
            return Fetched(call, None, failure=f"it cannot be sent over HTTP: {error}")
        took = time.monotonic() - started
        if not 200 <= status < 300:
            may_pass = status >= 500 or status in _REPEATED_STATUSES
            refusal = body[:_SHOWN_BYTES].decode("utf-8", "replace")
            return Fetched(call, status, None, f"status {status}", refusal, took, may_pass=may_pass)
        if len(body) > MAX_BYTES:
            return Fetched(call, status, failure="more than 1 MB", seconds=took)
        return Fetched(call, status, _content(body, status), seconds=took)

    def _answer(self, call: Call, target: str, headers: Mapping[str, str], until: float) -> tuple[int, bytes]:
        response = self._pool.request(
            call.method,
            target,
            body=call.body.encode() or None,
            headers=headers,
            timeout=Timeout(total=TIMEOUT_SECONDS),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            body = b""
            while len(body) <= MAX_BYTES and (chunk := response.read1(65_536, decode_content=True)):
                body += chunk
                if time.monotonic() > until:
                    raise TimeoutError
            return response.status, body
        finally:
            response.close()


def _content(body: bytes, status: int) -> Any:
    """JSON is parsed, whatever its type says, and only an object gets the status; anything else is text."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
    return {**content, "__http_status_code__": status} if isinstance(content, dict) else content
