"""What is never written down: credentials, bodies and member ids, in logs as in error answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from infra.local.simulators import BrazeSimulator, ErrorInside200, Fault, Garbage, Reset, SessionmSimulator, Status
from member_lists.worker import build as build_import
from segment_size.endpoint import build as build_segment_size
from tag_import.delivery import build as build_tag_delivery
from tag_import.status import build as build_status
from tag_import.submit import build as build_submit
from tag_import.webhook import build as build_webhook
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, get, post, sqs_event, sqs_record
from tests.integration.support.parcels import Wanted, parcel
from trigger_relay.delivery import build as build_trigger_delivery
from trigger_relay.intake import build as build_intake
from trigger_relay.passthrough import build as build_passthrough
from trigger_relay.triggers import Recipient, Trigger
from wallet_proxy.endpoint import build as build_wallet

# Every credential, id and text below carries one of these.
MEMBER, BODY, SECRET = "marked-member", "marked-body", "marked-secret"
MARKS = (MEMBER, BODY, SECRET, MEMBER.upper(), "bWFya2Vk")  # the last: "marked" in base64

FAULTS: list[Fault | None] = [
    None,
    Status(
        400, {"message": f"{MEMBER} {BODY}", "status": "error", "errors": {"code": "validation", "message": MEMBER}}
    ),
    Status(401),
    Status(404, f"<html>{MEMBER} {BODY}"),
    Status(500, f"{MEMBER} {BODY}"),
    Status(302, headers={"Location": f"/{MEMBER}"}),
    Status(429, {"message": MEMBER}),
    Reset(),
    Garbage(),
    ErrorInside200(),
]

Flow = Callable[[Aws, str], list[str]]


def wallets(aws: Aws, url: str) -> list[str]:
    handle = build_wallet(aws.settings(SESSIONM_CORE_URL=url, SESSIONM_CONNECT_URL=url))
    short = post(handle, "POST /wallet", {"user_id": MEMBER})
    vendor = post(handle, "POST /offers/api/2.0/offers/get_user_offers", {"user_id": MEMBER, "retailer_id": BODY})
    bad = post(handle, "POST /wallet", {"user_id": f"{MEMBER} {BODY}", "limit": BODY})
    refused = get(handle, "GET /wallet/{user_id}", path={"user_id": f"{MEMBER}!"}, query={"limit": BODY})
    assert (bad.status, refused.status) == (400, 400)
    echoed = short.text.replace(f'"user_id":"{MEMBER}"', "")  # its own user_id is part of the short wallet
    # A vendor's answer is passed on as it is, and holds the member it was asked for.
    passed_on = "" if vendor.body.get("status") == "ok" or "message" in vendor.body else vendor.text
    return [echoed, passed_on, bad.text, refused.text]


def tags(aws: Aws, url: str) -> list[str]:
    webhook = build_webhook(aws.settings())
    fields = {"tags": [BODY], "ttl": 60}
    good = post(webhook, "POST /tags", fields | {"user_id": MEMBER})
    bad = post(webhook, "POST /tags", fields | {"user_id": f"{MEMBER}/{BODY}"})
    path = {"app_key": SECRET, "user_id": f"{MEMBER} x"}
    refused = post(webhook, "POST /priv/v1/apps/{app_key}/users/{user_id}/tags", fields, path=path)
    unreadable = post(webhook, "POST /tags", f"{MEMBER} {BODY}")
    assert [answer.status for answer in (good, bad, refused, unreadable)] == [202, 400, 400, 400]
    delivery = build_tag_delivery(aws.settings(SESSIONM_CORE_URL=url, SESSIONM_CONNECT_URL=url))
    expiring = Wanted(1, MEMBER, (BODY,), ttl_seconds=60)
    counter = Wanted(2, MEMBER, (BODY,), ttl_seconds=None, kind="external_id")
    records = [sqs_record(parcel(expiring, counter)), sqs_record(f"{MEMBER} {BODY}", "poison")]
    delivery(sqs_event(records), Context())
    return [good.text, bad.text, refused.text, unreadable.text]


def imports(aws: Aws, url: str) -> list[str]:
    settings = aws.settings(
        SESSIONM_CORE_URL=url, SESSIONM_CONNECT_URL=url, BRAZE_REST_URL=url, TAG_READ_BACK_SAMPLE="5"
    )
    submit, work, status = build_submit(settings), build_import(settings), build_status(settings)
    deliver = build_tag_delivery(settings)
    answers = []
    for content in (f"user_id\n{MEMBER}\n{MEMBER} {BODY}\n", f"{MEMBER},{BODY}\n{BODY},{MEMBER}\n"):
        submitted = post(submit, "POST /tag-imports", {"tags": [BODY], "ttl": 60})
        import_id = submitted.body["import_id"]
        key = f"imports/uploads/{import_id}/upload.csv"
        aws.s3.put_object(Bucket=aws.bucket(), Key=key, Body=content.encode())
        dropped = {"bucket": {"name": aws.bucket()}, "object": {"key": key}}
        work(sqs_event([sqs_record(json.dumps({"detail": dropped}))]), Context())
        deliver(sqs_event(aws.received("bulk-tags")), Context())
        work(sqs_event([sqs_record(json.dumps({"import_id": import_id}))]), Context())
        told = get(status, "GET /tag-imports/{import_id}", path={"import_id": import_id})
        assert (submitted.status, told.status, told.body["rows_read"] > 0) == (201, 200, "user_id" in content)
        answers += [submitted.text, told.text]
    bad = post(submit, "POST /tag-imports", {"tags": [f"{BODY}\n"], "file_name": f"{MEMBER}/{BODY}"})
    export = post(submit, "POST /segment-exports", {"segment_id": f"{BODY}!", "tags": [BODY]})
    assert (bad.status, export.status) == (400, 400)
    return [*answers, bad.text, export.text]


def triggers(aws: Aws, url: str) -> list[str]:
    intake = build_intake(aws.settings())
    good = post(intake, "POST /triggers", {"campaign_id": "campaign-1", "user_id": MEMBER, "text": BODY})
    bad = post(intake, "POST /triggers", {"campaign_id": f"{BODY} {MEMBER}", "user_id": MEMBER})
    address = post(intake, "POST /triggers", {"campaign_id": "campaign-1", "email": f"{MEMBER} {BODY}"})
    unreadable = post(intake, "POST /triggers", f"{MEMBER} {BODY}")
    assert [answer.status for answer in (good, bad, address, unreadable)] == [202, 400, 400, 400]
    properties = msgspec.Raw(msgspec.json.encode({"text": BODY}))
    recipient = Recipient({"external_user_id": MEMBER})
    trigger = Trigger("trg-1", "campaign", "campaign-1", [recipient], properties)
    delivery = build_trigger_delivery(aws.settings(BRAZE_REST_URL=url))
    records = [sqs_record(msgspec.json.encode(trigger).decode()), sqs_record(f"{MEMBER} {BODY}", "poison")]
    delivery(sqs_event(records), Context())
    relay = build_passthrough(aws.settings(BRAZE_REST_URL=url))
    sent = {"campaign_id": "campaign-1", "recipients": [{"external_user_id": MEMBER}]}
    relayed = post(relay, "POST /campaigns/trigger/send", sent | {"trigger_properties": {"text": BODY}})
    refused = post(relay, "POST /campaigns/trigger/send", sent | {"recipients": [MEMBER], "send_id": BODY})
    ours = relayed.text if "code" in relayed.body else ""  # Braze's own answer is passed on as it is
    return [good.text, bad.text, address.text, unreadable.text, ours, refused.text]


def segment_sizes(aws: Aws, url: str) -> list[str]:
    handle = build_segment_size(aws.settings(BRAZE_REST_URL=url))
    good = get(handle, "GET /segments/{segment_id}/size", path={"segment_id": "segment-1"})
    bad = get(handle, "GET /segments/{segment_id}/size", path={"segment_id": f"{BODY}!"}, query={"min": BODY})
    return [good.text, bad.text]


@pytest.mark.parametrize("flow", [wallets, tags, imports, triggers, segment_sizes], ids=lambda flow: flow.__name__)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_no_credential_body_or_member_is_logged_or_answered(
    aws: Aws,
    sessionm: SessionmSimulator,
    braze: BrazeSimulator,
    capsys: pytest.CaptureFixture[str],
    fault: Fault | None,
    flow: Flow,
) -> None:
    if fault is None:
        sessionm.add_member(MEMBER, MEMBER)
    else:
        wrong: dict[str, Any] = {
            name: f"{SECRET}-{name}" for name in ("core_api_key", "core_api_secret", "retailer_id")
        }
        aws.put_secret("sessionm", wrong | {"connect_authorization": SECRET})
        aws.put_secret("braze", {"rest_api_key": SECRET})
        for simulator in (sessionm, braze):
            simulator.faults.add("* *", fault)
    vendor = braze if flow in (triggers, segment_sizes) else sessionm

    answers = flow(aws, vendor.url)

    captured = capsys.readouterr()
    written = captured.out + captured.err
    assert "CloudWatchMetrics" in written, "the handlers did run"
    for mark in MARKS:
        assert mark not in written
        assert not [answer for answer in answers if mark in answer]


@pytest.mark.parametrize("which", ["sessionm", "braze"])
@pytest.mark.parametrize("value", [f'"{SECRET}"', f'{{"rest_api_key": "{SECRET} x", "core_api_key": "{SECRET} x"}}'])
def test_a_malformed_secret_is_not_logged(aws: Aws, capsys: pytest.CaptureFixture[str], which: str, value: str) -> None:
    aws.put_secret(which, value)
    url = "http://127.0.0.1:9"

    answers = wallets(aws, url) if which == "sessionm" else triggers(aws, url)

    assert SECRET not in capsys.readouterr().out
    assert not [answer for answer in answers if SECRET in answer]
