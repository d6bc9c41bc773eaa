"""DynamoDB for functions that somebody waits for: the same calls as boto3's client, and few of them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from shared.light_aws import LightService, Patience

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_dynamodb import DynamoDBClient


class ConditionalCheckFailedException(ClientError):
    """As boto3 has it: `response["Item"]` is what there was, when that was asked for."""


class Exceptions:
    """Where boto3's client has its errors: this one is ours, and all others come of calls that are boto3's."""

    ConditionalCheckFailedException = ConditionalCheckFailedException

    def __init__(self, boto3s: Callable[[], DynamoDBClient]) -> None:
        self._boto3s = boto3s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._boto3s().exceptions, name)


class LightDynamoDB:
    """Stands in for boto3's DynamoDB client, which `open_client` makes for whatever is not here.

    `url` is another address than AWS's own; empty for AWS's.
    """

    def __init__(
        self, session: Session, url: str, open_client: Callable[[], DynamoDBClient], patience: Patience
    ) -> None:
        self._service = LightService(session, "dynamodb", "DynamoDB_20120810", "1.0", url, patience)
        self._boto3s = cache(open_client)
        self.exceptions = Exceptions(self._boto3s)

    @property
    def url(self) -> str:
        return self._service.url

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
        return getattr(self._boto3s(), name)

    def _call(self, operation: str, request: dict[str, Any]) -> Any:
        try:
            answer = self._service.call(operation, request)
        except ClientError as error:
            if error.response["Error"]["Code"] != ConditionalCheckFailedException.__name__:
                raise
            refused: Any = error.response
            _read_bytes(refused.get("Item") or {})
            raise ConditionalCheckFailedException(refused, operation) from None
        for item in (answer.get("Item"), answer.get("Attributes")):
            _read_bytes(item or {})
        for items in (answer.get("Responses") or {}).values():
            for item in items:
                _read_bytes(item)
        return answer


def _read_bytes(item: dict[str, Any]) -> None:
    """Makes bytes of what JSON has as base64, wherever it is in an item."""
    for value in item.values():
        _read_bytes_of(value)


def _read_bytes_of(value: dict[str, Any]) -> None:
    if "B" in value:
        value["B"] = b64decode(value["B"])
    elif "M" in value:
        _read_bytes(value["M"])
    elif "L" in value:
        for each in value["L"]:
            _read_bytes_of(each)
    elif "BS" in value:
        value["BS"] = [b64decode(each) for each in value["BS"]]
