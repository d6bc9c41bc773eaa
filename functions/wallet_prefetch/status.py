"""How far a prefetch is, and what became of its members."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bulk.answers import moment
from bulk.jobs import Job, JobState, Prefetch
from bulk.progress import counts_of, rate_per_second, seconds_left
from bulk.verdicts import Tally


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
    correlation_id: str | None = None


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
        correlation_id=job.correlation_id or None,
    )


def _fresh_until(job: Job, wish: Prefetch, tally: Tally) -> float:
    """When the first of its wallets is no longer fresh: the one fetched first, or one that was left as it was."""
    if not job.started_at:
        return 0.0
    return job.started_at + (wish.good_seconds if tally.skipped else wish.fresh_seconds)
