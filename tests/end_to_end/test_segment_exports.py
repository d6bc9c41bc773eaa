"""Segments that become tags through the running bundle: on a schedule, run after run, called back or not."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from rich.console import Console

from infra.commands import schedules
from infra.commands.stack import stack_of
from infra.local.bundle import STATE_FILE, LocalBundle
from member_lists.scheduled import scheduled_job
from tests.end_to_end.support import Caller
from tests.integration.support.schedules import message_of

MEMBERS = [f"segment-member-{number:04d}" for number in range(300)]
SEGMENT = "segment-on-schedule"
SCHEDULE = {
    "NAME": "gold-daily",
    "SEGMENT": SEGMENT,
    "TAG": "gold_daily",
    "CRON": "cron(0 4 * * ? *)",
    "LEAVERS": "yes",
}


@pytest.fixture
def analyst(bundle: LocalBundle) -> Caller:
    return Caller(bundle.intake_url, bundle.authorization("analyst"))


@pytest.fixture
def scheduled(bundle: LocalBundle) -> Iterator[Any]:
    """A schedule that `make schedule` has made, of a segment whose export takes no time."""
    for user_id in MEMBERS:
        bundle.sessionm.add_member(user_id)
    bundle.braze.add_segment(SEGMENT)
    usual_seconds, bundle.braze.exports.seconds = bundle.braze.exports.seconds, 0.0
    path = bundle.settings.state_dir / STATE_FILE
    assert schedules.run("put", SCHEDULE, Console(file=io.StringIO()), path) == 0
    stack = stack_of({}, path)
    [schedule] = schedules.listed(stack.client("scheduler"), schedules.place_of(stack))
    yield schedule
    assert schedules.run("delete", SCHEDULE, Console(file=io.StringIO()), path) == 0
    bundle.braze.exports.seconds = usual_seconds
    bundle.braze.exports.callbacks = "once"
    bundle.sessionm.forget()


def fired(bundle: LocalBundle, analyst: Caller, schedule: Any, times: int = 1) -> dict[str, Any]:
    """The status at the end of a run whose message came so often."""
    message = message_of(schedule)
    for _ in range(times):
        bundle.clients.sqs.send_message(QueueUrl=bundle.deployment.queue_urls["ImportQueue"], MessageBody=message)
    path = f"/tag-imports/{scheduled_job(json.loads(message)['segment_export'], 0).import_id}"

    def has_ended() -> bool:
        answer = analyst.get(path)
        return answer.status_code == 200 and answer.json()["state"] in ("finished", "failed")

    bundle.wait_until(has_ended, 60, "the end of the run")
    shown: dict[str, Any] = analyst.get(path).json()
    return shown


def left(shown: dict[str, Any]) -> list[str]:
    return requests.get(shown["leavers_file_url"], timeout=30).text.split()[1:]


def test_each_run_tags_who_is_in_the_segment_and_lists_who_left(
    bundle: LocalBundle, analyst: Caller, scheduled: Any
) -> None:
    bundle.braze.set_segment_users(SEGMENT, MEMBERS[:200])
    first = fired(bundle, analyst, scheduled, times=2)
    assert (first["state"], first["sent"], first["leavers_file_url"]) == ("finished", 200, None)
    assert len(bundle.braze.exports.all) == 1  # although its message came twice

    bundle.braze.set_segment_users(SEGMENT, [*MEMBERS[50:], None])
    second = fired(bundle, analyst, scheduled)
    assert (second["state"], second["sent"], second["skipped"]) == ("finished", 250, 1)
    assert sorted(left(second)) == MEMBERS[:50]
    assert all("gold_daily" in bundle.sessionm.tags_of(user_id) for user_id in MEMBERS)


def test_an_export_nobody_tells_of_is_found_by_looking(bundle: LocalBundle, analyst: Caller, scheduled: Any) -> None:
    bundle.braze.exports.callbacks = "never"
    bundle.braze.set_segment_users(SEGMENT, MEMBERS)
    assert fired(bundle, analyst, scheduled)["sent"] == len(MEMBERS)


def test_an_export_that_fails_is_said_so(bundle: LocalBundle, analyst: Caller, scheduled: Any) -> None:
    bundle.braze.exports.fails = True
    try:
        shown = fired(bundle, analyst, scheduled)
    finally:
        bundle.braze.exports.fails = False
    assert (shown["state"], shown["reason"], shown["rows_read"]) == ("failed", "export_failed", 0)


def test_a_callback_address_takes_no_second_call(bundle: LocalBundle, analyst: Caller, scheduled: Any) -> None:
    bundle.braze.set_segment_users(SEGMENT, MEMBERS[:3])
    fired(bundle, analyst, scheduled)
    [export] = bundle.braze.exports.all
    answer = requests.post(export.callback_endpoint, json={"success": False}, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert export.callback_statuses in ([200], [404])  # 404 when the file was found before Braze called
