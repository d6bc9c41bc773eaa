"""Every call that a function makes at AWS, as the function's policy and a reader of the stores see it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.integration.support.faulty_aws import Answer, FaultyAws

_ACCOUNT = "123456789012"
_REGION = "us-east-1"
_SIGNER = re.compile(r"Credential=([^/]+)/")

# Batches and transactions are allowed as the single calls they stand for; where a batch has a permission of its own, as
# in DynamoDB, it is not here.
_PERMISSION = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}


@dataclass(frozen=True)
class AwsCall:
    """One call. `function` is the caller's name, `written` what it gave AWS to keep: field by field, or a body."""

    function: str
    permissions: frozenset[tuple[str, str]]
    operation: str
    resource: str
    written: Any
    status: int


class WatchedAws(FaultyAws):
    """Between the functions of a local bundle and its AWS. A function is known by its access key."""

    def __init__(self, backend_url: str) -> None:
        super().__init__(backend_url)
        self.seen: list[AwsCall] = []

    def saw(self, method: str, target: str, headers: Message, body: bytes, status: int) -> None:
        query = parse_qs(urlsplit(target).query, keep_blank_values=True)
        signer = _SIGNER.search(headers.get("Authorization", ""))
        function = signer[1] if signer else query.get("X-Amz-Credential", ["?"])[0].split("/")[0]
        operation = headers.get("X-Amz-Target", "")
        if operation:
            call = _json_call(function, operation, json.loads(body), status)
        else:
            call = _s3_call(function, method, unquote(urlsplit(target).path), query, headers, body, status)
        self.seen.append(call)

    def refuse_all(self, repeated: bytes) -> None:
        """From now on AWS says no to every kind of call seen so far, in words that hold what it was asked for."""

        def no(body: bytes) -> Answer:
            said = (body + repeated).decode("utf-8", "replace")
            words = json.dumps({"__type": "ValidationException", "message": said})
            return 400, {"Content-Type": "application/x-amz-json-1.1"}, words.encode()

        for operation in set(self.calls):
            self.answer(operation, no)


def _json_call(function: str, target: str, body: Mapping[str, Any], status: int) -> AwsCall:
    service, _, action = target.partition(".")
    service = {"AmazonSQS": "sqs", "DynamoDB_20120810": "dynamodb", "AWSEvents": "events"}.get(service, service)
    name = f"{service}:{action}"
    arns = list(_resources(service, action, body))
    permissions = frozenset((permission, arn) for permission, arn in arns)
    return AwsCall(function, permissions, name, arns[0][1].rpartition(":")[2], body, status)


def _resources(service: str, action: str, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Permissions and ARNs that a call needs."""
    name = f"{service}:{action}"
    permission = _PERMISSION.get(name, name)
    if service == "sqs":
        yield permission, f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:{body['QueueUrl'].rpartition('/')[2]}"
    elif service == "secretsmanager":
        yield permission, body["SecretId"]
    elif service == "events":
        for entry in body["Entries"]:
            yield permission, f"arn:aws:events:{_REGION}:{_ACCOUNT}:event-bus/{entry.get('EventBusName', 'default')}"
    elif action == "TransactWriteItems":
        for item in body["TransactItems"]:
            for kind, write in item.items():
                single = kind if kind == "ConditionCheck" else f"{kind}"
                yield f"dynamodb:{single}Item", _table(write["TableName"])
    elif "RequestItems" in body:
        for table in body["RequestItems"]:
            yield permission, _table(table)
    else:
        index = f"/index/{body['IndexName']}" if "IndexName" in body else ""
        yield permission, _table(body["TableName"]) + index


def _table(name: str) -> str:
    return f"arn:aws:dynamodb:{_REGION}:{_ACCOUNT}:table/{name}"


def _s3_call(
    function: str, method: str, path: str, query: Mapping[str, Any], headers: Message, body: bytes, status: int
) -> AwsCall:
    bucket, _, key = path.lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"
    if method == "DELETE":
        action = "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject"
    elif method in ("GET", "HEAD") and key:
        action = "s3:GetObjectVersion" if "versionId" in query else "s3:GetObject"
    elif method == "GET":
        action = "s3:ListBucket"
    else:
        action = "s3:PutObject"
    needed = {(action, arn)}
    if method in ("GET", "HEAD") and status == 404:
        needed.add(("s3:ListBucket", f"arn:aws:s3:::{bucket}"))  # else S3 answers 403, which looks like an outage
    if source := headers.get("x-amz-copy-source"):
        needed.add(("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}"))
    named = {name: value for name, value in headers.items() if name.lower().startswith("x-amz-meta")}
    written = {"key": key, "headers": named, "body": body.decode("utf-8", "replace")}
    return AwsCall(function, frozenset(needed), action, f"{bucket}/{key.split('/')[0]}", written, status)
