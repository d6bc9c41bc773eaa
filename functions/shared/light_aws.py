"""AWS services that speak JSON, for functions that somebody waits for: boto3's errors at a third of its time.

boto3 takes 1.1 ms of a processor for a call, mostly to check and to spell parameters by a model of the service; signing
and sending take 0.3. A wallet that is fetched makes three. To read the model is also a good part of a cold start. There
is no paging here and no check: what is sent is what AWS documents for the operation.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, EndpointConnectionError

if TYPE_CHECKING:
    from boto3 import Session

# Between two tries.
_PAUSE_SECONDS = 0.1

# What says nothing of the request, so that the same one may be answered a moment later; any status from 500 as well.
_PASSING = {"ThrottlingException", "Throttling", "RequestLimitExceeded"}


class LightService:
    """One service, such as `dynamodb`, whose operations are called `target.Operation` in JSON of a `version`.

    `url` is another address than AWS's own; empty for AWS's. Calls raise `ClientError` for what AWS refuses, with the
    answer in its `response`, and `EndpointConnectionError` when there is no answer that can be read.
    """

    def __init__(
        self, session: Session, service: str, target: str, version: str, url: str, timeout: urllib3.Timeout, tries: int
    ) -> None:
        self._service, self._target, self._version, self._tries = service, target, version, tries
        self._region = session.region_name
        suffix = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
        self.url = url or f"https://{service}.{self._region}.{suffix}"
        self._credentials: Any = session.get_credentials()
        self._pool = urllib3.connection_from_url(self.url, maxsize=8, retries=False, timeout=timeout)

    def call(self, operation: str, request: dict[str, Any]) -> Any:
        """The answer to one operation, decoded."""
        for _ in range(self._tries - 1):
            try:
                return self._once(operation, request)
            except EndpointConnectionError:
                pass
            except ClientError as error:
                if not _is_passing(error):
                    raise
            time.sleep(_PAUSE_SECONDS)
        return self._once(operation, request)

    def _once(self, operation: str, request: dict[str, Any]) -> Any:
        signed = AWSRequest(
            "POST",
            f"{self.url}/",
            {
                "X-Amz-Target": f"{self._target}.{operation}",
                "Content-Type": f"application/x-amz-json-{self._version}",
            },
            msgspec.json.encode(request),
        )
        SigV4Auth(self._credentials, self._service, self._region).add_auth(signed)
        try:
            reply = self._pool.urlopen("POST", "/", signed.body, dict(signed.headers))
            answer = msgspec.json.decode(reply.data) if reply.data else {}
        except (urllib3.exceptions.HTTPError, msgspec.DecodeError) as error:
            raise EndpointConnectionError(endpoint_url=self.url) from error
        if reply.status == 200:
            return answer
        code = str(answer.get("__type", reply.status)).rpartition("#")[2]
        details: Any = {
            **answer,
            "Error": {"Code": code, "Message": ""},
            "ResponseMetadata": {"HTTPStatusCode": reply.status},
        }
        raise ClientError(details, operation)


def _is_passing(error: ClientError) -> bool:
    return error.response["Error"]["Code"] in _PASSING or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
