"""Which route of an HTTP API a request takes.

API Gateway, "Create routes for HTTP APIs": a full match wins over a route with a greedy variable (``{name+}``), and a
literal segment over a variable one. Matching is on the path's segments as sent, each decoded afterwards, so ``%2F``
inside a segment does not split it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from infra.local.views import Route


@dataclass(frozen=True)
class Match:
    """The route taken and its path parameters, decoded."""

    route: Route
    path_parameters: dict[str, str]


class Router:
    """Finds routes of one API."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = sorted(routes, key=_specificity)

    def match(self, method: str, raw_path: str) -> Match | None:
        """The route for `method` and `raw_path` (still percent-encoded), or None."""
        for route in self._routes:
            if route.method in (method, "ANY"):
                parameters = _fit(route.path, raw_path)
                if parameters is not None:
                    return Match(route, parameters)
        return None


def _specificity(route: Route) -> tuple[object, ...]:
    segments = route.path.split("/")
    kinds = tuple(2 if segment.endswith("+}") else 1 if segment.startswith("{") else 0 for segment in segments)
    return kinds, route.method == "ANY"


def _fit(template: str, raw_path: str) -> dict[str, str] | None:
    wanted, given = template.split("/"), raw_path.split("/")
    parameters: dict[str, str] = {}
    for index, segment in enumerate(wanted):
        if segment.endswith("+}"):
            rest = "/".join(given[index:])
            return parameters | {segment[1:-2]: unquote(rest)} if rest else None
        if index >= len(given):
            return None
        value = unquote(given[index])
        if segment.startswith("{"):
            if not value:
                return None
            parameters[segment[1:-1]] = value
        elif segment != value:
            return None
    return parameters if len(wanted) == len(given) else None
