"""Imports as jobs: what is to be read, how far reading has come, and what came of it. One item of ImportsTable each.

A job's states, and what moves it on:

    awaiting_upload    an upload address was handed out       -> reading, when the file is there
    requested          a segment is to be exported            -> exporting, when Braze has taken the job on
    exporting          Braze is at work                       -> reading, when the export is in our bucket
    reading            rows go to the queue, up to `reading`  -> delivering, at the end of the file
    delivering         every row is queued                    -> finished, when each has its verdict
    finished           the end
    failed             the end, too, when the rest could not be read, and `reason` says why; rows that were queued by
                       then are delivered, and counted, before it is told
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from clients.vocabulary import MemberKind
from shared.aws import store
from shared.errors import BundleError, InProgress, StoreUnavailable
from shared.queues import Queue, body_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ITEM = "job"

# Items of imports that have begun and not ended carry this attribute, and so stand in the index of the same name.
UNDER_WAY = "under_way"

# What can be an import's id; nothing else is looked for.
IMPORT_ID = re.compile(r"[a-z]+-[0-9a-f-]{1,64}\Z")

# Where an upload address leads to (template.yaml); the folder below it is the import's id.
_UPLOADS = "imports/uploads/"
_UPLOADED_TO = re.compile(re.escape(_UPLOADS) + r"(csv-[0-9a-f]+)/")

# No item has version 0; DynamoDB wants every value it is given to be used.
_IS_NEW = "attribute_not_exists(version) OR version = :known"


class JobState(StrEnum):
    AWAITING_UPLOAD = "awaiting_upload"
    REQUESTED = "requested"
    EXPORTING = "exporting"
    READING = "reading"
    DELIVERING = "delivering"
    FINISHED = "finished"
    FAILED = "failed"


ENDED = frozenset({JobState.FINISHED, JobState.FAILED})


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds for rows that do not say it themselves, and how the file is written.

    `member_kind` says what a bare id is. `encoding` is a Python codec name and `delimiter` one character; empty, both
    are found out.
    """

    tags: tuple[str, ...] = ()
    ttl_seconds: int | None = None
    counter: bool = False
    member_kind: MemberKind = "user_id"
    encoding: str = ""
    delimiter: str = ""


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """The object that is read: always this version of it, whatever takes its name later."""

    bucket: str
    key: str
    version_id: str = ""
    etag: str = ""
    size_bytes: int = 0


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far reading has come. `rows_read` is always `rows_queued` + `rows_failed` + `rows_skipped`.

    Reading goes on at `offset` bytes of the (unpacked) file `member` of the archive, whose next line is `line`.
    `parts` counts the objects that list refused rows. What lies behind this point is queued and written down.
    `packing` is how rows were packed from the first on (parcels.PACKING); 0, before the first.
    """

    member: int = 0
    offset: int = 0
    line: int = 1
    rows_read: int = 0
    rows_queued: int = 0
    rows_failed: int = 0
    rows_skipped: int = 0
    parts: int = 0
    fraction: float = 0.0  # of the file, as far as that can be told
    packing: int = 0


class Export(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Braze segment export. `callback_digests` are the SHA-256 of tokens Braze may call back with, gone once one was.

    There is more than one only while it is not known whether an earlier request was taken on. `url` is where the export
    can be fetched by whoever knows it, so it is stored and never shown or logged.
    """

    segment_id: str
    schedule: str = ""
    lists_leavers: bool = False
    callback_digests: tuple[str, ...] = ()
    url: str = ""
    object_prefix: str = ""
    requested_at: float = 0.0
    seen_objects: str = ""  # a digest of what was exported to the brand's own bucket when that last changed
    seen_at: float = 0.0
    previous_import_id: str = ""


class Prefetch(msgspec.Struct, frozen=True, omit_defaults=True):
    """Wallets to be fetched, in place of tags to be sent: which of a member's there can be, and for how long.

    `culture` is SessionM's. `vendor` is the rest of the request in SessionM's own dialect; without it the wallet is the
    short dialect's. With `refresh` a wallet is fetched although there is one that is fresh for long enough.
    """

    culture: str
    fresh_seconds: int
    refresh: bool = False
    vendor: VendorRequest | None = None
    members_expected: int | None = None

    @property
    def good_seconds(self) -> int:
        """A wallet that stays fresh for so long is left as it is: a prefetch made again goes on where one ended."""
        return self.fresh_seconds // 2


class VendorRequest(msgspec.Struct, frozen=True):
    """What can differ in SessionM's `get_user_offers` beside member and culture."""

    skip: int
    take: int
    include_pending_extended_data: bool


