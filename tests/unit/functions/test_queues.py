"""Queues: durable before acknowledged, patient afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, cast

import pytest

from shared.errors import StoreUnavailable
from shared.queues import BATCH_BYTES, Message, Queue, Staying, batch_response, body_of, delay_seconds, messages_of

MAX_RECEIVES = 40  # template.yaml, the RedrivePolicy of both queues
DAY_SECONDS = 86_400


class Sqs:
    """Takes batches; `refusals` says for each call in turn which positions of it are refused."""

    def __init__(self, refusals: Sequence[set[int]] = ()) -> None:
        self.refusals = list(refusals)
        self.batches: list[list[str]] = []
        self.taken: list[str] = []
        self.hidden: dict[str, int] = {}

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        assert QueueUrl == "queue"
        assert len({entry["Id"] for entry in Entries}) == len(Entries), "SQS refuses a batch that repeats an id"
        self.batches.append([entry["MessageBody"] for entry in Entries])
        refused = self.refusals.pop(0) if self.refusals else set()
        self.taken += [entry["MessageBody"] for at, entry in enumerate(Entries) if at not in refused]
        return {
            "Successful": [{"Id": entry["Id"]} for at, entry in enumerate(Entries) if at not in refused],
            "Failed": [{"Id": entry["Id"]} for at, entry in enumerate(Entries) if at in refused],
        }

    def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        assert QueueUrl == "queue"
        self.hidden |= {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in Entries}
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}


def queue_of(sqs: Sqs) -> Queue:
    return Queue(cast("Any", sqs), "queue")


def test_messages_go_out_in_batches_of_ten_in_their_order() -> None:
    sqs = Sqs()
    bodies = [str(number) for number in range(23)]

    queue_of(sqs).send(bodies)

    assert [len(batch) for batch in sqs.batches] == [10, 10, 3]
    assert sqs.taken == bodies


def test_a_batch_never_exceeds_the_bytes_sqs_takes_counted_as_utf_8() -> None:
    sqs = Sqs()
    body = "é" * (BATCH_BYTES // 8)  # a quarter of a batch

    queue_of(sqs).send([body] * 6)

    assert [len(batch) for batch in sqs.batches] == [4, 2]


def test_nothing_to_send_asks_sqs_nothing() -> None:
    sqs = Sqs()

    queue_of(sqs).send([])

    assert sqs.batches == []


def test_only_the_refused_part_of_a_batch_is_sent_again() -> None:
    sqs = Sqs([{1, 3}, {0}])

    queue_of(sqs).send(["a", "b", "c", "d"])

    assert sqs.batches == [["a", "b", "c", "d"], ["b", "d"], ["b"]]
    assert sorted(sqs.taken) == ["a", "b", "c", "d"]


def test_a_batch_that_stays_refused_is_an_error_and_not_an_acknowledgement() -> None:
    sqs = Sqs([{1}, {0}, {0}, {0}])

    with pytest.raises(StoreUnavailable, match="1 of 2 messages were not accepted"):
        queue_of(sqs).send(["a", "b"])
    assert len(sqs.batches) == 3


def test_the_wait_grows_from_half_a_minute_to_an_hour() -> None:
    assert [delay_seconds(count, 0.0) for count in (1, 2, 3, 7, 8, 9, 40, 1000)] == [
        *(30, 60, 120, 1920, 3600, 3600, 3600, 3600),
    ]


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_the_receives_before_the_dead_letter_queue_span_more_than_a_day(jitter: float) -> None:
    assert sum(delay_seconds(count, jitter) for count in range(1, MAX_RECEIVES)) > DAY_SECONDS


def test_jitter_takes_off_at_most_a_tenth() -> None:
    assert [delay_seconds(8, jitter) for jitter in (0.0, 0.5, 0.999)] == [3600, 3420, 3240]


@pytest.mark.parametrize(
    ("receive_count", "wait_seconds", "hidden_seconds"),
    [(1, 0.0, 30), (1, 29.5, 30), (1, 90.2, 91), (8, 90.0, 3600), (1, 43_200.0, 3600), (1, 10.0**9, 3600)],
)
def test_a_message_waits_as_long_as_a_vendor_asked_up_to_an_hour(
    receive_count: int, wait_seconds: float, hidden_seconds: int
) -> None:
    sqs = Sqs()

    Queue(cast("Any", sqs), "queue", jitter=lambda: 0.0).postpone(
        [Staying(Message("m1", "h1", "{}", receive_count), wait_seconds)]
    )

    assert sqs.hidden == {"h1": hidden_seconds}


# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
NOT_FOR_SQS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@pytest.mark.parametrize("text", ["\ufffe", "gold\uffff", "\x00\x1b", "☕", "\U0010ffff", 'quo"te\\u'])
def test_every_text_travels_in_characters_that_sqs_takes(text: str) -> None:
    body = body_of({text: [text]})

    assert not NOT_FOR_SQS.search(body)
    assert json.loads(body) == {text: [text]}


def test_an_event_gives_messages_and_the_response_names_those_that_stay() -> None:
    record = {
        "messageId": "m1",
        "receiptHandle": "h1",
        "body": "{}",
        "attributes": {"ApproximateReceiveCount": "3"},
    }

    messages = messages_of({"Records": [record]})

    assert messages == [Message("m1", "h1", "{}", 3)]
    assert batch_response([Staying(messages[0], 60)]) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert batch_response([]) == {"batchItemFailures": []}
