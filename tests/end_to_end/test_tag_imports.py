"""Imports through the running bundle: every row ends in one verdict, whatever is killed on the way."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from infra.local.bundle import LocalBundle
from infra.local.simulators import Reset, Slow, Status, Throttle
from tests.end_to_end.support import Caller, tags_path

DONE = ("finished", "failed")


@pytest.fixture
def analyst(bundle: LocalBundle) -> Caller:
    return Caller(bundle.intake_url, bundle.authorization("analyst"))


@pytest.fixture
def audience(bundle: LocalBundle) -> Iterator[list[str]]:
    """Two thousand members, whom the simulator forgets afterwards."""
    ids = [f"audience-{number:05d}" for number in range(2000)]
    for user_id in ids:
        bundle.sessionm.add_member(user_id)
    yield ids
    bundle.sessionm.forget()


def submitted(analyst: Caller, content: bytes, **options: Any) -> str:
    """The id of an import whose file has been uploaded."""
    answer = analyst.post("/tag-imports", options)
    assert answer.status_code == 201, answer.text
    upload = answer.json()["upload"]
    sent = requests.request(upload["method"], upload["url"], data=content, headers=upload["headers"], timeout=30)
    assert sent.status_code == 200
    return str(answer.json()["import_id"])


def status(analyst: Caller, import_id: str) -> dict[str, Any]:
    """What is shown of an import, asked for again as often as a store that is too busy to tell says to."""
    path = f"/tag-imports/{import_id}"
    for _ in range(5):
        answer = analyst.get(path)
        if answer.status_code != 503:
            break
        time.sleep(float(answer.headers["Retry-After"]))
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def ended(bundle: LocalBundle, analyst: Caller, import_id: str, seconds: float = 60) -> dict[str, Any]:
    """The status of an import that has come to its end; until then its counts must always add up."""

    def is_over() -> bool:
        shown = status(analyst, import_id)
        verdicts = shown["sent"] + shown["failed"] + shown["skipped"] + shown["unknown"]
        assert verdicts + shown["waiting"] == shown["rows_read"], shown
        return shown["state"] in DONE

    bundle.wait_until(is_over, seconds, f"the end of {import_id}")
    return status(analyst, import_id)


def listed(shown: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of the failure file that a status links to."""
    if not shown["failure_file_url"]:
        return []
    answer = requests.get(shown["failure_file_url"], timeout=30)
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def tagged(bundle: LocalBundle, ids: list[str], tag: str) -> set[str]:
    return {user_id for user_id in ids if tag in bundle.sessionm.tags_of(user_id)}


def test_an_uploaded_file_of_bare_ids_is_tagged_and_every_other_line_is_listed(
    bundle: LocalBundle, analyst: Caller, audience: list[str]
) -> None:
    lines = [*audience[:500], "nobody", "an id with spaces"]
    import_id = submitted(analyst, "\n".join(lines).encode(), tags=["bare"], ttl="30d", file_name="ids.csv")

    shown = ended(bundle, analyst, import_id)

    assert (shown["state"], shown["rows_read"], shown["sent"], shown["failed"]) == ("finished", 502, 500, 2)
    assert shown["file_name"] == "ids.csv"
    assert tagged(bundle, audience, "bare") == set(audience[:500])
    assert [(row["line"], row["verdict"], row["code"]) for row in listed(shown)] == [
        ("501", "failed", "user_not_found"),
        ("502", "failed", "invalid_field"),
    ]


def test_the_failure_file_is_itself_an_import(bundle: LocalBundle, analyst: Caller) -> None:
    file = b"external_id;tag;ttl\nlate-1;gold|spring;12h\nlate-2;gold;12h\n"
    first = ended(bundle, analyst, submitted(analyst, file, file_name="late.csv"))
    assert (first["sent"], first["failed"]) == (0, 2)

    bundle.sessionm.add_member("late-member-1", "late-1")
    bundle.sessionm.add_member("late-member-2", "late-2")
    again = requests.get(first["failure_file_url"], timeout=30).content
    second = ended(bundle, analyst, submitted(analyst, again, file_name="again.csv"))

    assert (second["rows_read"], second["sent"], second["failed"]) == (2, 2, 0)
    assert second["failure_file_url"] is None
    assert set(bundle.sessionm.tags_of("late-member-1")) == {"gold", "spring"}


def test_tags_with_separators_in_their_names_come_through_the_failure_file(
    bundle: LocalBundle, analyst: Caller
) -> None:
    tags = ["a|b", "a;b", " lead", '["x"]']
    file = b"external_id\nlater-1\n"
    first = ended(bundle, analyst, submitted(analyst, file, tags=tags, ttl=600))
    assert (first["sent"], first["failed"]) == (0, 1)

    bundle.sessionm.add_member("later-member-1", "later-1")
    again = requests.get(first["failure_file_url"], timeout=30).content
    second = ended(bundle, analyst, submitted(analyst, again, file_name="again.csv"))

    assert (second["sent"], second["failed"]) == (1, 0)
    assert set(bundle.sessionm.tags_of("later-member-1")) == set(tags)


def test_a_file_dropped_in_the_bucket_is_imported_each_member_by_one_call(
    bundle: LocalBundle, audience: list[str]
) -> None:
    lines = ["user_id,tags,ttl"]
    for user_id in audience:
        lines += [f"{user_id},dropped,600", f"{user_id},also_dropped,600"]
    bundle.drop_csv(gzip.compress("\n".join(lines).encode()), "members.csv.gz")

    bundle.wait_until(lambda: tagged(bundle, audience, "also_dropped") == set(audience), 60, "every tag")
    assert tagged(bundle, audience, "dropped") == set(audience)
    assert {request.body for request in bundle.sessionm.requests()} == {
        b'{"tags":["dropped","also_dropped"],"ttl":600}'
    }
    bundle.wait_until(lambda: bundle.queue_depth("BulkTagQueue") == 0, 30, "the queue to be empty")