class ReadBack(msgspec.Struct, frozen=True):
    """A sample of sent rows, looked up at SessionM afterwards. `unreadable` could not be asked for."""

    asked: int
    found: int
    missing: int
    unreadable: int


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Times are epoch seconds, 0 when not yet. `lease_until` keeps a second worker away while one is at it.

    `lease_holder` names the message that worker has in hand, `correlation_id` the request that asked for the import.
    """

    import_id: str
    state: JobState
    created_at: float
    options: Options = Options()
    source: Source | None = None
    reading: Reading = Reading()
    export: Export | None = None
    prefetch: Prefetch | None = None
    reason_code: str = ""
    reason: str = ""
    started_at: float = 0.0
    read_at: float = 0.0
    finished_at: float = 0.0
    failure_file: str = ""
    leavers_file: str = ""
    read_back: ReadBack | None = None
    lease_until: float = 0.0
    lease_holder: str = ""
    correlation_id: str = ""
    version: int = 0


def upload_key(import_id: str, file_name: str) -> str:
    """The key of the object that is uploaded for an import."""
    return f"{_UPLOADS}{import_id}/{file_name}"


def import_uploaded_to(key: str) -> str | None:
    """The import that an object was uploaded for; None for one that was dropped without asking for an address."""
    found = _UPLOADED_TO.match(key)
    return found[1] if found else None


class Outdated(InProgress):
    """Another worker has written the job since it was read; ours is not to be gone on with."""


class Later(BundleError):
    """A step cannot be ended now. What is done is saved; it goes on after `retry_after_seconds`, at once when 0."""

    code = "later"

    def __init__(self, reason: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


def wake_up(import_id: str) -> str:
    """The message of ImportQueue that makes a worker look at an import."""
    return body_of({"import_id": import_id})


class Jobs:
    """Jobs in ImportsTable; every method raises `StoreUnavailable` when DynamoDB cannot be asked."""

    def __init__(
        self, client: DynamoDBClient, table: str, retention_days: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._table = table
        self._retention_seconds = retention_days * 86_400
        self.clock = clock

    def find(self, import_id: str) -> Job | None:
        with store("imports"):
            answer = self._client.get_item(
                TableName=self._table, Key={"import_id": {"S": import_id}, "item": {"S": ITEM}}, ConsistentRead=True
            )
        item = answer.get("Item")
        return msgspec.json.decode(item["job"]["S"], type=Job) if item else None

    def save(self, job: Job) -> Job:
        """Writes the job and returns it with its new version; a job of version 0 must not exist yet.

        Raises `Outdated` when it was written since it was read. A client that had no answer writes again, and may find
        what it wrote the first time: the item says by which call it was written, and so that is no conflict.
        """
        saved = msgspec.structs.replace(job, version=job.version + 1)
        is_under_way = not saved.finished_at and saved.state is not JobState.AWAITING_UPLOAD
        written_by = {"S": os.urandom(8).hex()}
        with store("imports"):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item={
                        "import_id": {"S": job.import_id},
                        "item": {"S": ITEM},
                        "state": {"S": job.state.value},
                        "version": {"N": str(saved.version)},
                        "job": {"S": msgspec.json.encode(saved).decode()},
                        "written_by": written_by,
                        "expires_at": {"N": str(int(self.clock()) + self._retention_seconds)},
                        **({UNDER_WAY: {"S": "yes"}} if is_under_way else {}),
                    },
                    ConditionExpression="version = :known" if job.version else _IS_NEW,
                    ExpressionAttributeValues={":known": {"N": str(job.version)}},
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self._client.exceptions.ConditionalCheckFailedException as error:
                there: Mapping[str, Any] = error.response.get("Item", {})  # type: ignore[assignment]
                if there.get("written_by") != written_by:
                    raise Outdated("another worker has gone on with this import") from None
        return saved

    def lease(self, job: Job, seconds: float, holder: str) -> Job:
        """Takes the job in hand for so long; saving it with another `lease_until` prolongs or ends that.

        Raises `InProgress` while another message's worker has it. The same message may take it again: it was hidden for
        as long as its worker lived.
        """
        now = self.clock()
        if job.lease_until > now and job.lease_holder != holder:
            raise InProgress("another worker has this import in hand")
        return self.save(msgspec.structs.replace(job, lease_until=now + seconds, lease_holder=holder))


def take_on(job: Job, jobs: Jobs, queue: Queue) -> None:
    """Writes a new job down and announces it to the workers; raises `StoreUnavailable` when either cannot be done.

    Whoever is told so asks again, and gets another job. One that nobody could be told of is therefore ended, as far as
    its table can be reached; one that a worker has in hand already goes on.
    """
    saved = jobs.save(job)
    try:
        queue.send([wake_up(job.import_id)])
    except StoreUnavailable as error:
        with suppress(BundleError):
            jobs.save(
                msgspec.structs.replace(
                    saved,
                    state=JobState.FAILED,
                    reason_code=error.code,
                    reason="it could not be put in the queue, and was not acknowledged",
                    finished_at=jobs.clock(),
                )
            )
        raise
