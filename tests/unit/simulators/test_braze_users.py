"""Braze's user data: users/track and users/export/ids."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from infra.local.simulators import BrazeSimulator, SteppedClock

TIME = "2026-11-22T12:30:00+00:00"
EVENT = {"external_id": "u1", "name": "loyalty_points_awarded", "time": TIME}


def post(simulator: BrazeSimulator, path: str, body: Any) -> requests.Response:
    return requests.post(simulator.url + path, json=body, headers={"Authorization": simulator.authorization}, timeout=5)


def track(simulator: BrazeSimulator, **arrays: Any) -> requests.Response:
    return post(simulator, "/users/track", arrays)


def test_each_object_is_stored_and_counted(braze: BrazeSimulator) -> None:
    purchase = {"external_id": "u1", "product_id": "tea", "currency": "EUR", "price": 2.5, "time": TIME}
    answer = track(braze, attributes=[{"external_id": "u1", "tier": "gold"}], events=[EVENT], purchases=[purchase])
    assert answer.status_code == 201
    assert answer.json() == {
        "message": "success",
        "attributes_processed": 1,
        "events_processed": 1,
        "purchases_processed": 1,
    }
    assert [(each.array, each.member) for each in braze.tracked] == [
        ("attributes", "external_id:u1"),
        ("events", "external_id:u1"),
        ("purchases", "external_id:u1"),
    ]


def test_an_event_sent_twice_is_stored_twice(braze: BrazeSimulator) -> None:
    for _ in range(2):
        track(braze, events=[EVENT])
    assert len(braze.tracked) == 2


def test_seventy_five_objects_pass_and_one_more_does_not(braze: BrazeSimulator) -> None:
    assert track(braze, events=[EVENT] * 74, attributes=[{"external_id": "u1"}]).status_code == 201
    answer = track(braze, events=[EVENT] * 75, attributes=[{"external_id": "u1"}])
    assert (answer.status_code, answer.json()["message"]) == (400, "Max Input Length Exceeded")


@pytest.mark.parametrize(
    ("array", "item"),
    [
        ("events", "no object"),
        ("events", EVENT | {"braze_id": "b"}),
        ("events", {"name": "a", "time": TIME}),
        ("events", EVENT | {"external_id": "x" * 988}),
        ("events", EVENT | {"external_id": {"nested": "u1"}}),
        ("events", EVENT | {"name": ""}),
        ("events", EVENT | {"time": "now"}),
        ("events", EVENT | {"time": None}),
        ("events", EVENT | {"properties": []}),
        ("events", EVENT | {"properties": {"$a": 1}}),
        ("events", EVENT | {"properties": {"time": 1}}),
        ("events", EVENT | {"properties": {"a": "x" * 102_400}}),
        ("attributes", {"external_id": "u1", "email": "no address"}),
        ("purchases", {"external_id": "u1", "product_id": "tea", "currency": "EUR", "price": "2", "time": TIME}),
    ],
)
def test_an_object_that_is_wrong_is_skipped_and_the_others_taken(braze: BrazeSimulator, array: str, item: Any) -> None:
    arrays: dict[str, list[Any]] = {"attributes": [{"user_alias": {"alias_name": "n", "alias_label": "l"}}]}
    arrays[array] = [*arrays.get(array, []), item]
    answer = track(braze, **arrays)
    assert answer.status_code == 201
    (error,) = answer.json()["errors"]
    assert (error["input_array"], error["index"]) == (array, len(arrays[array]) - 1)
    assert [each.member for each in braze.tracked] == ["user_alias:l:n"]
    alone = track(braze, **{array: [item]})
    assert alone.status_code == 400
    assert alone.json()["errors"]


@pytest.mark.parametrize("body", [[], {"users": []}, {"events": {}}, {}, {"events": []}])
def test_a_body_that_holds_nothing_to_store_is_a_400(braze: BrazeSimulator, body: Any) -> None:
    assert post(braze, "/users/track", body).status_code == 400


def test_what_is_for_existing_profiles_makes_none(clock: SteppedClock) -> None:
    with BrazeSimulator(latency_scale=0, clock=clock, known_users_only=True) as braze:
        braze.add_user("u1")
        track(braze, events=[EVENT, EVENT | {"external_id": "u2", "_update_existing_only": True}])
        track(braze, attributes=[{"external_id": "u3", "email": "u3@example.com"}])
        assert [each.member for each in braze.tracked] == ["external_id:u1", "external_id:u3"]


def test_track_has_a_limit_of_its_own(clock: SteppedClock) -> None:
    with BrazeSimulator(latency_scale=0, clock=clock, tracks_per_three_seconds=1) as braze:
        assert track(braze, events=[EVENT]).headers["x-ratelimit-remaining"] == "0"
        assert track(braze, events=[EVENT]).status_code == 429
        clock.advance(3)
        assert track(braze, events=[EVENT]).status_code == 201
        track(braze, events=[EVENT])
        braze.forget()
        assert track(braze, events=[EVENT]).status_code == 201


def test_profiles_are_exported_with_the_fields_asked_for(braze: BrazeSimulator) -> None:
    track(braze, attributes=[{"external_id": "u1", "email": "u1@example.com", "first_name": "Ann", "tier": "gold"}])
    track(braze, events=[EVENT, EVENT])
    fields = ["external_id", "email", "first_name", "custom_attributes", "custom_events", "phone"]
    body = {"external_ids": ["u1", "nobody"], "fields_to_export": fields}
    answer = post(braze, "/users/export/ids", body).json()
    assert answer["invalid_user_ids"] == ["nobody"]
    assert answer["users"] == [
        {
            "external_id": "u1",
            "email": "u1@example.com",
            "first_name": "Ann",
            "custom_attributes": {"tier": "gold"},
            "custom_events": [{"name": "loyalty_points_awarded", "count": 2}],
        }
    ]
    by_email = {"email_address": "u1@example.com", "fields_to_export": ["external_id"]}
    assert post(braze, "/users/export/ids", by_email).json()["users"] == [{"external_id": "u1"}]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"external_ids": ["u1"]},
        {"external_ids": ["u1"], "fields_to_export": ["shoe_size"]},
        {"fields_to_export": ["external_id"]},
        {"external_ids": ["u1"] * 51, "fields_to_export": ["external_id"]},
        {"external_ids": ["u1"], "fields_to_export": ["external_id"], "page": 1},
    ],
)
def test_an_export_that_makes_no_sense_is_a_400(braze: BrazeSimulator, body: Any) -> None:
    assert post(braze, "/users/export/ids", body).status_code == 400


def test_a_body_that_is_no_json_is_a_400_in_brazes_words(braze: BrazeSimulator) -> None:
    headers = {"Authorization": braze.authorization, "Content-Type": "application/json"}
    answer = requests.post(f"{braze.url}/users/track", data=b"{", headers=headers, timeout=5)
    assert (answer.status_code, answer.json()["message"].split()[0]) == (400, "Error")
