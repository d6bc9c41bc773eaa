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
from shared.health_guard import WINDOW_SECONDS
from shared.tally import Tally

# As many as an answer has segments, or a refresh has threads.
_CONNECTIONS = 20

# The gate "braze" is also that of triggers: both draw on the same 250,000 calls an hour.
_OTHERS, _PURCHASES = "braze", "braze-purchases"


def analytics(settings: Settings) -> Analytics:
    client = aws.dynamodb_for_reads()
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


def retry_answers(settings: Settings) -> Tally:
    """How many 503s reads have given in this minute, those of wallets included: they share a host."""
    most = settings.whole_number("RETRY_ANSWERS_PER_MINUTE")
    return Tally(aws.dynamodb_for_reads(), settings.text("CACHE_TABLE"), "retry answers", most, WINDOW_SECONDS)
