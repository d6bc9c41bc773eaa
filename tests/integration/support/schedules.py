"""What EventBridge Scheduler does at its time, which moto does not: it sends a schedule's message."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def message_of(schedule: Mapping[str, Any], moment: float | None = None) -> str:
    """The message that a schedule (as GetSchedule returns it) puts in ImportQueue at a moment, now when None is given.

    To the microsecond, so that a schedule fired twice by hand means two runs.
    """
    at = datetime.fromtimestamp(time.time() if moment is None else moment, UTC)
    return str(schedule["Target"]["Input"]).replace("<aws.scheduler.scheduled-time>", f"{at:%Y-%m-%dT%H:%M:%S.%fZ}")
