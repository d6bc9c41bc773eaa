"""Braze's messages/send and email templates."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from infra.local.simulators import BrazeSimulator, SteppedClock

MESSAGES = {"email": {"app_id": "app", "subject": "Hello", "from": "a <a@example.com>", "body": "<p>Hello</p>"}}
TO_ONE = {"external_user_ids": ["u1"], "messages": MESSAGES}
TEMPLATE = {"template_name": "Weekly", "subject": "News", "body": "<p>News</p>"}


def post(simulator: BrazeSimulator, path: str, body: Any) -> requests.Response:
    return requests.post(simulator.url + path, json=body, headers={"Authorization": simulator.authorization}, timeout=5)


def get(simulator: BrazeSimulator, path: str, **query: Any) -> requests.Response:
    return requests.get(
        simulator.url + path, params=query, headers={"Authorization": simulator.authorization}, timeout=5
    )


def send(simulator: BrazeSimulator, **body: Any) -> requests.Response:
    return post(simulator, "/messages/send", body)


def test_each_user_named_is_sent_to(braze: BrazeSimulator) -> None:
    aliases = [{"alias_name": "n", "alias_label": "l"}]
    answer = send(braze, **TO_ONE, user_aliases=aliases, campaign_id="camp", send_id="s1")
    assert answer.status_code == 201
    assert [(each.recipient_type, each.recipient, each.kind) for each in braze.sends] == [
        ("external_user_id", "u1", "message"),
        ("user_alias", "l:n", "message"),
    ]
    assert {each.dispatch_id for each in braze.sends} == {answer.json()["dispatch_id"]}


def test_a_segment_is_sent_to_once_and_counts_as_a_broadcast(braze: BrazeSimulator) -> None:
    braze.add_segment("seg")
    for _ in range(10):
        assert send(braze, broadcast=True, segment_id="seg", messages=MESSAGES).status_code == 201
    assert {(each.recipient_type, each.recipient) for each in braze.sends} == {("broadcast", "seg")}
    refused = send(braze, broadcast=True, segment_id="seg", messages=MESSAGES)
    assert (refused.status_code, refused.headers["x-ratelimit-limit"]) == (429, "10")
    assert send(braze, **TO_ONE).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        [],
        TO_ONE | {"recipients": []},
        TO_ONE | {"campaign_id": 1},
        TO_ONE | {"campaign_id": "nobody"},
        TO_ONE | {"segment_id": "nobody"},
        TO_ONE | {"broadcast": "true"},
        TO_ONE | {"broadcast": True},
        TO_ONE | {"recipient_subscription_state": "some"},
        TO_ONE | {"external_user_ids": "u1"},
        TO_ONE | {"user_aliases": ["u1"]},
        TO_ONE | {"external_user_ids": ["u1"] * 51},
        TO_ONE | {"audience": []},
        TO_ONE | {"messages": {}},
        TO_ONE | {"messages": {"pigeon": {}}},
        TO_ONE | {"messages": {"email": "Hello"}},
        {"messages": MESSAGES},
        {"audience": {"AND": []}, "messages": MESSAGES},
    ],
)
def test_a_message_that_breaks_the_contract_is_a_400(braze: BrazeSimulator, body: Any) -> None:
    assert post(braze, "/messages/send", body).status_code == 400
    assert braze.sends == []


def test_users_that_do_not_exist_are_skipped(clock: SteppedClock) -> None:
    with BrazeSimulator(latency_scale=0, clock=clock, known_users_only=True) as braze:
        assert send(braze, **TO_ONE).status_code == 201
        assert braze.sends == []


def test_messages_share_the_hours_limit(clock: SteppedClock) -> None:
    with BrazeSimulator(latency_scale=0, clock=clock, requests_per_hour=1) as braze:
        assert send(braze, **TO_ONE).status_code == 201
        assert send(braze, **TO_ONE).status_code == 429


def test_a_template_is_made_changed_and_read(braze: BrazeSimulator, clock: SteppedClock) -> None:
    created = post(braze, "/templates/email/create", TEMPLATE | {"tags": ["a"], "should_inline_css": True})
    template_id = created.json()["email_template_id"]
    clock.advance(60)
    changed = post(braze, "/templates/email/update", {"email_template_id": template_id, "subject": "Late news"})
    info = get(braze, "/templates/email/info", email_template_id=template_id).json()
    assert (created.status_code, changed.status_code) == (201, 200)
    assert (info["subject"], info["body"], info["tags"], info["preheader"]) == (
        "Late news",
        TEMPLATE["body"],
        ["a"],
        "",
    )
    assert info["updated_at"] > info["created_at"]


def test_templates_are_listed_by_limit_offset_and_time(braze: BrazeSimulator, clock: SteppedClock) -> None:
    for number in range(3):
        post(braze, "/templates/email/create", TEMPLATE | {"template_name": f"T{number}"})
        clock.advance(60)

    def names(**query: Any) -> list[str]:
        answer = get(braze, "/templates/email/list", **query).json()
        assert answer["count"] == len(answer["templates"])
        return [each["template_name"] for each in answer["templates"]]

    assert names() == ["T0", "T1", "T2"]
    assert names(limit=1, offset=1) == ["T1"]
    assert names(modified_after="2026-11-22T12:30:30Z", modified_before="2026-11-22T12:31:30Z") == ["T1"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "The request body must be an object"),
        ({}, "Template name is required"),
        (TEMPLATE | {"colour": "red"}, "Unknown field: colour"),
        (TEMPLATE | {"subject": 1}, "subject must be a string"),
        (TEMPLATE | {"body": "x" * 409_601}, "The body is larger than 400 KB"),
        (TEMPLATE | {"tags": "a"}, "Tags must be an array"),
        (TEMPLATE | {"tags": [1]}, "All tags must be strings"),
        (
            TEMPLATE | {"should_inline_css": "yes"},
            "Invalid value for should_inline_css. One of true or false was expected",
        ),
    ],
)
def test_a_template_that_is_wrong_is_a_400(braze: BrazeSimulator, body: Any, words: str) -> None:
    answer = post(braze, "/templates/email/create", body)
    assert (answer.status_code, answer.json()["message"]) == (400, words)


def test_a_template_nobody_made_cannot_be_had(braze: BrazeSimulator) -> None:
    known = post(braze, "/templates/email/create", TEMPLATE).json()["email_template_id"]
    assert post(braze, "/templates/email/update", {"email_template_id": known}).status_code == 400
    assert post(braze, "/templates/email/update", {"email_template_id": "x", "subject": "a"}).status_code == 400
    assert get(braze, "/templates/email/info").status_code == 400
    assert get(braze, "/templates/email/list", limit="0").status_code == 400
    assert get(braze, "/templates/email/list", offset="x").status_code == 400
