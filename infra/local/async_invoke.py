"""Asynchronous invocations: tried again after a failure, then sent to the function's failure destination.

From Lambda's "How Lambda handles errors and retries with asynchronous invocation": up to `MaximumRetryAttempts` more
tries, a minute and then two minutes after each other, then a record to the OnFailure destination. The waits are shorter
here.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

from infra.emulated import ACCOUNT_ID, REGION
from infra.local.environment import FunctionError
from infra.local.views import Function

_log = logging.getLogger(__name__)
RETRY_WAITS_SECONDS: Final = (1.0, 2.0)  # 60 and 120 in Lambda


class AsyncInvoker:
    """Invokes functions without waiting. `send(queue id, body)` puts a message in a queue."""

    def __init__(
        self,
        invoke: Callable[[str, Any], Any],
        send: Callable[[str, str], None],
        retry_waits_seconds: Sequence[float] = RETRY_WAITS_SECONDS,
    ) -> None:
        self._invoke, self._send, self._waits = invoke, send, retry_waits_seconds
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="async")

    def submit(self, function: Function, event: Any) -> None:
        """Accept an event for `function`; it runs in the background."""
        if not self._stopped.is_set():
            self._threads.submit(self._run, function, event)

    def stop(self) -> None:
        """Give up what is waiting for another try. Invocations under way must have been ended first."""
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)

    def ask_to_stop(self) -> None:
        """Start no further try."""
        self._stopped.set()

    def _run(self, function: Function, event: Any) -> None:
        request_id, attempts = str(uuid.uuid4()), 0
        while True:
            attempts += 1
            try:
                self._invoke(function.logical_id, event)
                return
            except FunctionError as error:
                failure = error
            if attempts > function.retry_attempts:
                break
            if self._stopped.wait(self._waits[min(attempts, len(self._waits)) - 1]):
                return
        _log.warning("%s failed %s times: %s", function.name, attempts, failure)
        if function.on_failure_queue is not None and not self._stopped.is_set():
            body = failure_record(function, event, failure, request_id, attempts)
            self._send(function.on_failure_queue, json.dumps(body))


def failure_record(
    function: Function, event: Any, error: FunctionError, request_id: str, attempts: int
) -> dict[str, Any]:
    """What Lambda sends to a failure destination."""
    return {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{function.name}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": attempts,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": error.payload(),
    }


def scheduled_event(rule_name: str, rule_input: str | None, moment: float | None = None) -> Any:
    """What an EventBridge schedule sends: the rule's own input, or the scheduled event of the EventBridge guide."""
    if rule_input is not None:
        return json.loads(rule_input)
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT_ID,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:{ACCOUNT_ID}:rule/{rule_name}"],
        "detail": {},
    }
