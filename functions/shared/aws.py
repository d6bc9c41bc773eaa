"""AWS clients with explicit time-outs, and the one place where an AWS failure becomes an error of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import StoreUnavailable
from shared.light_aws import Patience
from shared.light_dynamodb import LightDynamoDB
from shared.light_s3 import LightS3Signer
from shared.light_secretsmanager import LightSecretsManager
from shared.light_sqs import LightSQS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

# AWS answers these calls in milliseconds. Two tries of at most half a second to connect and one to answer are three
# seconds and a pause: a request that needs two stores still tells its caller to come back (503) within its ten seconds.
_CONFIG = Config(connect_timeout=0.5, read_timeout=1, retries={"mode": "standard", "total_max_attempts": 2})

# The same for clients that are not boto3's.
_PATIENCE = Patience(connect_seconds=0.5, read_seconds=1, tries=2)

# A read goes on without its table sooner than it would be late: one try, and no longer than a slow answer takes.
_READING = Patience(connect_seconds=0.25, read_seconds=0.5, tries=1)
_READ_CONFIG = _CONFIG.merge(
    Config(connect_timeout=0.25, read_timeout=0.5, retries={"mode": "standard", "total_max_attempts": 1})
)

# A worker keeps up to 256 rows in flight, each of which may claim and settle a ledger entry.
_WIDE_CONFIG = _CONFIG.merge(Config(max_pool_connections=256))

# A transaction of many items takes longer than one write, and nobody waits for the worker that makes it: what it cannot
# write down is not known to have happened.
_PATIENT_CONFIG = _WIDE_CONFIG.merge(Config(read_timeout=5))

# A file is streamed while its rows are queued, so a read may pause for long between two chunks.
_STREAMING_CONFIG = _CONFIG.merge(Config(read_timeout=60))

# A request writes a few megabytes at most. Two tries of three seconds leave it time to say within ten that it failed.
_SHORT_OBJECT_CONFIG = _CONFIG.merge(Config(read_timeout=3))


def secretsmanager() -> SecretsManagerClient:
    return _secretsmanager(connect_seconds=0.5, read_seconds=1.0)


def secretsmanager_for_callers() -> SecretsManagerClient:
    """Every request waits for the caller check, and API Gateway for ten seconds: two versions, two tries each."""
    return _secretsmanager(connect_seconds=0.25, read_seconds=0.5)


def _secretsmanager(connect_seconds: float, read_seconds: float) -> SecretsManagerClient:
    url = _url_of("SECRETS_MANAGER")
    light = LightSecretsManager(_session(), url, connect_seconds=connect_seconds, read_seconds=read_seconds)
    return cast("SecretsManagerClient", light)


def sqs() -> SQSClient:
    return boto3.client("sqs", config=_CONFIG)


def sqs_for_requests() -> SQSClient:
    """For whoever has somebody waiting, and sends messages."""
    return cast("SQSClient", LightSQS(_session(), _url_of("SQS"), _PATIENCE))


def dynamodb() -> DynamoDBClient:
    return boto3.client("dynamodb", config=_WIDE_CONFIG)


def dynamodb_for_requests() -> DynamoDBClient:
    """For whoever has somebody waiting, and no transactions to make."""
    return _light_dynamodb(_PATIENCE, _CONFIG)


def dynamodb_for_transactions() -> DynamoDBClient:
    return boto3.client("dynamodb", config=_PATIENT_CONFIG)


def dynamodb_for_reads() -> DynamoDBClient:
    return _light_dynamodb(_READING, _READ_CONFIG)


def _light_dynamodb(patience: Patience, config: Config) -> DynamoDBClient:
    url = _url_of("DYNAMODB")
    light = LightDynamoDB(_session(), url, lambda: boto3.client("dynamodb", config=config), patience)
    return cast("DynamoDBClient", light)


def _url_of(service: str) -> str:
    """The address to use instead of AWS's own, as boto3 is told it; empty when there is none."""
    return os.environ.get(f"AWS_ENDPOINT_URL_{service}") or os.environ.get("AWS_ENDPOINT_URL", "")


def _session() -> boto3.Session:
    """The one that boto3's own clients are made of, which has read what there is to read."""
    return boto3._get_default_session()


def s3() -> S3Client:
    return boto3.client("s3", config=_STREAMING_CONFIG)


def s3_for_requests() -> S3Client:
    """For whoever has somebody waiting. Made at its first use: few requests have one, and each waits for a start."""
    return cast("S3Client", _AtFirstUse(lambda: boto3.client("s3", config=_SHORT_OBJECT_CONFIG)))


def s3_signer() -> S3Client:
    """For addresses that are given away. It makes them and calls nobody."""
    return cast("S3Client", LightS3Signer(_session(), _url_of("S3")))


def events() -> EventBridgeClient:
    return boto3.client("events", config=_CONFIG)


class _AtFirstUse:
    """Stands in for a client until it is called."""

    def __init__(self, open_client: Callable[[], Any]) -> None:
        self._open_client = cache(open_client)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._open_client(), name)


@contextmanager
def store(name: str) -> Iterator[None]:
    """Turns any failure of an AWS call into `StoreUnavailable`, naming the store and AWS's error code."""
    try:
        yield
    except ClientError as error:
        raise StoreUnavailable(f"{name}: {error.response.get('Error', {}).get('Code', 'unknown')}") from error
    except BotoCoreError as error:
        raise StoreUnavailable(f"{name}: {type(error).__name__}") from error
