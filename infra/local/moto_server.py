"""The process that plays SQS, DynamoDB, S3, Secrets Manager, CloudFormation and EventBridge: moto behind one port.

Started by `infra.local.aws` as ``python -P moto_server.py HOST PORT SCALE``. Prints the port it listens on, then serves
until its standard input closes, which also happens when the parent is killed. State lives in memory and dies with the
process.

Three things are added to moto's own server. Every call is atomic, as a conditional write or a receive is in AWS; moto's
threads would let two conditional writes both win. A receive does not count the whole queue again for each message. What
CloudFormation needs is imported while the parent is still busy.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.core.utils import unix_time_millis
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.sqs.models import Message, Queue, SQSBackend
from werkzeug.serving import make_server

_one_call_at_a_time = threading.Lock()


def _atomic(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with _one_call_at_a_time:
            return application(environ, start_response)

    return call


def _wait_without_the_lock(queue: Queue, timeout: int, original: Callable[..., None] = Queue.wait_for_messages) -> None:
    """A long poll sits here until a message arrives: the one moment at which other calls must go on."""
    _one_call_at_a_time.release()
    try:
        original(queue, timeout)
    finally:
        _one_call_at_a_time.acquire()


def _never_expired(_backend: SQSBackend, _queue_name: str, _message: object) -> bool:
    """Nothing outlives the days a message is kept; moto's own check counts every message of the queue."""
    return True


def _scaled(scale: float) -> Callable[[Message, int], None]:
    def change_visibility(message: Message, visibility_timeout: int) -> None:
        message.visible_at = unix_time_millis() + visibility_timeout * 1000 * scale

    return change_visibility


def _import_ahead() -> None:
    """Runs with the lock held: two threads that import parts of one package at once can lock each other out."""
    try:
        import moto.cloudformation.parsing
        import moto.dynamodb.responses
        import moto.events.responses
        import moto.s3.responses
        import moto.secretsmanager.responses  # noqa: F401
    finally:
        _one_call_at_a_time.release()


def main(host: str, port: int, scale: float) -> None:
    """Serve on `host` and `port` (0 for any) until standard input closes.

    What ChangeMessageVisibility sets is multiplied by `scale`, for tests that wait for a postponed message.
    """
    os.environ.setdefault("MOTO_SQS_ENFORCE_STRICT_QUEUE_PURGE_BEHAVIOUR", "false")  # tests purge often
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    Queue.wait_for_messages = _wait_without_the_lock  # type: ignore[assignment]
    SQSBackend.is_message_valid_based_on_retention_period = _never_expired  # type: ignore[assignment]
    if scale != 1:
        Message.change_visibility = _scaled(scale)  # type: ignore[assignment]
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server(host, port, _atomic(application), threaded=True, request_handler=MotoRequestHandler)
    _one_call_at_a_time.acquire()
    threading.Thread(target=_import_ahead, daemon=True).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
