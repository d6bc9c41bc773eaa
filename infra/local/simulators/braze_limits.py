"""Braze's rate limits and the headers that tell about them.

Source: Braze's API limits page. One shared count of 250,000 requests an hour that starts anew with the clock hour;
calls that message a whole audience count apart, 250 a minute and 10 a minute for each audience. users/track takes 3,000
requests in 3 seconds, users/export/ids 250 a minute. Every answer carries
X-RateLimit-Limit, -Remaining and -Reset (UTC epoch seconds), in lower case on the wire. Braze documents no Retry-After.
"""

from __future__ import annotations

from infra.local.simulators.limits import Allowance, ClockWindow

HOUR_SECONDS = 3600
MINUTE_SECONDS = 60
TRACK_SECONDS = 3


class BrazeLimits:
    """The counters of one workspace.

    Limits are requests an hour, broadcasts a minute, requests to users/track in 3 seconds, exports by id a minute.
    """

    def __init__(
        self,
        per_hour: int,
        broadcasts_per_minute: int,
        broadcasts_per_minute_and_audience: int,
        tracks: int = 3000,
        exports_per_minute: int = 250,
    ) -> None:
        self._shared = ClockWindow(per_hour, HOUR_SECONDS)
        self._broadcasts = ClockWindow(broadcasts_per_minute, MINUTE_SECONDS)
        self._per_audience = broadcasts_per_minute_and_audience
        self._audiences: dict[str, ClockWindow] = {}
        self._own = {
            "/users/track": ClockWindow(tracks, TRACK_SECONDS),
            "/users/export/ids": ClockWindow(exports_per_minute, MINUTE_SECONDS),
        }

    def peek(self, now: float) -> Allowance:
        return self._shared.peek(now)

    def take(self, now: float) -> Allowance:
        """Count one ordinary request."""
        return self._shared.take(now)

    def take_for(self, path: str, now: float) -> Allowance:
        """Count one request to a path that may have a limit of its own."""
        return self._own.get(path, self._shared).take(now)

    def take_broadcast(self, audience: str, now: float) -> Allowance:
        """Count one broadcast to `audience` (any text that is the same for the same audience), unless it is refused."""
        own = self._audiences.setdefault(audience, ClockWindow(self._per_audience, MINUTE_SECONDS))
        for window in (self._broadcasts, own):
            if not window.peek(now).allowed:
                return window.peek(now)
        own.take(now)
        return self._broadcasts.take(now)

    def reset(self) -> None:
        self._shared.reset()
        self._broadcasts.reset()
        self._audiences.clear()
        for window in self._own.values():
            window.reset()


def rate_headers(allowance: Allowance) -> dict[str, str]:
    return {
        "x-ratelimit-limit": str(allowance.limit),
        "x-ratelimit-remaining": str(allowance.remaining),
        "x-ratelimit-reset": str(allowance.reset_at),
    }
