"""Which route a request takes."""

from __future__ import annotations

import pytest

from infra.local.routes import Router
from infra.local.views import Route

ROUTES = [
    Route("GET", "/segments/{segment_id}/size", "f", None),
    Route("GET", "/segments/data_series", "f", None),
    Route("GET", "/segments/{segment_id}", "f", None),
    Route("POST", "/priv/v1/apps/{app_key}/external/users/{external_id}/tags", "f", None),
    Route("ANY", "/files/{path+}", "f", None),
    Route("GET", "/files/known", "f", None),
]


@pytest.fixture
def router() -> Router:
    return Router(ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "expected", "parameters"),
    [
        ("GET", "/segments/abc/size", "/segments/{segment_id}/size", {"segment_id": "abc"}),
        ("GET", "/segments/data_series", "/segments/data_series", {}),
        ("GET", "/segments/other", "/segments/{segment_id}", {"segment_id": "other"}),
        (
            "POST",
            "/priv/v1/apps/k/external/users/a%2Fb%20c%3F/tags",
            "/priv/v1/apps/{app_key}/external/users/{external_id}/tags",
            {"app_key": "k", "external_id": "a/b c?"},
        ),
        ("PUT", "/files/a/b", "/files/{path+}", {"path": "a/b"}),
        ("GET", "/files/known", "/files/known", {}),
        ("GET", "/segments/data%5Fseries", "/segments/data_series", {}),
    ],
)
def test_the_most_exact_route_wins_and_its_parameters_are_decoded(
    router: Router, method: str, path: str, expected: str, parameters: dict[str, str]
) -> None:
    match = router.match(method, path)
    assert match is not None
    assert match.route.path == expected
    assert match.path_parameters == parameters


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/segments/abc/size"),
        ("GET", "/segments//size"),
        ("GET", "/segments/abc/size/"),
        ("GET", "/segments"),
        ("GET", "/files/"),
        ("GET", "/"),
        ("GET", "/segments/a/b/size"),
    ],
)
def test_what_fits_no_route_is_found_by_none(router: Router, method: str, path: str) -> None:
    assert router.match(method, path) is None
