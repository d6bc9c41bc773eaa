"""A big send through the running bundle: wallets prefetched by `make prefetch`, and then no call to SessionM."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from rich.console import Console

from infra.commands import wallet_prefetch
from infra.local.bundle import LocalBundle
from infra.local.simulators import Status
from tests.end_to_end.support import Caller, tags_path

SEGMENT = "segment-of-the-send"
MEMBERS = [f"prefetched-{number:02d}" for number in range(60)]


@pytest.fixture
def segment(bundle: LocalBundle) -> Iterator[str]:
    """A segment with 60 members, one nobody knows and one without an external id, whose export takes no time."""
    for user_id in MEMBERS:
        bundle.sessionm.add_member(user_id)
        bundle.sessionm.add_offer(user_id, name=f"Offer of {user_id}", end_date="2099-12-31")
    bundle.braze.add_segment(SEGMENT)
    bundle.braze.set_segment_users(SEGMENT, [*MEMBERS, "prefetched-nobody", None])
    usual_seconds, bundle.braze.exports.seconds = bundle.braze.exports.seconds, 0.0
    yield SEGMENT
    bundle.braze.exports.seconds = usual_seconds
    bundle.sessionm.forget()


def prefetch(bundle: LocalBundle, **given: str) -> tuple[int, str]:
    text = io.StringIO()
    environment: Mapping[str, str] = {
        "INTAKE_API": bundle.intake_url,
        "CALLER": f"analyst:{bundle.callers['analyst']}",
        **given,
    }
    code = wallet_prefetch.run(environment, Console(file=text, width=200), sleep=lambda _: time.sleep(0.1))
    return code, text.getvalue()


def at_rest(bundle: LocalBundle) -> int:
    """How many calls SessionM has had, once no more come: a worker here is taken for dead after a few seconds, and then
    another fetches beside it."""
    deadline = time.monotonic() + 60
    before, calls = -1, len(bundle.sessionm.requests())
    while before != calls:
        assert time.monotonic() < deadline
        time.sleep(1)
        before, calls = calls, len(bundle.sessionm.requests())
    return calls


def wallet(connected_content: Caller, user_id: str, **more: Any) -> Any:
    answer = connected_content.post("/wallet", {"user_id": user_id, "culture": "ko", **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_send_after_a_prefetch_asks_sessionm_for_nothing(
    bundle: LocalBundle,
    connected_content: Caller,
    braze_webhook: Caller,
    segment: str,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    code, text = prefetch(bundle, SEGMENT=segment, CULTURE="ko", FRESH="3600")

    assert code == 1, text
    assert "fetched      │      60" in text
    assert "1 failed: user_not_found" in text
    assert "1 skipped: no_external_id" in text
    calls = at_rest(bundle)
    asked = {request.json()["user_id"] for request in bundle.sessionm.requests()}
    assert asked == {*MEMBERS, "prefetched-nobody"}

    bundle.sessionm.faults.add("POST /offers/*", Status(503))
    found = [wallet(connected_content, user_id, limit=1, fields="name") for user_id in MEMBERS[::4]]
    assert [(each["ok"], each["stale"]) for each in found] == [(True, False)] * 15
    assert [each["offers"] for each in found] == [[{"name": f"Offer of {user_id}"}] for user_id in MEMBERS[::4]]
    assert wallet(connected_content, "prefetched-nobody")["reason"] == "user_not_found"
    assert len(bundle.sessionm.requests()) == calls, "SessionM saw no further call"

    bundle.sessionm.faults.clear()
    code, text = prefetch(bundle, SEGMENT=segment, CULTURE="ko", FRESH="3600")
    assert (code, "60 skipped: still_fresh" in text) == (1, True), text
    assert at_rest(bundle) == calls
    assert braze_webhook.post(tags_path(MEMBERS[0]), {"tags": ["beside"], "ttl": 600}).status_code == 202
    bundle.wait_until(lambda: "beside" in bundle.sessionm.tags_of(MEMBERS[0]), 60, "a tag")
