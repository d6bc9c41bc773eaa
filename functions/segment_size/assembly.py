"""Analytics built from the settings both handlers share."""

from __future__ import annotations

import wiring
from segment_size.history import History
from segment_size.series import REFUSED_SECONDS, Analytics, Gates, Series
from shared import aws
from shared.cache import Cache
from shared.config import Settings
from shared.flight import SingleFlight
from shared.gate import Gate

# As many as an answer has segments, or a refresh has threads.
_CONNECTIONS = 20

# The gate "braze" is also that of triggers: both draw on the same 250,000 calls an hour.
_OTHERS, _PURCHASES = "braze", "braze-purchases"


def analytics(settings: Settings) -> Analytics:
    client = aws.dynamodb()
    table = settings.text("CACHE_TABLE")
    cache = Cache(client, table, Series, keep_seconds=settings.whole_number("SEGMENT_SIZE_STALE_SECONDS"))
    return Analytics(
        wiring.braze(settings, connections=_CONNECTIONS),
        cache,
        History(client, settings.text("SEGMENT_HISTORY_TABLE")),
        Gates(Gate(client, table, _PURCHASES), Gate(client, table, _OTHERS)),
        SingleFlight(cache, settings.whole_number("SEGMENT_SIZE_FRESH_SECONDS"), REFUSED_SECONDS),
        SingleFlight(cache, settings.whole_number("COUNT_FRESH_SECONDS"), REFUSED_SECONDS),
    )
