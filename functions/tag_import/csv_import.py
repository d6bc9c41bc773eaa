"""A CSV dropped under imports/ in the bucket, streamed into TagQueue.

EventBridge may announce a file twice, and Lambda may run an event again after a crash. A file read to the end is not
read again; one that was not is read from the start, which repeats rows that are safe to repeat: expiring tags refresh,
and counter tags carry a ledger entry made of import and line.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TextIO

from shared import aws
from shared.aws import store
from shared.config import Settings
from shared.observability import count, flush, logger
from shared.queues import Queue
from tag_import.csv_rows import Refusal, UnreadableFile, read_rows
from tag_import.imports import Imports, Summary
from tag_import.rows import Row, parcels

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Reading and queueing was measured at well over 5,000 rows a second, and good rows have 30 bytes or more, so a file of
# this size is done in half of the fifteen minutes a function may run. A larger one is refused whole, not cut short.
MAX_FILE_BYTES = 64 * 1_048_576

# So many bad lines are no slip but the wrong file, and their list has to fit the function's disk.
MAX_REFUSALS = 100_000

CsvHandler = Callable[[Mapping[str, Any], Any], dict[str, Any]]


class Reading:
    """Rows of one file on their way to the queue, refusals on their way to the failure file, both counted."""

    def __init__(self, failures: TextIO) -> None:
        self._failures = csv.writer(failures)
        self._failures.writerow(["line", "code", "reason", "row"])
        self.queued = 0
        self.refused = 0

    def rows(self, lines: Iterator[Row | Refusal]) -> Iterator[Row]:
        for line in lines:
            if isinstance(line, Row):
                self.queued += 1
                yield line
            else:
                self.refused += 1
                self.write_down(line)
                if self.refused == MAX_REFUSALS:
                    raise UnreadableFile(f"reading stopped at line {line.line}: {MAX_REFUSALS} lines were refused")

    def write_down(self, refusal: Refusal) -> None:
        self._failures.writerow([refusal.line, refusal.code, refusal.reason, *refusal.cells])


def build(settings: Settings) -> CsvHandler:
    s3 = aws.s3()
    queue = Queue(aws.sqs(), settings.text("TAG_QUEUE_URL"))
    imports = Imports(aws.dynamodb(), settings.text("IMPORTS_TABLE"), settings.whole_number("IMPORT_RETENTION_DAYS"))

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        bucket, dropped = event["detail"]["bucket"]["name"], event["detail"]["object"]
        import_id = import_id_of(bucket, dropped)
        if imports.finished(import_id):
            logger.info("file already imported", import_id=import_id)
            return {"import_id": import_id, "state": "already_imported"}
        summary = import_file(s3, bucket, dropped, import_id, queue)
        imports.finish(import_id, summary)
        count("TagsAccepted", summary.rows_queued)
        count("TagRowsRefused", summary.rows_refused)
        logger.info(
            "file imported",
            import_id=import_id,
            state=summary.state,
            reason=summary.reason,
            rows_read=summary.rows_read,
            rows_queued=summary.rows_queued,
            rows_refused=summary.rows_refused,
        )
        flush()
        return {"import_id": import_id, "state": summary.state}

    return handle


def import_id_of(bucket: str, dropped: Mapping[str, Any]) -> str:
    """The same for every announcement of one upload, another for the next upload, even of the same file.

    Source: EventBridge's S3 "Object Created" event, whose `sequencer` differs between two writes of one key.
    """
    identity = "\n".join([bucket, dropped["key"], dropped.get("sequencer", ""), dropped.get("etag", "")])
    return "csv-" + sha256(identity.encode()).hexdigest()[:24]


def import_file(s3: S3Client, bucket: str, dropped: Mapping[str, Any], import_id: str, queue: Queue) -> Summary:
    """Reads the file to its end; returns only once every row is in the queue or in the failure file.

    The bucket keeps versions, and the version that was announced is read, also when another has taken its name since.
    Raises `StoreUnavailable` when S3 or SQS give out, for Lambda to run the event again.
    """
    key = dropped["key"]
    version = {"VersionId": dropped["version-id"]} if dropped.get("version-id") else {}
    with store("import bucket"):
        found = s3.get_object(Bucket=bucket, Key=key, **version)
    with tempfile.TemporaryFile() as stored, io.TextIOWrapper(stored, encoding="utf-8", newline="") as failures:
        reading = Reading(failures)
        state, reason = "queued", ""
        try:
            if found["ContentLength"] > MAX_FILE_BYTES:
                raise UnreadableFile(f"the file exceeds {MAX_FILE_BYTES} bytes; split it")
            text = io.TextIOWrapper(found["Body"], encoding="utf-8-sig", errors="replace", newline="")  # type: ignore[type-var]
            with store("import bucket"):
                queue.send(parcels(import_id, reading.rows(read_rows(text, import_id))))
        except UnreadableFile as error:
            state, reason = "failed", error.message
            reading.write_down(Refusal(1, error.code, error.message, ()))
        failure_file = failure_key(key, import_id) if reading.refused or state == "failed" else ""
        if failure_file:
            failures.flush()
            stored.seek(0)
            with store("import bucket"):
                s3.put_object(Bucket=bucket, Key=failure_file, Body=stored, ContentType="text/csv; charset=utf-8")
    return Summary(key, state, reason, reading.queued + reading.refused, reading.queued, reading.refused, failure_file)


def failure_key(key: str, import_id: str) -> str:
    """Where the rows refused of the file `key` are listed: under its own name, and told apart from its next upload."""
    return f"failures/{key.removeprefix('imports/').removesuffix('.csv')}.{import_id}.csv"


handle = build(Settings(os.environ))
