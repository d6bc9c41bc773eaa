"""The control routes for the person at the terminal."""

from __future__ import annotations

import pytest
import requests

from infra.local.simulators import BrazeSimulator, SessionmSimulator, Status


def tag(simulator: SessionmSimulator) -> requests.Response:
    return requests.post(
        f"{simulator.url}/priv/v1/apps/{simulator.core_api_key}/users/u1/tags",
        json={"tags": ["vip"]},
        headers={"Authorization": simulator.core_authorization},
        timeout=5,
    )


def test_faults_set_over_http_act_are_listed_and_go_away(sessionm: SessionmSimulator) -> None:
    faults = f"{sessionm.url}/_control/faults"
    rule = {"route": "POST */tags", "kind": "status", "code": 503, "times": 2}
    put = requests.put(faults, json=[rule], timeout=5)
    assert put.status_code == 200
    assert tag(sessionm).status_code == 503
    (listed,) = requests.get(faults, timeout=5).json()
    assert listed.items() >= {**rule, "times": 1, "share": 1.0}.items()
    assert requests.delete(faults, timeout=5).status_code == 204
    assert requests.get(faults, timeout=5).json() == []
    assert tag(sessionm).status_code == 200


@pytest.mark.parametrize("body", ["{", "{}", '[{"route":"POST /x","kind":"smoke"}]'])
def test_faults_that_cannot_be_read_leave_the_old_ones_in_force(sessionm: SessionmSimulator, body: str) -> None:
    sessionm.faults.add("POST *", Status(500))
    answer = requests.put(f"{sessionm.url}/_control/faults", data=body, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert tag(sessionm).status_code == 500


def test_no_fault_hits_a_control_route(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("* *", Status(500))
    assert requests.get(f"{sessionm.url}/_control/state", timeout=5).status_code == 200


def test_state_shows_members_and_deleting_it_forgets_tags_but_not_members(sessionm: SessionmSimulator) -> None:
    state = f"{sessionm.url}/_control/state"
    sessionm.add_offer("u1", name="Free coffee")
    tag(sessionm)
    (member,) = requests.get(state, timeout=5).json()["members"]
    assert (member["user_id"], member["external_id"]) == ("u1", "card/1")
    assert member["tags"] == [{"name": "vip", "count": 1}]
    assert member["offers"][0]["name"] == "Free coffee"
    assert requests.delete(state, timeout=5).status_code == 204
    (member,) = requests.get(state, timeout=5).json()["members"]
    assert member["tags"] == []
    assert len(member["offers"]) == 1
    assert sessionm.requests() == []


def test_state_shows_sends_and_deleting_it_forgets_them_but_not_campaigns(braze: BrazeSimulator) -> None:
    state = f"{braze.url}/_control/state"
    braze.add_segment("seg")
    braze.add_user("u1")
    trigger = {"campaign_id": "camp", "recipients": [{"external_user_id": "u1"}]}
    headers = {"Authorization": braze.authorization}
    requests.post(f"{braze.url}/campaigns/trigger/send", json=trigger, headers=headers, timeout=5)
    shown = requests.get(state, timeout=5).json()
    assert [send["recipient"] for send in shown["sends"]] == ["u1"]
    assert requests.delete(state, timeout=5).status_code == 204
    shown = requests.get(state, timeout=5).json()
    assert shown["sends"] == []
    assert [len(shown[kind]) for kind in ("campaigns", "canvases", "segments", "users")] == [1, 1, 1, 1]


def test_requests_are_listed_without_the_credential(sessionm: SessionmSimulator) -> None:
    tag(sessionm)
    tag(sessionm)
    listed = requests.get(f"{sessionm.url}/_control/requests", timeout=5)
    assert sessionm.core_authorization not in listed.text
    assert [(seen["status"], seen["body"]) for seen in listed.json()] == [(200, '{"tags": ["vip"]}')] * 2
    assert len(requests.get(f"{sessionm.url}/_control/requests?limit=1", timeout=5).json()) == 1


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_is_no_count_is_refused(sessionm: SessionmSimulator, limit: str) -> None:
    assert requests.get(f"{sessionm.url}/_control/requests?limit={limit}", timeout=5).status_code == 400


def test_control_knows_no_other_routes(sessionm: SessionmSimulator) -> None:
    assert requests.get(f"{sessionm.url}/_control/secrets", timeout=5).status_code == 404
    assert requests.post(f"{sessionm.url}/_control/faults", timeout=5).status_code == 404
