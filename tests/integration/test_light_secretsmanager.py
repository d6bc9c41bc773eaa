"""The lighter Secrets Manager client answers and fails as boto3's does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from shared import aws as clients
from shared.light_secretsmanager import LightSecretsManager
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import Answer, FaultyAws
from tests.integration.support.sockets import closed_port

BUSY: Answer = (400, {}, b'{"__type":"ThrottlingException"}')
BROKEN: Answer = (500, {}, b'{"__type":"InternalServiceError"}')
NONSENSE: Answer = (200, {}, b"<html>")


def light_at(url: str) -> LightSecretsManager:
    return LightSecretsManager(boto3.Session(), url, connect_seconds=0.5, read_seconds=5)


def times(reply: Answer, limit: int) -> tuple[list[str], Callable[[Any], Answer | None]]:
    """An answer for the first calls of a secret, noted in the list; the others are let through."""
    asked: list[str] = []

    def answer(_: Any) -> Answer | None:
        asked.append("")
        return reply if len(asked) <= limit else None

    return asked, answer


def test_a_secret_is_read_as_boto3_reads_it(aws: Aws) -> None:
    secret_id = aws.secret_id("braze")
    light = light_at(aws.url)

    found = light.get_secret_value(SecretId=secret_id, VersionStage="AWSCURRENT")

    other = aws.secretsmanager.get_secret_value(SecretId=secret_id, VersionStage="AWSCURRENT")
    assert {name: found[name] for name in ("SecretString", "VersionId", "ARN", "VersionStages")} == {
        name: other[name] for name in ("SecretString", "VersionId", "ARN", "VersionStages")
    }
    assert abs(found["CreatedDate"].timestamp() - other["CreatedDate"].timestamp()) < 1


def test_one_that_is_not_there_is_boto3s_error(aws: Aws) -> None:
    with pytest.raises(ClientError) as raised:
        light_at(aws.url).get_secret_value(SecretId="no-such-secret")
    assert raised.value.response["Error"]["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize("reply", [BUSY, BROKEN, NONSENSE], ids=["throttled", "broken", "nonsense"])
def test_what_may_pass_is_tried_once_more(aws: Aws, faulty_aws: FaultyAws, reply: Answer) -> None:
    secret_id = aws.secret_id("braze")
    asked, answer = times(reply, 1)
    faulty_aws.answer("GetSecretValue", answer)

    assert light_at(faulty_aws.url).get_secret_value(SecretId=secret_id)["Name"] == secret_id
    assert len(asked) == 2


@pytest.mark.parametrize("reply", [BUSY, BROKEN, NONSENSE], ids=["throttled", "broken", "nonsense"])
def test_and_then_given_up(aws: Aws, faulty_aws: FaultyAws, reply: Answer) -> None:
    asked, answer = times(reply, 99)
    faulty_aws.answer("GetSecretValue", answer)

    with pytest.raises((ClientError, BotoCoreError)):
        light_at(faulty_aws.url).get_secret_value(SecretId=aws.secret_id("braze"))
    assert len(asked) == 2


def test_an_aws_that_is_not_there_is_found_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port()}")
    started = time.monotonic()
    for client in (clients.secretsmanager(), clients.secretsmanager_for_callers()):
        with pytest.raises(BotoCoreError):
            client.get_secret_value(SecretId="any")
    assert time.monotonic() - started < 5


def test_the_address_is_awss_own_unless_another_is_given() -> None:
    session = boto3.Session(region_name="eu-central-1")
    light = LightSecretsManager(session, "", connect_seconds=1, read_seconds=1)
    assert light.url == "https://secretsmanager.eu-central-1.amazonaws.com"
