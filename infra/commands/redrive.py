"""`make redrive QUEUE=tag`: what was given up goes back to the queue it came from, once its cause is mended.

A message is sent first and deleted only then. One that meets a failure in between is in both queues: receivers bear
repeats. SQS has a task of its own for this; the loop here does the same on AWS and on the emulated one of this machine,
counts what it does, and can be stopped at any moment.

The exit code is 0 when all was moved, 1 when SQS refused some messages, 2 when it could not go on.

DRY=yes only counts. QUEUE=failed-events lists what EventBridge, a schedule or a function could not deliver: these come
from no queue, and go nowhere by themselves.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from infra.commands.stack import CannotRun, Stack, refusal, stack_of
from infra.commands.wishes import said_yes

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        DeleteMessageBatchResultTypeDef,
        MessageTypeDef,
        SendMessageBatchResultTypeDef,
    )

# By the name that people give: the queue, and where its messages go when they are given up.
QUEUES: Final[Mapping[str, tuple[str, str]]] = {
    "tag": ("TagQueue", "TagDeadLetterQueue"),
    "bulk-tag": ("BulkTagQueue", "BulkTagDeadLetterQueue"),
    "prefetch": ("PrefetchQueue", "PrefetchDeadLetterQueue"),
    "import": ("ImportQueue", "ImportDeadLetterQueue"),
    "trigger": ("TriggerQueue", "TriggerDeadLetterQueue"),
    "urgent-trigger": ("UrgentTriggerQueue", "UrgentTriggerDeadLetterQueue"),
    "track": ("TrackQueue", "TrackDeadLetterQueue"),
}
FAILED_EVENTS: Final = "failed-events"
_FAILED_EVENTS_QUEUE: Final = "FailedEventsQueue"

# For so long nobody else sees a message that is being moved.
_HIDDEN_SECONDS: Final = 60
# What one call takes with every emulator; SQS itself takes four times as much.
BATCH_BYTES: Final = 262_144

_MOST_LISTED: Final = 100


@dataclass(frozen=True)
class Batch:
    """What became of messages that were tried together, by their ids; the values are SQS's codes for what it refused.

    `kept` were not sent and stay where they were. `doubled` are those of `sent` that were not deleted: they are in both
    queues.
    """

    sent: Sequence[str]
    kept: Mapping[str, str]
    doubled: Mapping[str, str]


def move(sqs: SQSClient, dead_letters_url: str, queue_url: str, wait_seconds: int = 2) -> Iterator[Batch]:
    """Moves messages until none can be received, and yields what became of them. Raises `CannotRun` when SQS refuses.

    What SQS refuses cannot be received for a while, so a run ends although some messages stay.
    """
    while messages := _received(sqs, dead_letters_url, wait_seconds):
        for batch in _batches(messages):
            yield _moved(sqs, batch, dead_letters_url, queue_url)


def _moved(sqs: SQSClient, batch: Sequence[MessageTypeDef], dead_letters_url: str, queue_url: str) -> Batch:
    try:
        answer = sqs.send_message_batch(
            QueueUrl=queue_url,
            Entries=[{"Id": each["MessageId"], "MessageBody": each["Body"]} for each in batch],
        )
    except (BotoCoreError, ClientError) as error:
        raise CannotRun(f"{refusal(error, 'SQS')}. What was not moved stays where it is") from None
    kept = _refused(answer, batch)
    done = [each for each in batch if each["MessageId"] not in kept]
    if not done:
        raise CannotRun(f"the queue takes no message: {_codes(kept)}; what was not moved stays where it is")
    try:
        deleted = sqs.delete_message_batch(
            QueueUrl=dead_letters_url,
            Entries=[{"Id": each["MessageId"], "ReceiptHandle": each["ReceiptHandle"]} for each in done],
        )
    except (BotoCoreError, ClientError) as error:
        raise CannotRun(
            f"{refusal(error, 'SQS')}. {len(done)} messages that were sent may be in both queues; "
            "what was not moved stays where it is"
        ) from None
    return Batch([each["MessageId"] for each in done], kept, _refused(deleted, done))


def _refused(
    answer: SendMessageBatchResultTypeDef | DeleteMessageBatchResultTypeDef, asked: Iterable[MessageTypeDef]
) -> dict[str, str]:
    """SQS's code for each message that it does not say it took."""
    taken = {entry["Id"] for entry in answer.get("Successful", [])}
    codes = {entry["Id"]: entry["Code"] for entry in answer.get("Failed", [])}
    ids = (message["MessageId"] for message in asked)
    return {each: codes.get(each, "no reason given") for each in ids if each not in taken}


def _codes(refused: Mapping[str, str]) -> str:
    """As in "2 InternalError, 1 InvalidMessageContents"."""
    return ", ".join(f"{count} {code}" for code, count in Counter(refused.values()).most_common())


