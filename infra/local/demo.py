"""Every job of the bundle once, by real HTTP, the way its real callers do it.

Starts a bundle on free ports, calls it as Braze, SessionM and an operator would, looks at the far side and says whether
what arrived there is right. Takes under half a minute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import requests

from infra.local.bundle import BundleSettings, LocalBundle
from infra.local.settings import CAMPAIGN_ID, CANVAS_ID, SEGMENT_ID, STATE_DIR
from infra.local.telling import Telling, Wrong, render, shortened

BRAZE_HEADERS: Final = {"User-Agent": "Braze Sender 5f2c1d", "Content-Type": "application/json"}
SESSIONM_HEADERS: Final = {"User-Agent": "SessionM", "Content-Type": "application/json"}
TTL_SECONDS: Final = 2_592_000
VENDOR_OFFERS: Final = "/offers/api/2.0/offers/get_user_offers"


def demo() -> int:
    """Run the demo; the exit code is 0 if everything was right, else 1 after a line that says what was not."""
    telling = Telling()
    try:
        with LocalBundle(BundleSettings(state_dir=STATE_DIR / "demo")) as bundle:
            print(
                f"The bundle is up after {telling.took():.1f} s; the vendors and AWS are simulated, the rest is real."
            )
            for job in (tags_by_webhook, tags_by_csv, tags_by_segment, wallet, wallets_ahead, triggers, segment_size):
                job(bundle, telling)
    except (Wrong, TimeoutError, requests.RequestException) as error:
        print(f"\nFAILED  {error}\nLogs: {STATE_DIR / 'demo' / 'logs'}")
        return 1
    print(f"\nAll jobs done and checked in {telling.took():.1f} s.")
    return 0


def tags_by_webhook(bundle: LocalBundle, telling: Telling) -> None:
    telling.title("1a. Tags: a Braze webhook campaign, many members at once")
    audience = bundle.members[:20]
    path = "/priv/v1/apps/{}/users/{}/tags"
    body = {"tags": ["spring_campaign"], "ttl": TTL_SECONDS}

    def webhook(user_id: str) -> requests.Response:
        url = bundle.intake_url + path.format(bundle.sessionm.core_api_key, user_id)
        return requests.post(url, json=body, headers=_headers(bundle, "braze-webhook", BRAZE_HEADERS), timeout=90)

    telling.sent(f"{len(audience)} x POST {path.format('{app_key}', '{user_id}')}  {json.dumps(body)}")
    with ThreadPoolExecutor(10) as braze:
        answers = list(braze.map(webhook, [member.user_id for member in audience]))
    telling.came_out(f"{answers[0].status_code} {answers[0].text}")
    statuses = sorted({answer.status_code for answer in answers})
    telling.check(statuses == [202], "every webhook is acknowledged with 202", statuses)
    bundle.wait_until(
        lambda: all("spring_campaign" in bundle.sessionm.tags_of(member.user_id) for member in audience),
        what="the tags at SessionM",
    )
    tag = bundle.sessionm.tags_of(audience[0].user_id)["spring_campaign"]
    telling.came_out(f"SessionM: {audience[0].user_id} has {tag.to_json('spring_campaign')}")
    telling.check(
        tag.count is None and tag.expires_at is not None, "each member has the tag once, with its expiry", tag
    )


def tags_by_csv(bundle: LocalBundle, telling: Telling) -> None:
    telling.title("1b. Tags: a CSV, and what became of every row")
    members = bundle.members[20:70]
    lines = ["User ID;Tags;TTL", *(f"{member.user_id};gold|early_access;30d" for member in members)]
    lines += [f"{members[0].user_id};;30d", "nobody-we-know;gold;30d"]
    telling.sent(f"POST /tag-imports, and a file of {len(members)} good rows, one without a tag, one of a stranger")
    answer = _as_analyst(bundle, "POST", "/tag-imports", {"file_name": "spring.csv"})
    upload = answer["upload"]
    requests.put(upload["url"], data="\n".join(lines).encode(), timeout=30).raise_for_status()
    status = _ended(bundle, answer["status_path"])
    telling.came_out(f"GET /tag-imports/{answer['import_id']}: {shortened(json.dumps(status))}")
    found = {name: status[name] for name in ("rows_read", "sent", "failed", "skipped", "unknown", "waiting")}
    expected = {"rows_read": 52, "sent": 50, "failed": 2, "skipped": 0, "unknown": 0, "waiting": 0}
    telling.check(found == expected, "every row has one verdict", found)
    tagged = [set(bundle.sessionm.tags_of(member.user_id)) for member in members]
    telling.check(tagged == [{"gold", "early_access"}] * len(members), f"all {len(members)} members have both tags")
    failures = requests.get(status["failure_file_url"], timeout=30).text
    for line in failures.strip().splitlines()[1:]:
        telling.came_out(f"failure file: {line}")
    telling.check("user_not_found" in failures, "the others are listed with their reasons", failures)


def tags_by_segment(bundle: LocalBundle, telling: Telling) -> None:
    telling.title("1c. Tags: a Braze segment, exported")
    members = bundle.members[70:]
    bundle.braze.set_segment_users(SEGMENT_ID, [*(member.user_id for member in members), None])
    body = {"segment_id": SEGMENT_ID, "tags": ["of_the_segment"], "ttl": "8d"}
    telling.sent(f"POST /segment-exports {json.dumps(body)}")
    answer = _as_analyst(bundle, "POST", "/segment-exports", body)
    status = _ended(bundle, answer["status_path"])
    telling.came_out(f"GET /tag-imports/{answer['import_id']}: {shortened(json.dumps(status))}")
    found = (status["rows_read"], status["sent"], status["skipped"])
    telling.check(found == (len(members) + 1, len(members), 1), "one user without external_id is skipped", found)
    tagged = all("of_the_segment" in bundle.sessionm.tags_of(member.user_id) for member in members)
    telling.check(tagged, f"all {len(members)} others have the tag")


def wallet(bundle: LocalBundle, telling: Telling) -> None:
    telling.title("2. Wallet: Connected Content inside a message")
    member = bundle.members[0]
    short_body = {"user_id": member.user_id, "limit": 3}
    short = _connected_content(bundle, telling, "POST", "/wallet", short_body)
    line = "You have {{ w.available_points }} points and {{ w.offer_count }} offers, such as {{ w.offers[0].name }}."
    telling.came_out(f"message: {render(line, {'w': short})}")
    telling.check(short["ok"], "the short dialect says ok", short)
    telling.check(short["available_points"] == member.available_points, "with the points SessionM has", short)
    vendor_body = {
        "retailer_id": bundle.sessionm.retailer_id,
        "user_id": member.user_id,
        "skip": 0,
        "take": 1000,
        "include_pending_extended_data": False,
        "culture": "en-US",
    }
    vendor = _connected_content(bundle, telling, "POST", VENDOR_OFFERS, vendor_body)
    line = "You have {{ wallet.payload.available_points }} of {{ wallet.payload.total_points }} points left."
    telling.came_out(f"message: {render(line, {'wallet': vendor})}")
    found = (vendor["status"], vendor["payload"]["available_points"], len(vendor["payload"]["user_offers"]))
    expected = ("ok", member.available_points, len(member.issued()))
    telling.check(found == expected, "SessionM's documented request gets SessionM's answer", found)


def wallets_ahead(bundle: LocalBundle, telling: Telling) -> None:
    telling.title("2b. Wallets fetched before a send, which then asks SessionM for nothing")
    members = bundle.members[10:30]
    body = {"user_ids": [member.user_id for member in members], "culture": "ko", "fresh_for": 3600}
    telling.sent(f"POST /wallet-prefetches {shortened(json.dumps(body))}")
    answer = _as_analyst(bundle, "POST", "/wallet-prefetches", body)
    status = _ended(bundle, answer["status_path"])
    telling.came_out(f"GET {answer['status_path']}: {shortened(json.dumps(status))}")
    telling.check(status["fetched"] == len(members), "every member's wallet is fetched", status)
    before = len(bundle.sessionm.requests())
    found = [
        _connected_content(bundle, None, "POST", "/wallet", {"user_id": member.user_id, "culture": "ko"})
        for member in members
    ]
    telling.check(all(each["ok"] and not each["stale"] for each in found), "all messages have a fresh wallet")
    telling.check(len(bundle.sessionm.requests()) == before, "and SessionM was not asked")


def triggers(bundle: LocalBundle, telling: Telling) -> None:
    telling.title("3. Triggers: a SessionM template makes Braze send, once")
    for kind, target_id in (("campaign", CAMPAIGN_ID), ("canvas", CANVAS_ID)):
        member = bundle.members[3 if kind == "campaign" else 4]
        payload = template_payload(kind, target_id, member.user_id)
        before = len(bundle.braze.sends)
        telling.sent(f"POST /triggers {shortened(payload)}")
        answer = requests.post(
            f"{bundle.intake_url}/triggers",
            data=payload.encode(),
            headers=_headers(bundle, "sessionm", SESSIONM_HEADERS),
            timeout=30,
        )
        telling.came_out(f"{answer.status_code} {answer.text}")
        telling.check(answer.status_code == 202, "the trigger is taken, trailing comma and all", answer.text)
        trigger_id = answer.json()["trigger_id"]
        state = _wait_until_sent(bundle, trigger_id)
        telling.came_out(f"GET /triggers/{trigger_id}: {shortened(state)}")
        sends = bundle.braze.sends[before:]
        telling.check(len(sends) == 1, "Braze was asked to send once", sends)
        (send,) = sends
        name = "api_trigger_properties" if kind == "campaign" else "context"
        line = f"{{{{ {name}.offer_title }}}} is yours, and {{{{ {name}.point_award_amount }}}} points."
        telling.came_out(f"Braze {kind} to {send.recipient}: {render(line, {name: dict(send.properties)})}")
        found = (send.kind, send.target_id, send.recipient, send.dispatch_id, send.properties.get("offer_title"))
        expected = (kind, target_id, member.user_id, state["dispatch_id"], "Free coffee")
        telling.check(found == expected, "to the right member, with the offer as properties", found)


def segment_size(bundle: LocalBundle, telling: Telling) -> None:
    telling.title("4. Segment size: fetched on a schedule, read from a cache")

    def asked() -> int:
        return sum(request.path == "/segments/data_series" for request in bundle.braze.requests())

    telling.sent("the schedule fires")
    bundle.fire_schedule("segment-refresh")
    bundle.wait_until(asked, what="the refresh to ask Braze")
    size = _connected_content(bundle, telling, "GET", f"/segments/{SEGMENT_ID}/size?min=1000")
    bundle.wait_until(
        lambda: _connected_content(bundle, None, "GET", f"/segments/{SEGMENT_ID}/size")["ok"], what="a size"
    )
    telling.came_out(f"message: {render('Join {{ s.size_text }} others.', {'s': size})}")
    after_first = asked()
    path = f"/segments/data_series?segment_id={SEGMENT_ID}&length=14"
    series = _connected_content(bundle, telling, "GET", path)
    again = _connected_content(bundle, telling, "GET", f"/segments/{SEGMENT_ID}/size")
    expected = bundle.braze.state()["segments"]
    telling.check(again["ok"] and again["size"] == series["data"][-1]["size"], "both dialects say the same", series)
    telling.check(len(series["data"]) == 14, "the vendor's request gets the days it asks for", series)
    telling.check(size["meets_min"] is True, "the least size worth showing is met", expected)
    telling.check(asked() - after_first <= 1, "a size that was fetched is not asked for again", asked())


def _connected_content(
    bundle: LocalBundle, telling: Telling | None, method: str, path: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A Connected Content call: two seconds, a 2xx and a JSON object, or nothing."""
    answer = requests.request(
        method,
        bundle.content_url + path,
        json=body,
        headers=_headers(bundle, "braze-connected-content", BRAZE_HEADERS),
        timeout=2,
        allow_redirects=False,
    )
    if telling is not None:
        telling.sent(f"{method} {path}" + (f"  {json.dumps(body)}" if body else ""))
        telling.came_out(f"{answer.status_code} {shortened(answer.text)}")
    shown = answer.json()
    if answer.status_code != 200 or not isinstance(shown, dict):
        raise Wrong(f"{method} {path} answered {answer.status_code} {shortened(answer.text)}")
    return shown


