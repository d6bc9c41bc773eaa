"""A published client library of Braze's REST API, told our address and a caller's key, and nothing else.

The library is braze-api, for Node.js, as infra/npm.py fetched it. Its requests go out through Node's own fetch, which
braze_client/node-fetch.js gives it in place of the package of that name.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra import npm
from infra.local.bundle import LocalBundle
from infra.local.settings import CAMPAIGN_ID, CANVAS_ID, SEGMENT_ID, caller_key
from tests.end_to_end.support import Caller

HERE = Path(__file__).with_name("braze_client")
TIME = "2026-11-22T12:30:00Z"

Made = Callable[..., list[Any]]


@pytest.fixture
def client(bundle: LocalBundle) -> Made:
    packages = npm.folder_of()
    assert packages.exists(), "the library is not there; `make npm-packages` fetches it"

    def made(*calls: tuple[str, Any], caller: str = "decisioning") -> list[Any]:
        done = subprocess.run(
            [npm.NODE, HERE / "calls.js", bundle.intake_url, caller_key(caller)],
            env={**os.environ, "NODE_PATH": f"{packages}{os.pathsep}{HERE}"},
            input=json.dumps(calls),
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        )
        results: list[Any] = json.loads(done.stdout)
        return results

    return made


def test_a_trigger_a_track_and_a_paged_list_are_done(bundle: LocalBundle, client: Made) -> None:
    for number in range(101):
        bundle.braze.add_campaign(f"paged-{number:03}", name=f"Paged {number}")
    event = {"external_id": "member-1", "name": "recommended", "time": TIME, "properties": {"offer_id": "o1"}}
    recipients = [{"external_user_id": "member-1", "trigger_properties": {"offer_title": "Free coffee"}}]

    triggered, tracked, first, second = client(
        ("campaigns.trigger.send", {"campaign_id": CAMPAIGN_ID, "recipients": recipients}),
        ("users.track", {"events": [event], "attributes": [{"external_id": "member-1", "tier": "gold"}]}),
        ("campaigns.list", {"page": 0, "include_archived": False, "sort_direction": "asc"}),
        ("campaigns.list", {"page": 1, "include_archived": False, "sort_direction": "asc"}),
    )

    [sent] = bundle.braze.sends
    assert triggered == {"returned": {"message": "success", "dispatch_id": sent.dispatch_id}}
    assert (sent.recipient, sent.properties) == ("member-1", {"offer_title": "Free coffee"})
    assert tracked["returned"] == {"message": "success", "attributes_processed": 1, "events_processed": 1}
    assert [each.data["external_id"] for each in bundle.braze.tracked] == ["member-1", "member-1"]
    assert len(first["returned"]["campaigns"]) == 100
    listed = {each["id"] for page in (first, second) for each in page["returned"]["campaigns"]}
    assert {CAMPAIGN_ID, *(f"paged-{number:03}" for number in range(101))} <= listed


def test_whatever_else_decisioning_asks_is_answered(bundle: LocalBundle, client: Made) -> None:
    bundle.braze.add_user("member-1")
    template = {"template_name": "Weekly", "subject": "News", "body": "<p>News</p>"}
    email = {"app_id": "app", "subject": "Hello", "from": "a <a@example.com>", "body": "<p>Hello</p>"}

    results = client(
        ("canvas.trigger.send", {"canvas_id": CANVAS_ID, "recipients": [{"external_user_id": "member-1"}]}),
        ("canvas.list", {"page": 0}),
        ("campaigns.details", {"campaign_id": CAMPAIGN_ID}),
        ("segments.list", {"page": 0}),
        ("segments.details", {"segment_id": SEGMENT_ID}),
        ("segments.analytics", {"segment_id": SEGMENT_ID, "length": 7}),
        ("users.export.ids", {"external_ids": ["member-1"], "fields_to_export": ["external_id"]}),
        ("users.export.segment", {"segment_id": SEGMENT_ID, "fields_to_export": ["external_id"]}),
        ("messages.send", {"external_user_ids": ["member-1"], "messages": {"email": email}}),
        ("templates.email_templates.create", template),
        ("templates.email_templates.list", {"limit": 10}),
    )

    assert [each for each in results if each.get("returned", {}).get("message") != "success"] == []


def test_brazes_words_reach_the_library_as_they_are(client: Made) -> None:
    unknown, unaddressed = client(
        ("campaigns.trigger.send", {"campaign_id": "nobody", "recipients": [{"external_user_id": "m"}]}),
        ("campaigns.trigger.send", {"campaign_id": CAMPAIGN_ID, "broadcast": True}),
    )

    assert unknown == {"thrown": {"status": 400, "message": "Invalid Campaign ID"}}
    assert unaddressed["thrown"]["status"] == 403


def test_a_caller_without_the_scope_reaches_nothing(bundle: LocalBundle, client: Made) -> None:
    calls: list[tuple[str, Any]] = [
        ("users.track", {"events": []}),
        ("campaigns.list", {}),
        ("templates.email_templates.list", {}),
    ]

    results = client(*calls, caller="sessionm")

    assert [each["thrown"]["status"] for each in results] == [403, 403, 403]
    assert bundle.braze.requests() == []


@pytest.mark.parametrize(("method", "path"), [("POST", "/campaigns/list"), ("GET", "/users/track")])
def test_a_path_braze_has_not_by_this_method_is_not_found(bundle: LocalBundle, method: str, path: str) -> None:
    answer = Caller(bundle.intake_url, f"Bearer {caller_key('operator')}").send(method, path)

    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})
    assert bundle.braze.requests() == []
