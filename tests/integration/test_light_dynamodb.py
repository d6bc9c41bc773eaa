"""The lighter DynamoDB client answers and fails as boto3's does."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EndpointConnectionError

from shared import aws as clients
from shared.aws import store
from shared.errors import StoreUnavailable
from shared.light_aws import Patience
from shared.light_dynamodb import LightDynamoDB
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import DROPPED, Answer, FaultyAws
from tests.integration.support.sockets import answer, closed_port, read_request, reset, self_signed, serving

KEY = {"id": {"S": "k"}}

BUSY: Answer = (400, {}, b'{"__type":"com.amazon.coral.availability#ThrottlingException"}')
BUSY_TABLE: Answer = (400, {}, b'{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}')
BROKEN: Answer = (500, {}, b'{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError"}')
NONSENSE: Answer = (200, {}, b"<html>")
NO_OBJECT: Answer = (200, {}, b"[]")
NAMES = ["throttled", "table throttled", "broken", "nonsense", "no object", "dropped"]
PATIENCE = Patience(connect_seconds=0.5, read_seconds=5, tries=1)


@pytest.fixture
def light(aws: Aws) -> Any:
    return LightDynamoDB(boto3.Session(), aws.url, lambda: aws.dynamodb, PATIENCE)


def test_items_come_back_as_they_were_put_bytes_as_well(aws: Aws, light: Any) -> None:
    table = aws.table("cache")
    values = {":a": {"B": b"\x00bytes"}, ":b": {"N": "7"}}
    light.update_item(TableName=table, Key=KEY, UpdateExpression="SET a = :a, b = :b", ExpressionAttributeValues=values)

    found = light.get_item(TableName=table, Key=KEY)
    assert found["Item"] == {**KEY, "a": {"B": b"\x00bytes"}, "b": {"N": "7"}}
    assert found["Item"] == aws.dynamodb.get_item(TableName=table, Key=KEY)["Item"]
    assert light.describe_table(TableName=table)["Table"]["TableName"] == table  # boto3's
    assert "Item" not in light.get_item(TableName=table, Key={"id": {"S": "other"}})


def test_bytes_are_bytes_however_deep_and_read_by_whatever_call(aws: Aws, light: Any) -> None:
    table = aws.table("cache")
    item = {
        **KEY,
        "plain": {"B": b"\x00\xff"},
        "list": {"L": [{"B": b"in a list"}, {"S": "B"}, {"N": "7"}]},
        "map": {"M": {"B": {"B": b"in a map"}, "deeper": {"M": {"all": {"BS": [b"of a set"]}}}}},
        "none": {"NULL": True},
    }
    light.put_item(TableName=table, Item=item)
    wanted = {table: {"Keys": [KEY]}}

    assert aws.dynamodb.get_item(TableName=table, Key=KEY)["Item"] == item
    assert light.get_item(TableName=table, Key=KEY)["Item"] == item
    assert light.batch_get_item(RequestItems=wanted)["Responses"] == {table: [item]}
    with pytest.raises(light.exceptions.ConditionalCheckFailedException) as raised:
        light.delete_item(
            TableName=table,
            Key=KEY,
            ConditionExpression="attribute_not_exists(plain)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert raised.value.response["Item"] == item
    assert light.delete_item(TableName=table, Key=KEY, ReturnValues="ALL_OLD")["Attributes"] == item
    assert light.batch_get_item(RequestItems=wanted)["Responses"] == {table: []}


@pytest.mark.parametrize("reply", [BUSY, BUSY_TABLE, BROKEN, NONSENSE, NO_OBJECT, DROPPED], ids=NAMES)
def test_what_a_request_writes_is_tried_once_more_and_then_given_up(
    aws: Aws, faulty_aws: FaultyAws, reply: Answer
) -> None:
    requests, replies = clients.dynamodb_for_requests(), [reply]
    faulty_aws.answer("PutItem", lambda _: replies.pop() if replies else None)

    requests.put_item(TableName=aws.table("cache"), Item=KEY)
    assert faulty_aws.calls == ["PutItem"] * 2

    faulty_aws.answer("PutItem", lambda _: reply)
    with pytest.raises(StoreUnavailable), store("cache"):
        requests.put_item(TableName=aws.table("cache"), Item=KEY)
    assert faulty_aws.calls == ["PutItem"] * 4


def test_what_is_refused_is_not_tried_again(aws: Aws, faulty_aws: FaultyAws) -> None:
    faulty_aws.refuse("PutItem")
    with pytest.raises(StoreUnavailable, match="AccessDeniedException"), store("cache"):
        clients.dynamodb_for_requests().put_item(TableName=aws.table("cache"), Item=KEY)
    assert faulty_aws.calls == ["PutItem"]


def test_calls_that_are_boto3s_raise_its_errors_where_ours_are_looked_for(aws: Aws, light: Any) -> None:
    table = aws.table("cache")
    light.put_item(TableName=table, Item=KEY)
    put = {"TableName": table, "Item": KEY, "ConditionExpression": "attribute_not_exists(id)"}

    with pytest.raises(light.exceptions.TransactionCanceledException):
        light.transact_write_items(TransactItems=[{"Put": put}])


def test_a_condition_that_fails_is_boto3s_error_with_what_there_was(aws: Aws, light: Any) -> None:
    table = aws.table("cache")
    light.put_item(TableName=table, Item={**KEY, "a": {"S": "there"}})

    with pytest.raises(light.exceptions.ConditionalCheckFailedException) as raised:
        light.update_item(
            TableName=table,
            Key=KEY,
            UpdateExpression="REMOVE a",
            ConditionExpression="attribute_not_exists(a)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert raised.value.response["Item"]["a"] == {"S": "there"}


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-central-1", "https://dynamodb.eu-central-1.amazonaws.com"),
        ("cn-north-1", "https://dynamodb.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_address_is_awss_own_unless_another_is_given(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, region: str, url: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    session = boto3.Session(region_name=region)

    light = LightDynamoDB(session, "", lambda: aws.dynamodb, PATIENCE)

    assert light.url == url == session.client("dynamodb").meta.endpoint_url


def test_a_refusal_is_boto3s_error_with_awss_code(light: Any) -> None:
    with pytest.raises(ClientError) as raised:
        light.get_item(TableName="no-such-table", Key=KEY)
    assert raised.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_a_table_that_does_not_answer_or_answers_nonsense_is_a_store_that_is_unavailable(
    aws: Aws, faulty_aws: FaultyAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty_aws.answer("GetItem", lambda _: (200, {}, b"<html>"))
    reads = clients.dynamodb_for_reads()
    with pytest.raises(StoreUnavailable), store("cache"):
        reads.get_item(TableName=aws.table("cache"), Key=KEY)

    faulty_aws.answer("GetItem", lambda _: (500, {}, b""))
    with pytest.raises(StoreUnavailable), store("cache"):
        reads.get_item(TableName=aws.table("cache"), Key=KEY)

    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(StoreUnavailable), store("cache"):
        clients.dynamodb_for_reads().get_item(TableName="cache", Key=KEY)


def test_a_connection_is_kept_for_the_next_call_and_replaced_once_the_other_end_closed_it(aws: Aws) -> None:
    calls_of_connections: list[int] = []
    closed = threading.Event()

    def two_calls_a_connection(connection: socket.socket) -> None:
        calls_of_connections.append(0)
        for number in (1, 2):
            if not read_request(connection):
                return
            calls_of_connections[-1] = number
            connection.sendall(answer(b"{}"))
        connection.close()
        closed.set()

    with serving(two_calls_a_connection) as url:
        light = LightDynamoDB(boto3.Session(), url, lambda: aws.dynamodb, PATIENCE)
        for _ in range(2):
            light.get_item(TableName="cache", Key=KEY)
        assert closed.wait(5)
        light.get_item(TableName="cache", Key=KEY)

    assert calls_of_connections == [2, 1]


def cut_short(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(answer(b"{}", length=5))


def not_http(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")


@pytest.mark.parametrize("script", [cut_short, not_http, reset])
def test_a_connection_that_breaks_is_an_error_of_botocore_and_not_used_again(
    aws: Aws, script: Callable[[socket.socket], None]
) -> None:
    connections: list[int] = []

    def broken(connection: socket.socket) -> None:
        connections.append(1)
        script(connection)

    with serving(broken) as url:
        light = LightDynamoDB(boto3.Session(), url, lambda: aws.dynamodb, PATIENCE)
        for _ in range(2):
            with pytest.raises(EndpointConnectionError):
                light.get_item(TableName="cache", Key=KEY)

    assert len(connections) == 2


@pytest.mark.parametrize("token", ["", "a/session+token=="])
def test_a_request_is_signed_as_botocore_signs_it(aws: Aws, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    asked: list[bytes] = []

    def once(connection: socket.socket) -> None:
        asked.append(read_request(connection))
        connection.sendall(answer(b"{}"))

    session = boto3.Session("key-id", "secret", token or None, "eu-central-1")
    with serving(once) as url:
        LightDynamoDB(session, url, lambda: aws.dynamodb, PATIENCE).get_item(TableName="cache", Key=KEY)

    head, _, body = asked[0].partition(b"\r\n\r\n")
    sent = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    signed = {
        name: value for name, value in sent.items() if name.lower().startswith(("x-amz-", "host", "content-type"))
    }
    moment = datetime.strptime(sent["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: moment)
    botocores = AWSRequest("POST", f"{url}/", {name: signed[name] for name in signed if name != "X-Amz-Date"}, body)
    SigV4Auth(Credentials("key-id", "secret", token), "dynamodb", "eu-central-1").add_auth(botocores)

    assert sent["Authorization"] == botocores.headers["Authorization"]
    assert ("x-amz-security-token" in sent["Authorization"]) == bool(token)
    assert sent.get("X-Amz-Security-Token", "") == token


def test_an_interim_answer_is_not_taken_for_the_answer(aws: Aws) -> None:
    asked = itertools.count(1)

    def script(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            connection.sendall(answer(b'{"number":%d}' % next(asked)))

    with serving(script) as url:
        light = LightDynamoDB(boto3.Session(), url, lambda: aws.dynamodb, PATIENCE)
        assert [light.get_item(TableName="cache", Key=KEY)["number"] for _ in range(3)] == [1, 2, 3]


def test_a_certificate_nobody_vouches_for_is_not_accepted(aws: Aws, tmp_path: Path) -> None:
    asked: list[bytes] = []
    with serving(lambda connection: asked.append(read_request(connection)), self_signed(tmp_path)) as url:
        light = LightDynamoDB(boto3.Session(), url, lambda: aws.dynamodb, PATIENCE)
        with pytest.raises(EndpointConnectionError):
            light.get_item(TableName="cache", Key=KEY)

    assert asked == []
