"""POST /wallet-prefetches takes on the wallets of a segment or a list; GET /wallet-prefetches/{prefetch_id} tells how
it goes.

A prefetch is an import like one of tags, and is written down as one: a segment is exported first, a list becomes a file
of the same kind at once. ImportQueue's worker reads either into PrefetchQueue.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, structs

import wiring
from bulk.answers import links, moment
from bulk.jobs import IMPORT_ID, Export, Job, Jobs, JobState, Prefetch, Source, VendorRequest, take_on
from bulk.progress import counts_of, rate_per_second, seconds_left
from bulk.verdicts import Tally, Verdicts
from clients.braze import Braze
from clients.cultures import culture_of
from clients.transport import Timeouts
from clients.vocabulary import Culture, SegmentId, UserId
from shared import aws
from shared.aws import store
from shared.config import Settings
from shared.errors import InvalidInput, NotFound, UpstreamError
from shared.http import Answer, Handler, Request, http_handler
from shared.observability import correlation_id, count, logger, note
from shared.queues import Queue
from shared.rate import share_of

# How large a segment is, is good to know and nothing to wait for.
_ESTIMATE_TIMEOUTS = Timeouts(connect_seconds=1, read_seconds=3)

_SHORT_DIALECT = {"skip": 0, "take": 1000, "include_pending_extended_data": False}


class PrefetchFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `segment_id` and `user_ids`. The others are those of the request that will ask for the wallets.

    `skip`, `take` and `include_pending_extended_data` are of SessionM's dialect alone.
    """

    segment_id: SegmentId | None = None
    user_ids: (
        Annotated[list[UserId], Meta(min_length=1, max_length=50_000, description="Give 1 to 50000 user ids.")] | None
    ) = None
    culture: Culture = ""
    fresh_for: Annotated[
        int, Meta(ge=60, le=604_800, description="Give whole seconds, 60 to PrefetchMostFreshSeconds.")
    ] = 3600
    dialect: Annotated[Literal["short", "vendor"], Meta(description="Give short or vendor.")] = "short"
    skip: Annotated[int, Meta(ge=0, le=1_000_000, description="Give the number of offers to pass over.")] = 0
    take: Annotated[int, Meta(ge=1, le=1000, description="Give 1 to 1000 offers.")] = 1000
    include_pending_extended_data: bool = False
    refresh: bool = False


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller is told. Moments are ISO 8601, in UTC. The link needs no other credential, so none is logged."""

    ok: bool = True
    prefetch_id: str
    state: str
    reason: str | None = None
    message: str | None = None
    segment_id: str | None = None
    dialect: str
    culture: str
    fresh_for: int
    members_expected: int | None = None
    members_read: int
    fetched: int
    failed: int
    skipped: int
    waiting: int
    rate_per_second: float | None = None
    most_per_second: int
    seconds_left: int | None = None
    fresh_until: str | None = None
    failure_file_url: str | None = None
    created_at: str | None = None
    started_at: str | None = None
    read_at: str | None = None
    finished_at: str | None = None


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Handler:
    s3, bucket = aws.s3_for_requests(), settings.text("IMPORT_BUCKET")
    link = links(aws.s3_signer(), bucket)
    queue = Queue(aws.sqs(), settings.text("IMPORT_QUEUE_URL"))
    dynamodb, table = aws.dynamodb(), settings.text("IMPORTS_TABLE")
    retention_days = settings.whole_number("IMPORT_RETENTION_DAYS")
    jobs = Jobs(dynamodb, table, retention_days, clock)
    verdicts = Verdicts(dynamodb, table, retention_days, clock)
    braze = wiring.braze(settings, connections=2)
    default_culture = settings.text("WALLET_DEFAULT_CULTURE")
    most_fresh_seconds = settings.whole_number("PREFETCH_MOST_FRESH_SECONDS")
    most_per_second = share_of(
        settings.whole_number("TAG_RATE_PER_SECOND"), settings.whole_number("PREFETCH_SHARE_PERCENT")
    )

    def submit(request: Request) -> Answer:
        fields = request.json(PrefetchFields)
        wish = prefetch_of(fields, default_culture, most_fresh_seconds)
        prefetch_id = f"prefetch-{uuid.uuid4().hex[:24]}"
        if fields.user_ids is not None:
            user_ids = list(dict.fromkeys(fields.user_ids))
            source = Source(bucket, f"exports/{prefetch_id}.ndjson")
            with store("import bucket"):
                s3.put_object(
                    Bucket=bucket, Key=source.key, Body=lines_of(user_ids), ContentType="application/x-ndjson"
                )
            job = list_job(prefetch_id, structs.replace(wish, members_expected=len(user_ids)), source, clock())
        else:
            segment_id = str(fields.segment_id)
            wish = structs.replace(wish, members_expected=size_of(braze, segment_id))
            job = segment_job(prefetch_id, wish, segment_id, clock())
        note(import_id=prefetch_id)
        take_on(structs.replace(job, correlation_id=correlation_id()), jobs, queue)
        count("WalletPrefetchesSubmitted")
        return Answer(202, _told(job, most_per_second))

    def status(request: Request) -> Answer:
        prefetch_id = request.path["prefetch_id"]
        job = jobs.find(prefetch_id) if IMPORT_ID.match(prefetch_id) else None
        if job is None or job.prefetch is None:
            raise NotFound(
                "no such prefetch",
                field="prefetch_id",
                hint="Ids are kept for ImportRetentionDays; see the answer of POST /wallet-prefetches.",
            )
        return Answer(200, status_of(job, job.prefetch, verdicts.tally(prefetch_id), clock(), most_per_second, link))

    return http_handler({"POST /wallet-prefetches": submit, "GET /wallet-prefetches/{prefetch_id}": status})


def prefetch_of(fields: PrefetchFields, default_culture: str, most_fresh_seconds: int) -> Prefetch:
    """What is wanted; raises `InvalidInput` for what cannot be, or would be looked for in vain."""
    if (fields.segment_id is None) == (fields.user_ids is None):
        raise InvalidInput(
            "exactly one of segment_id and user_ids is needed",
            code="missing_field" if fields.segment_id is None else "invalid_field",
            field="segment_id",
            hint="Give the segment_id of a Braze segment, or user_ids, a list of SessionM's.",
        )
    if fields.fresh_for > most_fresh_seconds:
        raise InvalidInput(
            "wallets may not count as fresh for so long",
            field="fresh_for",
            hint=f"Give {most_fresh_seconds} seconds or less, or raise PrefetchMostFreshSeconds.",
        )
    shape = {name: getattr(fields, name) for name in _SHORT_DIALECT}
    if fields.dialect == "short" and shape != _SHORT_DIALECT:
        raise InvalidInput(
            "a wallet of the short dialect is fetched whole",
            field=next(name for name, value in _SHORT_DIALECT.items() if shape[name] != value),
            hint='Leave it out, or give "dialect": "vendor" for templates that send SessionM\'s own request.',
        )
    return Prefetch(
        culture=culture_of(fields.culture, default_culture),
        fresh_seconds=fields.fresh_for,
        refresh=fields.refresh,
        vendor=VendorRequest(**shape) if fields.dialect == "vendor" else None,
    )


def list_job(prefetch_id: str, wish: Prefetch, source: Source, now: float) -> Job:
    return Job(
        import_id=prefetch_id, state=JobState.READING, created_at=now, started_at=now, source=source, prefetch=wish
    )


def segment_job(prefetch_id: str, wish: Prefetch, segment_id: str, now: float) -> Job:
    return Job(
        import_id=prefetch_id, state=JobState.REQUESTED, created_at=now, export=Export(segment_id), prefetch=wish
    )


def lines_of(user_ids: Sequence[str]) -> bytes:
    """Members as a segment export has them."""
    return msgspec.json.Encoder().encode_lines([{"external_id": user_id} for user_id in user_ids])


def size_of(braze: Braze, segment_id: str) -> int | None:
    """Braze's own estimate of a segment; None when there is none, as of one without analytics tracking."""
    try:
        points = braze.segment_sizes(segment_id, length=1, ending_at=None, timeouts=_ESTIMATE_TIMEOUTS)
    except UpstreamError as error:
        logger.warning("segment not estimated", code=error.code)
        return None
    return round(points[-1].value) if points else None


