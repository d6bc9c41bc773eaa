"""Queues: durable before acknowledged, and tried again with growing patience."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import msgspec

from shared.aws import store
from shared.errors import StoreUnavailable
from shared.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# SQS takes ten messages and 1 MiB a call; older regions and emulators 256 KiB, which is plenty here.
BATCH_MESSAGES = 10
BATCH_BYTES = 262_144

# A delivery that fails waits 30 s, then twice as long each time, up to an hour. With the 40 receives that template.yaml
# allows before the dead-letter queue this spans 34 hours: longer than any vendor's outage we would want to sit out.
FIRST_DELAY_SECONDS = 30
LONGEST_DELAY_SECONDS = 3600

# SQS may take a part of a batch; the rest is sent again at once.
_SEND_TRIES = 3

# A Lambda handler of SQS events, which answers with `batch_response`.
SqsHandler = Callable[[Mapping[str, Any], Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Message:
    """One SQS message as a worker receives it; `receive_count` is 1 the first time, `queue_arn` its queue."""

    id: str
    receipt_handle: str
    body: str
    receive_count: int
    queue_arn: str = ""


@dataclass(frozen=True, slots=True)
class Staying:
    """A message that stays in its queue, for at least `wait_seconds`: what a vendor asked for, or nothing.

    A vendor's wait counts up to an hour, so that all receives together stay within the life of a message.
    """

    message: Message
    wait_seconds: float = 0.0


class Queue:
    """One SQS queue; every method raises `StoreUnavailable` when SQS cannot be asked or keeps refusing."""

    def __init__(self, client: SQSClient, url: str, jitter: Callable[[], float] = random.random) -> None:
        self._client = client
        self._url = url
        self._jitter = jitter

    def send(self, bodies: Iterable[str]) -> None:
        """Returns once every message is durable. On `StoreUnavailable` some may be: receivers must bear repeats."""
        for batch in _batches(bodies):
            self._send_batch(batch)

    def postpone(self, staying: Iterable[Staying]) -> None:
        """Hides messages that could not be delivered for longer the more often they were tried.

        One whose delay cannot be set comes back after the queue's own visibility time-out, so nothing is raised.
        """
        self._hide([(each.message, self._delay(each)) for each in staying])

    def hold(self, messages: Iterable[Message], seconds: int) -> None:
        """Hides messages in hand for so long from now; should their worker die, they come back then.

        As with `postpone`, nothing is raised.
        """
        self._hide([(message, seconds) for message in messages])

    def _delay(self, staying: Staying) -> int:
        growing = delay_seconds(staying.message.receive_count, self._jitter())
        return min(max(growing, ceil(staying.wait_seconds)), LONGEST_DELAY_SECONDS)

    def _hide(self, delays: Sequence[tuple[Message, int]]) -> None:
        for start in range(0, len(delays), BATCH_MESSAGES):
            entries: Any = [
                {"Id": str(position), "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": seconds}
                for position, (message, seconds) in enumerate(delays[start : start + BATCH_MESSAGES])
            ]
            try:
                with store("queue"):
                    answer = self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            except StoreUnavailable as error:
                logger.warning("not hidden", messages=len(entries), detail=str(error))
                continue
            if failed := answer.get("Failed"):
                logger.warning("not hidden", messages=len(failed), detail=failed[0].get("Code", ""))

    def _send_batch(self, bodies: Sequence[str]) -> None:
        waiting: dict[str, str] = {str(position): body for position, body in enumerate(bodies)}
        for _ in range(_SEND_TRIES):
            with store("queue"):
                answer = self._client.send_message_batch(
                    QueueUrl=self._url,
                    Entries=[{"Id": entry_id, "MessageBody": body} for entry_id, body in waiting.items()],
                )
            for entry in answer.get("Successful") or ():
                waiting.pop(entry["Id"], None)
            if not waiting:
                return
        raise StoreUnavailable(f"queue: {len(waiting)} of {len(bodies)} messages were not accepted")


def body_of(value: Any) -> str:
    """`value` as JSON that SQS takes: it refuses two code points that JSON allows, so those are escaped."""
    return msgspec.json.encode(value).decode().replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def delay_seconds(receive_count: int, jitter: float) -> int:
    """Seconds to wait after the `receive_count`-th failure; `jitter` in [0, 1) takes off up to a tenth of them."""
    whole = min(FIRST_DELAY_SECONDS * 2 ** min(receive_count - 1, 16), LONGEST_DELAY_SECONDS)
    return int(whole * (1 - jitter / 10))


def messages_of(event: Mapping[str, Any]) -> list[Message]:
    """The messages of a Lambda SQS event."""
    return [
        Message(
            id=record["messageId"],
            receipt_handle=record["receiptHandle"],
            body=record["body"],
            receive_count=int(record["attributes"]["ApproximateReceiveCount"]),
            queue_arn=record.get("eventSourceARN", ""),
        )
        for record in event["Records"]
    ]


def batch_response(staying: Iterable[Staying]) -> dict[str, Any]:
    """Lambda's partial batch response: these messages stay in the queue, all others are deleted."""
    return {"batchItemFailures": [{"itemIdentifier": each.message.id} for each in staying]}


def _batches(bodies: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size_bytes = 0
    for body in bodies:
        body_bytes = len(body.encode())
        if batch and (len(batch) == BATCH_MESSAGES or size_bytes + body_bytes > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(body)
        size_bytes += body_bytes
    if batch:
        yield batch
