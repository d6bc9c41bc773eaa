"""Finding the handler for a call, and how long the vendor usually takes over it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from infra.local.simulators.messages import Call, Reply

Handler = Callable[[Call, Mapping[str, str]], Reply]

# Real services scatter around their usual time; a tenth either way keeps the mean where it was measured.
JITTER_SHARE = 0.1


@dataclass(frozen=True)
class Route:
    """A method and a path template such as `/users/{user_id}/tags`; `{name}` takes one decoded, non-empty segment."""

    method: str
    template: str
    handler: Handler
    latency_seconds: float
    permission: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.template.removeprefix("/").split("/"))


class Router:
    """A table of routes."""

    def __init__(self, routes: list[Route]) -> None:
        self._by_size: dict[tuple[str, int], list[tuple[Route, tuple[str, ...]]]] = {}
        for route in routes:
            self._by_size.setdefault((route.method, len(route.parts)), []).append((route, route.parts))

    def find(self, call: Call) -> tuple[Route, dict[str, str]] | None:
        """The route for a call and the values of its `{names}`, or None."""
        segments = call.segments
        for route, parts in self._by_size.get((call.method, len(segments)), ()):
            params: dict[str, str] = {}
            for part, segment in zip(parts, segments, strict=True):
                if part.startswith("{") and segment:
                    params[part[1:-1]] = segment
                elif part != segment:
                    break
            else:
                return route, params
        return None


class Latency:
    """How long an answer takes: the route's usual time, scattered a little, times `scale` (0: no wait at all)."""

    def __init__(self, scale: float, seed: int) -> None:
        self.scale = scale
        self._rng = random.Random(seed)
        self._overrides: dict[str, float] = {}
        self._lock = threading.Lock()

    def override(self, pattern: str, seconds: float) -> None:
        """From now on, requests matching this pattern (as for faults) usually take `seconds`; the latest one wins."""
        with self._lock:
            self._overrides.pop(pattern, None)
            self._overrides[pattern] = seconds

    def draw(self, route: str, usual_seconds: float) -> float:
        """Seconds to wait before the answer to this request."""
        if self.scale <= 0:
            return 0.0
        with self._lock:
            for pattern in reversed(self._overrides):
                if fnmatchcase(route, pattern):
                    usual_seconds = self._overrides[pattern]
                    break
            return usual_seconds * self.scale * self._rng.uniform(1 - JITTER_SHARE, 1 + JITTER_SHARE)
