"""How far an import has come: its rows by verdict, how fast, and for how long still."""

from __future__ import annotations

import msgspec

from bulk.jobs import ENDED, Job, JobState
from bulk.verdicts import Tally


class Counts(msgspec.Struct, frozen=True):
    """What became of the rows read so far: each has one of the four verdicts or is `waiting` for it."""

    rows_read: int
    sent: int
    failed: int
    skipped: int
    unknown: int
    waiting: int


def counts_of(job: Job, tally: Tally) -> Counts:
    """The rows of a job by verdict; those refused in reading have theirs at once.

    The tally may be a moment younger than the job, and know of rows that the job does not: they count as read.
    """
    failed = job.reading.rows_failed + tally.failed
    skipped = job.reading.rows_skipped + tally.skipped
    settled = tally.sent + failed + skipped + tally.unknown
    rows_read = max(job.reading.rows_read, settled)
    return Counts(rows_read, tally.sent, failed, skipped, tally.unknown, rows_read - settled)


def is_delivered(job: Job, tally: Tally) -> bool:
    """Whether each row that has been queued has its verdict, for a job that queues no more."""
    return tally.total >= job.reading.rows_queued


def rate_per_second(job: Job, tally: Tally, now: float) -> float | None:
    """Verdicts of SessionM a second, from the beginning of the import up to now or its end; None before the first."""
    seconds = (job.finished_at or now) - job.started_at
    return tally.total / seconds if job.started_at and seconds > 0 and tally.total else None


def seconds_left(job: Job, counts: Counts, rate: float | None) -> int | None:
    """At the rate so far; while reading, for as many rows as the part of the file not yet read makes expect."""
    if job.state in ENDED:
        return 0
    if rate is None or job.state not in (JobState.READING, JobState.DELIVERING):
        return None
    expected = float(counts.waiting)
    if job.state is JobState.READING:
        if not job.reading.fraction:
            return None
        expected += counts.rows_read * (1 / job.reading.fraction - 1)
    return round(expected / rate)
