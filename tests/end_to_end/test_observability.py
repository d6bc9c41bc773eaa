"""What an engineer sees: every log line about a request by its correlation id, and the status of the whole bundle."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import requests
from msgspec.structs import replace
from rich.console import Console

from bulk.jobs import Job, Jobs, JobState
from infra.commands import status
from infra.local.bundle import STATE_FILE, LocalBundle
from infra.local.settings import CAMPAIGN_ID
from infra.local.simulators.faults import ResetAfterEffect
from shared.breaker import VOTES
from shared.gate import Gate
from shared.tally import Tally
from tests.end_to_end.support import Caller


def lines_about(bundle: LocalBundle, *words: str) -> list[dict[str, Any]]:
    """The functions' log lines in which one of the words occurs."""

    def found() -> Iterator[dict[str, Any]]:
        for path in (bundle.settings.state_dir / "logs").glob("*.log"):
            if not path.name.endswith("-access.log"):
                for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                    if line.startswith("{") and any(word in line for word in words):
                        yield json.loads(line)

    return list(found())


def kinds(lines: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(line["service"], line.get("message", "")) for line in lines}


def test_a_trigger_is_found_by_one_id_from_its_request_to_braze(bundle: LocalBundle, sessionm_template: Caller) -> None:
    correlation_id = "order-4711-to-braze"
    body = {"braze_campaign_id": CAMPAIGN_ID, "customer identifier": "member-1", "event id": "found-by-one-id"}

    answered = sessionm_template.post("/triggers", body, {"X-Correlation-Id": correlation_id})

    assert answered.headers["X-Correlation-Id"] == correlation_id
    trigger_id = answered.json()["trigger_id"]
    bundle.wait_until(
        lambda: sessionm_template.get(f"/triggers/{trigger_id}").json()["state"] == "sent", what="the send"
    )
    bundle.wait_until(
        lambda: ("trigger-delivery", "triggers delivered") in kinds(lines_about(bundle, correlation_id)),
        what="the worker's last line",
    )
    assert kinds(lines_about(bundle, correlation_id)) >= {
        ("trigger-intake", "request"),
        ("trigger-delivery", "call made"),
        ("trigger-delivery", "upstream calls"),
        ("trigger-delivery", "triggers delivered"),
    }
    [send] = [request for request in bundle.braze.requests() if request.path == "/campaigns/trigger/send"]
    assert send.headers["X-Correlation-Id"] == correlation_id
    # Whatever speaks of the trigger carries the id of its request; nobody else's did speak of it.
    assert {line["correlation_id"] for line in lines_about(bundle, trigger_id)} == {correlation_id}


def test_a_tag_is_found_by_one_id_from_its_request_to_sessionm(bundle: LocalBundle, braze_webhook: Caller) -> None:
    body = {"user_id": bundle.members[0].user_id, "tags": ["found"], "ttl": 60}

    answered = braze_webhook.post("/tags", body)

    correlation_id = answered.headers["X-Correlation-Id"]
    bundle.wait_until(lambda: bundle.sessionm.requests(), what="the tag at SessionM")
    assert [request.headers["X-Correlation-Id"] for request in bundle.sessionm.requests()] == [correlation_id]
    bundle.wait_until(
        lambda: ("tag-delivery", "tags delivered") in kinds(lines_about(bundle, correlation_id)),
        what="the worker's last line",
    )
    assert kinds(lines_about(bundle, correlation_id)) >= {
        ("tag-webhook", "request"),
        ("tag-delivery", "parcels taken"),
        ("tag-delivery", "upstream calls"),
    }


def test_an_import_is_found_by_one_id_from_its_request_to_the_last_row(bundle: LocalBundle) -> None:
    correlation_id = "spring-audience-to-sessionm"
    analyst = Caller(bundle.intake_url, bundle.authorization("analyst"))

    answered = analyst.post("/tag-imports", {"tags": ["spring"], "ttl": 60}, {"X-Correlation-Id": correlation_id})

    upload, path = answered.json()["upload"], f"/tag-imports/{answered.json()['import_id']}"
    assert analyst.get(path).json()["correlation_id"] == correlation_id
    content = "\n".join(["user_id", *(member.user_id for member in bundle.members[:3]), "nobody"])
    requests.request(upload["method"], upload["url"], data=content, headers=upload["headers"], timeout=30)
    bundle.wait_until(lambda: analyst.get(path).json()["state"] == "finished", what="the last row")

    ended = analyst.get(path).json()
    assert (ended["sent"], ended["failed"], ended["correlation_id"]) == (3, 1, correlation_id)
    assert {request.headers["X-Correlation-Id"] for request in bundle.sessionm.requests()} == {correlation_id}
    bundle.wait_until(
        lambda: (
            kinds(lines_about(bundle, correlation_id))
            >= {
                ("tag-import-submit", "request"),
                ("tag-import", "file read"),
                ("tag-import", "tag import finished"),
                ("tag-delivery", "parcels taken"),
                ("tag-delivery", "upstream calls"),
            }
        ),
        what="the lines",
    )


