"""The scheduled refresh: sizes fetched before a message asks for them, of the segments named or of every one.

Braze allows 250,000 calls an hour, 69 a second, and triggers have the first claim on them; a refresh keeps to twenty a
second, the list of segments and second tries among them. Those that are named come first and the others in another
order each time, so that what one run did not reach another does.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from segment_size.assembly import analytics as analytics_of
from segment_size.series import MOST_AT_ONCE, Analytics
from shared import aws
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import BundleError, DeadlineExceeded
from shared.observability import begin_batch, count, flush, logger

EVERY = "*"

# No message waits for this, so each segment gets more time than a read has.
_SEGMENT_BUDGET_SECONDS = 10.0

# Time kept to report what was reached.
_RESERVE_SECONDS = 5.0

_CALLS_A_SECOND = 20

ScheduleHandler = Callable[[Mapping[str, Any], Any], dict[str, Any]]


class Pace:
    """Called before each call to Braze; lets one through every twentieth of a second, whatever thread it is in."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next = 0.0

    def __call__(self) -> None:
        with self._lock:
            at = max(time.monotonic(), self._next)
            self._next = at + 1 / _CALLS_A_SECOND
        time.sleep(max(0.0, at - time.monotonic()))


def refresh(analytics: Analytics, segment_ids: Sequence[str], deadline: Deadline) -> dict[str, str]:
    """Fetches each segment once; returns the reason of each that failed. One that fails does not stop the others.

    Those that are not reached before the deadline fail with its code.
    """
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        begun = {segment_id: pool.submit(_reached, analytics, segment_id, deadline) for segment_id in segment_ids}
        for segment_id, future in begun.items():
            try:
                if not future.result():
                    failed[segment_id] = DeadlineExceeded.code
            except BundleError as error:
                failed[segment_id] = error.code
                logger.error("segment not refreshed", segment_id=segment_id, code=error.code, detail=str(error))
    count("SegmentsRefreshed", len(segment_ids) - len(failed))
    count("SegmentRefreshesFailed", len(failed))
    return failed


def _reached(analytics: Analytics, segment_id: str, deadline: Deadline) -> bool:
    if deadline.passed():
        return False
    analytics.refresh(segment_id, deadline.sooner(_SEGMENT_BUDGET_SECONDS))
    return True


def build(settings: Settings) -> ScheduleHandler:
    analytics = analytics_of(settings, aws.dynamodb(), Pace())
    configured = settings.names("SEGMENT_IDS")

    def handle(_event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        begin_batch(context)
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
        segment_ids = [segment_id for segment_id in dict.fromkeys(configured) if segment_id != EVERY]
        try:
            failed = refresh(analytics, segment_ids, deadline)
            if EVERY in configured:
                others = list(set(analytics.segment_ids(deadline)).difference(segment_ids))
                random.shuffle(others)
                failed |= refresh(analytics, others, deadline)
                segment_ids += others
        finally:
            flush()
        return {"refreshed": len(segment_ids) - len(failed), "failed": failed}

    return handle


handle = build(Settings(os.environ))
