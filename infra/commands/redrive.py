"""`make redrive QUEUE=tag`: what was given up goes back to the queue it came from, once its cause is mended.

A message is sent first and deleted only then. One that meets a failure in between is in both queues: receivers bear
repeats. SQS has a task of its own for this; the loop here does the same on AWS and on the emulated one of this machine,
counts what it does, and can be stopped at any moment.

DRY=yes only counts. QUEUE=failed-events lists what EventBridge, a schedule or a function could not deliver: these come
from no queue, and go nowhere by themselves.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from infra.commands.stack import CannotRun, Stack, refusal, stack_of
from infra.commands.wishes import said_yes

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

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


def move(sqs: SQSClient, dead_letters_url: str, queue_url: str, wait_seconds: int = 2) -> Iterator[int]:
    """Moves messages until none can be received, and yields how many each time. Raises `CannotRun` when SQS refuses."""
    while messages := _received(sqs, dead_letters_url, wait_seconds):
        for batch in _batches(messages):
            try:
                yield _moved(sqs, batch, dead_letters_url, queue_url)
            except (BotoCoreError, ClientError) as error:
                raise CannotRun(f"{refusal(error, 'SQS')}. What was not moved stays where it is") from None


def _moved(sqs: SQSClient, batch: Sequence[MessageTypeDef], dead_letters_url: str, queue_url: str) -> int:
    sent = sqs.send_message_batch(
        QueueUrl=queue_url,
        Entries=[{"Id": each["MessageId"], "MessageBody": each["Body"]} for each in batch],
    )
    taken = {entry["Id"] for entry in sent.get("Successful", [])}
    done = [each for each in batch if each["MessageId"] in taken]
    if not done:
        raise CannotRun("the queue takes no message; what was not moved stays where it is")
    sqs.delete_message_batch(
        QueueUrl=dead_letters_url,
        Entries=[{"Id": each["MessageId"], "ReceiptHandle": each["ReceiptHandle"]} for each in done],
    )
    return len(done)


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
        moved = 0
        with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as progress:
            task = progress.add_task(f"to {QUEUES[name][0]}", total=waiting or None)
            for some in move(sqs, dead_letters, queue, wait_seconds):
                moved += some
                progress.update(task, advance=some, total=max(waiting, moved))
        console.print(f"{moved} messages are back in {QUEUES[name][0]}")
        return 0
    except CannotRun as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print("\nstopped; what was not moved stays where it is")
        return 130


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
