"""Addresses that are signed without boto3's client are those that it would sign."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import urllib3
from botocore.config import Config

from shared import aws as clients
from shared.light_s3 import LightS3Signer
from tests.integration.support.aws import Aws

KEYS = ["plain.csv", "imports/uploads/csv-1/a b+c~d%20=&?#é'()*!.csv", "a//b/../c", "日本語"]


@pytest.fixture
def session() -> boto3.Session:
    return boto3.Session("AKID", "a secret", "a/token+of=a role", region_name="eu-central-1")


def boto3s(session: boto3.Session, region: str, url: str | None = None) -> Any:
    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    return session.client("s3", region_name=region, endpoint_url=url, config=config)


def signed(signer: Any, operation: str, key: str) -> str:
    wanted = {"Bucket": "a-bucket-1", "Key": key}
    address: str = signer.generate_presigned_url(operation, Params=wanted, ExpiresIn=1234)
    return address


def same(one: Any, other: Any, operation: str, key: str) -> tuple[list[str], list[str]]:
    """What each makes in one and the same second, for that is signed, too: the place, and fields in any order."""
    while True:
        second = int(time.time())
        addresses = [signed(signer, operation, key) for signer in (one, other)]
        if int(time.time()) == second:
            break
    light, boto3s = ([place, *sorted(query.split("&"))] for place, query in (each.split("?") for each in addresses))
    return light, boto3s


@pytest.mark.parametrize("operation", ["get_object", "put_object"])
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("region", ["eu-central-1", "ap-southeast-7", "us-gov-west-1", "cn-north-1"])
def test_an_address_is_boto3s_field_for_field(
    monkeypatch: pytest.MonkeyPatch, region: str, key: str, operation: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    session = boto3.Session("AKID", "a secret", "a/token+of=a role", region_name=region)

    light, other = same(LightS3Signer(session, ""), boto3s(session, region), operation, key)

    assert light == other


def test_the_oldest_region_is_named_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    light = LightS3Signer(boto3.Session("AKID", "a secret", region_name="us-east-1"), "")

    address = urlsplit(signed(light, "get_object", "key"))

    assert (address.scheme, address.netloc) == ("https", "a-bucket-1.s3.us-east-1.amazonaws.com")
    assert "Security-Token" not in address.query  # without one there is none


def test_another_address_than_awss_is_signed_as_boto3_does(session: boto3.Session) -> None:
    url = "http://127.0.0.1:9"

    light, other = same(LightS3Signer(session, url), boto3s(session, "eu-central-1", url), "put_object", KEYS[1])

    assert light == other


def test_what_is_put_at_an_address_is_got_from_another(aws: Aws) -> None:
    signer = clients.s3_signer()
    wanted: Any = {"Bucket": aws.bucket(), "Key": KEYS[1]}
    put = signer.generate_presigned_url("put_object", Params=wanted, ExpiresIn=60)
    got = signer.generate_presigned_url("get_object", Params=wanted, ExpiresIn=60)

    assert urllib3.request("PUT", put, body=b"content").status == 200
    assert urllib3.request("GET", got).data == b"content"
    assert aws.s3.get_object(**wanted)["Body"].read() == b"content"
