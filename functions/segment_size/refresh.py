"""The scheduled refresh: the configured segments' sizes, fetched before a message asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from segment_size.assembly import segment_sizes
from segment_size.series import SHORT_LENGTH, SegmentSizes
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import BundleError
from shared.observability import count, flush, logger

# No message waits for this, so each segment gets more time than a read has.
_SEGMENT_BUDGET_SECONDS = 10.0

# Time kept to report what was reached.
_RESERVE_SECONDS = 5.0

ScheduleHandler = Callable[[Mapping[str, Any], Any], dict[str, Any]]


def refresh(sizes: SegmentSizes, segment_ids: Sequence[str], deadline: Deadline) -> dict[str, str]:
    """Fetches each segment once; returns the reason of each that failed. One that fails does not stop the others.

    Those that are not reached before the deadline fail with its code.
    """
    failed: dict[str, str] = {}
    for segment_id in segment_ids:
        try:
            sizes.fetch(segment_id, SHORT_LENGTH, None, deadline.sooner(_SEGMENT_BUDGET_SECONDS))
        except BundleError as error:
            failed[segment_id] = error.code
            logger.error("segment not refreshed", segment_id=segment_id, code=error.code, detail=str(error))
    count("SegmentsRefreshed", len(segment_ids) - len(failed))
    count("SegmentRefreshesFailed", len(failed))
    return failed


def build(settings: Settings) -> ScheduleHandler:
    sizes = segment_sizes(settings)
    segment_ids = settings.names("SEGMENT_IDS")

    def handle(_event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
        failed = refresh(sizes, segment_ids, deadline)
        flush()
        return {"refreshed": len(segment_ids) - len(failed), "failed": failed}

    return handle


handle = build(Settings(os.environ))
