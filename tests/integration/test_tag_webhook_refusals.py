"""Tags that are refused: a status that is never repeated, a code, the field, what to do, and nothing in the queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tag_import.webhook import build
from tests.integration.support.aws import Aws
from tests.integration.support.events import JSON, Answered, Invoked, call, http_event, post

BY_USER = "POST /priv/v1/apps/{app_key}/users/{user_id}/tags"
BY_EXTERNAL = "POST /priv/v1/apps/{app_key}/external/users/{external_id}/tags"
SHORT = "POST /tags"
GOOD = {"tags": ["gold"], "ttl": 60}

Check = Callable[[Answered, int, str, str], None]


@pytest.fixture
def handle(aws: Aws) -> Invoked:
    return build(aws.settings())


@pytest.fixture
def refused(aws: Aws) -> Check:
    """Checks a refusal in full."""

    def check(answered: Answered, status: int, code: str, field: str) -> None:
        assert (answered.status, answered.body["code"], answered.body["field"]) == (status, code, field), answered.text
        assert answered.body["ok"] is False
        assert answered.body["message"]
        assert answered.body["hint"]
        assert "Retry-After" not in answered.headers
        assert aws.queued("tags") == []

    return check


def test_a_list_too_large_is_told_of_the_csv(handle: Invoked) -> None:
    answered = post(handle, SHORT, {"tags": ["gold"], "rows": [{"user_id": "x" * 200}] * 5000})

    assert (answered.status, answered.body["hint"]) == (413, "Send fewer rows at a time, or drop a CSV file.")


LARGE = json.dumps({"tags": ["x" * 1_048_577], "ttl": 60})


@pytest.mark.parametrize(
    ("body", "headers", "base64", "status", "code", "field"),
    [
        ("", JSON, False, 400, "invalid_json", "body"),
        ("tags=gold", JSON, False, 400, "invalid_json", "body"),
        ('{"tags": ["gold"], "ttl": 60,}', JSON, False, 400, "invalid_json", "body"),
        ("{'tags': ['gold']}", JSON, False, 400, "invalid_json", "body"),
        ('{"tags": ["\ud800"], "ttl": 60}', JSON, False, 400, "invalid_json", "body"),
        ('[{"tags": ["gold"], "ttl": 60}]', JSON, False, 400, "not_an_object", "body"),
        ('"gold"', JSON, False, 400, "not_an_object", "body"),
        ("null", JSON, False, 400, "not_an_object", "body"),
        (LARGE, JSON, False, 413, "too_large", "body"),
        ("not base64!", JSON, True, 400, "invalid_field", "body"),
        ("/w==", JSON, True, 400, "invalid_json", "body"),
        (json.dumps(GOOD), {}, False, 415, "unsupported_media_type", "content-type"),
        (json.dumps(GOOD), {"content-type": "text/plain"}, False, 415, "unsupported_media_type", "content-type"),
        (
            json.dumps(GOOD),
            {"content-type": "application/x-www-form-urlencoded"},
            False,
            415,
            "unsupported_media_type",
            "content-type",
        ),
    ],
)
@pytest.mark.parametrize(
    ("route", "path"), [(SHORT, {}), (BY_USER, {"app_key": "any", "user_id": "member-1"})], ids=["short", "vendor"]
)
def test_a_body_that_cannot_be_read_is_refused(
    handle: Invoked,
    refused: Check,
    route: str,
    path: Mapping[str, str],
    body: str,
    headers: Mapping[str, str],
    base64: bool,
    status: int,
    code: str,
    field: str,
) -> None:
    answered = call(handle, http_event(route, path=path, headers=headers, body=body, base64=base64))

    refused(answered, status, code, field)


BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"tags": []}, "invalid_field", "tags"),
    ({"tags": ["a"] * 101}, "invalid_field", "tags"),
    ({"tags": ["a"] * 10_000}, "invalid_field", "tags"),
    ({"tags": "gold"}, "invalid_field", "tags"),
    ({"tags": None}, "invalid_field", "tags"),
    ({"tags": {"gold": 1}}, "invalid_field", "tags"),
    ({"tags": [7]}, "invalid_field", "tags[0]"),
    ({"tags": ["gold", None]}, "invalid_field", "tags[1]"),
    ({"tags": [["gold"]]}, "invalid_field", "tags[0]"),
    ({"tags": [""]}, "invalid_field", "tags[0]"),
    ({"tags": ["   "]}, "invalid_field", "tags[0]"),
    ({"tags": ["x" * 256]}, "invalid_field", "tags[0]"),
    ({"tags": ["x" * 10_000]}, "invalid_field", "tags[0]"),
    ({"tags": ["a\nb"]}, "invalid_field", "tags[0]"),
    ({"tags": ["a\x00b"]}, "invalid_field", "tags[0]"),
    ({"tags": ["a\x7fb"]}, "invalid_field", "tags[0]"),
    ({"tags": ["a\x85b"]}, "invalid_field", "tags[0]"),
    ({"ttl": 0}, "invalid_field", "ttl"),
    ({"ttl": -1}, "invalid_field", "ttl"),
    ({"ttl": 1.5}, "invalid_field", "ttl"),
    ({"ttl": "60"}, "invalid_field", "ttl"),
    ({"ttl": 10**12}, "invalid_field", "ttl"),
    ({"ttl": 10**30}, "invalid_field", "ttl"),
    ({"ttl": True}, "invalid_field", "ttl"),
    ({"ttl": [60]}, "invalid_field", "ttl"),
    ({"ttl": None}, "missing_field", "ttl"),
    ({"ttl": ...}, "missing_field", "ttl"),
    ({"counter": "true", "ttl": ...}, "invalid_field", "counter"),
    ({"counter": True}, "invalid_field", "counter"),
    ({"counter": True, "ttl": ...}, "missing_field", "idempotency-key"),
    ({"TTL": 60}, "unknown_field", "TTL"),
    ({"tag": "gold"}, "unknown_field", "tag"),
]


def changed(fields: Mapping[str, Any], base: Mapping[str, Any] = GOOD) -> dict[str, Any]:
    """Good fields with these instead; `...` takes one away."""
    return {name: value for name, value in ({**base, **fields}).items() if value is not ...}


@pytest.mark.parametrize(("fields", "code", "field"), [*BAD_FIELDS, ({"tags": ...}, "missing_field", "tags")])
def test_a_field_of_the_vendor_dialect_that_breaks_its_rule_is_refused(
    handle: Invoked, refused: Check, fields: dict[str, Any], code: str, field: str
) -> None:
    path = {"app_key": "any", "user_id": "member-1"}

    refused(post(handle, BY_USER, changed(fields), path=path), 400, code, field)


@pytest.mark.parametrize(("fields", "code", "field"), [*BAD_FIELDS, ({"tags": ...}, "missing_field", "tags")])
def test_a_field_of_the_short_dialect_that_breaks_its_rule_is_refused(
    handle: Invoked, refused: Check, fields: dict[str, Any], code: str, field: str
) -> None:
    refused(post(handle, SHORT, changed(fields) | {"user_id": "member-1"}), 400, code, field)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        *(fault for fault in BAD_FIELDS if fault[2] != "idempotency-key"),
        ({"tags": ...}, "missing_field", "tags"),
        ({"user_id": ...}, "missing_field", "user_id"),
        ({"external_id": "loyal-1"}, "invalid_field", "user_id"),
        ({"user_id": "a b"}, "invalid_field", "user_id"),
    ],
)
def test_one_bad_row_refuses_all_rows_and_is_named(
    handle: Invoked, refused: Check, fields: dict[str, Any], code: str, field: str
) -> None:
    good = GOOD | {"user_id": "member-1"}

    refused(post(handle, SHORT, {"rows": [good, changed(fields, good)]}), 400, code, f"rows[1].{field}")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"rows": []}, "invalid_field", "rows"),
        ({"rows": [GOOD | {"user_id": "member-1"}] * 5_001}, "invalid_field", "rows"),
        ({"rows": {}}, "invalid_field", "rows"),
        ({"rows": [GOOD | {"user_id": "member-1"}], "ttl": 60}, "invalid_field", "rows"),
        ({"rows": [GOOD | {"user_id": "member-1"}], "tags": ["gold"]}, "invalid_field", "rows"),
        (GOOD, "missing_field", "user_id"),
        (GOOD | {"user_id": "member-1", "external_id": "loyal-1"}, "invalid_field", "user_id"),
        (GOOD | {"user_id": 7}, "invalid_field", "user_id"),
        (GOOD | {"user_id": ""}, "invalid_field", "user_id"),
        (GOOD | {"external_id": "a/b"}, "invalid_field", "external_id"),
        ({}, "missing_field", "tags"),
    ],
)
def test_a_body_of_the_short_dialect_names_members_in_one_way(
    handle: Invoked, refused: Check, body: dict[str, Any], code: str, field: str
) -> None:
    refused(post(handle, SHORT, body), 400, code, field)


@pytest.mark.parametrize("user_id", ["a/b", "..", "a.b", "50%", "a b", "☕", "m" * 129, "m" * 2_000, "a\n", ""])
def test_a_user_id_that_no_sessionm_user_has_is_refused(handle: Invoked, refused: Check, user_id: str) -> None:
    path = {"app_key": "any", "user_id": user_id}

    refused(post(handle, BY_USER, GOOD, path=path), 400, "invalid_field", "user_id")


@pytest.mark.parametrize(
    "external_id", ["a/b", ".", "..", "50%", "a b", "☕", "m" * 256, "m" * 2_000, "a\n", "a?b", "a#b", ""]
)
def test_an_external_id_that_means_something_in_an_address_is_refused(
    handle: Invoked, refused: Check, external_id: str
) -> None:
    path = {"app_key": "any", "external_id": external_id}

    refused(post(handle, BY_EXTERNAL, GOOD, path=path), 400, "invalid_field", "external_id")
