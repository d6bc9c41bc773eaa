"""Broken on purpose: vendors that fail, workers that die, requests that come twice. Nothing accepted is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from infra.local.bundle import LocalBundle
from infra.local.settings import CAMPAIGN_ID
from infra.local.simulators import HangAfterAccept, Reset, ResetAfterEffect, Slow, Status
from tests.end_to_end.support import Caller, tags_path

TAGS = {"tags": ["kept"], "ttl": 3600}


def test_a_burst_of_webhooks_becomes_tags_to_the_last(bundle: LocalBundle, braze_webhook: Caller) -> None:
    with ThreadPoolExecutor(32) as braze:
        answers = list(braze.map(lambda member: braze_webhook.post(tags_path(member.user_id), TAGS), bundle.members))
    assert {answer.status_code for answer in answers} == {202}
    bundle.wait_until(lambda: all("kept" in bundle.sessionm.tags_of(member.user_id) for member in bundle.members), 30)


def test_tags_and_triggers_wait_out_vendors_that_are_down(
    bundle: LocalBundle, braze_webhook: Caller, sessionm_template: Caller
) -> None:
    # Long enough down that the immediate retry fails as well, and the queue has to bring them back.
    bundle.sessionm.faults.add("POST /priv/*", Status(503), times=2)
    bundle.braze.faults.add("POST /campaigns/*", Status(500), times=2)
    member = bundle.members[0]
    assert braze_webhook.post(tags_path(member.user_id), TAGS).status_code == 202
    trigger = {"braze_campaign_id": CAMPAIGN_ID, "customer identifier": member.user_id, "award": "waits"}
    trigger_id = sessionm_template.post("/triggers", trigger).json()["trigger_id"]
    bundle.wait_until(lambda: bundle.queue_depth("TriggerQueue") == 1 and len(bundle.braze.requests()) == 2)
    assert sessionm_template.get(f"/triggers/{trigger_id}").json()["state"] == "queued"
    bundle.wait_until(lambda: "kept" in bundle.sessionm.tags_of(member.user_id), 60, "the tag after the outage")
    bundle.wait_until(
        lambda: sessionm_template.get(f"/triggers/{trigger_id}").json()["state"] == "sent", 60, "the send after it"
    )
    assert len(bundle.braze.sends) == 1


def test_a_blip_is_repeated_at_once(bundle: LocalBundle, braze_webhook: Caller) -> None:
    member = bundle.members[0]
    bundle.sessionm.faults.add("POST /priv/*", Reset(), times=1)
    braze_webhook.post(tags_path(member.user_id), TAGS)
    bundle.wait_until(lambda: "kept" in bundle.sessionm.tags_of(member.user_id), 5, "the tag after a blip")


def test_a_send_whose_answer_was_lost_is_unknown_and_never_repeated(
    bundle: LocalBundle, sessionm_template: Caller
) -> None:
    bundle.braze.faults.add("POST /campaigns/*", ResetAfterEffect(), times=1)
    trigger = {"braze_campaign_id": CAMPAIGN_ID, "customer identifier": "member-1", "award": "lost answer"}
    trigger_id = sessionm_template.post("/triggers", trigger).json()["trigger_id"]
    bundle.wait_until(lambda: sessionm_template.get(f"/triggers/{trigger_id}").json()["state"] == "unknown")
    assert sessionm_template.post("/triggers", trigger).json()["state"] == "unknown"
    bundle.wait_until(lambda: bundle.queue_depth("TriggerQueue") == 0)
    assert len(bundle.braze.sends) == 1


def test_the_same_trigger_twice_is_one_send(bundle: LocalBundle, sessionm_template: Caller) -> None:
    trigger = {"braze_campaign_id": CAMPAIGN_ID, "customer identifier": "member-1", "event id": "award-77"}
    with ThreadPoolExecutor(8) as template:
        answers = list(template.map(lambda _: sessionm_template.post("/triggers", trigger).json(), range(8)))
    assert len({answer["trigger_id"] for answer in answers}) == 1
    bundle.wait_until(lambda: bundle.queue_depth("TriggerQueue") == 0)
    assert len(bundle.braze.sends) == 1


def test_a_counter_tag_counts_a_repeated_webhook_once(bundle: LocalBundle, braze_webhook: Caller) -> None:
    member = bundle.members[0]
    visit = {"tags": ["visits"], "counter": True}
    for _ in range(3):
        answer = braze_webhook.post(tags_path(member.user_id), visit, {"Idempotency-Key": "dispatch-1"})
        assert answer.status_code == 202
        bundle.wait_until(lambda: bundle.queue_depth("TagQueue") == 0)
    assert bundle.sessionm.tags_of(member.user_id)["visits"].count == 1
    braze_webhook.post(tags_path(member.user_id), visit, {"Idempotency-Key": "dispatch-2"})
    bundle.wait_until(lambda: bundle.sessionm.tags_of(member.user_id)["visits"].count == 2, what="a new dispatch")


def test_a_worker_killed_in_the_middle_of_a_batch_loses_no_row(bundle: LocalBundle, braze_webhook: Caller) -> None:
    bundle.sessionm.faults.add("POST /priv/*", Slow(0.4))
    rows = [{"user_id": member.user_id, **TAGS} for member in bundle.members]
    assert braze_webhook.post("/tags", {"rows": rows}).status_code == 202
    bundle.wait_until(lambda: len(bundle.sessionm.requests()) > 5, what="the worker to be in the middle")
    assert bundle.kill("tag-delivery") >= 1
    bundle.sessionm.faults.clear()
    bundle.wait_until(
        lambda: all("kept" in bundle.sessionm.tags_of(member.user_id) for member in bundle.members), 30, "every tag"
    )


def test_a_trigger_worker_killed_during_a_call_leaves_an_outcome_and_one_message(
    bundle: LocalBundle, sessionm_template: Caller
) -> None:
    bundle.braze.faults.add("POST /campaigns/*", HangAfterAccept(3), times=1)
    trigger = {"braze_campaign_id": CAMPAIGN_ID, "customer identifier": "member-1", "award": "killed"}
    trigger_id = sessionm_template.post("/triggers", trigger).json()["trigger_id"]
    bundle.wait_until(lambda: bundle.braze.sends, what="Braze to have accepted")
    assert bundle.kill("trigger-delivery") >= 1
    before = bundle.runtime.cold_starts("TriggerDeliveryFunction")
    bundle.wait_until(lambda: bundle.runtime.cold_starts("TriggerDeliveryFunction") > before, what="the next worker")
    # Until the dead worker's lease is over nobody may say more, or send again.
    assert sessionm_template.get(f"/triggers/{trigger_id}").json()["state"] == "queued"
    bundle.wait_until(lambda: _log_of(bundle, "trigger-delivery").count("in_progress"), what="the message to come back")
    assert len(bundle.braze.sends) == 1


def test_an_unknown_member_is_a_verdict_and_leaves_the_queue(bundle: LocalBundle, braze_webhook: Caller) -> None:
    operator = Caller(bundle.intake_url, bundle.authorization("operator"))
    answer = braze_webhook.post(tags_path("nobody-we-know"), TAGS)
    assert answer.status_code == 202
    day = f"/tag-imports/{answer.json()['import_id']}"
    before = operator.get(day).json()["failed"]
    bundle.wait_until(lambda: operator.get(day).json()["failed"] > before or before, what="the verdict")
    bundle.wait_until(lambda: bundle.queue_depth("TagQueue") == 0)


def test_a_wrong_credential_opens_nothing(bundle: LocalBundle) -> None:
    for authorization in ("Basic bm9ib2R5Om5vdGhpbmc=", "Bearer " + "x" * 40, bundle.authorization("sessionm")):
        answer = Caller(bundle.intake_url, authorization).post("/tags", {"user_id": "m", **TAGS})
        assert answer.status_code == 403
    assert Caller(bundle.intake_url, "").post("/tags", {"user_id": "m", **TAGS}).status_code == 401
    assert bundle.queue_depth("TagQueue") == 0


def _log_of(bundle: LocalBundle, function: str) -> str:
    return (bundle.settings.state_dir / "logs" / f"{function}.log").read_text(encoding="utf-8")
