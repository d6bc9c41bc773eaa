"""SessionM Core: tags and profiles."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from infra.local.simulators import SessionmSimulator, SteppedClock, Tag


def core(
    simulator: SessionmSimulator, path: str, body: Any = None, *, method: str = "POST", key: str = "", auth: str = ""
) -> requests.Response:
    return requests.request(
        method,
        f"{simulator.url}/priv/v1/apps/{key or simulator.core_api_key}/{path}",
        json=body,
        headers={"Authorization": auth or simulator.core_authorization},
        timeout=5,
    )


def code_of(answer: requests.Response) -> str:
    assert answer.json()["status"] == "error"
    return str(answer.json()["errors"]["code"])


def test_a_tag_without_ttl_counts_every_call(sessionm: SessionmSimulator) -> None:
    for _ in range(3):
        assert core(sessionm, "users/u1/tags", {"tags": ["vip", "app"]}).json() == {"status": "ok"}
    assert sessionm.tags_of("u1") == {"vip": Tag(count=3), "app": Tag(count=3)}


def test_a_tag_with_ttl_is_refreshed_and_not_added_to(sessionm: SessionmSimulator, clock: SteppedClock) -> None:
    core(sessionm, "users/u1/tags", {"tags": ["promo"], "ttl": 100})
    clock.advance(60)
    core(sessionm, "users/u1/tags", {"tags": ["promo"], "ttl": 100})
    assert sessionm.tags_of("u1") == {"promo": Tag(expires_at=clock.now + 100)}


def test_an_expired_tag_is_gone_and_its_name_free(sessionm: SessionmSimulator, clock: SteppedClock) -> None:
    core(sessionm, "users/u1/tags", {"tags": ["promo"], "ttl": 100})
    clock.advance(100)
    assert sessionm.tags_of("u1") == {}
    core(sessionm, "users/u1/tags", {"tags": ["promo"]})
    assert sessionm.tags_of("u1") == {"promo": Tag(count=1)}


@pytest.mark.parametrize(("first", "second"), [({}, {"ttl": 60}), ({"ttl": 60}, {})])
def test_a_tag_never_has_both_a_count_and_a_ttl(
    sessionm: SessionmSimulator, first: dict[str, int], second: dict[str, int]
) -> None:
    core(sessionm, "users/u1/tags", {"tags": ["vip"], **first})
    before = sessionm.tags_of("u1")
    answer = core(sessionm, "users/u1/tags", {"tags": ["new", "vip"], **second})
    assert (answer.status_code, code_of(answer)) == (200, "validation")
    assert "vip" in answer.json()["errors"]["message"]
    assert sessionm.tags_of("u1") == before


def test_a_name_repeated_inside_one_call_counts_once(sessionm: SessionmSimulator) -> None:
    core(sessionm, "users/u1/tags", {"tags": ["vip", "vip"]})
    assert sessionm.tags_of("u1") == {"vip": Tag(count=1)}


def test_a_member_is_found_by_external_id_with_its_slash_encoded(sessionm: SessionmSimulator) -> None:
    assert core(sessionm, "external/users/card%2F1/tags", {"tags": ["vip"]}).status_code == 200
    assert sessionm.tags_of("u1")["vip"].count == 1
    assert core(sessionm, "external/users/card/1/tags", {"tags": ["vip"]}).status_code == 404


def test_an_encoded_id_reaches_its_member(sessionm: SessionmSimulator) -> None:
    sessionm.add_member("mem/ber 7?ü")
    assert core(sessionm, "users/mem%2Fber%207%3F%C3%BC/tags", {"tags": ["vip"]}).status_code == 200
    assert sessionm.tags_of("mem/ber 7?ü")["vip"].count == 1


@pytest.mark.parametrize("path", ["users/nobody/tags", "external/users/nobody/tags"])
def test_an_unknown_member_is_a_404(sessionm: SessionmSimulator, path: str) -> None:
    answer = core(sessionm, path, {"tags": ["vip"]})
    assert answer.status_code == 404
    assert answer.json() == {"status": "error", "errors": {"code": "user_not_found"}}


@pytest.mark.parametrize("auth", ["Basic bm90OnJpZ2h0", "Bearer local-core-key", "local-core-key"])
def test_a_wrong_credential_is_a_401(sessionm: SessionmSimulator, auth: str) -> None:
    answer = core(sessionm, "users/u1/tags", {"tags": ["vip"]}, auth=auth)
    assert (answer.status_code, code_of(answer)) == (401, "invalid_api_key")
    assert sessionm.tags_of("u1") == {}


def test_no_credential_is_a_401(sessionm: SessionmSimulator) -> None:
    url = f"{sessionm.url}/priv/v1/apps/{sessionm.core_api_key}/users/u1/tags"
    assert requests.post(url, json={"tags": ["vip"]}, timeout=5).status_code == 401


def test_connects_credential_does_not_open_core(sessionm: SessionmSimulator) -> None:
    assert core(sessionm, "users/u1", method="GET", auth=sessionm.connect_authorization).status_code == 401


def test_the_key_in_the_path_must_be_the_key_of_the_credential(sessionm: SessionmSimulator) -> None:
    answer = core(sessionm, "users/u1/tags", {"tags": ["vip"]}, key="another-app")
    assert (answer.status_code, code_of(answer)) == (401, "invalid_api_key")


def test_after_a_rotation_only_the_new_credential_opens(sessionm: SessionmSimulator) -> None:
    old = sessionm.core_authorization
    sessionm.rotate_credentials(core_api_secret="fresh")
    assert core(sessionm, "users/u1", method="GET", auth=old).status_code == 401
    assert core(sessionm, "users/u1", method="GET").status_code == 200


@pytest.mark.parametrize("body", [{}, {"tags": []}, {"tags": None}, {"ttl": 60}])
def test_no_tags_is_missing_data(sessionm: SessionmSimulator, body: dict[str, Any]) -> None:
    answer = core(sessionm, "users/u1/tags", body)
    assert (answer.status_code, code_of(answer)) == (200, "missing_data")


@pytest.mark.parametrize(
    "body",
    [
        ["vip"],
        {"tags": "vip"},
        {"tags": [7]},
        {"tags": ["vip", ""]},
        {"tags": ["vip"], "ttl": 0},
        {"tags": ["vip"], "ttl": -5},
        {"tags": ["vip"], "ttl": 1.5},
        {"tags": ["vip"], "ttl": "60"},
        {"tags": ["vip"], "ttl": True},
        {"tags": ["vip"], "ttl": None},
    ],
)
def test_wrong_types_are_refused_and_change_nothing(sessionm: SessionmSimulator, body: Any) -> None:
    answer = core(sessionm, "users/u1/tags", body)
    assert (answer.status_code, code_of(answer)) == (200, "validation")
    assert sessionm.tags_of("u1") == {}


@pytest.mark.parametrize(("data", "content_type"), [("{", "application/json"), ('{"tags":["vip"]}', "text/plain")])
def test_a_body_that_is_not_sent_as_json_is_refused(sessionm: SessionmSimulator, data: str, content_type: str) -> None:
    answer = requests.post(
        f"{sessionm.url}/priv/v1/apps/{sessionm.core_api_key}/users/u1/tags",
        data=data,
        headers={"Authorization": sessionm.core_authorization, "Content-Type": content_type},
        timeout=5,
    )
    assert code_of(answer) == "argument_error"


def test_tags_can_be_listed(sessionm: SessionmSimulator) -> None:
    core(sessionm, "users/u1/tags", {"tags": ["vip"]})
    core(sessionm, "users/u1/tags", {"tags": ["promo"], "ttl": 30})
    for path in ("users/u1/tags", "external/users/card%2F1/tags"):
        assert core(sessionm, path, method="GET").json() == {
            "status": "ok",
            "tags": [{"name": "promo", "expires_at": "2026-11-22T12:30:30Z"}, {"name": "vip", "count": 1}],
        }


def test_a_profile_shows_ids_and_points(sessionm: SessionmSimulator) -> None:
    for path in ("users/u1", "external/users/card%2F1"):
        user = core(sessionm, path, method="GET").json()["user"]
        assert (user["id"], user["external_id"], user["available_points"]) == ("u1", "card/1", 120)


def test_an_unknown_route_is_a_404(sessionm: SessionmSimulator) -> None:
    assert core(sessionm, "users/u1/tags/", {"tags": ["vip"]}).status_code == 404
    assert core(sessionm, "users/u1/tags", method="DELETE").status_code == 404


def test_more_than_the_limit_in_a_second_is_a_429_with_retry_after(clock: SteppedClock) -> None:
    simulator = SessionmSimulator(latency_scale=0, clock=clock, rate_limit_per_second=2)
    simulator.add_member("u1")
    with simulator:
        answers = [core(simulator, "users/u1/tags", {"tags": ["vip"]}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].headers["Retry-After"] == "1"
        clock.advance(1)
        assert core(simulator, "users/u1/tags", {"tags": ["vip"]}).status_code == 200
        assert simulator.tags_of("u1")["vip"].count == 3


def test_a_replaced_member_is_no_longer_found_by_the_former_external_id(sessionm: SessionmSimulator) -> None:
    sessionm.add_member("u1", "card/2")
    assert core(sessionm, "external/users/card%2F1", method="GET").status_code == 404
    assert core(sessionm, "external/users/card%2F2", method="GET").status_code == 200
