"""The lighter SQS client sends and fails as boto3's does, and queues do not notice which they have."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from shared import aws as clients
from shared.aws import store
from shared.errors import StoreUnavailable
from shared.light_aws import Patience
from shared.light_sqs import LightSQS
from shared.queues import Queue, body_of
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import DROPPED, LOST, Answer, FaultyAws, refusal
from tests.integration.support.sockets import closed_port

PATIENCE = Patience(connect_seconds=0.5, read_seconds=5, tries=2)

# As SQS says it: a code of its own, and in a header that of its former protocol.
BUSY: Answer = (
    400,
    {"x-amzn-query-error": "RequestThrottled;Sender"},
    b'{"__type":"com.amazonaws.sqs#RequestThrottled","message":"no"}',
)
BROKEN: Answer = (500, {"x-amzn-query-error": "InternalFailure;Receiver"}, b'{"__type":"com.amazonaws.sqs#Internal"}')
NONSENSE: Answer = (200, {}, b"<html>")
NO_OBJECT: Answer = (200, {}, b"[]")
NAMES = ["throttled", "broken", "nonsense", "no object", "dropped"]

CLIENTS = [clients.sqs, clients.sqs_for_requests]
BOTH = pytest.mark.parametrize("client", CLIENTS, ids=["boto3", "light"])


@pytest.fixture
def light(aws: Aws) -> Any:
    return LightSQS(boto3.Session(), aws.url, PATIENCE)


def received(aws: Aws, queue: str) -> list[str]:
    bodies: list[str] = []
    url = aws.queue_url(queue)
    while messages := aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        bodies += [message["Body"] for message in messages]
    return sorted(bodies)


def test_messages_arrive_as_they_were_sent_and_the_answer_is_boto3s(aws: Aws, light: Any) -> None:
    bodies = [
        "plain",
        'a "quote" and a \\',
        "Grüße, 你好 \U0001f389",
        "a line\nand\ta tab",
        body_of("\ufffe and \uffff"),
    ]
    entries: Any = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies)]

    sent = light.send_message_batch(QueueUrl=aws.queue_url("tag"), Entries=entries)

    assert received(aws, "tag") == sorted(bodies)
    other = aws.sqs.send_message_batch(QueueUrl=aws.queue_url("tag"), Entries=entries)

    def told(answer: Any) -> list[dict[str, str]]:
        return [{name: each[name] for name in ("Id", "MD5OfMessageBody")} for each in answer["Successful"]]

    assert told(sent) == told(other)
    assert not sent.get("Failed")


@BOTH
def test_a_queue_that_is_not_there_is_the_same_error(aws: Aws, client: Callable[[], Any]) -> None:
    with pytest.raises(ClientError) as raised:
        client().send_message_batch(QueueUrl=f"{aws.queue_url('tag')}-no", Entries=[{"Id": "0", "MessageBody": "b"}])
    assert raised.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"


@BOTH
def test_an_error_without_a_former_code_is_told_by_its_own(
    aws: Aws, faulty_aws: FaultyAws, client: Callable[[], Any]
) -> None:
    faulty_aws.answer("SendMessageBatch", lambda _: refusal("com.amazonaws.sqs#KmsAccessDenied"))
    with pytest.raises(StoreUnavailable, match="queue: KmsAccessDenied"), store("queue"):
        client().send_message_batch(QueueUrl=aws.queue_url("tag"), Entries=[{"Id": "0", "MessageBody": "b"}])


@BOTH
@pytest.mark.parametrize("reply", [BUSY, BROKEN, NONSENSE, NO_OBJECT, DROPPED], ids=NAMES)
def test_what_may_pass_is_tried_once_more(
    aws: Aws, faulty_aws: FaultyAws, client: Callable[[], Any], reply: Answer
) -> None:
    if client is clients.sqs and reply is NO_OBJECT:
        reply = NONSENSE  # boto3 has no error for it
    replies = [reply]
    faulty_aws.answer("SendMessageBatch", lambda _: replies.pop() if replies else None)

    Queue(client(), aws.queue_url("tag")).send(["a", "b"])

    assert received(aws, "tag") == ["a", "b"]
    assert faulty_aws.calls == ["SendMessageBatch"] * 2


@BOTH
@pytest.mark.parametrize("reply", [BUSY, BROKEN, DROPPED], ids=["throttled", "broken", "dropped"])
def test_and_then_given_up(aws: Aws, faulty_aws: FaultyAws, client: Callable[[], Any], reply: Answer) -> None:
    faulty_aws.answer("SendMessageBatch", lambda _: reply)

    with pytest.raises(StoreUnavailable):
        Queue(client(), aws.queue_url("tag")).send(["a"])
    assert faulty_aws.calls == ["SendMessageBatch"] * 2


def test_an_answer_that_was_lost_may_have_put_the_messages_in_the_queue_twice(aws: Aws, faulty_aws: FaultyAws) -> None:
    replies = [LOST]
    faulty_aws.answer("SendMessageBatch", lambda _: replies.pop() if replies else None)

    Queue(clients.sqs_for_requests(), aws.queue_url("tag")).send(["a"])

    assert received(aws, "tag") == ["a", "a"]


@BOTH
def test_what_is_refused_is_not_tried_again(aws: Aws, faulty_aws: FaultyAws, client: Callable[[], Any]) -> None:
    faulty_aws.refuse("SendMessageBatch")
    with pytest.raises(StoreUnavailable, match="queue: AccessDeniedException"):
        Queue(client(), aws.queue_url("tag")).send(["a"])
    assert faulty_aws.calls == ["SendMessageBatch"]


@BOTH
@pytest.mark.parametrize("successful", [[], None], ids=["none", "null"])
def test_what_sqs_did_not_take_of_a_batch_is_sent_again(
    aws: Aws, faulty_aws: FaultyAws, client: Callable[[], Any], successful: Any
) -> None:
    failed = [{"Id": "0", "SenderFault": False, "Code": "InternalError"}]
    replies: list[Answer] = [(200, {}, json.dumps({"Successful": successful, "Failed": failed}).encode())]
    faulty_aws.answer("SendMessageBatch", lambda _: replies.pop() if replies else None)

    Queue(client(), aws.queue_url("tag")).send(["a"])

    assert received(aws, "tag") == ["a"]
    assert len(faulty_aws.calls) == 2


def test_a_queue_that_hangs_is_given_up_before_a_request_is(aws: Aws, faulty_aws: FaultyAws) -> None:
    faulty_aws.hang("SendMessageBatch", 12)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        Queue(clients.sqs_for_requests(), aws.queue_url("tag")).send(["a"])
    assert time.monotonic() - started < 5


def test_an_sqs_that_is_not_there_is_found_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port()}")
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        Queue(clients.sqs_for_requests(), "http://queue").send(["a"])
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("region", ["eu-central-1", "cn-north-1", "us-gov-west-1"])
def test_the_address_is_awss_own_unless_another_is_given(monkeypatch: pytest.MonkeyPatch, region: str) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    session = boto3.Session(region_name=region)
    assert LightSQS(session, "", PATIENCE).url == session.client("sqs").meta.endpoint_url
