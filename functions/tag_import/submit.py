"""POST /tag-imports hands out an address to upload a file to; POST /segment-exports takes on the export of a segment.

Both only write a job down. A file's import begins when it has arrived, an export's by a message of ImportQueue.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, structs

from bulk.jobs import Export, Job, Jobs, JobState, Options, Source, take_on, upload_key
from bulk.rows import Tags, Ttl, ttl_seconds_of
from clients.vocabulary import MemberKind, SegmentId
from member_lists.formats import codec_of
from shared import aws
from shared.aws import store
from shared.config import Settings
from shared.errors import InvalidInput
from shared.http import Answer, Handler, Request, http_handler
from shared.observability import correlation_id, count, note
from shared.queues import Queue

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Long enough for a large file on a slow line to be begun; S3 lets an upload that has begun come to its end.
UPLOAD_SECONDS = 3600

# SessionM has no call that takes a tag away: whoever leaves the segment keeps the tag until its ttl is over. Eight days
# outlast the week between two runs by a day, in which a run that failed can be made good.
EXPORT_TTL_SECONDS = 8 * 86_400

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

TtlText = Annotated[
    str,
    Meta(
        pattern=r"^ *[0-9]{1,9} ?[smhdwSMHDW]? *\Z",
        description="Give seconds as a number, or a text with a unit, as in 30d, 12h, 45m or 2w.",
    ),
]
Id = Annotated[MemberKind, Meta(description="Say what an id without a name is: user_id or external_id.")]


class ImportFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for lines that do not say it themselves, and how the file is written. All of it may be left out."""

    tags: Tags | None = None
    ttl: Ttl | TtlText | None = None
    counter: bool = False
    id: Id = "user_id"
    encoding: (
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}\Z", description="Give an encoding, as in utf-8 or latin-1.")]
        | None
    ) = None
    delimiter: Annotated[Literal[",", ";", "\t"], Meta(description="Give a comma, a semicolon or a tab.")] | None = None
    file_name: Annotated[
        str, Meta(pattern=r"^[^\x00-\x1f\x7f/\\]{1,200}\Z", description="Give the name of the file, without folders.")
    ] = "upload.csv"


class ExportFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`id` says whose id the external_id in Braze is at SessionM; `leavers` asks for a list of who left the segment.

    There is no `counter`: an export is made again and again, and each run would count everybody once more.
    """

    segment_id: SegmentId
    tags: Tags
    ttl: Ttl | TtlText | None = None
    id: Id = "user_id"
    leavers: bool = False


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Handler:
    signer, bucket = aws.s3_signer(), settings.text("IMPORT_BUCKET")
    queue = Queue(aws.sqs_for_requests(), settings.text("IMPORT_QUEUE_URL"))
    retention_days = settings.whole_number("IMPORT_RETENTION_DAYS")
    jobs = Jobs(aws.dynamodb_for_requests(), settings.text("IMPORTS_TABLE"), retention_days, clock)

    def submit_file(request: Request) -> Answer:
        job = file_job(request.json(ImportFields), f"csv-{uuid.uuid4().hex[:24]}", bucket, clock())
        upload = upload_address(signer, job, clock())
        jobs.save(structs.replace(job, correlation_id=correlation_id()))
        note(import_id=job.import_id)
        count("TagImportsSubmitted")
        return Answer(201, _told(job) | {"upload": upload})

    def submit_export(request: Request) -> Answer:
        job = export_job(request.json(ExportFields), f"segment-{uuid.uuid4().hex[:24]}", clock())
        note(import_id=job.import_id)
        take_on(structs.replace(job, correlation_id=correlation_id()), jobs, queue)
        count("SegmentExportsSubmitted")
        return Answer(202, _told(job))

    return http_handler({"POST /tag-imports": submit_file, "POST /segment-exports": submit_export})


def file_job(fields: ImportFields, import_id: str, bucket: str, now: float) -> Job:
    """A job that waits for its file; raises `InvalidInput` for options that no line could be read with."""
    ttl_seconds = _ttl_seconds(fields.ttl)
    if ttl_seconds is not None and fields.counter:
        raise InvalidInput("a tag has a ttl or a count, never both", field="counter", hint="Leave out ttl or counter.")
    options = Options(
        tags=tuple(fields.tags or ()),
        ttl_seconds=ttl_seconds,
        counter=fields.counter,
        member_kind=fields.id,
        encoding=codec_of(fields.encoding or ""),
        delimiter=fields.delimiter or "",
    )
    name = _UNSAFE.sub("_", fields.file_name).lstrip(".") or "upload.csv"
    return Job(
        import_id=import_id,
        state=JobState.AWAITING_UPLOAD,
        created_at=now,
        options=options,
        source=Source(bucket, upload_key(import_id, name)),
    )


def export_job(fields: ExportFields, import_id: str, now: float) -> Job:
    """A job whose segment is to be exported; raises `InvalidInput` for a ttl out of bounds."""
    ttl_seconds = _ttl_seconds(fields.ttl)
    options = Options(tags=tuple(fields.tags), ttl_seconds=ttl_seconds or EXPORT_TTL_SECONDS, member_kind=fields.id)
    return Job(
        import_id=import_id,
        state=JobState.REQUESTED,
        created_at=now,
        options=options,
        export=Export(fields.segment_id, lists_leavers=fields.leavers),
    )


def upload_address(signer: S3Client, job: Job, now: float) -> dict[str, Any]:
    """How to send the job's file: a PUT that needs no other credential than this address, so it is not to be logged.

    It is signed with the function's own credentials, and ends with them should they end sooner.
    """
    assert job.source is not None
    with store("import bucket"):
        url = signer.generate_presigned_url(
            "put_object", Params={"Bucket": job.source.bucket, "Key": job.source.key}, ExpiresIn=UPLOAD_SECONDS
        )
    expires_at = datetime.fromtimestamp(int(now) + UPLOAD_SECONDS, UTC)
    return {"method": "PUT", "url": url, "headers": {}, "expires_at": f"{expires_at:%Y-%m-%dT%H:%M:%SZ}"}


def _told(job: Job) -> dict[str, Any]:
    path = f"/tag-imports/{job.import_id}"
    return {"ok": True, "import_id": job.import_id, "state": job.state.value, "status_path": path}


def _ttl_seconds(ttl: int | str | None) -> int | None:
    return ttl_seconds_of(ttl) if isinstance(ttl, str) else ttl


handle = build(Settings(os.environ))
