"""What a request for a prefetch makes: a wish, a job to be written down, and the answer that it is taken on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bulk.jobs import Export, Job, JobState, Prefetch, Source, VendorRequest
from clients.braze import Braze
from clients.cultures import culture_of
from clients.transport import Timeouts
from clients.vocabulary import Culture, SegmentId, UserId
from shared.errors import InvalidInput, UpstreamError
from shared.observability import logger

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


def taken_on(job: Job, most_per_second: int) -> dict[str, Any]:
    """What the caller is told; `notice` when wallets would be fetched for longer than they stay fresh."""
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