def status_of(
    job: Job, wish: Prefetch, tally: Tally, now: float, most_per_second: int, link: Callable[[str], str]
) -> Status:
    """A prefetch as its caller sees it. `link` makes an address of an object's key."""
    counts = counts_of(job, tally)
    rate = rate_per_second(job, tally, now)
    left = seconds_left(job, counts, rate)
    expected = counts.rows_read if job.read_at else wish.members_expected
    if left is None and expected is not None:
        left = round(max(0, expected - counts.rows_read + counts.waiting) / most_per_second)
    return Status(
        prefetch_id=job.import_id,
        state="fetching" if job.state is JobState.DELIVERING else job.state.value,
        reason=job.reason_code or None,
        message=job.reason or None,
        segment_id=job.export.segment_id if job.export else None,
        dialect="short" if wish.vendor is None else "vendor",
        culture=wish.culture,
        fresh_for=wish.fresh_seconds,
        members_expected=expected,
        members_read=counts.rows_read,
        fetched=counts.sent,
        failed=counts.failed,
        skipped=counts.skipped,
        waiting=counts.waiting,
        rate_per_second=None if rate is None else round(rate, 1),
        most_per_second=most_per_second,
        seconds_left=left,
        fresh_until=moment(_fresh_until(job, wish, tally)),
        failure_file_url=link(job.failure_file) if job.failure_file else None,
        created_at=moment(job.created_at),
        started_at=moment(job.started_at),
        read_at=moment(job.read_at),
        finished_at=moment(job.finished_at),
    )


def _fresh_until(job: Job, wish: Prefetch, tally: Tally) -> float:
    """When the first of its wallets is no longer fresh: the one fetched first, or one that was left as it was."""
    if not job.started_at:
        return 0.0
    return job.started_at + (wish.good_seconds if tally.skipped else wish.fresh_seconds)


def _told(job: Job, most_per_second: int) -> dict[str, Any]:
    assert job.prefetch is not None
    expected, fresh_seconds = job.prefetch.members_expected, job.prefetch.fresh_seconds
    seconds = None if expected is None else -(-expected // most_per_second)
    notice = None
    if seconds is not None and seconds > fresh_seconds:
        notice = (
            f"at {most_per_second} a second the first wallets are no longer fresh when the last are fetched; "
            "give a longer fresh_for, or raise TagRatePerSecond or PrefetchSharePercent"
        )
    return {
        "ok": True,
        "prefetch_id": job.import_id,
        "state": job.state.value,
        "status_path": f"/wallet-prefetches/{job.import_id}",
        "members_expected": expected,
        "most_per_second": most_per_second,
        "seconds_expected": seconds,
        "notice": notice,
    }


handle = build(Settings(os.environ))
