"""HTTP answers that are the answer to their request, and nothing else that comes over a connection.

`http.client` passes over 100 alone. It takes 102 or 103 for the answer, keeps the connection, and the true answer is
then that of the next request: one member's wallet is another's. It waits for a head for as long as a byte comes in now
and then, and takes one that breaks off for a whole one.
"""

from __future__ import annotations

import math
import time
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import Any

# No server has more to say before its answer.
_MOST_INTERIM_ANSWERS = 10

_END_OF_HEAD = b"\r\n\r\n"


class FinalAnswer(HTTPResponse):
    """For `response_class` of an `http.client.HTTPConnection`.

    Interim answers are passed over (RFC 9110, 15.2). The head has to be there in the time that the socket has for one
    piece of it. A connection is not kept after an answer that something in between may have given in place of the
    server's, which may still come, nor after one that has no body and may be followed by one all the same.
    """

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._head_seconds: float | None = sock.gettimeout()

    def begin(self) -> None:
        whole: Any = self.fp
        ahead = whole.peek(1)
        if _END_OF_HEAD not in ahead or ahead[8:10] == b" 1":  # the end may be that of an interim answer
            self.fp = _InTime(whole, self._head_seconds)  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = whole
        if not (200 <= self.status < 300 or 400 <= self.status < 500) or self.status in (204, 408):
            self.will_close = True

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM_ANSWERS):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status >= 200:
                return version, status, reason
            if status == 101:
                raise HTTPException("the server speaks another protocol from here on")
            parse_headers(self.fp)
        raise HTTPException("one interim answer after the other")


class _InTime:
    """The lines of a head that comes in pieces."""

    def __init__(self, file: Any, seconds: float | None) -> None:
        self._file = file
        self._ends_at = math.inf if seconds is None else time.monotonic() + seconds
        self._has_begun = False

    def readline(self, limit: int) -> bytes:
        line = b""
        while not line.endswith(b"\n") and len(line) < limit:
            ahead = self._file.peek(1)
            if not ahead and not self._has_begun:
                break  # the server has closed the connection, which it may
            if not ahead:
                raise HTTPException("the head broke off")
            if time.monotonic() > self._ends_at:
                raise TimeoutError("the head came in drop by drop")
            line += self._file.read(min(ahead.find(b"\n") + 1 or len(ahead), limit - len(line)))
            self._has_begun = True
        return line

    def close(self) -> None:
        self._file.close()
