"""Bad input over real HTTP: each gets its 4xx with a code, the field and what to do, and none reaches a vendor."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import quote

import pytest

from infra.local.bundle import LocalBundle
from infra.local.settings import CAMPAIGN_ID, CANVAS_ID, SEGMENT_ID
from tests.end_to_end.support import Caller, tags_path

GOOD_TAGS = {"tags": ["spring"], "ttl": 60}
TEN_MEGABYTES = b'{"tags":["' + b"a" * 10_000_000 + b'"]}'

BAD_TAG_BODIES = [
    ("no JSON", b"tags=spring", 400, "invalid_json", "body"),
    ("empty body", b"", 400, "invalid_json", "body"),
    ("not UTF-8", b'{"tags":["\xff"],"ttl":60}', 400, "invalid_field", "tags[0]"),  # the gateway replaces the byte
    ("a lone surrogate", b'{"tags":["\\ud800"],"ttl":60}', 400, "invalid_json", "body"),
    ("nested 100,000 deep", b"[" * 100_000, 400, "not_an_object", "body"),
    ("a JSON array", [GOOD_TAGS], 400, "not_an_object", "body"),
    ("over a megabyte", b'{"tags":["' + b"a" * 1_100_000 + b'"]}', 413, "too_large", "body"),
    ("an unknown field", {**GOOD_TAGS, "tll": 60}, 400, "unknown_field", "tll"),
    ("no tags", {"ttl": 60}, 400, "missing_field", "tags"),
    ("empty tags", {"tags": [], "ttl": 60}, 400, "invalid_field", "tags"),
    ("a blank tag", {"tags": [" "], "ttl": 60}, 400, "invalid_field", "tags[0]"),
    ("a tag of 10,000 characters", {"tags": ["a" * 10_000], "ttl": 60}, 400, "invalid_field", "tags[0]"),
    ("10,000 tags", {"tags": ["a"] * 10_000, "ttl": 60}, 400, "invalid_field", "tags"),
    ("a tag that is a number", {"tags": ["a", 7], "ttl": 60}, 400, "invalid_field", "tags[1]"),
    ("tags that are text", {"tags": "spring", "ttl": 60}, 400, "invalid_field", "tags"),
    ("control characters", {"tags": ["a\u0000\u001b[2J"], "ttl": 60}, 400, "invalid_field", "tags[0]"),
    ("ttl 0", {"tags": ["a"], "ttl": 0}, 400, "invalid_field", "ttl"),
    ("ttl -1", {"tags": ["a"], "ttl": -1}, 400, "invalid_field", "ttl"),
    ("ttl 1.5", {"tags": ["a"], "ttl": 1.5}, 400, "invalid_field", "ttl"),
    ("ttl as text", {"tags": ["a"], "ttl": "60"}, 400, "invalid_field", "ttl"),
    ("ttl true", {"tags": ["a"], "ttl": True}, 400, "invalid_field", "ttl"),
    ("ttl of 10^12", {"tags": ["a"], "ttl": 10**12}, 400, "invalid_field", "ttl"),
    ("no ttl and no counter", {"tags": ["a"]}, 400, "missing_field", "ttl"),
    ("ttl and counter", {"tags": ["a"], "ttl": 60, "counter": True}, 400, "invalid_field", "counter"),
    ("a counter without a key", {"tags": ["a"], "counter": True}, 400, "missing_field", "idempotency-key"),
]

BAD_USER_IDS = ["a/b", "..", "a.b", "100%", "a b", "😀", "x" * 2_000]

BAD_TRIGGERS = [
    ("both a campaign and a Canvas", {"braze_campaign_id": CAMPAIGN_ID, "braze_canvas_id": CANVAS_ID}, 400),
    ("neither", {"customer identifier": "member-1"}, 400),
    ("placeholders left in", {"braze_campaign_id": "{{CAMPAIGN ID}}", "braze_canvas_id": "{{CANVAS ID}}"}, 400),
    ("nobody to send to", {"braze_campaign_id": CAMPAIGN_ID}, 400),
    ("a broadcast that is not allowed", {"braze_campaign_id": CAMPAIGN_ID, "broadcast flag": True}, 403),
    ("a flag that is none", {"braze_campaign_id": CAMPAIGN_ID, "broadcast flag": "perhaps"}, 400),
    ("an id that is a number", {"braze_campaign_id": 7, "customer identifier": "member-1"}, 400),
    ("an email address that is none", {"braze_campaign_id": CAMPAIGN_ID, "email address": "nobody"}, 400),
    (
        "over 50 KB of properties",
        {"braze_campaign_id": CAMPAIGN_ID, "customer identifier": "member-1", "terms": "x" * 60_000},
        413,
    ),
]

RECIPIENT = {"external_user_id": "member-1"}
BAD_SENDS = [
    ("no campaign", "campaigns", {"recipients": [RECIPIENT]}, 400),
    ("no recipients", "campaigns", {"campaign_id": CAMPAIGN_ID}, 400),
    ("empty recipients", "campaigns", {"campaign_id": CAMPAIGN_ID, "recipients": []}, 400),
    ("51 recipients", "campaigns", {"campaign_id": CAMPAIGN_ID, "recipients": [RECIPIENT] * 51}, 400),
    ("a broadcast", "campaigns", {"campaign_id": CAMPAIGN_ID, "broadcast": True}, 403),
    ("the other kind's field", "canvas", {"canvas_id": CANVAS_ID, "trigger_properties": {}}, 400),
    ("a Canvas with a campaign id", "canvas", {"campaign_id": CAMPAIGN_ID, "recipients": [RECIPIENT]}, 400),
]


def assert_refused(answer: Any, status: int, code: str | None = None, field: str | None = None) -> None:
    body = answer.json()
    assert answer.status_code == status, body
    assert body["ok"] is False
    assert body["code"]
    assert body["field"]
    assert body["message"]
    assert body["hint"]
    if code is not None:
        assert (body["code"], body["field"]) == (code, field)


def assert_nothing_reached_a_vendor(bundle: LocalBundle) -> None:
    assert sum(bundle.queue_depth(queue) for queue in bundle.deployment.queue_urls) == 0
    assert bundle.sessionm.requests() == []
    assert bundle.braze.requests() == []


@pytest.mark.parametrize(
    ("body", "status", "code", "field"), [case[1:] for case in BAD_TAG_BODIES], ids=[case[0] for case in BAD_TAG_BODIES]
)
def test_a_bad_tag_body_is_refused_with_its_field_and_what_to_do(
    bundle: LocalBundle, braze_webhook: Caller, body: Any, status: int, code: str, field: str
) -> None:
    assert_refused(braze_webhook.post(tags_path("member-1"), body), status, code, field)
    assert_nothing_reached_a_vendor(bundle)


def test_ten_megabytes_are_turned_away(bundle: LocalBundle, braze_webhook: Caller) -> None:
    assert braze_webhook.post("/tags", TEN_MEGABYTES).status_code == 413
    assert_nothing_reached_a_vendor(bundle)


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "json"])
def test_a_body_not_announced_as_json_is_refused(
    bundle: LocalBundle, braze_webhook: Caller, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = braze_webhook.send("POST", tags_path("member-1"), GOOD_TAGS, headers)
    assert_refused(answer, 415, "unsupported_media_type", "content-type")
    assert_nothing_reached_a_vendor(bundle)


def test_a_base64_body_is_not_json(bundle: LocalBundle, braze_webhook: Caller) -> None:
    body = b64encode(b'{"tags":["spring"],"ttl":60}')
    assert_refused(braze_webhook.post(tags_path("member-1"), body), 400, "invalid_json", "body")
    assert_nothing_reached_a_vendor(bundle)


def test_any_json_content_type_will_do(bundle: LocalBundle, braze_webhook: Caller) -> None:
    user_id = bundle.members[0].user_id
    answer = braze_webhook.send("POST", tags_path(user_id), GOOD_TAGS, {"Content-Type": "application/vnd.api+json"})
    assert answer.status_code == 202
    bundle.wait_until(lambda: bundle.sessionm.tags_of(user_id))


@pytest.mark.parametrize("user_id", BAD_USER_IDS)
def test_a_bad_user_id_is_refused_wherever_it_stands(
    bundle: LocalBundle, braze_webhook: Caller, connected_content: Caller, user_id: str
) -> None:
    in_path = quote(user_id, safe="") if user_id != ".." else "%2E%2E"
    assert_refused(braze_webhook.post(tags_path(in_path), GOOD_TAGS), 400, "invalid_field", "user_id")
    assert_refused(braze_webhook.post("/tags", {"user_id": user_id, **GOOD_TAGS}), 400, "invalid_field", "user_id")
    assert_refused(connected_content.get(f"/wallet/{in_path}"), 400, "invalid_field", "user_id")
    assert_refused(connected_content.post("/wallet", {"user_id": user_id}), 400, "invalid_field", "user_id")
    assert_nothing_reached_a_vendor(bundle)


@pytest.mark.parametrize("length", ["0", "1001", "-1", "1.5", "ten", ""])
def test_a_length_outside_1_to_1000_is_refused(bundle: LocalBundle, connected_content: Caller, length: str) -> None:
    answer = connected_content.get(f"/segments/data_series?segment_id={SEGMENT_ID}&length={length}")
    assert_refused(answer, 400, "invalid_field", "length")
    assert_nothing_reached_a_vendor(bundle)


@pytest.mark.parametrize("length", ["0", "101"])
def test_a_length_braze_would_refuse_is_refused_before_braze_sees_it(bundle: LocalBundle, length: str) -> None:
    operator = Caller(bundle.intake_url, bundle.authorization("operator"))
    answer = operator.get(f"/segments/data_series?segment_id={SEGMENT_ID}&length={length}")
    assert_refused(answer, 400, "invalid_field", "length")
    assert_nothing_reached_a_vendor(bundle)


def test_a_segment_id_with_a_query_string_in_it_is_refused(bundle: LocalBundle, connected_content: Caller) -> None:
    smuggled = quote(f"{SEGMENT_ID}?length=100", safe="")
    assert_refused(connected_content.get(f"/segments/{smuggled}/size"), 400, "invalid_field", "segment_id")
    answer = connected_content.get(f"/segments/data_series?segment_id={SEGMENT_ID}%26length%3D100&length=2")
    assert_refused(answer, 400, "invalid_field", "segment_id")
    assert_nothing_reached_a_vendor(bundle)


@pytest.mark.parametrize(
    ("payload", "status"), [case[1:] for case in BAD_TRIGGERS], ids=[case[0] for case in BAD_TRIGGERS]
)
def test_a_bad_trigger_is_refused(
    bundle: LocalBundle, sessionm_template: Caller, payload: dict[str, Any], status: int
) -> None:
    assert_refused(sessionm_template.post("/triggers", payload), status)
    assert_nothing_reached_a_vendor(bundle)


@pytest.mark.parametrize(
    ("kind", "body", "status"), [case[1:] for case in BAD_SENDS], ids=[case[0] for case in BAD_SENDS]
)
def test_a_bad_send_is_refused_before_braze_sees_it(
    bundle: LocalBundle, sessionm_template: Caller, kind: str, body: dict[str, Any], status: int
) -> None:
    assert_refused(sessionm_template.post(f"/{kind}/trigger/send", body), status)
    assert_nothing_reached_a_vendor(bundle)


@pytest.mark.parametrize(
    "options", ["limit=0", "limit=x", "limt=3", "fields=secret", "on_error=perhaps", "culture=a%20b"]
)
def test_a_bad_wallet_option_is_refused(bundle: LocalBundle, connected_content: Caller, options: str) -> None:
    assert_refused(connected_content.get(f"/wallet/member-1?{options}"), 400)
    assert_nothing_reached_a_vendor(bundle)
