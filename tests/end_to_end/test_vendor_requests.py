"""The requests as the vendors' documentation prints them, with only host and credential swapped.

Sources: Braze's partner page on SessionM (tags webhook and cURL, get_user_offers, advanced settings) and Braze's page
on segments/data_series.
"""

from __future__ import annotations

import json

import pytest

from infra.local.bundle import LocalBundle
from infra.local.settings import CAMPAIGN_ID, CANVAS_ID, SEGMENT_ID
from tests.end_to_end.support import Caller, tags_path


def test_the_documented_tag_webhook_tags_the_member(bundle: LocalBundle, braze_webhook: Caller) -> None:
    member = bundle.members[0]
    answer = braze_webhook.post(tags_path(member.user_id), {"tags": ["braze_test"], "ttl": 2592000})
    assert answer.status_code == 202
    assert answer.json()["status"] == "ok"
    bundle.wait_until(lambda: "braze_test" in bundle.sessionm.tags_of(member.user_id), what="the tag")
    assert bundle.sessionm.tags_of(member.user_id)["braze_test"].count is None


def test_the_documented_tag_curl_tags_the_member_by_external_id(bundle: LocalBundle, braze_webhook: Caller) -> None:
    member = bundle.members[1]
    assert member.external_id is not None
    path = f"/priv/v1/apps/any-key/external/users/{member.external_id}/tags"
    answer = braze_webhook.post(path, {"tags": ["tagname1", "tagname2"], "ttl": 20000})
    assert answer.status_code == 202
    bundle.wait_until(lambda: len(bundle.sessionm.tags_of(member.user_id)) == 2, what="both tags")


def test_the_documented_offers_call_gets_sessionms_own_answer(bundle: LocalBundle, connected_content: Caller) -> None:
    member = bundle.members[2]
    request = {
        "retailer_id": "YOUR-RETAIL-ID",
        "user_id": member.user_id,
        "skip": 0,
        "take": 1000,
        "include_pending_extended_data": False,
        "culture": "en-US",
    }
    answer = connected_content.post("/offers/api/2.0/offers/get_user_offers", request)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["payload"]["user_id"] == member.user_id
    assert answer.json()["payload"]["available_points"] == member.available_points
    (upstream,) = bundle.sessionm.requests()
    sent = json.loads(upstream.body)
    assert sent == {**request, "retailer_id": bundle.sessionm.retailer_id}


def test_the_documented_data_series_query_gets_brazes_shape(connected_content: Caller) -> None:
    path = f"/segments/data_series?segment_id={SEGMENT_ID}&length=14&ending_at=2026-11-20T23:59:59-05:00"
    answer = connected_content.get(path)
    assert answer.status_code == 200
    assert answer.json()["message"] == "success"
    assert len(answer.json()["data"]) == 14
    assert set(answer.json()["data"][0]) == {"time", "size"}


@pytest.mark.parametrize("kind", ["campaign", "canvas"])
def test_advanced_settings_with_their_trailing_comma_make_one_send(
    bundle: LocalBundle, sessionm_template: Caller, kind: str
) -> None:
    ids = {"campaign": CAMPAIGN_ID, "canvas": CANVAS_ID}
    filled = {name: target if name == kind else "{{" + name.upper() + " ID}}" for name, target in ids.items()}
    payload = (
        f'{{"braze_campaign_id":"{filled["campaign"]}","braze_canvas_id":"{filled["canvas"]}",'
        f'"customer identifier":"member-{kind}","offer title":"Free coffee","user offer id":"uo-1",}}'
    )
    answer = sessionm_template.post("/triggers", payload.encode())
    assert answer.status_code == 202
    bundle.wait_until(lambda: bundle.braze.sends, what="the send")
    (send,) = bundle.braze.sends
    assert (send.kind, send.target_id, send.recipient) == (kind, ids[kind], f"member-{kind}")
    assert send.properties["offer_title"] == "Free coffee"
    (upstream,) = bundle.braze.requests()
    (recipient,) = json.loads(upstream.body)["recipients"]
    properties = recipient["trigger_properties" if kind == "campaign" else "context"]
    assert properties == {"offer_title": "Free coffee", "user_offer_id": "uo-1"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/campaigns/trigger/send",
            {"campaign_id": CAMPAIGN_ID, "recipients": [{"external_user_id": "m"}], "trigger_properties": {"a": 1}},
        ),
        (
            "/canvas/trigger/send",
            {"canvas_id": CANVAS_ID, "recipients": [{"external_user_id": "m"}], "context": {"a": 1}},
        ),
    ],
)
def test_brazes_own_trigger_endpoints_answer_as_braze_does(
    bundle: LocalBundle, sessionm_template: Caller, path: str, body: dict[str, object]
) -> None:
    answer = sessionm_template.post(path, body)
    assert answer.status_code == 201
    assert answer.json() == {"message": "success", "dispatch_id": bundle.braze.sends[0].dispatch_id}
    assert "x-ratelimit-remaining" in {name.lower() for name in answer.headers}


def test_a_paused_canvas_is_sent_with_a_notice(bundle: LocalBundle, sessionm_template: Caller) -> None:
    canvas = bundle.braze.add_canvas(state="paused")
    answer = sessionm_template.post("/triggers", {"braze_canvas_id": canvas.id, "customer identifier": "m"})
    trigger_id = answer.json()["trigger_id"]
    status_path = f"/triggers/{trigger_id}"
    bundle.wait_until(lambda: sessionm_template.get(status_path).json()["state"] == "sent", what="the send")
    assert "paused" in sessionm_template.get(status_path).json()["notice"].lower()
