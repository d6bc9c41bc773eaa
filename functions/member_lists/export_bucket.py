"""Segment exports in a bucket of the brand's own, to which Braze writes a zip for each 5,000 users.

Source: Braze's page on POST /users/export/segment (keys in a bucket of one's own).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from bulk.jobs import Export
from shared.aws import store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Thousands of small objects are fetched some at a time.
_FETCHED_AT_ONCE = 8
_MOST_PIECE_BYTES = 67_108_864


class UnusableExport(Exception):
    """The export cannot be read however often it is tried; `code` and `reason` are the job's."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ExportBucket:
    """`name` is that of the bucket, empty when there is none. Both methods raise `StoreUnavailable`."""

    def __init__(self, s3: S3Client, name: str) -> None:
        self._s3 = s3
        self.name = name

    def keys(self, export: Export, now: float) -> Sequence[str]:
        """The objects an export has by now, in their order; raises `UnusableExport` when there is no bucket.

        They are segment-export/SEGMENT_ID/YYYY-MM-dd/OBJECT_PREFIX/name.zip, and the day is that on which the export
        was complete, in a time zone nobody tells.
        """
        if not self.name:
            raise UnusableExport(
                "export_bucket_unknown",
                "Braze writes exports to a bucket of yours; name it in the parameter BrazeExportBucket",
            )
        keys: list[str] = []
        pages = self._s3.get_paginator("list_objects_v2")
        for day in _days(export.requested_at, now):
            prefix = f"segment-export/{export.segment_id}/{day}/{export.object_prefix}"
            with store("export bucket"):
                for page in pages.paginate(Bucket=self.name, Prefix=prefix):
                    keys += [found["Key"] for found in page.get("Contents", []) if found["Key"].endswith(".zip")]
        return sorted(keys)

    def unpacked(self, keys: Sequence[str]) -> Iterator[bytes]:
        """The lines of one object after the other; raises `UnusableExport` for one that cannot be unpacked."""
        waiting = iter(keys)
        with ThreadPoolExecutor(_FETCHED_AT_ONCE, thread_name_prefix="fetch") as threads:
            while some := list(islice(waiting, _FETCHED_AT_ONCE)):
                yield from threads.map(self._unpacked_object, some)

    def _unpacked_object(self, key: str) -> bytes:
        with store("export bucket"):
            found = self._s3.get_object(Bucket=self.name, Key=key)
            if found["ContentLength"] > _MOST_PIECE_BYTES:
                raise UnusableExport("export_too_large", f"{key} is larger than {_MOST_PIECE_BYTES} bytes")
            content = found["Body"].read()
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if sum(info.file_size for info in archive.infolist()) > _MOST_PIECE_BYTES:
                    raise UnusableExport("export_too_large", f"{key} unpacks to more than {_MOST_PIECE_BYTES} bytes")
                return b"".join(archive.read(name) + b"\n" for name in archive.namelist())
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError):
            raise UnusableExport("export_broken", f"{key} is no zip that can be read; start the export again") from None


def _days(first: float, last: float) -> Iterator[str]:
    day = datetime.fromtimestamp(first, UTC).date() - timedelta(days=1)
    end = datetime.fromtimestamp(last, UTC).date() + timedelta(days=1)
    while day <= end:
        yield day.isoformat()
        day += timedelta(days=1)
