"""The process that plays SQS, DynamoDB, S3, Secrets Manager, CloudFormation and EventBridge: moto behind one port.

Started by `infra.local.aws` as ``python -P moto_server.py HOST PORT SCALE``. Prints the port it listens on, then serves
until its standard input closes, which also happens when the parent is killed. State lives in memory and dies with the
process.

It is moto's application behind cheroot, which keeps connections open as AWS does; moto's own server closes each after
one call, and then nothing here would meet a client that keeps its own. Some things are added. Every call is atomic, as
a conditional write or a receive is in AWS; moto's threads would let two conditional writes both win. A receive does not
count the whole queue again for each message, and the clock, the list of services and the list of what each can do are
cheap to look at. A transaction of updates looks at its conditions before it writes, where moto copies the whole table
for each item. A secret whose AWSCURRENT was moved can be put anew. What CloudFormation needs is imported while the
parent is still busy.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import moto.backends
import moto.core.responses
import moto.sqs.models
from cheroot.wsgi import Server
from moto.core.utils import method_names_from_class
from moto.dynamodb.comparisons import get_filter_expression
from moto.dynamodb.exceptions import ConditionalCheckFailed, TransactionCanceledException
from moto.dynamodb.models import DynamoDBBackend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sqs.models import Message, Queue, SQSBackend, sqs_backends

EMPTY_QUEUES = "/local/empty-queues"

# Long polls of every queue sit in one each, and so do calls that wait for their turn.
_THREADS = 64

_one_call_at_a_time = threading.Lock()


def _atomic(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with _one_call_at_a_time:
            return application(environ, start_response)

    return call


def _with_emptying(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Empties every queue at one call of `EMPTY_QUEUES`, where AWS needs a call for each: tests begin with it."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != EMPTY_QUEUES:
            return application(environ, start_response)
        for account in sqs_backends.values():
            for backend in account.values():
                for name in backend.queues:
                    backend.purge_queue(name)
        start_response("204 No Content", [])
        return []

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


def _looked_at_first(
    backend: DynamoDBBackend,
    transact_items: list[dict[str, Any]],
    original: Callable[..., None] = DynamoDBBackend.transact_write_items,
) -> None:
    """A transaction of at most 100 updates of different items; any other is left to moto."""
    updates = [item.get("Update") for item in transact_items]
    keys = {(update["TableName"], str(update["Key"])) for update in updates if update}
    if len(keys) != len(transact_items) or len(keys) > 100:
        original(backend, transact_items)
        return
    objections = [_objection(backend, item["Update"]) for item in transact_items]
    if any(code for code, *_ in objections):
        raise TransactionCanceledException(objections)
    for item in transact_items:
        update = item["Update"]
        backend.update_item(
            update["TableName"],
            update["Key"],
            update_expression=update["UpdateExpression"],
            expression_attribute_names=update.get("ExpressionAttributeNames"),
            expression_attribute_values=update.get("ExpressionAttributeValues"),
        )


def _objection(backend: DynamoDBBackend, update: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Code, message and old item, as moto wants them in a refusal; three times None when nothing is against it."""
    if "ConditionExpression" not in update:
        return None, None, None
    current = backend.get_item(update["TableName"], update["Key"])
    names, values = update.get("ExpressionAttributeNames"), update.get("ExpressionAttributeValues")
    condition = get_filter_expression(update["ConditionExpression"], names, values)
    if condition.expr(current):
        return None, None, None
    wants_old = update.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and current
    old = current.to_json()["Attributes"] if wants_old and current else None
    return "ConditionalCheckFailed", ConditionalCheckFailed().message, old


def _milliseconds() -> float:
    """A call looks at the clock several times for each message of its queue; moto's own way goes by calendar dates."""
    return time.time() * 1000


def _scaled(scale: float) -> Callable[[Message, int], None]:
    def change_visibility(message: Message, visibility_timeout: int) -> None:
        message.visible_at = _milliseconds() + visibility_timeout * 1000 * scale

    return change_visibility


def _current_is_default(original: Callable[..., Any]) -> Callable[..., Any]:
    """moto remembers the current version a second time, and forgets to when AWSCURRENT is moved."""

    def move(
        backend: Any, secret_id: str, version_stage: str, remove_from_version_id: str, move_to_version_id: str
    ) -> Any:
        moved = original(backend, secret_id, version_stage, remove_from_version_id, move_to_version_id)
        if version_stage == "AWSCURRENT" and move_to_version_id:
            backend.secrets[secret_id].set_default_version_id(move_to_version_id)
        return moved

    return move


def _import_ahead() -> None:
    """Runs with the lock held: two threads that import parts of one package at once can lock each other out."""
    try:
        import moto.cloudformation.parsing
        import moto.dynamodb.responses
        import moto.events.responses
        import moto.s3.responses
        import moto.secretsmanager.responses

        secrets: Any = moto.secretsmanager.models.SecretsManagerBackend
        secrets.update_secret_version_stage = _current_is_default(secrets.update_secret_version_stage)
    finally:
        _one_call_at_a_time.release()


def main(host: str, port: int, scale: float) -> None:
    """Serve on `host` and `port` (0 for any) until standard input closes.

    What ChangeMessageVisibility sets is multiplied by `scale`, for tests that wait for a postponed message.
    """
    os.environ.setdefault("MOTO_SQS_ENFORCE_STRICT_QUEUE_PURGE_BEHAVIOUR", "false")  # tests purge often
    moto.sqs.models.unix_time_millis = _milliseconds  # type: ignore[attr-defined, assignment]
    Queue.wait_for_messages = _wait_without_the_lock  # type: ignore[assignment]
    SQSBackend.is_message_valid_based_on_retention_period = _never_expired  # type: ignore[assignment]
    DynamoDBBackend.transact_write_items = _looked_at_first  # type: ignore[method-assign,assignment]
    if scale != 1:
        Message.change_visibility = _scaled(scale)  # type: ignore[assignment]
    moto.core.responses.method_names_from_class = cache(method_names_from_class)  # type: ignore[attr-defined]
    services = tuple(moto.backends.list_of_moto_modules())
    moto.backends.list_of_moto_modules = lambda: services
    application = DomainDispatcherApplication(create_backend_app)
    server = Server((host, port), _atomic(_with_emptying(application)), numthreads=_THREADS)
    server.prepare()
    _one_call_at_a_time.acquire()
    threading.Thread(target=_import_ahead, daemon=True).start()
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.bind_addr[1], flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