def test_a_read_is_found_by_one_id_from_its_request_to_sessionm(bundle: LocalBundle, connected_content: Caller) -> None:
    answered = connected_content.post("/wallet", {"user_id": bundle.members[1].user_id})

    correlation_id = answered.headers["X-Correlation-Id"]
    assert {request.headers["X-Correlation-Id"] for request in bundle.sessionm.requests()} == {correlation_id}
    bundle.wait_until(
        lambda: kinds(lines_about(bundle, correlation_id)) >= {("wallet", "request"), ("wallet", "upstream calls")},
        what="the lines",
    )


def shown(bundle: LocalBundle, capsys: pytest.CaptureFixture[str], **wishes: str) -> tuple[int, str]:
    """The exit code of `make status` and its screen."""
    capsys.readouterr()
    code = status.run(wishes, Console(width=200), bundle.settings.state_dir / STATE_FILE)
    return code, capsys.readouterr().out


def test_the_status_says_who_is_needed(
    bundle: LocalBundle, sessionm_template: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    code, screen = shown(bundle, capsys, JSON="yes")
    before = json.loads(screen)
    assert before["needs"] == [] or all("unknown" in need for need in before["needs"])  # of other tests
    assert code == (1 if before["needs"] else 0)
    assert {queue["name"] for queue in before["queues"]} == {
        name for name in bundle.deployment.queue_urls if "DeadLetter" not in name and name != "FailedEventsQueue"
    }

    bundle.braze.faults.add("POST /campaigns/trigger/send", ResetAfterEffect())
    body = {"braze_campaign_id": CAMPAIGN_ID, "customer identifier": "member-1", "event id": "needs-somebody"}
    trigger_id = sessionm_template.post("/triggers", body).json()["trigger_id"]
    bundle.wait_until(
        lambda: sessionm_template.get(f"/triggers/{trigger_id}").json()["state"] == "unknown", what="the outcome"
    )
    dead_letters = bundle.deployment.queue_urls["TrackDeadLetterQueue"]
    bundle.clients.sqs.send_message(QueueUrl=dead_letters, MessageBody="{}")

    code, screen = shown(bundle, capsys, JSON="yes")
    after = json.loads(screen)

    assert code == 1
    assert after["unknown_triggers"] == before["unknown_triggers"] + 1
    assert after["oldest_unknown"]
    assert {queue["name"]: queue["given_up"] for queue in after["queues"]}["TrackQueue"] == 1
    assert all(secret["age_days"] < 1 for secret in after["secrets"])
    code, screen = shown(bundle, capsys)
    assert code == 1
    assert "make redrive QUEUE=track" in screen
    assert "make triggers" in screen


def test_the_status_shows_what_is_under_way_and_what_is_spared(
    bundle: LocalBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    dynamodb, now = bundle.clients.dynamodb, time.time()
    cache_table = bundle.environment("wallet")["CACHE_TABLE"]
    jobs = Jobs(dynamodb, bundle.environment("tag-import")["IMPORTS_TABLE"], retention_days=1)
    job = jobs.save(
        Job(import_id="csv-00ff", state=JobState.DELIVERING, created_at=now - 40 * 3600, started_at=now - 40 * 3600)
    )
    jobs.save(Job(import_id="csv-11ff", state=JobState.AWAITING_UPLOAD, created_at=now))  # nobody's concern yet
    Gate(dynamodb, cache_table, "braze").shut(600, urgent_too=True)
    votes = Tally(dynamodb, cache_table, "breaker SessionM Connect", VOTES, 10)
    cloudwatch = boto3.client(
        "cloudwatch",
        endpoint_url=bundle.aws_url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    for name in ("local-CanvasNotices", "local-another-stacks-CanvasNotices"):
        cloudwatch.put_metric_alarm(
            AlarmName=name, MetricName="CanvasNotices", Namespace="Any", ComparisonOperator="GreaterThanThreshold",
            EvaluationPeriods=1, Threshold=0, Period=60, Statistic="Sum",
        )  # fmt: skip
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="it rings")
    try:
        while not votes.is_full():  # unless the ten seconds in which votes count are over meanwhile
            votes.add()
        code, screen = shown(bundle, capsys)
    finally:
        jobs.save(replace(job, state=JobState.FINISHED, finished_at=now))
        cloudwatch.delete_alarms(AlarmNames=["local-CanvasNotices", "local-another-stacks-CanvasNotices"])

    assert code == 1
    assert "csv-00ff delivering for 40.0 h" in screen
    assert "import csv-00ff is delivering for 40 hours" in screen
    assert "csv-11ff" not in screen
    assert "held back because Braze asked for it: triggers, segments and events for" in screen
    assert "alarms: CanvasNotices" in screen
    assert "another" not in screen
    code, screen = shown(bundle, capsys, JSON="yes")
    assert [each for each in json.loads(screen)["imports"] if each["import_id"] == "csv-00ff"] == []


def test_of_a_stack_that_there_is_not_the_status_says_so(
    bundle: LocalBundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bundle.aws_url)

    code = status.run({"STACK": "unheard-of", "AWS_REGION": "us-east-1"}, Console(width=200))

    assert code == 2
    assert "unheard-of" in capsys.readouterr().out
