"""Objects written piece by piece: there when all went well, and only then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import boto3
import pytest

from shared.errors import StoreUnavailable
from shared.uploads import Upload
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import FaultyAws

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 5 * 1_048_576
PIECE = b"0123456789abcdef" * 65_536  # 1 MiB


def write(s3: S3Client, bucket: str, pieces: int, then: Callable[[], object] = bool) -> None:
    with Upload(s3, bucket, "key", "text/csv", part_bytes=PART_BYTES) as upload:
        for _ in range(pieces):
            upload.write(PIECE)
        then()


def pending(aws: Aws) -> int:
    return len(aws.s3.list_multipart_uploads(Bucket=aws.bucket()).get("Uploads", []))


def stored(aws: Aws) -> bytes:
    return aws.s3.get_object(Bucket=aws.bucket(), Key="key")["Body"].read()


@pytest.mark.parametrize("pieces", [0, 1, 5, 6, 10, 11])
def test_an_object_of_any_size_is_what_was_written(aws: Aws, pieces: int) -> None:
    write(aws.s3, aws.bucket(), pieces)

    assert stored(aws) == PIECE * pieces
    assert aws.s3.head_object(Bucket=aws.bucket(), Key="key")["ContentType"] == "text/csv"
    assert pending(aws) == 0


@pytest.mark.parametrize("pieces", [1, 6])
def test_nothing_changes_when_the_writer_fails(aws: Aws, pieces: int) -> None:
    aws.s3.put_object(Bucket=aws.bucket(), Key="key", Body=b"before")

    with pytest.raises(ZeroDivisionError):
        write(aws.s3, aws.bucket(), pieces, lambda: 1 / 0)

    assert stored(aws) == b"before"
    assert pending(aws) == 0


@pytest.mark.parametrize(("operation", "pieces"), [("PUT", 1), ("PUT", 6), ("POST", 6)])
def test_a_store_that_refuses_is_told_apart_and_leaves_nothing(
    aws: Aws, faulty_aws: FaultyAws, operation: str, pieces: int
) -> None:
    bucket = aws.bucket()
    faulty_aws.refuse(f"{operation} /{bucket}/key")

    with pytest.raises(StoreUnavailable):
        write(boto3.client("s3", endpoint_url=faulty_aws.url), bucket, pieces)

    assert not aws.s3.list_objects_v2(Bucket=bucket).get("Contents")
    assert pending(aws) == 0


@pytest.mark.parametrize("abort_is_refused", [False, True])
def test_a_last_step_that_fails_takes_the_parts_away_if_it_can(
    aws: Aws, faulty_aws: FaultyAws, abort_is_refused: bool
) -> None:
    bucket = aws.bucket()

    def refuse_the_rest() -> None:
        faulty_aws.refuse(f"POST /{bucket}/key")
        if abort_is_refused:
            faulty_aws.refuse(f"DELETE /{bucket}/key")

    with pytest.raises(StoreUnavailable):
        write(boto3.client("s3", endpoint_url=faulty_aws.url), bucket, 6, refuse_the_rest)

    assert pending(aws) == abort_is_refused
