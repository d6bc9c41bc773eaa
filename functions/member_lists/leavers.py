"""Who was in a segment at its last run and is no more: a list, for SessionM has no call that takes a tag away.

Both exports are read again, ids by their hashes: those of as many as fit in memory at a time, sixteen bytes each, and
what is in the one and not in the other is written out when the older export is read once more. A segment of eight
million members takes one such round, twenty million take three.
"""

from __future__ import annotations

import csv
import io
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING, Any

import msgspec

from bulk.jobs import Job, Jobs, Source
from member_lists.ndjson_rows import USERS, User
from member_lists.objects import Package, UnreadableFile
from shared.aws import store
from shared.observability import logger
from shared.uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

# Of each of the two exports.
ROUND_IDS = 8_000_000

_SHELVES = 256
_BLOCK_BYTES = 1_048_576

Ids = Iterator[list[str]]


class LastRuns:
    """The last finished export of each segment, for each set of tags it is given; items of ImportsTable.

    Every method raises `StoreUnavailable` when DynamoDB cannot be asked.
    """

    def __init__(
        self, client: DynamoDBClient, table: str, retention_days: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._table = table
        self._retention_seconds = retention_days * 86_400
        self._clock = clock

    def previous(self, job: Job) -> str:
        """The id of the run before this one; empty when there was none, or its export has been deleted since."""
        with store("imports"):
            found = self._client.get_item(TableName=self._table, Key=_key(job), ConsistentRead=True).get("Item")
        if not found or int(found["expires_at"]["N"]) <= self._clock():
            return ""
        return found["last_import_id"]["S"]

    def remember(self, job: Job) -> None:
        """Makes this the last run."""
        with store("imports"):
            self._client.put_item(
                TableName=self._table,
                Item={
                    **_key(job),
                    "last_import_id": {"S": job.import_id},
                    "expires_at": {"N": str(int(self._clock()) + self._retention_seconds)},
                },
            )


def leavers_key(import_id: str) -> str:
    return f"exports/{import_id}.left.csv"


def leavers_of(s3: S3Client, jobs: Jobs, job: Job) -> str:
    """The key of the list of who left, when the job asks for one; empty when it does not, and after a first run."""
    if job.export is None or not job.export.lists_leavers or not job.export.previous_import_id:
        return ""
    previous = jobs.find(job.export.previous_import_id)
    return list_leavers(s3, job, previous.source) if previous and previous.source else ""


def list_leavers(s3: S3Client, job: Job, previous: Source, *, round_ids: int = ROUND_IDS) -> str:
    """Writes the ids that are in the `previous` export and not in the job's own, as a CSV with one column.

    Returns its key; empty when one of the exports cannot be read any more. Raises `StoreUnavailable`.
    """
    assert job.source is not None
    key = leavers_key(job.import_id)
    try:
        number_of_ids = max(sum(map(len, _ids(s3, previous))), sum(map(len, _ids(s3, job.source))))
        rounds = ceil(number_of_ids / round_ids)
        with Upload(s3, job.source.bucket, key, "text/csv; charset=utf-8") as upload:
            upload.write(_csv([job.options.member_kind]))
            for number in range(rounds):
                before = _shelved(_ids(s3, previous), rounds, number)
                now = _shelved(_ids(s3, job.source), rounds, number)
                gone = [array("q", sorted(set(were) - set(are))) for were, are in zip(before, now, strict=True)]
                if any(gone):
                    for some in _ids(s3, previous):
                        upload.write(_csv([each for each in some if _is_among(gone, hash(each))]))
    except UnreadableFile as error:
        logger.warning("leavers not listed", import_id=job.import_id, detail=str(error))
        return ""
    return key


def _shelved(ids: Ids, rounds: int, number: int) -> list[array[int]]:
    """The hashes of one round, of 64 bits: of 46,000 runs of twenty million, one overlooks a leaver."""
    shelves = [array("q") for _ in range(_SHELVES)]
    put = [shelf.append for shelf in shelves]
    for some in ids:
        for each in some:
            hashed = hash(each)
            if (hashed >> 8) % rounds == number:
                put[hashed & 255](hashed)
    return shelves


def _is_among(shelves: list[array[int]], hashed: int) -> bool:
    shelf = shelves[hashed & 255]
    place = bisect_left(shelf, hashed)
    return place < len(shelf) and shelf[place] == hashed


def _ids(s3: S3Client, source: Source) -> Ids:
    with closing(Package(s3, source)) as package:
        for number in range(len(package.names)):
            file = package.open(number)
            while block := file.ahead(_BLOCK_BYTES):
                end = len(block) if len(block) < _BLOCK_BYTES else block.rfind(b"\n") + 1 or len(block)
                file.take(end)
                yield _ids_in(block[:end])


def _ids_in(lines: bytes) -> list[str]:
    """What is no user was listed when the export was read."""
    try:
        users = USERS.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        users = [user for line in lines.splitlines() if (user := _user(line))]
    return [member_id for user in users if (member_id := user.member_id())]


def _user(line: bytes) -> User | None:
    try:
        return USERS.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _csv(cells: list[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([cell] for cell in cells)
    return text.getvalue().encode()


def _key(job: Job) -> Any:
    """Another set of tags is another list of members to compare with, although the segment is the same."""
    assert job.export is not None
    tags = sha256("\n".join([job.options.member_kind, *sorted(job.options.tags)]).encode()).hexdigest()[:24]
    return {"import_id": {"S": f"segment#{job.export.segment_id}"}, "item": {"S": f"latest#{tags}"}}