def template_payload(kind: str, target_id: str, user_id: str) -> str:
    """What a SessionM message template sends, with the comma that the documented sample leaves before the brace."""
    fields = {
        f"braze_{kind}_id": target_id,
        "customer identifier": user_id,
        "email address": "member@example.com",
        "broadcast flag": "false",
        "offer_id": "82bd28a5-a16c-441a-ae63-136e4c26da0b",
        "offer title": "Free coffee",
        "expiration date": "2030-12-31T23:59:59Z",
        "point award amount": 250,
        "point account name": "Main",
    }
    return json.dumps(fields)[:-1] + ",}"


def _wait_until_sent(bundle: LocalBundle, trigger_id: str) -> dict[str, Any]:
    bundle.wait_until(lambda: _state(bundle, trigger_id)["state"] == "sent", what=f"{trigger_id} to be sent")
    return _state(bundle, trigger_id)


def _state(bundle: LocalBundle, trigger_id: str) -> dict[str, Any]:
    answer = requests.get(
        f"{bundle.intake_url}/triggers/{trigger_id}",
        headers=_headers(bundle, "sessionm", SESSIONM_HEADERS),
        timeout=30,
    )
    state: dict[str, Any] = answer.json()
    return state


def _as_analyst(bundle: LocalBundle, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    answer = requests.request(
        method, bundle.intake_url + path, json=body, headers=_headers(bundle, "analyst", {}), timeout=30
    )
    if not answer.ok:
        raise Wrong(f"{method} {path} answered {answer.status_code} {shortened(answer.text)}")
    shown: dict[str, Any] = answer.json()
    return shown


def _ended(bundle: LocalBundle, path: str) -> dict[str, Any]:
    """The status of an import, or of a prefetch, once it has come to its end."""
    bundle.wait_until(
        lambda: _as_analyst(bundle, "GET", path)["state"] in ("finished", "failed"), 60, f"the end of {path}"
    )
    return _as_analyst(bundle, "GET", path)


def _headers(bundle: LocalBundle, caller: str, others: Mapping[str, str]) -> dict[str, str]:
    return {**others, "Authorization": bundle.authorization(caller)}
