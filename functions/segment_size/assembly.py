"""Segment sizes built from the settings both handlers share."""

from __future__ import annotations

import wiring
from clients.braze import SegmentSize
from segment_size.series import SegmentSizes
from shared import aws
from shared.cache import Cache
from shared.config import Settings


def segment_sizes(settings: Settings) -> SegmentSizes:
    cache = Cache(
        aws.dynamodb(),
        settings.text("CACHE_TABLE"),
        list[SegmentSize],
        keep_seconds=settings.whole_number("SEGMENT_SIZE_STALE_SECONDS"),
    )
    return SegmentSizes(
        wiring.braze(settings, connections=4), cache, settings.whole_number("SEGMENT_SIZE_FRESH_SECONDS")
    )
