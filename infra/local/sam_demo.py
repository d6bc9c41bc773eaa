"""The demo's HTTP requests twice: to our own front, and to `sam local start-api`, which runs the real base image.

Both sides share one bundle (vendors, AWS, queues, workers), so a difference between the answers is a difference between
the two ways of running the functions behind an HTTP API. Ids, times and the like are made equal before comparing.

Left out is what sam local is known to do otherwise than API Gateway: it answers an unknown route with 403 and splits a
path at ``%2F``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import requests

from infra.local.bundle import BundleSettings, LocalBundle
from infra.local.demo import BRAZE_HEADERS, SESSIONM_HEADERS, VENDOR_OFFERS, template_payload
from infra.local.sam_local import CannotRun, reachable_from_containers, require, start_api
from infra.local.settings import CAMPAIGN_ID, CANVAS_ID, EVENT, OTHER_SEGMENT_ID, PRODUCT, SEGMENT_ID, STATE_DIR
from infra.local.telling import Telling, shortened

# What is another each time, by its shape or by the name of its field.
_VOLATILE: Final = (
    (r"(trg|evt|csv|segment|prefetch)-[0-9a-f]{24,32}", r"\1-*"),
    (r'"(dispatch_id|as_of|correlation_id|created_at|expires_at|url)": "[^"]+"', r'"\1": "*"'),
)


@dataclass(frozen=True)
class Side:
    """One way to run the functions: base URLs by API name, and a member of its own for what happens once a member."""

    name: str
    urls: Mapping[str, str]
    member_number: int
    ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request of the demo. `body` is sent as it is; `caller` None sends no credential.

    With a `key` the id in its answer is kept under it, for later requests.
    """

    api: str
    method: str
    path: str
    caller: str | None
    body: str | None = None
    key: str | None = None


def sam_demo() -> int:
    """Run both sides and compare; the exit code is 0 if they agree, 1 if not, 2 if something needed is missing."""
    telling = Telling()
    try:
        require()
        with ExitStack() as up:
            bundle = up.enter_context(LocalBundle(BundleSettings(state_dir=STATE_DIR / "sam-demo")))
            described = bundle.description()
            up.enter_context(reachable_from_containers(described))
            print(f"The bundle is up after {telling.took():.1f} s; sam local starts the same functions in containers.")
            logs = bundle.settings.state_dir / "logs"
            sam_urls = {
                name: up.enter_context(
                    start_api(api, described["environments"], bundle.aws_url, logs / f"sam-{name}.log")
                )
                for name, api in (("content", "ContentApi"), ("intake", "IntakeApi"))
            }
            print(f"sam local is up after {telling.took():.1f} s.\n")
            ours = Side("front", {"content": bundle.content_url, "intake": bundle.intake_url}, 0)
            differences = _compare(bundle, ours, Side("sam local", sam_urls, 1))
    except (CannotRun, TimeoutError, requests.RequestException) as error:
        print(error)
        return 2
    if differences:
        print(f"\nFAILED  {differences} answers differ. Logs: {STATE_DIR / 'sam-demo' / 'logs'}")
        return 1
    print(f"\nBoth sides gave the same answers, in {telling.took():.1f} s.")
    return 0


def _compare(bundle: LocalBundle, ours: Side, theirs: Side) -> int:
    differences = 0
    for build in _requests(bundle):
        request = build(ours)
        answers = [_answer(bundle, side, build(side)) for side in (ours, theirs)]
        what = f"{request.method} {shortened(request.path, 70)}" + ("" if request.caller else "  (no credential)")
        if answers[0] == answers[1]:
            print(f"  same       {answers[0][0]} {what}")
        else:
            differences += 1
            print(f"  DIFFERENT  {what}")
            for side, (status, body) in zip((ours, theirs), answers, strict=True):
                print(f"    {side.name:<10} {status} {shortened(body, 1000)}")
    return differences


