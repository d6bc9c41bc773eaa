"""What holds for every Braze endpoint: key, scopes, path, media type, size, limit headers."""

from __future__ import annotations

import json

import pytest
import requests

from infra.local.simulators import BrazeSimulator, Status, SteppedClock

HOUR_END = 1_795_352_400  # 13:00 UTC
SEND = "/campaigns/trigger/send"
TRIGGER = {"campaign_id": "camp", "recipients": [{"external_user_id": "u1"}]}


def get(simulator: BrazeSimulator, path: str = "/segments/list", auth: str | None = None) -> requests.Response:
    headers = {"Authorization": simulator.authorization if auth is None else auth}
    return requests.get(simulator.url + path, headers=headers, timeout=5)


def post(
    simulator: BrazeSimulator, data: str | bytes, content_type: str | None = "application/json"
) -> requests.Response:
    headers = {"Authorization": simulator.authorization}
    if content_type is not None:
        headers["Content-Type"] = content_type
    return requests.post(simulator.url + SEND, data=data, headers=headers, timeout=5)


@pytest.mark.parametrize("auth", ["", "local-braze-key", 'Bearer "local-braze-key"', "Bearer another", "Basic eDp5"])
def test_anything_but_the_bearer_key_is_a_401(braze: BrazeSimulator, auth: str) -> None:
    answer = get(braze, auth=auth)
    assert answer.status_code == 401
    assert answer.json()["message"]


def test_after_a_rotation_only_the_new_key_opens(braze: BrazeSimulator) -> None:
    old = braze.authorization
    braze.rotate_credentials(api_key="fresh")
    assert get(braze, auth=old).status_code == 401
    assert get(braze).status_code == 200


def test_a_key_without_the_permission_is_a_403(braze: BrazeSimulator) -> None:
    braze.set_permissions({"segments.list"})
    assert get(braze).status_code == 200
    assert get(braze, "/segments/details?segment_id=s").status_code == 403
    assert post(braze, json.dumps(TRIGGER)).status_code == 403
    assert braze.sends == []


def test_a_trailing_slash_is_a_403(braze: BrazeSimulator) -> None:
    assert get(braze, "/segments/list/").status_code == 403


def test_a_fault_can_bring_limit_headers_of_its_own(braze: BrazeSimulator) -> None:
    braze.faults.add("GET *", Status(503, headers={"X-RateLimit-Reset": "42"}))
    assert get(braze).headers["X-RateLimit-Reset"] == "42"


@pytest.mark.parametrize("path", ["/segments/lists", "/", "/campaigns/trigger/send"])
def test_an_unknown_path_or_a_wrong_method_is_a_404(braze: BrazeSimulator, path: str) -> None:
    assert get(braze, path).status_code == 404


def test_a_post_without_content_type_is_a_415(braze: BrazeSimulator) -> None:
    assert post(braze, json.dumps(TRIGGER).encode(), content_type=None).status_code == 415


def test_more_than_4_mb_is_a_413(braze: BrazeSimulator) -> None:
    assert post(braze, b" " * (4 * 1024 * 1024 + 1)).status_code == 413
    assert post(braze, json.dumps(TRIGGER).encode().ljust(4 * 1024 * 1024)).status_code == 201


def test_bad_json_is_a_400_in_brazes_words(braze: BrazeSimulator) -> None:
    answer = post(braze, '{"campaign_id": "camp",}')
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Error while parsing request body")


def test_every_answer_tells_the_shared_hourly_limit(braze: BrazeSimulator) -> None:
    braze.faults.add("GET /segments/list", Status(503), times=1)
    answers = [get(braze), get(braze), get(braze, auth=""), get(braze, "/no")]
    assert [answer.status_code for answer in answers] == [503, 200, 401, 404]
    for answer in answers:
        assert answer.headers["X-RateLimit-Limit"] == "250000"
        assert answer.headers["X-RateLimit-Reset"] == str(HOUR_END)
    assert answers[1].headers["X-RateLimit-Remaining"] == "249999"


def test_the_limit_is_shared_by_all_endpoints_and_starts_anew_with_the_hour(clock: SteppedClock) -> None:
    simulator = BrazeSimulator(latency_scale=0, clock=clock, requests_per_hour=2)
    simulator.add_campaign("camp")
    with simulator:
        assert get(simulator).headers["X-RateLimit-Remaining"] == "1"
        assert post(simulator, json.dumps(TRIGGER)).status_code == 201
        refused = post(simulator, json.dumps(TRIGGER))
        assert refused.status_code == 429
        assert refused.headers["X-RateLimit-Remaining"] == "0"
        assert refused.headers["X-RateLimit-Reset"] == str(HOUR_END)
        assert "Retry-After" not in refused.headers
        assert get(simulator).status_code == 429
        assert len(simulator.sends) == 1
        clock.now = HOUR_END
        assert get(simulator).headers["X-RateLimit-Remaining"] == "1"
