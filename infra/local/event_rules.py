"""EventBridge: bucket notifications and schedules, on their way to a function or a queue.

moto sends an "Object Created" event when an object appears, matches it against the rule's pattern and puts it in a
queue of the rule's own; what is missing there for a faithful event is filled in here, and it is handed over. Schedules
of the form ``rate(5 minutes)`` fire while the bundle runs; any schedule fires on demand.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.async_invoke import AsyncInvoker, scheduled_event
from infra.local.views import Function, Rule

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_log = logging.getLogger(__name__)
_UNIT_SECONDS: Final = {"minute": 60, "hour": 3600, "day": 86400}


class RulePoller:
    """Takes the events of one rule from a queue of its own to its target, from `start` to `stop`."""

    def __init__(self, rule: str, sqs: SQSClient, queue_url: str, hand_over: Callable[[Any], None]) -> None:
        self._rule, self._sqs, self._queue_url, self._hand_over = rule, sqs, queue_url, hand_over
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=f"{rule}-poller", daemon=True)

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
                    self._hand_over(object_created_event(json.loads(message["Body"])))
            except (BotoCoreError, ClientError) as error:
                if not self._stopped.wait(1.0):
                    _log.warning("the queue of %s cannot be polled: %s", self._rule, error)


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
        self._rules = {functions[rule.function].name: rule for rule in rules if rule.schedule and rule.function}
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
        function = self._rules[name].function
        assert function is not None  # only rules with a function are kept
        return function

    def fire(self, name: str) -> None:
        """Send the event of schedule `name` now; the function runs in the background."""
        self._invoker.submit(self._functions[self.function(name)], self.event(name))

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
