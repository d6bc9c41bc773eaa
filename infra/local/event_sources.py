"""SQS event source mappings: what Lambda's pollers do between a queue and a function.

From Lambda's "Using Lambda with Amazon SQS" and "Handling errors for an SQS event source": messages are received in
batches and handed over as records; what the function managed is deleted; with ReportBatchItemFailures that is
everything but the reported items, else all or nothing. A function error deletes nothing, an answer that is empty or
null counts as success, and a report with an unknown or missing item fails the whole batch. What was not deleted comes
back when its visibility time-out ends, and after `maxReceiveCount` receives moves to the dead-letter queue (moto does
both).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from infra.emulated import REGION
from infra.local.environment import FunctionError
from infra.local.views import QueueMapping

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_log = logging.getLogger(__name__)
_RECEIVE_LIMIT: Final = 10  # of one ReceiveMessage
_WAIT_SECONDS: Final = 20  # the longest poll SQS allows
_UNLIMITED: Final = 8  # invocations at once where the mapping sets no maximum: as many as a function has environments


class QueuePoller:
    """One event source mapping, polling in a thread of its own from `start` to `stop`."""

    def __init__(
        self,
        mapping: QueueMapping,
        sqs: SQSClient,
        queue_url: str,
        queue_arn: str,
        invoke: Callable[[str, Any], Any],
        wait_seconds: int = _WAIT_SECONDS,
    ) -> None:
        self._mapping, self._sqs, self._invoke = mapping, sqs, invoke
        self._queue_url, self._queue_arn = queue_url, queue_arn
        self._wait_seconds = wait_seconds
        self._stopped = threading.Event()
        at_once = mapping.maximum_concurrency or _UNLIMITED
        self._free = threading.Semaphore(at_once)
        self._workers = ThreadPoolExecutor(at_once, thread_name_prefix=f"{mapping.function}-batch")
        self._thread = threading.Thread(target=self._poll, name=f"{mapping.queue}-poller", daemon=True)
        self._gathers = False
        self._at_work = 0
        self._counting = threading.Lock()

    @property
    def function(self) -> str:
        """The function that messages go to."""
        return self._mapping.function

    @property
    def is_idle(self) -> bool:
        """Whether no message is held, neither in a batch that is being gathered nor by the function."""
        with self._counting:
            return not self._gathers and self._at_work == 0

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Take no further batch. A receive under way ends when the queue's server does."""
        self._stopped.set()

    def stop(self) -> None:
        """Wait for the thread to notice; needs the queue's server to have stopped or a poll to have ended."""
        self._stopped.set()
        self._thread.join()
        self._workers.shutdown(cancel_futures=True)

    def _poll(self) -> None:
        while not self._stopped.is_set():
            if not self._free.acquire(timeout=0.2):
                continue
            try:
                messages = self._batch()
            except (BotoCoreError, ClientError) as error:
                self._gathers = False
                self._free.release()
                if not self._stopped.wait(1.0):
                    _log.warning("%s cannot be polled: %s", self._mapping.queue, error)
                continue
            if not messages or self._stopped.is_set():
                self._free.release()
                continue
            with self._counting:
                self._gathers = False
                self._at_work += 1
            self._workers.submit(self._handle, messages)

    def _batch(self) -> list[Mapping[str, Any]]:
        """Up to a batch of messages: the first within a long poll, the rest within the batching window."""
        messages = self._receive(self._wait_seconds)
        self._gathers = bool(messages)
        window_ends = time.monotonic() + self._mapping.window_seconds
        while messages and len(messages) < self._mapping.batch_size and time.monotonic() < window_ends:
            messages += self._receive(1, len(messages))
        return messages

    def _receive(self, wait_seconds: int, held: int = 0) -> list[Mapping[str, Any]]:
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=min(_RECEIVE_LIMIT, self._mapping.batch_size - held),
            WaitTimeSeconds=wait_seconds,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    def _handle(self, messages: Sequence[Mapping[str, Any]]) -> None:
        try:
            event = {"Records": [record(message, self._queue_arn) for message in messages]}
            try:
                failed = self._failed_ids(self._invoke(self._mapping.function, event), messages)
            except FunctionError as error:
                _log.info("%s failed a batch of %s: %s", self._mapping.function, len(messages), error)
                return
            self._delete([message for message in messages if message["MessageId"] not in failed])
        except (BotoCoreError, ClientError) as error:
            if not self._stopped.is_set():
                _log.warning("%s: done but not deleted: %s", self._mapping.queue, error)
        finally:
            with self._counting:
                self._at_work -= 1
            self._free.release()

    def _failed_ids(self, result: Any, messages: Sequence[Mapping[str, Any]]) -> set[str]:
        ids = {message["MessageId"] for message in messages}
        return failed_items(result, ids) if self._mapping.reports_item_failures else set()

    def _delete(self, messages: Sequence[Mapping[str, Any]]) -> None:
        for start in range(0, len(messages), _RECEIVE_LIMIT):
            entries = [
                {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                for index, message in enumerate(messages[start : start + _RECEIVE_LIMIT])
            ]
            self._sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)  # type: ignore[arg-type]


def failed_items(result: Any, ids: set[str]) -> set[str]:
    """Those of the message ids that a function's result reports as failed; all if the report is broken."""
    if not result:
        return set()
    if not isinstance(result, Mapping):
        return ids
    reported = result.get("batchItemFailures")
    if not reported:
        return set()
    if not isinstance(reported, list) or not all(isinstance(item, Mapping) for item in reported):
        return ids
    found = {item.get("itemIdentifier") for item in reported}
    return {str(item) for item in found} if found <= ids else ids


def record(message: Mapping[str, Any], queue_arn: str) -> dict[str, Any]:
    """A received message as a record of Lambda's SQS event."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {
            name: {
                "stringValue": attribute.get("StringValue"),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": attribute["DataType"],
            }
            for name, attribute in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    }
