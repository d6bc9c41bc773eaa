"""Braze's two trigger endpoints."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from infra.local.simulators import BrazeSimulator, SteppedClock

U1 = {"external_user_id": "u1"}


def campaign(simulator: BrazeSimulator, **body: Any) -> requests.Response:
    return _post(simulator, "/campaigns/trigger/send", {"campaign_id": "camp", **body})


def canvas(simulator: BrazeSimulator, **body: Any) -> requests.Response:
    return _post(simulator, "/canvas/trigger/send", {"canvas_id": "canv", **body})


def _post(simulator: BrazeSimulator, path: str, body: Any) -> requests.Response:
    headers = {"Authorization": simulator.authorization}
    return requests.post(simulator.url + path, json=body, headers=headers, timeout=5)


def test_a_campaign_trigger_is_taken_on_and_sent_once_a_recipient(braze: BrazeSimulator, clock: SteppedClock) -> None:
    answer = campaign(
        braze,
        send_id="s1",
        trigger_properties={"offer": "coffee", "points": 5},
        recipients=[{**U1, "trigger_properties": {"points": 7}}, {"braze_id": "b2"}],
    )
    assert answer.status_code == 201
    assert answer.json().keys() == {"dispatch_id", "message"}
    assert answer.json()["message"] == "success"
    first, second = braze.sends
    assert (first.kind, first.target_id, first.send_id, first.at) == ("campaign", "camp", "s1", clock.now)
    assert (first.recipient_type, first.recipient) == ("external_user_id", "u1")
    assert first.properties == {"offer": "coffee", "points": 7}
    assert second.properties == {"offer": "coffee", "points": 5}
    assert first.dispatch_id == second.dispatch_id == answer.json()["dispatch_id"]


def test_a_canvas_trigger_takes_context(braze: BrazeSimulator) -> None:
    answer = canvas(braze, context={"a": 1, "b": 1}, recipients=[{**U1, "context": {"b": 2}}])
    assert answer.status_code == 201
    assert "notice" not in answer.json()
    assert (braze.sends[0].kind, braze.sends[0].properties) == ("canvas", {"a": 1, "b": 2})


@pytest.mark.parametrize("state", ["paused", "archived"])
def test_a_canvas_that_is_not_running_answers_success_with_a_notice_and_sends_nothing(
    braze: BrazeSimulator, state: Any
) -> None:
    braze.add_canvas("canv", state=state)
    answer = canvas(braze, recipients=[U1])
    assert (answer.status_code, answer.json()["message"]) == (201, "success")
    assert state in answer.json()["notice"]
    assert braze.sends == []


def test_every_call_has_a_dispatch_id_of_its_own_and_no_repeat_is_recognised(braze: BrazeSimulator) -> None:
    ids = {campaign(braze, recipients=[U1]).json()["dispatch_id"] for _ in range(3)}
    assert len(ids) == len(braze.sends) == 3


def test_of_a_recipient_named_twice_the_last_wins(braze: BrazeSimulator) -> None:
    twice = [{**U1, "trigger_properties": {"n": n}} for n in (1, 2)]
    assert campaign(braze, recipients=[*twice, {"external_user_id": "u2"}]).status_code == 201
    assert [(send.recipient, send.properties) for send in braze.sends] == [("u1", {"n": 2}), ("u2", {})]


def test_an_alias_and_an_email_address_a_recipient(braze: BrazeSimulator) -> None:
    alias = {"user_alias": {"alias_name": "card-1", "alias_label": "loyalty"}}
    email = {"email": "a@example.com", "prioritization": ["identified", "most_recently_updated"]}
    assert campaign(braze, recipients=[alias, email]).status_code == 201
    assert [(send.recipient_type, send.recipient) for send in braze.sends] == [
        ("user_alias", "loyalty:card-1"),
        ("email", "a@example.com"),
    ]


def test_a_broadcast_needs_no_recipients_and_is_one_send(braze: BrazeSimulator) -> None:
    assert campaign(braze, broadcast=True, trigger_properties={"a": 1}).status_code == 201
    assert [(send.recipient_type, send.properties) for send in braze.sends] == [("broadcast", {"a": 1})]


def test_fifty_recipients_pass_and_fifty_one_do_not(braze: BrazeSimulator) -> None:
    recipients = [{"external_user_id": f"u{n}"} for n in range(51)]
    assert campaign(braze, recipients=recipients[:50]).status_code == 201
    assert campaign(braze, recipients=recipients).status_code == 400
    assert len(braze.sends) == 50


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"recipients": []},
        {"recipients": "u1"},
        {"recipients": None},
        {"recipients": ["u1"]},
        {"recipients": [U1], "broadcast": True},
        {"recipients": [U1], "broadcast": "false"},
        {"broadcast": False},
        {"recipients": [U1], "campaign_id": None},
        {"recipients": [U1], "campaign_id": "unknown"},
        {"recipients": [U1], "send_id": 7},
        {"recipients": [U1], "audience": []},
        {"recipients": [U1], "trigger_properties": []},
        {"recipients": [U1], "segment_id": "s"},
        {"recipients": [U1], "context": {}},
        {"recipients": [U1], "anything": 1},
        {"recipients": [U1], "attachments": {}},
        {"recipients": [U1], "attachments": [{"url": "https://example.com/a.pdf"}]},
        {"recipients": [U1], "attachments": [{"file_name": "a", "url": "https://example.com/a", "size": 1}]},
        {"broadcast": True, "attachments": []},
        {"recipients": [{}]},
        {"recipients": [{**U1, "email": "a@example.com", "prioritization": ["identified"]}]},
        {"recipients": [{**U1, "context": {}}]},
        {"recipients": [{**U1, "note": ""}]},
        {"recipients": [{"external_user_id": ""}]},
        {"recipients": [{"external_user_id": 7}]},
        {"recipients": [{"user_alias": "card-1"}]},
        {"recipients": [{"user_alias": {"alias_name": "card-1"}}]},
        {"recipients": [{"user_alias": {"alias_name": "card-1", "alias_label": 1}}]},
        {"recipients": [{"email": "a@example.com"}]},
        {"recipients": [{"email": "a@example.com", "prioritization": "identified"}]},
        {"recipients": [{"email": "a@example.com", "prioritization": ["newest"]}]},
        {"recipients": [{**U1, "attributes": []}]},
        {"recipients": [{**U1, "send_to_existing_only": False}]},
        {"recipients": [{**U1, "send_to_existing_only": False, "attributes": {}}]},
        {"recipients": [{**U1, "send_to_existing_only": "no"}]},
        {
            "recipients": [
                {
                    "user_alias": {"alias_name": "a", "alias_label": "b"},
                    "send_to_existing_only": False,
                    "attributes": {"email": "a@example.com"},
                }
            ]
        },
    ],
)
def test_a_body_that_breaks_the_contract_is_a_400_and_sends_nothing(
    braze: BrazeSimulator, body: dict[str, Any]
) -> None:
    answer = campaign(braze, **body)
    assert answer.status_code == 400
    assert answer.json()["message"] not in ("", "success")
    assert braze.sends == []


@pytest.mark.parametrize(
    "field", ["trigger_properties", "canvas_entry_properties", "send_id", "attachments", "segment_id", "campaign_id"]
)
def test_a_canvas_refuses_what_only_campaigns_know(braze: BrazeSimulator, field: str) -> None:
    assert canvas(braze, recipients=[U1], **{field: {}}).status_code == 400


def test_a_body_that_is_no_object_is_a_400(braze: BrazeSimulator) -> None:
    assert _post(braze, "/campaigns/trigger/send", [1]).status_code == 400


def test_an_unknown_canvas_is_a_400(braze: BrazeSimulator) -> None:
    assert canvas(braze, canvas_id="unknown", recipients=[U1]).status_code == 400


def test_properties_may_weigh_50_kb_for_the_call_and_for_each_recipient(braze: BrazeSimulator) -> None:
    fits, too_big = ({"x": "y" * (50 * 1024 - overhead)} for overhead in (8, 7))
    assert campaign(braze, trigger_properties=fits, recipients=[{**U1, "trigger_properties": fits}]).ok
    assert campaign(braze, trigger_properties=too_big, recipients=[U1]).status_code == 400
    assert campaign(braze, recipients=[{**U1, "trigger_properties": too_big}]).status_code == 400
    assert canvas(braze, context=too_big, recipients=[U1]).status_code == 400


def test_minor_errors_are_listed_and_the_rest_is_sent(braze: BrazeSimulator) -> None:
    too_long = {"external_user_id": "x" * 988}
    odd = {**U1, "attributes": {"email_subscribe": ["perhaps"], "city": "Bonn"}}
    answer = campaign(braze, recipients=[too_long, odd])
    assert (answer.status_code, answer.json()["message"]) == (201, "success")
    assert answer.json()["errors"] == [
        {"type": "EXTERNAL_USER_ID_TOO_LARGE", "input_array": "recipients", "index": 0},
        {"type": "BAD_EMAIL_SUBSCRIPTION_STATE", "input_array": "recipients", "index": 1},
    ]
    assert [(send.recipient, send.attributes) for send in braze.sends] == [("u1", {"city": "Bonn"})]


def test_a_canvas_does_not_take_subscription_groups(braze: BrazeSimulator) -> None:
    recipient = {**U1, "attributes": {"subscription_groups": [{"subscription_group_id": "g"}]}}
    assert canvas(braze, recipients=[recipient]).json()["errors"][0]["type"] == "BAD_SUBSCRIPTION_GROUP"
    assert braze.sends[0].attributes == {}


def test_nothing_but_minor_errors_is_a_failure(braze: BrazeSimulator) -> None:
    answer = campaign(braze, recipients=[{"external_user_id": "x" * 988}])
    assert answer.status_code == 400
    assert answer.json()["message"] != "success"
    assert len(answer.json()["errors"]) == 1


def test_an_audience_is_broadcast_to_ten_times_a_minute(braze: BrazeSimulator, clock: SteppedClock) -> None:
    other = {"AND": [{"email_subscription_status": {"comparison": "is", "value": "opted_in"}}]}
    assert [campaign(braze, broadcast=True).status_code for _ in range(11)] == [201] * 10 + [429]
    assert campaign(braze, broadcast=True, audience=other).status_code == 201
    assert canvas(braze, broadcast=True).status_code == 201
    clock.advance(60)
    assert campaign(braze, broadcast=True).status_code == 201


def test_all_broadcasts_together_have_a_limit_of_their_own(clock: SteppedClock) -> None:
    simulator = BrazeSimulator(latency_scale=0, clock=clock, broadcasts_per_minute=2, requests_per_hour=1)
    simulator.add_campaign("camp")
    simulator.add_canvas("canv")
    with simulator:
        assert campaign(simulator, broadcast=True).status_code == 201
        assert canvas(simulator, broadcast=True).headers["X-RateLimit-Remaining"] == "0"
        refused = campaign(simulator, broadcast=True)
        assert refused.status_code == 429
        assert refused.headers["X-RateLimit-Limit"] == "2"
        assert refused.headers["X-RateLimit-Reset"] == str(int(clock.now) + 60)
        assert len(simulator.sends) == 2
        assert campaign(simulator, recipients=[U1]).status_code == 201


def test_where_users_must_be_known_strangers_are_skipped_or_created(clock: SteppedClock) -> None:
    simulator = BrazeSimulator(latency_scale=0, clock=clock, known_users_only=True)
    simulator.add_campaign("camp")
    simulator.add_user("u1", "a@example.com")
    with simulator:
        to_email = {"prioritization": ["identified"]}
        created = {"external_user_id": "u3", "send_to_existing_only": False, "attributes": {"city": "Bonn"}}
        answer = campaign(
            simulator,
            recipients=[
                U1,
                {"external_user_id": "u2"},
                created,
                {**to_email, "email": "a@example.com"},
                {**to_email, "email": "b@example.com"},
            ],
        )
        assert answer.json()["message"] == "success"
        assert [send.recipient for send in simulator.sends] == ["u1", "u3", "a@example.com"]
        campaign(simulator, recipients=[{"external_user_id": "u3"}])
        assert len(simulator.sends) == 4


def test_ids_made_up_differ(braze: BrazeSimulator) -> None:
    made = [braze.add_campaign().id, braze.add_canvas().id, braze.add_segment().id]
    assert len(set(made)) == 3