def test_a_file_is_imported_once_however_often_it_is_announced(bundle: LocalBundle, audience: list[str]) -> None:
    announced = {
        "detail": {
            "bucket": {"name": bundle.bucket},
            "object": {"key": "imports/repeated.csv", "sequencer": f"{time.time_ns():x}"},
        }
    }
    body = f"user_id,tags,ttl\n{audience[0]},once,600\n".encode()
    bundle.clients.s3.put_object(Bucket=bundle.bucket, Key="imports/repeated.csv", Body=body)
    bundle.wait_until(lambda: "once" in bundle.sessionm.tags_of(audience[0]), 30, "the tag of the first drop")
    for _ in range(3):
        url = bundle.deployment.queue_urls["ImportQueue"]
        bundle.clients.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(announced))

    def calls() -> int:
        return sum(b"once" in request.body for request in bundle.sessionm.requests())

    bundle.wait_until(lambda: calls() > 1, 30, "the import that was announced")
    bundle.wait_until(lambda: bundle.queue_depth("ImportQueue") + bundle.queue_depth("BulkTagQueue") == 0, 60)
    assert calls() == 2  # one for the drop, one for its three announcements


def test_what_cannot_be_read_says_why(bundle: LocalBundle, analyst: Caller) -> None:
    shown = ended(bundle, analyst, submitted(analyst, b"name,city\nann,berlin\n", file_name="wrong.csv"))
    assert (shown["state"], shown["reason"], shown["rows_read"]) == ("failed", "unreadable_file", 0)
    assert shown["message"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_file_whose_workers_are_killed_again_and_again_ends_with_every_row_accounted_for(
    bundle: LocalBundle, analyst: Caller, audience: list[str], seed: int
) -> None:
    chance = random.Random(seed)
    lines = [f"{user_id},survives-{seed},7d" for user_id in audience]
    lines += [f"stranger-{number},survives-{seed},7d" for number in range(100)]
    lines += ["broken-row,,x"] * 50
    chance.shuffle(lines)
    bundle.sessionm.faults.add("POST /priv/*", Status(503), share=0.05)
    bundle.sessionm.faults.add("POST /priv/*", Reset(), share=0.05)
    bundle.sessionm.faults.add("POST /priv/*", Throttle(1), share=0.01)
    bundle.sessionm.faults.add("POST /priv/*", Slow(0.3), share=0.3)
    import_id = submitted(analyst, "\n".join(["user_id,tag,ttl", *lines]).encode(), file_name="large.csv")
    for _ in range(6):
        time.sleep(chance.uniform(0.1, 1.0))
        bundle.kill(chance.choice(["tag-delivery", "tag-delivery", "tag-import"]))
    bundle.sessionm.faults.clear()

    shown = ended(bundle, analyst, import_id, 120)

    assert shown["rows_read"] == len(lines)
    assert (shown["sent"], shown["failed"], shown["unknown"]) == (2000, 150, 0)
    assert tagged(bundle, audience, f"survives-{seed}") == set(audience)
    assert len(listed(shown)) == 150


def test_counters_of_a_file_count_once_although_their_worker_is_killed(
    bundle: LocalBundle, analyst: Caller, audience: list[str]
) -> None:
    bundle.sessionm.faults.add("POST /priv/*", Slow(0.2))
    content = "\n".join(["user_id,tags,counter", *(f"{each},visits,yes" for each in audience[:300])]).encode()
    import_id = submitted(analyst, content)
    bundle.wait_until(lambda: len(bundle.sessionm.requests()) > 50, 30, "the worker to be in the middle")
    bundle.kill("tag-delivery")
    bundle.wait_until(lambda: status(analyst, import_id)["sent"] > 0, 60, "the next worker's verdicts")

    counts = [bundle.sessionm.tags_of(each).get("visits") for each in audience[:300]]

    assert all(tag is None or tag.count == 1 for tag in counts)
    shown = status(analyst, import_id)
    assert shown["sent"] + shown["unknown"] + shown["waiting"] == 300


def test_two_thousand_webhooks_at_once_are_taken_or_told_to_come_again(
    bundle: LocalBundle, braze_webhook: Caller, audience: list[str]
) -> None:
    def webhook(user_id: str) -> int:
        return braze_webhook.post(tags_path(user_id), {"tags": ["burst"], "ttl": 3600}).status_code

    with ThreadPoolExecutor(200) as braze:
        statuses = list(braze.map(webhook, audience))

    assert set(statuses) <= {202, 408, 429, 500, 502, 503, 504}
    taken = {user_id for user_id, answer in zip(audience, statuses, strict=True) if answer == 202}
    assert taken
    bundle.wait_until(lambda: tagged(bundle, audience, "burst") >= taken, 60, "every tag that was taken on")


def test_a_segment_becomes_tags(bundle: LocalBundle, analyst: Caller, audience: list[str]) -> None:
    segment = bundle.braze.add_segment("segment-of-the-day", size=len(audience))
    bundle.braze.set_segment_users(segment.id, [*audience, None, None])

    answer = analyst.post("/segment-exports", {"segment_id": segment.id, "tags": ["of_the_day"]})
    assert answer.status_code == 202, answer.text
    shown = ended(bundle, analyst, answer.json()["import_id"])

    assert (shown["state"], shown["sent"], shown["skipped"]) == ("finished", len(audience), 2)
    assert tagged(bundle, audience, "of_the_day") == set(audience)
    assert {row["code"] for row in listed(shown)} == {"no_external_id"}
