"""What a schedule puts in ImportQueue when a segment is due, and the job that it means."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from bulk.jobs import Export, Job, JobState, Options
from bulk.rows import Tags, Ttl
from clients.vocabulary import MemberKind, SegmentId
from shared.errors import InvalidInput
from shared.validation import convert


class ScheduledExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a schedule puts in ImportQueue; `scheduled_time` tells one run from the next, and not from its repeat."""

    segment_id: SegmentId
    tags: Tags
    ttl: Ttl
    schedule: str
    scheduled_time: str
    member_kind: MemberKind = "user_id"
    leavers: bool = False


def scheduled_job(body: Any, now: float) -> Job:
    """The job of a schedule's message, the same for every repeat of it; raises `InvalidInput`."""
    asked = convert(body, ScheduledExport)
    if not asked.schedule or not asked.scheduled_time:
        raise InvalidInput("a run needs a name", field="schedule", hint="Make the schedule with make schedule.")
    run = sha256(f"{asked.schedule}\n{asked.scheduled_time}".encode()).hexdigest()[:24]
    return Job(
        import_id=f"segment-{run}",
        state=JobState.REQUESTED,
        created_at=now,
        options=Options(tags=tuple(asked.tags), ttl_seconds=asked.ttl, member_kind=asked.member_kind),
        export=Export(asked.segment_id, schedule=asked.schedule, lists_leavers=asked.leavers),
    )
