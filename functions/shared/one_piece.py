"""HTTP requests that leave in one piece."""

from __future__ import annotations

from typing import Any


class InOnePiece:
    """Before `http.client.HTTPConnection` or one of its kind: sends head and body of a request together.

    That is one call of the system and one packet, where there would be two.
    """

    _pieces: list[bytes] | None = None

    def request(self, *args: Any, **options: Any) -> None:
        self._pieces = []
        try:
            super().request(*args, **options)  # type: ignore[misc]
        finally:
            pieces, self._pieces = self._pieces, None
        self.send(b"".join(pieces))

    def send(self, data: Any) -> None:
        if self._pieces is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._pieces.append(data)
