"""Braze's own requests beyond the triggers: which pass, for whom, and what becomes of those that get no answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from authorizer.callers import Caller
from infra.local.simulators import BrazeSimulator, Garbage, HangAfterAccept, Reset, ResetAfterEffect, Status, Throttle
from infra.local.simulators.braze import PERMISSIONS
from shared.errors import ConfigurationError
from tests.integration.support.aws import Aws
from tests.integration.support.events import JSON, Answered, Invoked, call, http_event, post
from tests.integration.support.faulty_aws import FaultyAws
from tests.integration.support.sockets import closed_port
from trigger_relay.broadcasts import Broadcasts
from trigger_relay.passthrough import MAX_BODY_BYTES, build
from trigger_relay.vendor_paths import ENDPOINTS

EVERY_GROUP = "triggers,messages,track,exports,reads,templates"
MESSAGES = {"email": {"app_id": "app", "subject": "Hello", "from": "a <a@example.com>", "body": "<p>Hello</p>"}}
TRACK = {"events": [{"external_id": "member-1", "name": "seen", "time": "2026-11-22T12:30:00Z"}]}
TEMPLATE = {"template_name": "Weekly", "subject": "News", "body": "<p>News</p>"}


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator) -> Invoked:
    return build(
        aws.settings(BRAZE_REST_URL=braze.url, BRAZE_PATH_GROUPS=EVERY_GROUP, BROADCAST_ALLOWED_IDS="segment-1")
    )


def get(handle: Invoked, path: str, **query: str) -> Answered:
    return call(handle, http_event(f"GET {path}", query=query))


# --- what passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query", "key"),
    [
        ("/campaigns/list", {}, "campaigns"),
        ("/campaigns/list", {"page": "0", "include_archived": "true", "sort_direction": "desc"}, "campaigns"),
        ("/campaigns/list", {"last_edit.time[gt]": "2026-01-01T00:00:00"}, "campaigns"),
        ("/campaigns/details", {"campaign_id": "campaign-1"}, "schedule_type"),
        ("/campaigns/data_series", {"campaign_id": "campaign-1", "length": "7"}, "data"),
        ("/canvas/list", {}, "canvases"),
        ("/canvas/details", {"canvas_id": "canvas-1", "post_launch_draft_version": "false"}, "steps"),
        ("/canvas/data_series", {"canvas_id": "canvas-1", "length": "7", "ending_at": "2026-11-22"}, "data"),
        ("/segments/list", {"page": "0"}, "segments"),
        ("/segments/details", {"segment_id": "segment-1"}, "name"),
        ("/segments/data_series", {"segment_id": "segment-1", "length": "7"}, "data"),
        ("/templates/email/list", {"limit": "10", "offset": "0"}, "templates"),
    ],
)
def test_a_read_gets_brazes_own_answer(
    handle: Invoked, braze: BrazeSimulator, path: str, query: dict[str, str], key: str
) -> None:
    answered = get(handle, path, **query)

    assert (answered.status, answered.body["message"]) == (200, "success")
    assert key in answered.body
    assert answered.headers["x-ratelimit-remaining"]
    [request] = braze.requests()
    assert (request.method, request.path) == ("GET", path)
    assert request.headers["Authorization"] == braze.authorization


def test_the_pages_of_a_list_are_brazes(handle: Invoked, braze: BrazeSimulator) -> None:
    for number in range(101):
        braze.add_segment(f"paged-{number}")

    sizes = [len(get(handle, "/segments/list", page=page).body["segments"]) for page in ("0", "1", "2")]

    assert sizes[0] == 100
    assert 0 < sizes[1] < 100
    assert sizes[2] == 0


def test_what_is_tracked_is_stored_once_and_braze_counts_it(handle: Invoked, braze: BrazeSimulator) -> None:
    answered = post(handle, "POST /users/track", TRACK)

    assert (answered.status, answered.body) == (201, {"message": "success", "events_processed": 1})
    assert [each.data for each in braze.tracked] == TRACK["events"]


def test_profiles_and_segments_are_exported(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.add_user("member-1")
    by_id = {"external_ids": ["member-1"], "fields_to_export": ["external_id"]}
    by_segment = {
        "segment_id": "segment-1",
        "callback_endpoint": "https://example.com/ready",
        "fields_to_export": ["external_id"],
    }

    ids = post(handle, "POST /users/export/ids", by_id)
    segment = post(handle, "POST /users/export/segment", by_segment)

    assert ids.body["users"] == [{"external_id": "member-1"}]
    assert "object_prefix" in segment.body
    assert [request.json() for request in braze.requests()] == [by_id, by_segment]


def test_a_template_is_made_changed_and_read(handle: Invoked) -> None:
    made = post(handle, "POST /templates/email/create", TEMPLATE | {"should_inline_css": False})
    template_id = made.body["email_template_id"]
    changed = post(handle, "POST /templates/email/update", {"email_template_id": template_id, "subject": "Late"})

    info = get(handle, "/templates/email/info", email_template_id=template_id)

    assert (made.status, changed.status) == (201, 200)
    assert (info.body["subject"], info.body["should_inline_css"]) == ("Late", False)


def test_a_message_goes_to_users_by_name(handle: Invoked, braze: BrazeSimulator) -> None:
    aliases = [{"alias_name": "n", "alias_label": "l"}]

    answered = post(
        handle,
        "POST /messages/send",
        {"external_user_ids": ["member-1"], "user_aliases": aliases, "segment_id": "other", "messages": MESSAGES}
        | {"segment_id": "segment-1", "override_frequency_capping": True},
    )

    assert answered.status == 201
    assert [send.recipient for send in braze.sends] == ["member-1", "l:n"]


def test_every_endpoint_needs_a_permission_that_braze_has() -> None:
    assert {endpoint.permission for endpoint in ENDPOINTS.values()} <= PERMISSIONS


# --- what does not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [{}, {"broadcast": True}, {"audience": {"AND": []}}])
def test_a_segment_is_messaged_only_if_its_id_is_allowed(
    handle: Invoked, braze: BrazeSimulator, extra: dict[str, Any]
) -> None:
    allowed = post(handle, "POST /messages/send", {"segment_id": "segment-1", "messages": MESSAGES} | extra)
    refused = post(handle, "POST /messages/send", {"segment_id": "segment-2", "messages": MESSAGES} | extra)

    assert allowed.status == (201 if extra.get("broadcast") else 400)  # Braze wants it said
    assert (refused.status, refused.body["code"], refused.body["field"]) == (403, "broadcast_not_allowed", "segment_id")
    assert len(braze.requests()) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"audience": {"AND": []}},
        {"audience": {"AND": []}, "broadcast": True},
        {"broadcast": True},
        {"broadcast": True, "campaign_id": "segment-1"},
        {"broadcast": True, "external_user_ids": [], "user_aliases": []},
    ],
)
def test_an_audience_without_an_id_is_never_messaged(
    handle: Invoked, braze: BrazeSimulator, body: dict[str, Any]
) -> None:
    answered = post(handle, "POST /messages/send", body | {"messages": MESSAGES})

    assert (answered.status, answered.body["code"], answered.body["field"]) == (
        403,
        "broadcast_not_allowed",
        "audience",
    )
    assert braze.requests() == []


ONE = {"external_user_ids": ["member-1"], "messages": MESSAGES}


@pytest.mark.parametrize(
    ("route", "body", "code", "field"),
    [
        ("POST /messages/send", {"messages": MESSAGES}, "no_recipients", "external_user_ids"),
        ("POST /messages/send", ONE | {"external_user_ids": ["m"] * 51}, "invalid_field", "external_user_ids"),
        ("POST /messages/send", ONE | {"broadcast": True}, "invalid_field", "broadcast"),
        ("POST /messages/send", ONE | {"recipients": []}, "unknown_field", "recipients"),
        ("POST /messages/send", {"external_user_ids": ["m"]}, "missing_field", "messages"),
        ("POST /users/track", {"users": []}, "unknown_field", "users"),
        ("POST /users/track", {"events": {}}, "invalid_field", "events"),
        ("POST /users/track", "{", "invalid_json", "body"),
        ("POST /users/export/ids", {"external_ids": "a"}, "invalid_field", "external_ids"),
        ("POST /users/export/segment", {}, "missing_field", "segment_id"),
        (
            "POST /users/export/segment",
            {"segment_id": "s", "callback_endpoint": "http://example.com"},
            "invalid_field",
            "callback_endpoint",
        ),
        ("POST /templates/email/create", {"template_name": "a", "subject": "b"}, "missing_field", "body"),
        ("POST /templates/email/update", {"subject": "b"}, "missing_field", "email_template_id"),
    ],
)
def test_a_body_braze_does_not_document_is_refused_before_braze_is_asked(
    handle: Invoked, braze: BrazeSimulator, route: str, body: Any, code: str, field: str
) -> None:
    answered = post(handle, route, body)

    assert (answered.status, answered.body["code"], answered.body["field"]) == (400, code, field)
    assert answered.body["hint"]
    assert braze.requests() == []


@pytest.mark.parametrize(
    ("path", "query", "code", "field"),
    [
        ("/campaigns/list", {"pages": "1"}, "unknown_field", "pages"),
        ("/campaigns/list", {"page": "-1"}, "invalid_field", "page"),
        ("/campaigns/list", {"page": "1,2"}, "invalid_field", "page"),
        ("/campaigns/list", {"sort_direction": "up"}, "invalid_field", "sort_direction"),
        ("/campaigns/list", {"last_edit.time[gt]": "x"}, "invalid_field", "last_edit.time[gt]"),
        ("/campaigns/details", {}, "missing_field", "campaign_id"),
        ("/campaigns/details", {"campaign_id": "../list"}, "invalid_field", "campaign_id"),
        ("/canvas/data_series", {"canvas_id": "c"}, "missing_field", "ending_at"),
        ("/segments/data_series", {"segment_id": "s", "length": "101"}, "invalid_field", "length"),
        ("/templates/email/list", {"limit": "1001"}, "invalid_field", "limit"),
    ],
)
def test_a_query_braze_does_not_document_is_refused_before_braze_is_asked(
    handle: Invoked, braze: BrazeSimulator, path: str, query: dict[str, str], code: str, field: str
) -> None:
    answered = get(handle, path, **query)

    assert (answered.status, answered.body["code"], answered.body["field"]) == (400, code, field)
    assert braze.requests() == []


def test_a_post_takes_no_query(handle: Invoked, braze: BrazeSimulator) -> None:
    event = http_event("POST /users/track", query={"api_key": "a"}, headers=JSON, body=json.dumps(TRACK))

    answered = call(handle, event)

    assert (answered.status, answered.body["code"], answered.body["field"]) == (400, "unknown_field", "api_key")
    assert braze.requests() == []


def test_four_megabytes_pass_and_no_more(handle: Invoked, braze: BrazeSimulator) -> None:
    def sized(size_bytes: int) -> str:
        around = len(json.dumps(TEMPLATE | {"plaintext_body": ""}))
        return json.dumps(TEMPLATE | {"plaintext_body": "x" * (size_bytes - around)})

    largest = post(handle, "POST /templates/email/create", sized(MAX_BODY_BYTES))
    larger = post(handle, "POST /templates/email/create", sized(MAX_BODY_BYTES + 1))

    assert largest.status == 201
    assert (larger.status, larger.body["code"]) == (413, "too_large")
    assert len(braze.requests()) == 1


def test_a_group_that_is_switched_off_asks_braze_nothing(aws: Aws, braze: BrazeSimulator) -> None:
    handle = build(aws.settings(BRAZE_REST_URL=braze.url, BRAZE_PATH_GROUPS="triggers,reads"))
    off = [route for route, endpoint in ENDPOINTS.items() if endpoint.group not in ("triggers", "reads")]

    answers = [post(handle, route, TRACK) for route in off]

    assert len(off) == 6
    assert {(each.status, each.body["code"]) for each in answers} == {(403, "path_switched_off")}
    assert "track" in post(handle, "POST /users/track", TRACK).body["hint"]
    assert braze.requests() == []
    assert get(handle, "/campaigns/list").status == 200


def test_a_group_that_does_not_exist_is_told_at_the_start(aws: Aws) -> None:
    with pytest.raises(ConfigurationError, match="tracks"):
        build(aws.settings(BRAZE_REST_URL="http://127.0.0.1:9", BRAZE_PATH_GROUPS="reads,tracks"))


def test_a_caller_reaches_the_paths_of_its_scopes_alone() -> None:
    reader = Caller(key="k" * 32, allows=["GET /campaigns/*", "POST /users/track"])

    reached = {route for route in ENDPOINTS if reader.may_use(route)}

    assert reached == {
        "GET /campaigns/list",
        "GET /campaigns/details",
        "GET /campaigns/data_series",
        "POST /users/track",
    }


# --- what Braze does --------------------------------------------------------------------------------------------------


def read(handle: Invoked) -> Answered:
    return get(handle, "/campaigns/list")


def track(handle: Invoked) -> Answered:
    return post(handle, "POST /users/track", TRACK)


@pytest.mark.parametrize("asked", [read, track])
@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_brazes_own_refusal_is_the_answer(
    handle: Invoked, braze: BrazeSimulator, asked: Callable[[Invoked], Answered], status: int
) -> None:
    braze.faults.add("* *", Status(status, {"message": "in Braze's words", "errors": [{"index": 0}]}))

    answered = asked(handle)

    assert (answered.status, answered.body) == (status, {"message": "in Braze's words", "errors": [{"index": 0}]})
    assert len(braze.requests()) == 1


@pytest.mark.parametrize("asked", [read, track])
def test_a_429_keeps_brazes_headers(
    handle: Invoked, braze: BrazeSimulator, asked: Callable[[Invoked], Answered]
) -> None:
    braze.faults.add("* *", Throttle(9, "x-ratelimit-retry-after"))

    answered = asked(handle)

    assert (answered.status, answered.headers["x-ratelimit-retry-after"]) == (429, "9")


NO_ANSWER = [Reset(), ResetAfterEffect(), HangAfterAccept(0.05), Status(504, {"message": "timed out"})]


@pytest.mark.parametrize("fault", NO_ANSWER, ids=str)
def test_a_read_without_an_answer_did_nothing_and_may_be_sent_again(
    handle: Invoked, braze: BrazeSimulator, fault: Any
) -> None:
    braze.faults.add("GET *", fault)

    answered = read(handle)

    assert (answered.status, answered.body["code"]) == (503, "upstream_unavailable")
    assert answered.headers["Retry-After"]


def test_a_read_is_asked_again_at_once(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("GET *", Reset(), times=1)

    assert read(handle).status == 200
    assert len(braze.requests()) == 2


@pytest.mark.parametrize("fault", [Garbage(), Status(302)], ids=str)
def test_what_is_no_answer_of_brazes_is_a_5xx_for_a_read(handle: Invoked, braze: BrazeSimulator, fault: Any) -> None:
    braze.faults.add("GET *", fault)

    assert read(handle).status in (502, 503)


@pytest.mark.parametrize("fault", [*NO_ANSWER, Garbage()], ids=str)
def test_a_write_without_an_answer_is_a_409_and_not_repeated(
    handle: Invoked, braze: BrazeSimulator, fault: Any
) -> None:
    braze.faults.add("POST *", fault)

    answered = track(handle)

    assert (answered.status, answered.body["code"]) == (409, "upstream_no_answer")
    assert len(braze.requests()) == 1


def test_a_late_request_is_not_begun(handle: Invoked, braze: BrazeSimulator) -> None:
    event = http_event("GET /campaigns/list")
    event["requestContext"]["timeEpoch"] -= 28_000

    answered = call(handle, event)

    assert (answered.status, answered.body["code"]) == (503, "upstream_unavailable")
    assert braze.requests() == []


def test_a_key_without_the_permission_is_named(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.set_permissions(PERMISSIONS - {"users.track"})
    try:
        answered = track(handle)
    finally:
        braze.set_permissions(PERMISSIONS)

    assert (answered.status, answered.body["code"]) == (502, "upstream_unauthorized")
    assert "users.track" in answered.body["message"]


def test_without_a_connection_a_read_may_be_sent_again(aws: Aws) -> None:
    answered = read(build(aws.settings(BRAZE_REST_URL=f"http://127.0.0.1:{closed_port()}")))

    assert (answered.status, answered.body["code"]) == (503, "upstream_unreachable")


# --- broadcasts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/campaigns/trigger/send", {"campaign_id": "campaign-1", "broadcast": True}),
        ("/canvas/trigger/send", {"canvas_id": "canvas-1", "broadcast": True}),
        ("/messages/send", {"segment_id": "segment-1", "broadcast": True, "messages": MESSAGES}),
    ],
)
def test_broadcasts_share_the_budget_of_the_queued_ones(
    aws: Aws, braze: BrazeSimulator, path: str, body: dict[str, Any]
) -> None:
    audience = str(body.get("campaign_id") or body.get("canvas_id") or body.get("segment_id"))
    now = 1_795_000_000.0
    for _ in range(9):
        Broadcasts(aws.dynamodb, aws.table("cache"), lambda: now).take(audience)
    settings = aws.settings(BRAZE_REST_URL=braze.url, BRAZE_PATH_GROUPS=EVERY_GROUP, BROADCAST_ALLOWED_IDS=audience)
    handle = build(settings, lambda: now)

    passed, refused = post(handle, f"POST {path}", body), post(handle, f"POST {path}", body)

    assert (passed.status, refused.status, refused.body["code"]) == (201, 429, "upstream_throttled")
    assert int(refused.headers["Retry-After"]) <= 60
    assert len(braze.requests()) == 1


def test_a_broadcast_that_cannot_be_counted_does_not_go_and_members_do(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator
) -> None:
    handle = build(aws.settings(BRAZE_REST_URL=braze.url, BROADCAST_ALLOWED_IDS="campaign-1"))
    faulty_aws.refuse("UpdateItem")

    broadcast = post(handle, "POST /campaigns/trigger/send", {"campaign_id": "campaign-1", "broadcast": True})
    members = {"campaign_id": "campaign-1", "recipients": [{"external_user_id": "member-1"}]}

    assert (broadcast.status, broadcast.body["code"]) == (503, "store_unavailable")
    assert post(handle, "POST /campaigns/trigger/send", members).status == 201
    assert len(braze.requests()) == 1