def _requests(bundle: LocalBundle) -> list[Callable[[Side], Request]]:
    """Each job's requests, made for one side: what is done once a member is done to that side's member."""
    app_key, wallet_user = bundle.sessionm.core_api_key, bundle.members[10].user_id
    tag_body = json.dumps({"tags": ["braze_test"], "ttl": 2_592_000})
    offers = {"retailer_id": bundle.sessionm.retailer_id, "user_id": wallet_user, "skip": 0, "take": 1000}
    offers |= {"include_pending_extended_data": False, "culture": "en-US"}
    cc, webhook, sessionm, analyst = "braze-connected-content", "braze-webhook", "sessionm", "analyst"

    def user(side: Side) -> str:
        return bundle.members[side.member_number].user_id

    def trigger(kind: str, target_id: str) -> Callable[[Side], Request]:
        return lambda side: Request(
            "intake", "POST", "/triggers", sessionm, template_payload(kind, target_id, user(side)), key=kind
        )

    def passthrough(kind: str, target_id: str) -> Callable[[Side], Request]:
        body = json.dumps({f"{kind}_id": target_id, "recipients": [{"external_user_id": wallet_user}]})
        path = "/campaigns/trigger/send" if kind == "campaign" else "/canvas/trigger/send"
        return lambda _side: Request("intake", "POST", path, sessionm, body)

    def event(side: Side) -> Request:
        body = {"event name": "points_awarded", "customer identifier": user(side), "point award amount": 250}
        return Request("intake", "POST", "/events", sessionm, json.dumps(body))

    def prefetch(side: Side) -> Request:
        body = json.dumps({"user_ids": [user(side)], "culture": "ko", "fresh_for": 60})
        return Request("intake", "POST", "/wallet-prefetches", analyst, body)

    def same(*arguments: Any) -> Callable[[Side], Request]:
        return lambda _side: Request(*arguments)

    return [
        same("content", "GET", "/health", None),
        same("intake", "GET", "/health", None),
        lambda side: Request("intake", "POST", f"/priv/v1/apps/{app_key}/users/{user(side)}/tags", webhook, tag_body),
        same("intake", "POST", f"/priv/v1/apps/{app_key}/external/users/LC-1%20%C3%A9/tags", webhook, tag_body),
        same("intake", "POST", "/tags", webhook, json.dumps({"user_id": wallet_user, "tags": ["a"], "ttl": 60})),
        same("intake", "POST", "/tags", webhook, json.dumps({"user_id": wallet_user, "tags": ["a"]})),
        same("intake", "POST", "/tags", webhook, "{"),
        same("content", "POST", "/wallet", cc, json.dumps({"user_id": wallet_user, "limit": 3})),
        same("content", "GET", f"/wallet/{wallet_user}?limit=2&fields=name,offer_id", cc),
        same("content", "GET", "/wallet/nobody%20at%20all?culture=ko", cc),
        same("content", "POST", VENDOR_OFFERS, cc, json.dumps(offers)),
        trigger("campaign", CAMPAIGN_ID),
        trigger("canvas", CANVAS_ID),
        lambda side: Request("intake", "GET", f"/triggers/{side.ids['campaign']}", sessionm),
        lambda side: Request("intake", "GET", f"/triggers/{side.ids['canvas']}", sessionm),
        passthrough("campaign", CAMPAIGN_ID),
        passthrough("canvas", CANVAS_ID),
        event,
        prefetch,
        same("intake", "POST", "/tag-imports", analyst, json.dumps({"tags": ["gold"], "ttl": "30d"}), "import"),
        lambda side: Request("intake", "GET", f"/tag-imports/{side.ids['import']}", analyst),
        same("intake", "GET", "/tag-imports/csv-000000000000000000000000", analyst),
        same("intake", "POST", "/segment-exports", analyst, json.dumps({"segment_id": SEGMENT_ID, "tags": ["daily"]})),
        same("intake", "POST", f"/segment-exports/segment-{'0' * 24}/callback/{'0' * 32}", None, '{"success": true}'),
        same("content", "GET", f"/segments/sizes?ids={SEGMENT_ID},{OTHER_SEGMENT_ID}", cc),
        same("content", "GET", f"/events/{EVENT}/count", cc),
        same("content", "GET", f"/products/{PRODUCT}/sold", cc),
        same("content", "GET", f"/segments/{SEGMENT_ID}/size?min=1000", cc),
        same("content", "GET", f"/segments/data_series?segment_id={SEGMENT_ID}&length=14", cc),
        same("content", "GET", f"/segments/data_series?segment_id={SEGMENT_ID}", cc),
        same("content", "POST", "/wallet", None, "{}"),
        same("intake", "POST", "/tags", None, "{}"),
    ]


def _answer(bundle: LocalBundle, side: Side, request: Request) -> tuple[int, str]:
    """Status and comparable body. A trigger is waited for, so that asking for its state has one answer."""
    others = SESSIONM_HEADERS if request.caller == "sessionm" else BRAZE_HEADERS
    headers = {**others, **({"Authorization": bundle.authorization(request.caller)} if request.caller else {})}
    url = side.urls[request.api] + request.path
    body = None if request.body is None else request.body.encode()
    answer = requests.request(request.method, url, data=body, headers=headers, timeout=60, allow_redirects=False)
    if request.key is not None and answer.ok:
        side.ids[request.key] = next(value for name, value in answer.json().items() if name.endswith("_id"))
    if request.key is not None and answer.ok and request.path == "/triggers":
        sent_to = bundle.members[side.member_number].user_id
        bundle.wait_until(
            lambda: any(send.recipient == sent_to and send.kind == request.key for send in bundle.braze.sends),
            what="Braze to be asked",
        )
        time.sleep(0.2)  # for the worker to write down what Braze said
    return answer.status_code, _comparable(answer.text)


def _comparable(text: str) -> str:
    try:
        text = json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return text
    for pattern, replacement in _VOLATILE:
        text = re.sub(pattern, replacement, text)
    return text
