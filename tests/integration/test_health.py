"""GET /health."""

from __future__ import annotations

from health.endpoint import handle
from tests.integration.support.events import get


def test_health_answers_that_the_api_reaches_a_function() -> None:
    answered = get(handle, "GET /health")

    assert (answered.status, answered.body) == (200, {"ok": True})


def test_a_route_nobody_serves_is_404_with_advice() -> None:
    answered = get(handle, "GET /other")

    assert answered.status == 404
    assert answered.body == {
        "ok": False,
        "code": "not_found",
        "field": "path",
        "message": "there is no such route",
        "hint": "See the API description for the routes.",
    }
