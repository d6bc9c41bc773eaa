"""Queues to functions: what is deleted, what comes back, what ends in the dead-letter queue."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from infra.local.aws import Clients
from infra.local.environment import FunctionError
from infra.local.event_sources import QueuePoller, failed_items
from infra.local.views import QueueMapping


class Queue:
    """A queue of the emulated AWS with its dead-letter queue.

    With a visibility time-out of 0 a message that was not deleted is there again at once; batches then have to run one
    after the other, which is what `polling` does unless told otherwise.
    """

    def __init__(self, clients: Clients, visibility_seconds: int, max_receives: int) -> None:
        self.sqs, name = clients.sqs, uuid.uuid4().hex
        self.dead = self.sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        redrive = {"deadLetterTargetArn": self._arn(self.dead), "maxReceiveCount": max_receives}
        attributes: Any = {"VisibilityTimeout": str(visibility_seconds), "RedrivePolicy": json.dumps(redrive)}
        self.url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.arn = self._arn(self.url)

    def send(self, *bodies: str) -> None:
        entries: Any = [{"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies)]
        self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)

    def depth(self, url: str | None = None) -> int:
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)["Attributes"]
        return sum(int(value) for value in found.values())

    def _arn(self, url: str) -> str:
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


@pytest.fixture(scope="module")
def clients(moto_url: str) -> Clients:
    return Clients.at(moto_url)


@contextmanager
def polling(queue: Queue, invoke: Callable[[str, Any], Any], **settings: Any) -> Iterator[None]:
    defaults = {"batch_size": 10, "window_seconds": 0, "reports_item_failures": True, "maximum_concurrency": 1}
    mapping = QueueMapping(queue="Q", function="f", **{**defaults, **settings})
    poller = QueuePoller(mapping, queue.sqs, queue.url, queue.arn, invoke, wait_seconds=0)
    poller.start()
    try:
        yield
    finally:
        poller.stop()


def until(predicate: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_a_batch_arrives_as_lambdas_records_and_is_deleted(clients: Clients) -> None:
    queue, events = Queue(clients, 30, 5), []

    def invoke(function: str, event: Any) -> Any:
        events.append((function, event))

    queue.send("one", "two")
    with polling(queue, invoke):
        until(lambda: queue.depth() == 0)
    ((function, event),) = events
    assert function == "f"
    first, second = event["Records"]
    assert [first["body"], second["body"]] == ["one", "two"]
    assert first["eventSource"] == "aws:sqs"
    assert first["eventSourceARN"] == queue.arn
    assert first["awsRegion"] == "us-east-1"
    assert first["md5OfBody"] == "f97c5d29941bfb1b2fdab0874906ab82"
    assert first["attributes"]["ApproximateReceiveCount"] == "1"
    assert {"SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"} <= set(first["attributes"])
    assert first["messageAttributes"] == {}
    assert {"messageId", "receiptHandle"} <= set(first)


def test_only_reported_items_come_back(clients: Clients) -> None:
    queue = Queue(clients, 0, 5)
    seen: list[tuple[str, str]] = []

    def invoke(_function: str, event: Any) -> Any:
        seen.extend((record["body"], record["attributes"]["ApproximateReceiveCount"]) for record in event["Records"])
        failed = [
            r for r in event["Records"] if r["body"] == "bad" and r["attributes"]["ApproximateReceiveCount"] < "2"
        ]
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}

    queue.send("good", "bad")
    with polling(queue, invoke):
        until(lambda: queue.depth() == 0)
    assert sorted(seen) == [("bad", "1"), ("bad", "2"), ("good", "1")]


def test_an_error_deletes_nothing_and_the_batch_comes_back(clients: Clients) -> None:
    queue, tries = Queue(clients, 0, 5), []

    def invoke(_function: str, event: Any) -> Any:
        tries.append([record["body"] for record in event["Records"]])
        if len(tries) == 1:
            raise FunctionError("ValueError", "no")

    queue.send("one", "two")
    with polling(queue, invoke):
        until(lambda: queue.depth() == 0)
    assert [sorted(batch) for batch in tries] == [["one", "two"], ["one", "two"]]


def test_a_message_that_never_succeeds_ends_in_the_dead_letter_queue(clients: Clients) -> None:
    queue, tries = Queue(clients, 0, 2), []

    def invoke(_function: str, event: Any) -> Any:
        tries.append(event)
        return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in event["Records"]]}

    queue.send("poison")
    with polling(queue, invoke):
        until(lambda: queue.depth(queue.dead) == 1)
    assert len(tries) == 2
    assert queue.depth() == 0


def test_no_more_batches_run_at_once_than_the_mapping_allows(clients: Clients) -> None:
    queue = Queue(clients, 30, 5)
    running, most, lock = 0, 0, threading.Lock()

    def invoke(_function: str, _event: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1)
        with lock:
            running -= 1

    queue.send(*[str(number) for number in range(8)])
    with polling(queue, invoke, batch_size=1, maximum_concurrency=3):
        until(lambda: queue.depth() == 0)
    assert most == 3


def test_a_window_fills_a_batch_beyond_one_receive(clients: Clients) -> None:
    queue, sizes = Queue(clients, 30, 5), []
    queue.send(*[str(number) for number in range(10)])
    queue.send(*[str(number) for number in range(10, 15)])
    with polling(queue, lambda _f, event: sizes.append(len(event["Records"])), batch_size=15, window_seconds=3):
        until(lambda: queue.depth() == 0)
    assert sizes == [15]


def test_without_item_reports_an_answer_means_success(clients: Clients) -> None:
    queue = Queue(clients, 30, 5)
    queue.send("one")
    answer = {"batchItemFailures": [{"itemIdentifier": "whatever"}]}
    with polling(queue, lambda _f, _e: answer, reports_item_failures=False):
        until(lambda: queue.depth() == 0)


@pytest.mark.parametrize(
    ("result", "failed"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": []}, set()),
        ({"batchItemFailures": None}, set()),
        ({"batchItemFailures": [{"itemIdentifier": "a"}]}, {"a"}),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": "unknown"}]}, {"a", "b"}),
        ({"batchItemFailures": [{"wrongKey": "a"}]}, {"a", "b"}),
        ({"batchItemFailures": ["a"]}, {"a", "b"}),
        ({"batchItemFailures": "a"}, {"a", "b"}),
        ("done", {"a", "b"}),
    ],
)
def test_a_broken_report_fails_the_whole_batch(result: Any, failed: set[str]) -> None:
    assert failed_items(result, {"a", "b"}) == failed
