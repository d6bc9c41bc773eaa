"""EventBridge: bucket notifications and schedules, each an asynchronous invocation of a function.

moto sends an "Object Created" event when an object appears, matches it against the rule's pattern and puts it in the
rule's queue; what is missing there for a faithful event is filled in here. Schedules of the form ``rate(5 minutes)``
fire while the bundle runs; any schedule fires on demand.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.async_invoke import AsyncInvoker, scheduled_event
from infra.local.views import Function, Rule

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_log = logging.getLogger(__name__)
_UNIT_SECONDS: Final = {"minute": 60, "hour": 3600, "day": 86400}


class RulePoller:
    """Takes the events of one rule from its queue to its function, from `start` to `stop`."""

    def __init__(self, sqs: SQSClient, queue_url: str, function: Function, invoker: AsyncInvoker) -> None:
        self._sqs, self._queue_url, self._function, self._invoker = sqs, queue_url, function, invoker
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=f"{function.name}-rule", daemon=True)

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Take no further event."""
        self._stopped.set()

    def stop(self) -> None:
        """Wait for the thread; the queue's server must have stopped."""
        self._stopped.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stopped.is_set():
            try:
                answer = self._sqs.receive_message(QueueUrl=self._queue_url, WaitTimeSeconds=20, MaxNumberOfMessages=10)
                for message in answer.get("Messages", []):
                    self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
                    self._invoker.submit(self._function, object_created_event(json.loads(message["Body"])))
            except (BotoCoreError, ClientError) as error:
                if not self._stopped.wait(1.0):
                    _log.warning("the queue of %s cannot be polled: %s", self._function.name, error)


def object_created_event(event: dict[str, Any]) -> dict[str, Any]:
    """moto's "Object Created" event as S3 sends it ("EventBridge event message structure", S3 user guide).

    moto repeats one `id` and `sequencer`, gives a version id to buckets without versions, and spells `etag` otherwise.
    """
    event["id"] = str(uuid.uuid4())
    described = event["detail"]["object"]
    described["sequencer"] = f"{time.time_ns():016X}"
    if described.get("version-id") in (None, "null"):
        described.pop("version-id", None)
    described["etag"] = described.pop("eTag", described.get("etag"))
    event["detail"]["reason"] = "PutObject"
    return event


class Schedules:
    """The template's schedules: `fire` sends one now; between `start` and `stop` those with a rate also fire."""

    def __init__(self, rules: Sequence[Rule], functions: Mapping[str, Function], invoker: AsyncInvoker) -> None:
        self._rules = {functions[rule.function].name: rule for rule in rules if rule.schedule is not None}
        self._functions, self._invoker = functions, invoker
        self._timers: list[threading.Timer] = []
        self._stopped = threading.Event()

    @property
    def names(self) -> list[str]:
        """Schedules are named after their function, such as ``segment-refresh``."""
        return sorted(self._rules)

    def event(self, name: str) -> Any:
        """The event schedule `name` sends. Raises KeyError for a name that is none of `names`."""
        rule = self._rules[name]
        return scheduled_event(rule.logical_id, rule.input)

    def function(self, name: str) -> str:
        """The logical id of the function schedule `name` invokes."""
        return self._rules[name].function

    def fire(self, name: str) -> None:
        """Send the event of schedule `name` now; the function runs in the background."""
        self._invoker.submit(self._functions[self._rules[name].function], self.event(name))

    def start(self) -> None:
        """Let schedules with a rate fire, the first time after one interval, as EventBridge does."""
        for name, rule in self._rules.items():
            seconds = rate_seconds(rule.schedule or "")
            if seconds is not None:
                self._again(name, seconds)

    def stop(self) -> None:
        """Fire no more."""
        self._stopped.set()
        for timer in self._timers:
            timer.cancel()

    def _again(self, name: str, seconds: float) -> None:
        def fire() -> None:
            if not self._stopped.is_set():
                self.fire(name)
                self._again(name, seconds)

        timer = threading.Timer(seconds, fire)
        timer.daemon = True
        self._timers = [known for known in self._timers if known.is_alive()] + [timer]
        timer.start()


def rate_seconds(expression: str) -> int | None:
    """The interval of ``rate(2 hours)`` in seconds; None for a cron expression, which only fires on demand here."""
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    return int(found[1]) * _UNIT_SECONDS[found[2]] if found else None
