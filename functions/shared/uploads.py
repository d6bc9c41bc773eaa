"""An object of S3 written piece by piece, of whatever size and in little memory."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from shared.aws import store
from shared.errors import StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# S3 takes 10,000 parts of 5 MiB or more, the last one aside: 78 GiB of these.
PART_BYTES = 8 * 1_048_576


class Upload:
    """The object is there once the `with` block ends well, and as it was before when it does not.

    One request for what fits a part, else a multipart upload. Raises `StoreUnavailable` when S3 cannot be asked.
    """

    def __init__(self, s3: S3Client, bucket: str, key: str, content_type: str, *, part_bytes: int = PART_BYTES) -> None:
        self._s3 = s3
        self._at: Any = {"Bucket": bucket, "Key": key}
        self._content_type = content_type
        self._part_bytes = part_bytes
        self._buffer = bytearray()
        self._upload_id = ""
        self._parts: list[Any] = []

    def write(self, piece: bytes) -> None:
        self._buffer += piece
        while len(self._buffer) > self._part_bytes:
            self._send(bytes(self._buffer[: self._part_bytes]))
            del self._buffer[: self._part_bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._complete()
        except StoreUnavailable:
            self._abort()
            raise
        if kind is not None:
            self._abort()

    def _complete(self) -> None:
        if not self._upload_id:
            with store("bucket"):
                self._s3.put_object(**self._at, Body=bytes(self._buffer), ContentType=self._content_type)
            return
        self._send(bytes(self._buffer))
        with store("bucket"):
            self._s3.complete_multipart_upload(
                **self._at, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
            )

    def _send(self, part: bytes) -> None:
        with store("bucket"):
            if not self._upload_id:
                begun = self._s3.create_multipart_upload(**self._at, ContentType=self._content_type)
                self._upload_id = begun["UploadId"]
            number = len(self._parts) + 1
            sent = self._s3.upload_part(**self._at, UploadId=self._upload_id, PartNumber=number, Body=part)
        self._parts.append({"ETag": sent["ETag"], "PartNumber": number})

    def _abort(self) -> None:
        """Parts that cannot be removed now are removed by the bucket's own rule."""
        if self._upload_id:
            with suppress(StoreUnavailable), store("bucket"):
                self._s3.abort_multipart_upload(**self._at, UploadId=self._upload_id)
