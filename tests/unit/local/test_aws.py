"""The emulated AWS, and what of the template is deployed to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.emulated import REGION
from infra.local.aws import Clients, Deployment, MotoServer, deploy, make_rules, put_secrets
from infra.local.template import Template

OVERRIDES = {"VisibilityTimeout": 2, "maxReceiveCount": 3}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    server = MotoServer(tmp_path_factory.mktemp("moto") / "moto.log", postpone_scale=0.01)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def clients(server: MotoServer) -> Clients:
    return Clients.at(server.url)


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.load(overrides={"SegmentIds": "a,b", "SessionmCoreUrl": "http://127.0.0.1:1"})


@pytest.fixture(scope="module")
def deployment(template: Template, clients: Clients) -> Deployment:
    return deploy(template, clients, OVERRIDES)


def attributes_of(clients: Clients, url: str) -> dict[str, str]:
    names: Any = ["All"]
    found = clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return {str(name): value for name, value in found.items()}


def test_functions_get_their_environments_with_every_reference_resolved(
    deployment: Deployment, clients: Clients
) -> None:
    refresh = deployment.environments["SegmentRefreshFunction"]
    assert refresh["SEGMENT_IDS"] == "a,b"
    assert refresh["CACHE_TABLE"] == "local-cache-table"
    assert refresh["POWERTOOLS_LOG_LEVEL"] == "INFO"
    delivery = deployment.environments["TagDeliveryFunction"]
    assert delivery["SESSIONM_CORE_URL"] == "http://127.0.0.1:1"
    assert delivery["TAG_DELIVERY_CONCURRENCY"] == "400"
    secret = {"core_api_key": "k"}
    put_secrets(clients, deployment, {"SessionmSecret": secret})
    held = clients.secretsmanager.get_secret_value(SecretId=delivery["SESSIONM_SECRET_ID"])
    assert json.loads(held["SecretString"]) == secret
    attributes_of(clients, delivery["TAG_QUEUE_URL"])


def test_overrides_reach_work_queues_and_leave_the_queues_at_the_end_alone(
    deployment: Deployment, clients: Clients
) -> None:
    work = attributes_of(clients, deployment.queue_urls["TagQueue"])
    end = attributes_of(clients, deployment.queue_urls["TagDeadLetterQueue"])
    assert work["VisibilityTimeout"] == "2"
    redrive = json.loads(work["RedrivePolicy"])
    assert (redrive["maxReceiveCount"], redrive["deadLetterTargetArn"]) == (3, end["QueueArn"])
    assert end["VisibilityTimeout"] == "30"


def test_an_object_under_the_rules_prefix_and_no_other_becomes_an_event(
    template: Template, deployment: Deployment, clients: Clients
) -> None:
    bucket = deployment.buckets["ImportBucket"]
    clients.s3.put_object(Bucket=bucket, Key="imports/before.csv", Body=b"")
    (url,) = make_rules(template, clients, deployment).values()
    clients.s3.put_object(Bucket=bucket, Key="failures/a.csv", Body=b"a")
    clients.s3.put_object(Bucket=bucket, Key="imports/a.csv", Body=b"abc")
    messages = clients.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    (event,) = [json.loads(message["Body"]) for message in messages]
    assert (event["source"], event["detail-type"]) == ("aws.s3", "Object Created")
    assert (event["detail"]["bucket"]["name"], event["detail"]["object"]["key"]) == (bucket, "imports/a.csv")
    assert event["detail"]["object"]["size"] == 3


def test_of_many_conditional_writes_at_once_one_wins(server: MotoServer, deployment: Deployment) -> None:
    table = deployment.environments["TriggerIntakeFunction"]["LEDGER_TABLE"]
    session = boto3.Session("local", "local", region_name=REGION)
    dynamodb = session.client("dynamodb", endpoint_url=server.url)

    def claim(_number: int) -> bool:
        try:
            dynamodb.put_item(
                TableName=table, Item={"id": {"S": "once"}}, ConditionExpression="attribute_not_exists(id)"
            )
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(claim, range(64))) == 1


def test_no_two_receivers_get_the_same_message(clients: Clients) -> None:
    url = clients.sqs.create_queue(QueueName="shared")["QueueUrl"]
    for number in range(40):
        clients.sqs.send_message(QueueUrl=url, MessageBody=str(number))

    def receive(_number: int) -> list[str]:
        answer = clients.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        return [message["Body"] for message in answer.get("Messages", [])]

    with ThreadPoolExecutor(8) as threads:
        received = [body for bodies in threads.map(receive, range(8)) for body in bodies]
    assert sorted(received, key=int) == [str(number) for number in range(40)]


def test_a_postponed_message_comes_back_sooner_where_that_is_asked_for(clients: Clients) -> None:
    url = clients.sqs.create_queue(QueueName="postponed")["QueueUrl"]
    clients.sqs.send_message(QueueUrl=url, MessageBody="later")
    (message,) = clients.sqs.receive_message(QueueUrl=url)["Messages"]
    clients.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=30)
    started = time.monotonic()
    assert clients.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    assert 0.2 < time.monotonic() - started < 3


def test_a_server_that_cannot_listen_says_so(server: MotoServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    taken = int(server.url.rsplit(":", 1)[1])
    other = MotoServer(tmp_path_factory.mktemp("moto") / "moto.log", port=taken)
    with pytest.raises(RuntimeError, match="moto did not start"):
        _ = other.url
    other.stop()


def test_one_call_empties_every_queue_of_what_waits_and_of_what_is_in_hand(
    server: MotoServer, clients: Clients, deployment: Deployment
) -> None:
    urls = [deployment.queue_urls["TagQueue"], deployment.queue_urls["TriggerDeadLetterQueue"]]
    for url in urls:
        for body in ("waits", "in hand"):
            clients.sqs.send_message(QueueUrl=url, MessageBody=body)
        assert len(clients.sqs.receive_message(QueueUrl=url)["Messages"]) == 1

    server.empty_queues()

    for url in urls:
        shown = attributes_of(clients, url)
        assert shown["ApproximateNumberOfMessages"] == shown["ApproximateNumberOfMessagesNotVisible"] == "0"
