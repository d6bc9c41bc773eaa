"""GET /tag-imports/{import_id}: how far an import has come, and what became of its rows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import msgspec

from bulk.answers import links, moment
from bulk.jobs import IMPORT_ID, Job, Jobs, ReadBack
from bulk.parcels import is_webhook_import
from bulk.progress import counts_of, rate_per_second, seconds_left
from bulk.verdicts import Tally, Verdicts
from shared import aws
from shared.config import Settings
from shared.errors import NotFound
from shared.http import Answer, Handler, Request, http_handler


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller is told. Moments are ISO 8601, in UTC. The links need no other credential, so none is logged."""

    ok: bool = True
    import_id: str
    state: str
    reason: str | None = None
    message: str | None = None
    file_name: str | None = None
    segment_id: str | None = None
    rows_read: int
    sent: int
    failed: int
    skipped: int
    unknown: int
    waiting: int
    rate_per_second: float | None = None
    seconds_left: int | None = None
    failure_file_url: str | None = None
    leavers_file_url: str | None = None
    read_back: ReadBack | None = None
    created_at: str | None = None
    started_at: str | None = None
    read_at: str | None = None
    finished_at: str | None = None
    correlation_id: str | None = None


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Handler:
    link = links(aws.s3_signer(), settings.text("IMPORT_BUCKET"))
    dynamodb, table = aws.dynamodb_for_requests(), settings.text("IMPORTS_TABLE")
    retention_days = settings.whole_number("IMPORT_RETENTION_DAYS")
    jobs = Jobs(dynamodb, table, retention_days, clock)
    verdicts = Verdicts(dynamodb, table, retention_days, clock)

    def status(request: Request) -> Answer:
        import_id = request.path["import_id"]
        job = jobs.find(import_id) if IMPORT_ID.match(import_id) else None
        if job is not None and job.prefetch is None:
            return Answer(200, status_of(job, verdicts.tally(import_id), clock(), link))
        if is_webhook_import(import_id):
            return Answer(200, status_of_day(import_id, verdicts.tally(import_id)))
        raise NotFound(
            "no such import",
            field="import_id",
            hint="Ids are kept for ImportRetentionDays; see the answer of POST /tag-imports.",
        )

    return http_handler({"GET /tag-imports/{import_id}": status})


def status_of(job: Job, tally: Tally, now: float, link: Callable[[str], str]) -> Status:
    """A job as its caller sees it. `link` makes an address of an object's key."""
    counts = counts_of(job, tally)
    rate = rate_per_second(job, tally, now)
    return Status(
        import_id=job.import_id,
        state=job.state.value,
        reason=job.reason_code or None,
        message=job.reason or None,
        file_name=job.source.key.rpartition("/")[2] if job.source else None,
        segment_id=job.export.segment_id if job.export else None,
        rate_per_second=None if rate is None else round(rate, 1),
        seconds_left=seconds_left(job, counts, rate),
        failure_file_url=link(job.failure_file) if job.failure_file else None,
        leavers_file_url=link(job.leavers_file) if job.leavers_file else None,
        read_back=job.read_back,
        created_at=moment(job.created_at),
        started_at=moment(job.started_at),
        read_at=moment(job.read_at),
        finished_at=moment(job.finished_at),
        correlation_id=job.correlation_id or None,
        **msgspec.structs.asdict(counts),
    )


def status_of_day(import_id: str, tally: Tally) -> Status:
    """All that came by HTTP on one day, as far as it has its verdict: only the callers know how much they sent."""
    return Status(
        import_id=import_id,
        state="open",
        rows_read=tally.total,
        sent=tally.sent,
        failed=tally.failed,
        skipped=tally.skipped,
        unknown=tally.unknown,
        waiting=0,
    )


handle = build(Settings(os.environ))
