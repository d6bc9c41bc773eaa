"""What the rules make of a SessionM event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.errors import ConfigurationError
from shared.observability import metrics
from trigger_relay.track import Track, track_of
from trigger_relay.track_rules import PACKAGED, Rule, Rules
from trigger_relay.triggers import Recipient

ACCEPTED_AT = 1_795_350_600.0
ACCEPTED = "2026-11-22T12:30:00+00:00"
EVERY_RULE = ("offer_issued", "offer_redeemed", "offer_expiring", "points_awarded", "tier_changed")
MEMBER = Recipient({"external_user_id": "member-1"})
KNOWN = {"external_id": "member-1", "_update_existing_only": True}


def tracked(fields: dict[str, Any], rules: Rules | None = None, recipient: Recipient = MEMBER) -> Track | None:
    return track_of(recipient, json.dumps(fields).encode(), ACCEPTED_AT, rules or Rules.of(EVERY_RULE))


def event(track: Track | None) -> Any:
    assert track is not None
    assert track.events
    return json.loads(bytes(track.event))


def attributes(track: Track | None) -> Any:
    assert track is not None
    return json.loads(bytes(track.attributes)) if track.attribute_objects else None


def time_of(fields: dict[str, Any]) -> tuple[str, int]:
    """The time of the event, and how many were passed over."""
    metrics.clear_metrics()
    made = event(tracked({"event_name": "offer_expiring"} | fields))
    unread = metrics.metric_set.get("EventTimesUnread", {"Value": []})["Value"]
    metrics.clear_metrics()
    return made["time"], int(sum(unread))


def with_rule(**rule: Any) -> Rules:
    return Rules({"seen": msgspec.convert(rule, Rule)})


@pytest.mark.parametrize(
    ("sent", "name", "properties", "set_to"),
    [
        (
            {"event_name": "offer_issued", "offer_id": "o1", "offer_title": "Tea", "expiration_date": "2026-12-01"},
            "loyalty_offer_issued",
            {"offer_id": "o1", "offer_title": "Tea", "expiration_date": "2026-12-01"},
            {
                "loyalty_last_offer_id": "o1",
                "loyalty_last_offer_title": "Tea",
                "loyalty_last_offer_expires_at": "2026-12-01",
            },
        ),
        (
            {"event_type": "Offer Redeemed", "offer_id": "o1", "user_offer_id": "u1"},
            "loyalty_offer_redeemed",
            {"offer_id": "o1", "user_offer_id": "u1"},
            {"loyalty_last_redeemed_offer_id": "o1", "loyalty_last_redeemed_at": ACCEPTED},
        ),
        ({"event": "offerExpiring", "offer_id": "o1"}, "loyalty_offer_expiring", {"offer_id": "o1"}, None),
        (
            {"event_name": "point_award", "point_award_amount": 250, "point_account_name": " "},
            "loyalty_points_awarded",
            {"point_award_amount": 250},
            {"loyalty_last_award_amount": 250, "loyalty_last_award_at": ACCEPTED},
        ),
        (
            {"event_name": "tier_changed", "tier_name": "Gold", "previous_tier_name": "Silver"},
            "loyalty_tier_changed",
            {"tier_name": "Gold", "previous_tier_name": "Silver"},
            {"loyalty_tier": "Gold", "loyalty_tier_since": ACCEPTED},
        ),
    ],
)
def test_the_five_events_become_custom_events_and_attributes(
    sent: dict[str, Any], name: str, properties: dict[str, Any], set_to: dict[str, Any] | None
) -> None:
    track = tracked(sent | {"something_else": 1})

    assert event(track) == {**KNOWN, "name": name, "time": ACCEPTED, "properties": properties}
    assert attributes(track) == (KNOWN | set_to if set_to else None)
    assert track is not None
    assert track.objects == (2 if set_to else 1)


@pytest.mark.parametrize("fields", [{}, {"event_name": "unheard_of"}, {"event_name": 7}, {"event_name": " "}])
def test_an_event_without_a_rule_makes_nothing(fields: dict[str, Any]) -> None:
    assert tracked(fields) is None


def test_a_rule_that_is_off_makes_nothing() -> None:
    assert tracked({"event_name": "tier_changed", "tier_name": "Gold"}, Rules.of(["points_awarded"])) is None
    assert not Rules.of([])
    assert Rules.of(["points_awarded"])


@pytest.mark.parametrize(
    ("address", "member"),
    [
        ({"external_user_id": "m"}, {"external_id": "m"}),
        ({"braze_id": "b"}, {"braze_id": "b"}),
        (
            {"user_alias": {"alias_name": "n", "alias_label": "l"}},
            {"user_alias": {"alias_name": "n", "alias_label": "l"}},
        ),
        ({"email": "a@example.com", "prioritization": ["identified"]}, {"email": "a@example.com"}),
    ],
)
def test_a_member_is_known_by_what_braze_calls_it_here(address: dict[str, Any], member: dict[str, Any]) -> None:
    made = event(tracked({"event_name": "offer_expiring"}, recipient=Recipient(address)))

    assert made == member | {"_update_existing_only": True, "name": "loyalty_offer_expiring", "time": ACCEPTED}


def test_a_members_own_properties_replace_those_of_the_event() -> None:
    own = Recipient({"external_user_id": "m"}, msgspec.Raw(b'{"event_name":"tier_changed","tier_name":"Gold"}'))

    assert attributes(tracked({"event_name": "points_awarded"}, recipient=own))["loyalty_tier"] == "Gold"


@pytest.mark.parametrize(
    ("fields", "time"),
    [
        ({"event_time": "2026-11-21T10:00:00Z"}, "2026-11-21T10:00:00+00:00"),
        ({"event_time": "2026-11-21T10:00:00-05:00"}, "2026-11-21T10:00:00-05:00"),
        ({"occurred_at": "2026-11-21T10:00:00"}, "2026-11-21T10:00:00+00:00"),
        ({"timestamp": 1_795_350_000}, "2026-11-22T12:20:00+00:00"),
        ({"event_time": "2026-11-21T10:00:00.123+05"}, "2026-11-21T10:00:00+05:00"),
        ({"event_time": "20261121T100000Z"}, "2026-11-21T10:00:00+00:00"),
        ({"event_time": "2026-W47-6"}, "2026-11-21T00:00:00+00:00"),
        ({"event_date": "20261121"}, "2026-11-21T00:00:00+00:00"),
        ({"event_date": "11/21/2026"}, "2026-11-21T00:00:00+00:00"),
        ({"event_time": "", "event_date": None, "timestamp": 1_795_350_000}, "2026-11-22T12:20:00+00:00"),
        ({"event_time": "{{event.time}}"}, ACCEPTED),
        ({}, ACCEPTED),
    ],
)
def test_the_time_is_the_events_own_if_it_has_one(fields: dict[str, Any], time: str) -> None:
    assert time_of(fields) == (time, 0)


@pytest.mark.parametrize("name", ["event_time", "event_date", "occurred_at", "event_timestamp", "timestamp"])
@pytest.mark.parametrize(
    "value",
    [
        *(1_795_350_000, 1_795_350_000.0, 1_795_350_000.5, 1_795_350_000_123, 1_795_350_000_123.0),
        *("1795350000", " 1795350000 ", "1795350000.5", "1795350000123"),
        *("2026-11-22 12:20:00 UTC", "2026-11-22 12:20:00 +0000", "2026-11-22T12:20:00Z", "2026-11-22T12:20:00.123Z"),
        *("2026-11-22 12:20:00", "2026/11/22 12:20", "11/22/2026 12:20"),
    ],
)
def test_a_time_is_read_in_every_form_whatever_its_name(name: str, value: Any) -> None:
    assert time_of({name: value}) == ("2026-11-22T12:20:00+00:00", 0)


def test_an_attribute_set_to_the_time_of_the_event_has_the_same() -> None:
    made = attributes(tracked({"event_name": "points_awarded", "event_time": 1_795_350_000_123}))

    assert made["loyalty_last_award_at"] == "2026-11-22T12:20:00+00:00"


@pytest.mark.parametrize(
    ("fields", "time", "unread"),
    [
        ({"event_time": "yesterday"}, ACCEPTED, 1),
        ({"event_time": "yesterday", "timestamp": 1_795_350_000}, "2026-11-22T12:20:00+00:00", 1),
        ({"event_time": "yesterday", "timestamp": 12}, ACCEPTED, 2),
        *(({"timestamp": number}, ACCEPTED, 1) for number in (12, True, 0.5, 10**15, 20_261_121)),
        *(
            ({"timestamp": text}, ACCEPTED, 1)
            for text in ("12", "0.5", "2026", "17953500001", "2026-02-30", "99999999")
        ),
        ({"timestamp": [1_795_350_000]}, ACCEPTED, 1),
        ({"timestamp": {}}, ACCEPTED, 1),
    ],
)
def test_a_time_that_cannot_be_read_is_counted_and_passed_over(fields: dict[str, Any], time: str, unread: int) -> None:
    assert time_of(fields) == (time, unread)


def test_every_field_can_be_asked_for_within_brazes_limits() -> None:
    rules = with_rule(event="loyalty_seen", properties=["*"], update_existing_only=False)
    long = "x" * 300

    made = event(tracked({"event": "seen", "time": 1, "a": {"b": [long, 1]}, "c": None, "d": long}, rules))

    assert made == {
        "external_id": "member-1",
        "name": "loyalty_seen",
        "time": ACCEPTED,
        "properties": {"event": "seen", "a": {"b": [long[:255], 1]}, "d": long[:255]},
    }


def test_a_rule_may_set_attributes_alone_and_then_needs_a_value() -> None:
    rules = with_rule(attributes={"loyalty_seen": "what"})

    track = tracked({"event": "seen", "what": "tea"}, rules)

    assert track is not None
    assert not track.events
    assert attributes(track) == KNOWN | {"loyalty_seen": "tea"}
    assert tracked({"event": "seen", "what": ""}, rules) is None


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_rules_of_the_package_can_all_be_on() -> None:
    rules = json.loads(PACKAGED.read_text(encoding="utf-8"))

    assert tuple(rules) == EVERY_RULE
    assert Rules.of(EVERY_RULE).find("point_award") is not None


def test_a_rule_that_is_none_is_told_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match="offer_lost"):
        Rules.of(["offer_issued", "offer_lost"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a":{"event":"$b"}}',
        '{"a":{"event":"b","property":[]}}',
        '{"a":{"event":"b","properties":["With Space"]}}',
        '{"a":{"attributes":{"time":"b"}}}',
        '{"a":{"attributes":{"b":"@now"}}}',
        '{"A b":{}}',
    ],
)
def test_a_table_that_cannot_be_used_is_told_at_the_start(tmp_path: Path, text: str) -> None:
    table = tmp_path / "rules.json"
    table.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"rules\.json"):
        Rules.of(["a"], table)
    with pytest.raises(ConfigurationError, match=r"missing\.json"):
        Rules.of(["a"], tmp_path / "missing.json")


def test_two_rules_for_one_event_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="seen"):
        Rules({"a": Rule(names=["seen"]), "b": Rule(names=["seen", "b"])})
