"""Analytics built from the settings both handlers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import wiring
from segment_size.history import History
from segment_size.series import LISTED_SECONDS, MOST_AT_ONCE, REFUSED_SECONDS, Analytics, Gates, Listed, Series
from shared.cache import Cache
from shared.config import Settings
from shared.flight import SingleFlight
from shared.gate import Gate
from shared.health_guard import WINDOW_SECONDS
from shared.tally import Tally

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# As many as may be under way at once, also to DynamoDB.
_CONNECTIONS = MOST_AT_ONCE

# The gate "braze" is also that of triggers: both draw on the same 250,000 calls an hour.
_OTHERS, _PURCHASES = "braze", "braze-purchases"


def analytics(settings: Settings, client: DynamoDBClient, pace: Callable[[], None] = lambda: None) -> Analytics:
    """`pace` is called before each call to Braze, and may wait."""
    table = settings.text("CACHE_TABLE")
    cache = Cache(client, table, Series, keep_seconds=settings.whole_number("SEGMENT_SIZE_STALE_SECONDS"))
    return Analytics(
        wiring.braze(settings, connections=_CONNECTIONS),
        cache,
        History(client, settings.text("SEGMENT_HISTORY_TABLE")),
        Gates(Gate(client, table, _PURCHASES), Gate(client, table, _OTHERS)),
        SingleFlight(cache, settings.whole_number("SEGMENT_SIZE_FRESH_SECONDS"), REFUSED_SECONDS),
        SingleFlight(cache, settings.whole_number("COUNT_FRESH_SECONDS"), REFUSED_SECONDS),
        SingleFlight(Cache(client, table, Listed, keep_seconds=LISTED_SECONDS), LISTED_SECONDS, REFUSED_SECONDS),
        pace,
    )


def retry_answers(settings: Settings, client: DynamoDBClient) -> Tally:
    """How many 503s reads have given in this minute, those of wallets included: they share a host."""
    most = settings.whole_number("RETRY_ANSWERS_PER_MINUTE")
    return Tally(client, settings.text("CACHE_TABLE"), "retry answers", most, WINDOW_SECONDS)
