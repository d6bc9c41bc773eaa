"""POST /segment-exports/{import_id}/callback/{token}: Braze says that an export is there, or that there will be none.

No caller is asked for: the token in the address is the credential. It is drawn for one request, told to nobody but
Braze, stored as a digest, and used up by the first call. Whoever calls with another gets the same answer whatever is
wrong with it. What the callback brings is written in one piece; when that is not possible now, 503 says so, and should
Braze not call again, the worker that looks at the export's address from time to time finds it all the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from hmac import compare_digest
from typing import Annotated

import msgspec
from msgspec import Meta, structs

from bulk.jobs import IMPORT_ID, Job, Jobs, JobState, Outdated, wake_up
from member_lists.segment_export import digest_of
from shared import aws
from shared.config import Settings
from shared.errors import NotFound
from shared.http import Answer, Handler, Request, http_handler
from shared.observability import begin, correlation_id, logger
from shared.queues import Queue
from shared.validation import decode

# A worker writes the job a few times around its request to Braze, so a save that meets one is made again at once.
_SAVE_TRIES = 8


class Told(msgspec.Struct, frozen=True):
    """What Braze posts; `url` is missing when the export is in storage of the brand's own. Braze may say more."""

    success: bool
    url: Annotated[str, Meta(max_length=4096)] | None = None


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Handler:
    queue = Queue(aws.sqs_for_requests(), settings.text("IMPORT_QUEUE_URL"))
    retention_days = settings.whole_number("IMPORT_RETENTION_DAYS")
    jobs = Jobs(aws.dynamodb_for_requests(), settings.text("IMPORTS_TABLE"), retention_days, clock)

    def called_back(request: Request) -> Answer:
        import_id, digest = request.path["import_id"], digest_of(request.path["token"])
        for _ in range(_SAVE_TRIES):
            job = jobs.find(import_id) if IMPORT_ID.match(import_id) else None
            if job is None or not _expects(job, digest):
                raise NotFound("there is nothing to call back", field="path", hint="A callback address is good once.")
            begin(job.correlation_id or correlation_id())  # Braze speaks of the request that the export was asked with
            told = decode(request.body, Told)
            try:
                jobs.save(after_callback(job, told, digest, clock()))
            except Outdated:
                continue
            logger.info("segment export called back", import_id=import_id, success=told.success)
            queue.send([wake_up(import_id)])
            return Answer(200, {"ok": True})
        raise Outdated("the import is being written by others all the time")

    return http_handler({"POST /segment-exports/{import_id}/callback/{token}": called_back})


def after_callback(job: Job, told: Told, digest: str, now: float) -> Job:
    """The job as it goes on.

    An address that came with Braze's answer is kept: that came over a connection of our own making. When the answer is
    not in yet, or never came, the address of the callback does; without one there is only the answer to tell where the
    export is, so nothing but the use of the token is noted.
    """
    export = job.export
    assert export is not None  # it expects a callback
    if not told.success:
        return structs.replace(
            job,
            state=JobState.FAILED,
            export=structs.replace(export, callback_digests=()),
            reason_code="export_failed",
            reason="Braze could not export the segment; its mail to the owner of the account says why",
        )
    if job.state is JobState.REQUESTED and not told.url:
        left = tuple(each for each in export.callback_digests if each != digest)
        return structs.replace(job, export=structs.replace(export, callback_digests=left))
    export = structs.replace(
        export, callback_digests=(), url=export.url or told.url or "", requested_at=export.requested_at or now
    )
    return structs.replace(job, state=JobState.EXPORTING, export=export, reason_code="", reason="")


def _expects(job: Job, digest: str) -> bool:
    digests = job.export.callback_digests if job.export else ()
    matching = [compare_digest(each, digest) for each in digests]  # all of them, each to its end
    return any(matching) and job.state in (JobState.REQUESTED, JobState.EXPORTING)


handle = build(Settings(os.environ))
