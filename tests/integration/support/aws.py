"""One test's own corner of the emulated AWS: what template.yaml would have made, empty."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore.config import Config

from shared.config import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

CALLER_KEY = "k" * 40
BRAZE_KEY = "local-braze-key"

SESSIONM_SECRET = {
    "core_api_key": "local-core-key",
    "core_api_secret": "local-core-secret",
    "connect_authorization": "bG9jYWwtY29ubmVjdC1rZXk6bG9jYWwtY29ubmVjdC1zZWNyZXQ=",
    "retailer_id": "0f6a5f0e-6c0b-4d56-9b2e-3f4f8f0a7c11",
}


LOG_KEY = "local-log-key"

_SECRETS = {"sessionm": SESSIONM_SECRET, "braze": {"rest_api_key": BRAZE_KEY}, "log-key": {"key": LOG_KEY}}


@cache
def _clients(url: str) -> tuple[SQSClient, DynamoDBClient, S3Client, SecretsManagerClient]:
    config = Config(retries={"total_max_attempts": 1})
    return (
        boto3.client("sqs", endpoint_url=url, config=config),
        boto3.client("dynamodb", endpoint_url=url, config=config),
        boto3.client("s3", endpoint_url=url, config=config),
        boto3.client("secretsmanager", endpoint_url=url, config=config),
    )


class _OnDemand(Mapping[str, str]):
    """An environment whose values are made when they are read: a handler reads those of its own storage only."""

    def __init__(self, values: Mapping[str, str | Callable[[], str]]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        value = self._values[name]
        return value if isinstance(value, str) else value()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Aws:
    """Names differ from test to test, so that nothing of one is seen by another; what is first named is made."""

    url: str
    name: str
    sqs: SQSClient
    dynamodb: DynamoDBClient
    s3: S3Client
    secretsmanager: SecretsManagerClient
    made: set[str] = field(default_factory=set)

    @classmethod
    def fresh(cls, url: str) -> Aws:
        return cls(url, f"t{uuid.uuid4().hex[:12]}", *_clients(url))

    def settings(self, **changed: str) -> Settings:
        """Settings as template.yaml gives them, pointing at this test's storage; vendors must be given."""
        return Settings(
            _OnDemand(
                {
                    "CALLERS_SECRET_ID": f"{self.name}-callers",
                    "LOG_KEY_SECRET_ID": lambda: self.secret_id("log-key"),
                    "CALLER_ROTATION_SECONDS": "86400",
                    "TAG_QUEUE_URL": lambda: self.queue_url("tags"),
                    "TRIGGER_QUEUE_URL": lambda: self.queue_url("triggers"),
                    "URGENT_TRIGGER_QUEUE_URL": lambda: self.queue_url("urgent-triggers"),
                    "URGENT_TRIGGER_QUEUE_ARN": f"arn:aws:sqs:us-east-1:123456789012:{self.name}-urgent-triggers",
                    "TRIGGER_BATCH_SIZE": "1000",
                    "TRIGGER_CUSTOMER_IDENTIFIER": "external_id",
                    "TRACK_QUEUE_URL": lambda: self.queue_url("tracks"),
                    "BRAZE_PATH_GROUPS": "triggers,reads",
                    "BULK_TAG_QUEUE_URL": lambda: self.queue_url("bulk-tags"),
                    "BULK_TAG_QUEUE_ARN": f"arn:aws:sqs:us-east-1:123456789012:{self.name}-bulk-tags",
                    "IMPORT_QUEUE_URL": lambda: self.queue_url("imports"),
                    "PREFETCH_QUEUE_URL": lambda: self.queue_url("prefetches"),
                    "PREFETCH_SHARE_PERCENT": "50",
                    "PREFETCH_MOST_FRESH_SECONDS": "86400",
                    "IMPORT_BUCKET": self.bucket,
                    "TAG_DELIVERY_CONCURRENCY": "8",
                    "TAG_RATE_PER_SECOND": "10000",
                    "TAG_READ_BACK_SAMPLE": "0",
                    "CALLBACK_BASE_URL": "http://127.0.0.1:9",
                    "BRAZE_EXPORT_BUCKET": "",
                    "LEDGER_TABLE": lambda: self.table("ledger"),
                    "IMPORTS_TABLE": lambda: self.table("imports"),
                    "IMPORT_RETENTION_DAYS": "30",
                    "CACHE_TABLE": lambda: self.table("cache"),
                    "SESSIONM_SECRET_ID": lambda: self.secret_id("sessionm"),
                    "BRAZE_SECRET_ID": lambda: self.secret_id("braze"),
                    "SEGMENT_HISTORY_TABLE": lambda: self.table("history"),
                    "COUNT_FRESH_SECONDS": "3600",
                    "SEGMENT_SIZE_FRESH_SECONDS": "3600",
                    "SEGMENT_SIZE_STALE_SECONDS": "604800",
                    # Long, so that a busy machine changes no answer; tests of the deadline set their own.
                    "READ_BUDGET_MILLISECONDS": "10000",
                    "WALLET_DEFAULT_CULTURE": "en-US",
                    "READ_COLD_BUDGET_MILLISECONDS": "10000",
                    "WALLET_FRESH_SECONDS": "60",
                    "WALLET_STALE_SECONDS": "3600",
                    "WALLET_UNKNOWN_SECONDS": "30",
                    "SESSIONM_MAX_CONCURRENT_CALLS": "100",
                    "CONNECT_OPERATIONS": "/incentives/api/1.0/user_points/*",
                    "RETRY_ANSWERS_PER_MINUTE": "1400",
                    **changed,
                }
            )
        )

    def queue_url(self, which: str) -> str:
        name = f"{self.name}-{which}"
        if self._is_new(f"queue {name}"):
            self.sqs.create_queue(QueueName=name)
        return f"{self.url}/123456789012/{name}"

    def table(self, which: str) -> str:
        name = f"{self.name}-{which}"
        if self._is_new(name):
            keys = {"imports": ["import_id", "item"], "history": ["segment_id", "day"]}.get(which, ["id"])
            kinds: list[Literal["HASH", "RANGE"]] = ["HASH", "RANGE"]
            self.dynamodb.create_table(
                TableName=name,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, kinds, strict=False)],
            )
        return name

    def bucket(self) -> str:
        if self._is_new(self.name):
            self.s3.create_bucket(Bucket=self.name)
        return self.name

    def secret_id(self, which: Literal["sessionm", "braze", "log-key"]) -> str:
        name = f"{self.name}-{which}"
        if name not in self.made:
            self.put_secret(which, _SECRETS[which])
        return name

    def put_secret(self, which: str, value: Mapping[str, Any] | str) -> None:
        """Sets a secret; a second value makes the first the previous one, as a rotation does."""
        text = value if isinstance(value, str) else json.dumps(value)
        name = f"{self.name}-{which}"
        if self._is_new(name):
            self.secretsmanager.create_secret(Name=name, SecretString=text)
        else:
            self.secretsmanager.put_secret_value(SecretId=name, SecretString=text)

    def leave_empty(self, which: str) -> None:
        """Makes a secret without a value, as a fresh deployment has it."""
        if self._is_new(f"{self.name}-{which}"):
            self.secretsmanager.create_secret(Name=f"{self.name}-{which}")

    def received(self, which: str, most: int = 10) -> list[dict[str, Any]]:
        """Takes what can be received from a queue now, as the records of a Lambda event."""
        answer = self.sqs.receive_message(
            QueueUrl=self.queue_url(which),
            MaxNumberOfMessages=most,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": dict(message.get("Attributes", {})),
            }
            for message in answer.get("Messages", [])
        ]

    def queued(self, which: str) -> list[Any]:
        """The bodies of everything that can be received from a queue now."""
        bodies: list[Any] = []
        while records := self.received(which):
            bodies += [json.loads(record["body"]) for record in records]
        return bodies

    def send(self, which: str, bodies: Sequence[str]) -> None:
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.queue_url(which), MessageBody=body)

    def items(self, which: str) -> list[dict[str, Any]]:
        """All items of a table as plain values."""
        found = self.dynamodb.scan(TableName=self.table(which), ConsistentRead=True)["Items"]
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in found]

    def item(self, which: str, entry_id: str) -> dict[str, Any] | None:
        return next((item for item in self.items(which) if item["id"] == entry_id), None)

    def _is_new(self, name: str) -> bool:
        is_new = name not in self.made
        self.made.add(name)
        return is_new
