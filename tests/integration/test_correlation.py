"""Whose requests a worker's call concerned, and that what is promised is counted."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bulk.parcels import Label, Parcel, Row
from infra.local.simulators import BrazeSimulator, Fault, ResetAfterEffect, SessionmSimulator, Status, Throttle
from shared.breaker import Breaker
from shared.bulkhead import Bulkhead
from shared.deadline import Deadline
from shared.errors import ConfigurationError, UpstreamBusy, UpstreamResting, UpstreamUnavailable
from shared.gate import Gate
from shared.observability import flush
from shared.secrets import Secret
from shared.upstream import Upstream
from tag_import.delivery import build as build_tags
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, get, sqs_event, sqs_record
from trigger_relay.delivery import build as build_triggers
from trigger_relay.track import Track
from trigger_relay.track_delivery import build as build_tracks
from trigger_relay.triggers import Recipient, Trigger
from wallet_proxy.endpoint import build as build_wallet

HEADER = "X-Correlation-Id"


def lines(capsys: pytest.CaptureFixture[str], message: str) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [line for line in read if line.get("message") == message]


def counted(capsys: pytest.CaptureFixture[str], name: str) -> float:
    """The sum of a metric over all that was printed."""
    return total(capsys.readouterr().out, name)


def total(printed: str, name: str) -> float:
    read = [json.loads(line) for line in printed.splitlines() if "CloudWatchMetrics" in line]
    values = [line[name] for line in read if name in line]
    return float(sum(sum(value) if isinstance(value, list) else value for value in values))


def run(handle: Invoked, *messages: Any) -> None:
    records = [
        sqs_record(msgspec.json.encode(message).decode(), f"message-{number}")
        for number, message in enumerate(messages)
    ]
    handle(sqs_event(records), Context())


def trigger(number: int, correlation_id: str) -> Trigger:
    recipient = Recipient({"external_user_id": f"member-{number}"})
    return Trigger(f"trg-{number}", "campaign", "campaign-1", [recipient], correlation_id=correlation_id)


def track(number: int, correlation_id: str) -> Track:
    event = msgspec.Raw(msgspec.json.encode({"external_id": f"member-{number}", "name": "seen", "time": "2026-11-22"}))
    return Track(f"evt-{number}", event, correlation_id=correlation_id)


def test_a_call_of_many_requests_names_them_and_goes_out_under_the_workers_id(
    aws: Aws, braze: BrazeSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        build_triggers(aws.settings(BRAZE_REST_URL=braze.url)),
        *(trigger(number, f"r-{number}") for number in range(50)),
    )

    [request] = braze.requests()
    assert request.headers[HEADER] == "invocation-1"
    [line] = lines(capsys, "call made")
    assert line["correlation_id"] == "invocation-1"
    assert line["correlation_ids"] == [f"r-{number}" for number in range(50)]
    assert line["trigger_ids"] == [f"trg-{number}" for number in range(50)]
    assert "member-" not in json.dumps(line)


def test_of_two_calls_each_goes_out_under_the_id_of_its_own_request(aws: Aws, braze: BrazeSimulator) -> None:
    again = trigger(1, "r-2")
    run(
        build_triggers(aws.settings(BRAZE_REST_URL=braze.url)),
        trigger(1, "r-1"),
        Trigger("trg-2", again.kind, again.target_id, again.recipients, correlation_id="r-2"),  # the same member
    )

    assert [request.headers[HEADER] for request in braze.requests()] == ["r-1", "r-2"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Status(400, '{"message": "Invalid Campaign ID"}'), "call refused"),
        (ResetAfterEffect(), "call unknown"),
        (Throttle(60), "call postponed"),
        (Status(500, "{}"), "call postponed"),
    ],
)
def test_what_became_of_a_call_is_logged_with_the_ids_concerned(
    aws: Aws, braze: BrazeSimulator, capsys: pytest.CaptureFixture[str], fault: Fault, message: str
) -> None:
    braze.faults.add("POST /*", fault)

    run(build_triggers(aws.settings(BRAZE_REST_URL=braze.url)), trigger(1, "r-1"))
    run(build_tracks(aws.settings(BRAZE_REST_URL=braze.url)), track(1, "r-9"))

    told, of_tracks = lines(capsys, message)
    assert (told["trigger_ids"], told["correlation_ids"], told["correlation_id"]) == (["trg-1"], ["r-1"], "r-1")
    assert (of_tracks["track_ids"], of_tracks["correlation_ids"]) == (["evt-1"], ["r-9"])
    assert {request.headers[HEADER] for request in braze.requests()} == {"r-1", "r-9"}
    assert "member-" not in json.dumps([told, of_tracks])


def test_tags_of_several_requests_each_reach_sessionm_under_their_own_id(
    aws: Aws, sessionm: SessionmSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    parcels = [
        Parcel(
            "webhook-2026-11-22",
            f"p-{number}",
            [Label("user_id", (f"tag-{number}",), 60)],
            [Row(0, "member-1", 0)],
            correlation_id=f"r-{number}",
        )
        for number in range(3)
    ]
    run(build_tags(aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url)), *parcels)

    sent = {request.json()["tags"][0]: request.headers[HEADER] for request in sessionm.requests()}
    assert sent == {"tag-0": "r-0", "tag-1": "r-1", "tag-2": "r-2"}
    [line] = lines(capsys, "parcels taken")
    assert line["correlation_ids"] == ["r-0", "r-1", "r-2"]
    assert line["import_ids"] == ["webhook-2026-11-22"]


def test_an_answer_that_braze_holds_against_the_host_is_counted(
    aws: Aws, sessionm: SessionmSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    handle = build_wallet(aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url))
    sessionm.faults.add("POST /*", Status(503, "{}"))

    answered = get(handle, "GET /wallet/{user_id}", path={"user_id": "member-1"}, query={"on_error": "retry"})

    assert answered.status == 503
    assert counted(capsys, "AnswersAgainstHealth") == 1


@pytest.mark.parametrize(
    ("fault", "counts"),
    [
        (Status(503, "{}"), {"WalletsFailed": 1, "WalletsRefused": 0, "UpstreamFailures": 2}),
        (Throttle(5), {"WalletsFailed": 1, "WalletsRefused": 0, "UpstreamThrottles": 1}),
        (Status(401, "{}"), {"WalletsFailed": 1, "UpstreamDenials": 1, "UpstreamFailures": 0}),
        (
            Status(200, '{"status":"error","errors":{"code":"invalid_auth_token","message":"no"}}'),
            {"WalletsFailed": 1, "UpstreamDenials": 1, "UpstreamFailures": 0},
        ),
        (None, {"WalletsFailed": 0, "WalletCacheMisses": 1, "UpstreamCalls": 1, "UpstreamDenials": 0}),
        (None, {"WalletsFailed": 0, "WalletCacheMisses": 1, "UpstreamCalls": 1, "UpstreamFailures": 0}),
    ],
)
def test_a_read_counts_what_it_came_to(
    aws: Aws,
    sessionm: SessionmSimulator,
    capsys: pytest.CaptureFixture[str],
    fault: Fault | None,
    counts: dict[str, int],
) -> None:
    handle = build_wallet(aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url))
    if fault is not None:
        sessionm.faults.add("POST /*", fault)
    get(handle, "GET /wallet/{user_id}", path={"user_id": "member-1"})

    printed = capsys.readouterr().out
    found = {name: total(printed, name) for name in counts}
    assert found == counts


def test_an_unknown_member_is_refused_and_no_failure(
    aws: Aws, sessionm: SessionmSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    handle = build_wallet(aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url))
    get(handle, "GET /wallet/{user_id}", path={"user_id": "nobody"})

    assert counted(capsys, "WalletsRefused") == 1


def test_calls_that_are_not_made_are_counted_by_why(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    table = aws.table("cache")
    breaker = Breaker(aws.dynamodb, table, "SessionM Connect")
    upstream = Upstream(breaker, Bulkhead(aws.dynamodb, table, "SessionM Connect", most=1))
    full = Upstream(breaker, Bulkhead(aws.dynamodb, table, "SessionM Connect", most=1))

    def at_the_same_time() -> None:
        with pytest.raises(UpstreamBusy):
            full.write(lambda: None, Deadline(10))

    upstream.write(at_the_same_time, Deadline(10))
    for _ in range(5):
        breaker.record(UpstreamUnavailable("SessionM Connect", ""), 2.0)
    with pytest.raises(UpstreamResting):
        upstream.write(lambda: None, Deadline(10))
    flush()

    printed = capsys.readouterr().out
    [line] = [json.loads(each) for each in printed.splitlines() if '"CallsSpared"' in each]
    assert (line["CallsSpared"], line["CallsTurnedAway"], line["UpstreamRests"]) == ([1], [1], [1])


def test_a_gate_is_counted_when_it_is_shut_and_not_when_it_is_shut_already(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = Gate(aws.dynamodb, aws.table("cache"), "braze", lambda: 1_000.0)
    gate.shut(60, urgent_too=True)
    gate.shut(30, urgent_too=True)
    flush()

    assert counted(capsys, "GatesShut") == 1


def test_a_secret_tells_its_age_when_it_is_read_and_that_it_cannot_be(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    class Shape(msgspec.Struct):
        key: str

    aws.put_secret("kept", {"key": "k"})
    Secret(aws.secretsmanager, f"{aws.name}-kept", Shape).current()
    with pytest.raises(ConfigurationError):  # there is no former version, and that is no fault
        Secret(aws.secretsmanager, f"{aws.name}-kept", Shape, stage="AWSPREVIOUS").current()
    flush()
    printed = capsys.readouterr().out
    [line] = [json.loads(each) for each in printed.splitlines() if "CloudWatchMetrics" in each]
    assert 0 <= line["SecretAgeDays"][0] < 1
    assert "SecretsUnreadable" not in line

    aws.leave_empty("empty")
    with pytest.raises(ConfigurationError):
        Secret(aws.secretsmanager, f"{aws.name}-empty", Shape).current()
    flush()
    assert counted(capsys, "SecretsUnreadable") == 1