def depth(sqs: SQSClient, url: str) -> tuple[int, int]:
    """About how many messages can be received, and how many somebody has in hand."""
    try:
        found = sqs.get_queue_attributes(
            QueueUrl=url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
    except (BotoCoreError, ClientError) as error:
        raise CannotRun(refusal(error, "SQS")) from None
    return int(found["ApproximateNumberOfMessages"]), int(found["ApproximateNumberOfMessagesNotVisible"])


def failed_events(sqs: SQSClient, url: str, wait_seconds: int = 1) -> Iterator[str]:
    """A line for each of the first hundred: when, what, and why it failed. They stay in the queue."""
    seen: set[str] = set()
    while len(seen) < _MOST_LISTED:
        messages = [each for each in _received(sqs, url, wait_seconds) if each["MessageId"] not in seen]
        if not messages:
            return
        for message in messages:
            seen.add(message["MessageId"])
            yield _described(message)


def run(environment: Mapping[str, str], console: Console, wait_seconds: int = 2) -> int:
    """Does what the environment asks for and returns the exit code."""
    name = environment.get("QUEUE", "")
    try:
        only_counts = said_yes(environment, "DRY")
        if name not in (*QUEUES, FAILED_EVENTS):
            raise CannotRun(
                f"which queue? As in: make redrive QUEUE=tag. There are {', '.join((*QUEUES, FAILED_EVENTS))}"
            )
        stack = stack_of(environment)
        console.print(f"in {stack.place}", markup=False)
        sqs = stack.client("sqs")
        if name == FAILED_EVENTS:
            return _list(sqs, stack, console, wait_seconds)
        queue, dead_letters = (stack.physical_id(logical_id) for logical_id in QUEUES[name])
        waiting, in_hand = depth(sqs, dead_letters)
        console.print(f"{QUEUES[name][1]}: about {waiting} messages, and {in_hand} in somebody's hand")
        if only_counts:
            return 0
        return _move_all(sqs, name, (dead_letters, queue), waiting, console, wait_seconds)
    except CannotRun as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print("\nstopped; what was not moved stays where it is")
        return 130


def _move_all(
    sqs: SQSClient, name: str, urls: tuple[str, str], waiting: int, console: Console, wait_seconds: int
) -> int:
    """Moves from the first of `urls` to the second and returns the exit code. Whatever ends it, what it did is told."""
    queue, dead_letters = QUEUES[name]
    moved = 0
    kept: dict[str, str] = {}
    doubled: dict[str, str] = {}
    try:
        with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as progress:
            task = progress.add_task(f"to {queue}", total=waiting or None)
            for batch in move(sqs, *urls, wait_seconds):
                moved += len(batch.sent)
                for refused, now in ((kept, batch.kept), (doubled, batch.doubled)):
                    for message_id in batch.sent:  # which may have been refused earlier in a long run
                        refused.pop(message_id, None)
                    refused.update(now)
                progress.update(task, advance=len(batch.sent), total=max(waiting, moved))
    finally:
        console.print(f"{moved} messages are back in {queue}")
        if kept:
            console.print(
                f"{len(kept)} stay in {dead_letters}, because SQS did not take them: {_codes(kept)}. Try again in "
                f"{_HIDDEN_SECONDS} seconds",
                markup=False,
                soft_wrap=True,
            )
        if doubled:
            console.print(
                f"{len(doubled)} are in {queue} and still in {dead_letters}, because SQS did not delete them: "
                f"{_codes(doubled)}",
                markup=False,
                soft_wrap=True,
            )
    return 1 if kept or doubled else 0


def _list(sqs: SQSClient, stack: Stack, console: Console, wait_seconds: int) -> int:
    listed = 0
    for line in failed_events(sqs, stack.physical_id(_FAILED_EVENTS_QUEUE), wait_seconds):
        listed += 1
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"{listed} failed events, which stay here; docs/tag-import.md says what to do about each")
    return 0


def _received(sqs: SQSClient, url: str, wait_seconds: int) -> Sequence[MessageTypeDef]:
    try:
        answer = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=_HIDDEN_SECONDS,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        )
    except (BotoCoreError, ClientError) as error:
        raise CannotRun(refusal(error, "SQS")) from None
    return answer.get("Messages", [])


def _batches(messages: Sequence[MessageTypeDef]) -> Iterator[list[MessageTypeDef]]:
    """As many together as one call takes."""
    batch: list[MessageTypeDef] = []
    for message in messages:
        if batch and sum(len(each["Body"].encode()) for each in [*batch, message]) > BATCH_BYTES:
            yield batch
            batch = []
        batch.append(message)
    yield batch


def _described(message: MessageTypeDef) -> str:
    """Names what failed, and no member: an event of a file by its key, a schedule by its segment, else its type."""
    try:
        body = json.loads(message["Body"])
    except ValueError:
        body = {}
    body = body.get("requestPayload", body) if isinstance(body, dict) else {}
    export = body.get("segment_export")
    if isinstance(body.get("detail"), dict) and "object" in body["detail"]:
        what = f"file {body['detail']['object'].get('key', '?')}: drop it again"
    elif isinstance(export, dict):
        what = f"export of segment {export.get('segment_id', '?')}: start it with POST /segment-exports"
    else:
        what = f"{body.get('detail-type', 'something else')}: see the log of its function"
    code = message.get("MessageAttributes", {}).get("ERROR_CODE")
    why = code["StringValue"] if code else "no reason given"
    sent_at = datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)
    return f"{sent_at:%Y-%m-%d %H:%M} {what} ({why})"


if __name__ == "__main__":
    sys.exit(run(os.environ, Console()))
