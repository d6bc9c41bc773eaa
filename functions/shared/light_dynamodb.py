"""DynamoDB for reads that somebody waits for: the same calls as boto3's client, at a third of the processor time.

boto3 takes 1.1 ms of a processor for a call, mostly to check and to spell parameters by a model of the service; signing
and sending take 0.3. A wallet that is fetched makes three. To read the model is also a good part of a cold start. No
retries, no paging, no checks; failures are raised as boto3's errors, and what is not here is left to its client, which
is then made.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, EndpointConnectionError

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_dynamodb import DynamoDBClient

_TIMEOUT = urllib3.Timeout(connect=0.25, read=0.5)


class ConditionalCheckFailedException(ClientError):
    """As boto3 has it: `response["Item"]` is what there was, when that was asked for."""


class Exceptions:
    """Where boto3's client has its errors."""

    ConditionalCheckFailedException = ConditionalCheckFailedException


class LightDynamoDB:
    """Stands in for boto3's DynamoDB client, which `open_client` makes.

    `url` is another address than AWS's own; empty for AWS's.
    """

    exceptions = Exceptions

    def __init__(self, session: Session, url: str, open_client: Callable[[], DynamoDBClient]) -> None:
        self._region = session.region_name
        suffix = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
        self.url = url or f"https://dynamodb.{self._region}.{suffix}"
        self._credentials: Any = session.get_credentials()
        self._open_client = open_client
        self._pool = urllib3.connection_from_url(self.url, maxsize=8, retries=False, timeout=_TIMEOUT)

    def get_item(self, **request: Any) -> Any:
        return self._call("GetItem", request)

    def batch_get_item(self, **request: Any) -> Any:
        return self._call("BatchGetItem", request)

    def update_item(self, **request: Any) -> Any:
        return self._call("UpdateItem", request)

    def put_item(self, **request: Any) -> Any:
        return self._call("PutItem", request)

    def delete_item(self, **request: Any) -> Any:
        return self._call("DeleteItem", request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @cached_property
    def _client(self) -> DynamoDBClient:
        return self._open_client()

    def _call(self, operation: str, request: dict[str, Any]) -> Any:
        signed = AWSRequest(
            "POST",
            f"{self.url}/",
            {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Content-Type": "application/x-amz-json-1.0"},
            msgspec.json.encode(request),
        )
        SigV4Auth(self._credentials, "dynamodb", self._region).add_auth(signed)
        try:
            reply = self._pool.urlopen("POST", "/", signed.body, dict(signed.headers))
            answer = msgspec.json.decode(reply.data) if reply.data else {}
        except (urllib3.exceptions.HTTPError, msgspec.DecodeError) as error:
            raise EndpointConnectionError(endpoint_url=self.url) from error
        for item in (answer.get("Item"), answer.get("Attributes")):
            _read_bytes(item or {})
        if reply.status == 200:
            return answer
        code = str(answer.get("__type", reply.status)).rpartition("#")[2]
        kind = ConditionalCheckFailedException if code == "ConditionalCheckFailedException" else ClientError
        details: Any = {"Error": {"Code": code, "Message": ""}, **answer}
        raise kind(details, operation)


def _read_bytes(item: dict[str, Any]) -> None:
    """Makes bytes of what JSON has as base64, at the top of an item."""
    for value in item.values():
        if "B" in value:
            value["B"] = b64decode(value["B"])
