"""What docs/trigger-relay.md tells an operator to do, done with its own commands against the running bundle."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.local.bundle import LocalBundle
from infra.local.settings import CAMPAIGN_ID
from infra.local.simulators import ResetAfterEffect, Status
from tests.end_to_end.support import Caller

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "trigger-relay.md").read_text(encoding="utf-8")

AWARD = {"event name": "Points Awarded", "customer identifier": "member-1", "point award amount": "250"}

Run = Callable[..., str]


def blocks(heading: str) -> list[str]:
    """What there is to paste below a heading of the page."""
    (section,) = re.findall(rf"^### {heading}\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE)
    return re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


@pytest.fixture
def run(bundle: LocalBundle, tmp_path: Path) -> Run:
    """Runs a line as an operator would paste it, with the ids of this test in place of those that are printed."""
    (tmp_path / "caller.conf").write_text(f'user = "operator:{bundle.callers["operator"]}"\n', encoding="utf-8")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **{"STACK": "local", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": bundle.aws_url},
        **{"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "INTAKE_API": bundle.intake_url},
    }

    def paste(line: str, **ids: str) -> str:
        for name, value in ids.items():
            line = re.sub(rf"{name}=\S+", f"{name}={value}", line)
        # The environment is there already; nothing may be installed by a test.
        line = re.sub(r"\bmake\b", f"make -s -C {ROOT} -o environment PY={sys.executable}", line)
        done = subprocess.run(
            ["/bin/sh", "-ec", line],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return paste


def test_what_is_unknown_is_listed_and_then_sent_again_or_dropped(
    bundle: LocalBundle, sessionm_template: Caller, run: Run
) -> None:
    def state(path: str) -> Any:
        return sessionm_template.get(path).json()["state"]

    ((listing,), commands) = blocks("Unknown")[0].splitlines(), blocks("Unknown")[1].splitlines()
    show, resend, drop = commands
    assert (listing, "TRIGGER=" in resend, "DROP=" in drop) == ("make triggers", True, True)
    bundle.braze.faults.add("POST /campaigns/*", ResetAfterEffect(), times=1)
    bundle.braze.faults.add("POST /users/track", ResetAfterEffect(), times=1)
    trigger = {"braze_campaign_id": CAMPAIGN_ID, "recipients": ["member-1", "member-2"], "event id": "unknown-1"}
    trigger_id = sessionm_template.post("/triggers", trigger).json()["trigger_id"]
    event_id = sessionm_template.post("/events", AWARD | {"event id": "unknown-2"}).json()["event_id"]
    bundle.wait_until(lambda: state(f"/triggers/{trigger_id}") == "unknown", 30, "the message to be unknown")
    bundle.wait_until(lambda: state(f"/events/{event_id}") == "unknown", 30, "the event to be unknown")

    listed = run(listing)
    assert listed.count(trigger_id) == 2
    assert f"{event_id} upstream_no_answer (event)" in listed
    assert "2 triggers and 1 events are unknown" in listed

    shown = run(show, TRIGGER=trigger_id)
    assert all(each in shown for each in (f"campaign {CAMPAIGN_ID}", '"member-1"', '"member-2"'))

    bundle.braze.forget()
    assert "2 messages are back in the queue" in run(resend, TRIGGER=trigger_id)
    bundle.wait_until(lambda: state(f"/triggers/{trigger_id}") == "sent", 30, "the messages")
    assert sorted(sent.recipient for sent in bundle.braze.sends) == ["member-1", "member-2"]
    assert "1 messages are off the list" in run(drop, DROP=event_id)
    assert sessionm_template.get(f"/events/{event_id}").json()["detail"].startswith("an operator let it be")
    assert run(listing).startswith("0 triggers and 0 events")


def test_what_failed_is_sent_under_another_key_once_its_cause_is_mended(
    bundle: LocalBundle, sessionm_template: Caller, run: Run
) -> None:
    (command,) = blocks("Failed")
    event = json.loads(re.findall(r"-d '(.*)'", command)[0])
    bundle.braze.faults.add("POST /campaigns/*", Status(400, {"message": "Message Variant Unspecified"}), times=1)

    def answer(trigger_id: str) -> Any:
        return sessionm_template.get(f"/triggers/{trigger_id}").json()

    failed = sessionm_template.post("/triggers", event).json()["trigger_id"]
    bundle.wait_until(lambda: answer(failed)["state"] == "failed", 30, "Braze's refusal")
    assert (answer(failed)["reason"], answer(failed)["detail"]) == ("status_400", "Message Variant Unspecified")
    assert sessionm_template.post("/triggers", event).json()["state"] == "failed"

    mended = json.loads(run(command))["trigger_id"]
    bundle.wait_until(lambda: answer(mended)["state"] == "sent", 30, "the message")
    assert [sent.recipient for sent in bundle.braze.sends] == [event["customer identifier"]]


def test_what_was_given_up_goes_back_and_out(bundle: LocalBundle, run: Run) -> None:
    (commands,) = blocks("Queued for long")

    def trigger(number: int) -> str:
        return json.dumps(
            {
                **{"trigger_id": f"trg-given-up-{number}", "kind": "campaign", "target_id": CAMPAIGN_ID},
                "recipients": [{"address": {"external_user_id": f"member-{number}"}}],
            }
        )

    event = {"external_id": "member-3", "name": "seen", "time": "2026-11-22T12:30:00+00:00"}
    track = json.dumps({"id": "evt-given-up", "event": event})
    for queue, body in (("Trigger", trigger(1)), ("UrgentTrigger", trigger(2)), ("Track", track)):
        url = bundle.deployment.queue_urls[f"{queue}DeadLetterQueue"]
        bundle.clients.sqs.send_message(QueueUrl=url, MessageBody=body)

    said = [run(command) for command in commands.splitlines()]

    assert "about 1 messages" in said[0]
    assert [each.splitlines()[-1] for each in said[1:]] == [
        f"1 messages are back in {queue}" for queue in ("TriggerQueue", "UrgentTriggerQueue", "TrackQueue")
    ]
    bundle.wait_until(lambda: {each.recipient for each in bundle.braze.sends} == {"member-1", "member-2"}, 30, "both")
    bundle.wait_until(lambda: bundle.braze.tracked, 30, "the event")
