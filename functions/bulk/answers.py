"""What answers about imports of every kind have in common: moments, and links to files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared.aws import store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LINK_SECONDS = 3600


def moment(seconds: float) -> str | None:
    """Epoch seconds as ISO 8601 in UTC, whole; None for 0, which is not yet."""
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}" if seconds else None


def links(signer: S3Client, bucket: str) -> Callable[[str], str]:
    """Makes addresses of keys of the bucket, good for `LINK_SECONDS` and without a credential: none is to be logged."""

    def link(key: str) -> str:
        with store("import bucket"):
            wanted = {"Bucket": bucket, "Key": key}
            return signer.generate_presigned_url("get_object", Params=wanted, ExpiresIn=LINK_SECONDS)

    return link
