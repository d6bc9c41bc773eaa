"""An event about a member makes their wallet a new one, and never costs the event."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.wallets import key_of
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Invoked, post
from tests.integration.support.faulty_aws import DROPPED, FaultyAws
from trigger_relay.events import build as build_events
from trigger_relay.intake import build as build_intake

REDEMPTION = {"event name": "offer_redeemed", "customer identifier": "member-1", "offer id": "o-1"}
TARGET = {"braze_campaign_id": "campaign-1"}

BUILDS: dict[str, Callable[..., Invoked]] = {"POST /triggers": build_intake, "POST /events": build_events}

routes = pytest.mark.parametrize("route", [*BUILDS])


def send(aws: Aws, route: str, body: Any = REDEMPTION, **changed: str) -> Answered:
    settings = aws.settings(TRACKED_EVENTS="offer_redeemed", BROADCAST_ALLOWED_IDS="campaign-1", **changed)
    return post(BUILDS[route](settings), route, body | (TARGET if route == "POST /triggers" else {}))


def cached(aws: Aws, *user_ids: str) -> None:
    for user_id in user_ids:
        aws.dynamodb.put_item(TableName=aws.table("cache"), Item={"id": {"S": key_of(user_id)}})


def still_cached(aws: Aws, *user_ids: str) -> list[str]:
    kept = {item["id"] for item in aws.items("cache")}
    return [user_id for user_id in user_ids if key_of(user_id) in kept]


def queued(aws: Aws, route: str) -> int:
    return len(aws.queued("triggers" if route == "POST /triggers" else "tracks"))


@routes
def test_the_wallet_of_the_member_is_forgotten_and_no_other(
    aws: Aws, capsys: pytest.CaptureFixture[str], route: str
) -> None:
    cached(aws, "member-1", "member-2")

    assert send(aws, route).status == 202

    assert still_cached(aws, "member-1", "member-2") == ["member-2"]
    assert queued(aws, route) == 1
    assert '"WalletsEvicted":[1.0]' in capsys.readouterr().out


@routes
def test_every_member_of_several_gets_a_new_wallet(aws: Aws, route: str) -> None:
    members = [f"member-{number}" for number in range(30)]
    cached(aws, *members)

    assert send(aws, route, {"event name": "offer_redeemed", "recipients": [*members, "member-0"]}).status == 202
    assert still_cached(aws, *members) == []


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ({"user_alias": {"alias_name": "member-1", "alias_label": "sessionm"}}, {}),
        ({"customer identifier": "member-1"}, {"TRIGGER_CUSTOMER_IDENTIFIER": "alias:sessionm"}),
        ({"customer identifier": "member-1", "event name": "of no rule"}, {}),
    ],
)
def test_however_the_member_is_named_and_whether_or_not_a_rule_is_for_the_event(
    aws: Aws, body: dict[str, Any], changed: dict[str, str]
) -> None:
    cached(aws, "member-1")

    assert send(aws, "POST /events", {"event name": "offer_redeemed", **body}, **changed).status == 202
    assert still_cached(aws, "member-1") == []


def test_a_broadcast_that_a_members_event_started_makes_their_wallet_new(aws: Aws) -> None:
    cached(aws, "member-1")

    assert send(aws, "POST /triggers", REDEMPTION | {"broadcast": True}).status == 202
    assert still_cached(aws, "member-1") == []


@pytest.mark.parametrize("named", [{"email": "ada@example.com"}, {"braze_id": "b-1"}])
def test_a_member_whose_wallet_nobody_could_ask_for_costs_no_call(
    aws: Aws, faulty_aws: FaultyAws, named: dict[str, str]
) -> None:
    assert send(aws, "POST /events", {"event name": "offer_redeemed", **named}).status == 202
    assert "DeleteItem" not in faulty_aws.calls


def test_the_wallet_is_new_before_the_message_is_on_its_way(aws: Aws, faulty_aws: FaultyAws) -> None:
    assert send(aws, "POST /triggers").status == 202

    calls = [each for each in faulty_aws.calls if each in ("PutItem", "DeleteItem", "SendMessageBatch")]
    assert calls == ["PutItem", "DeleteItem", "SendMessageBatch", "SendMessageBatch"]


def test_a_repeat_of_what_is_done_changes_no_wallet(aws: Aws) -> None:
    trigger_id = send(aws, "POST /triggers").body["trigger_id"]
    aws.dynamodb.put_item(
        TableName=aws.table("ledger"),
        Item={"id": {"S": trigger_id}, "state": {"S": "sent"}, "entered_at": {"N": str(int(time.time()))}},
    )
    cached(aws, "member-1")

    assert send(aws, "POST /triggers").body["repeated"] is True
    assert still_cached(aws, "member-1") == ["member-1"]


@routes
@pytest.mark.parametrize("dropped", [True, False], ids=["broken off", "refused"])
def test_a_table_that_fails_costs_no_event_and_is_told(
    aws: Aws, faulty_aws: FaultyAws, capsys: pytest.CaptureFixture[str], route: str, dropped: bool
) -> None:
    if dropped:
        faulty_aws.answer("DeleteItem", lambda _: DROPPED)
    else:
        faulty_aws.refuse("DeleteItem")

    assert send(aws, route).status == 202

    said = capsys.readouterr().out
    assert queued(aws, route) == 1
    assert '"WalletsNotEvicted":[1.0]' in said
    assert ("EndpointConnectionError" if dropped else "AccessDeniedException") in said
    assert "member-1" not in said


@routes
def test_a_table_that_is_slow_holds_the_answer_up_for_a_moment_only(
    aws: Aws, faulty_aws: FaultyAws, capsys: pytest.CaptureFixture[str], route: str
) -> None:
    faulty_aws.answer("DeleteItem", lambda _: time.sleep(0.2))
    members = [f"member-{number}" for number in range(100)]

    assert send(aws, route, {"event name": "offer_redeemed", "recipients": members}).status == 202

    said = capsys.readouterr().out
    assert faulty_aws.calls.count("DeleteItem") < 50, "half a second of eight at a time"
    assert queued(aws, route) >= 1
    assert '"WalletsNotEvicted"' in said
    assert "deadline_exceeded" in said
