"""Sparing a vendor that fails: it is not asked for a while, by this environment and, when several agree, by none.

An environment that meets five failures in a row, or is told to wait (429), rests for a few seconds and then tries one
call: a failure rests it again, an answer ends the matter. It also tells the others, by a vote. Three votes within ten
seconds, and every environment rests until those are over. One environment's bad luck therefore stops nobody else, and
nobody has to find out for himself what all others have.

A vote is a write and is rare. The votes are read at most once a second, and only where the vendor is about to be asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from shared.deadline import Deadline, within
from shared.errors import (
    AnswerTooLarge,
    BundleError,
    DeadlineExceeded,
    StoreUnavailable,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamResting,
    UpstreamThrottled,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    UpstreamUnknown,
    UpstreamUnreachable,
)
from shared.observability import count, logger
from shared.tally import Tally

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FAILURES_IN_A_ROW = 5
REST_SECONDS = 5.0
VOTES = 3
VOTING_SECONDS = 10

_VOTES_READ_EVERY_SECONDS = 1.0
_VOTES_READ_SECONDS = 0.2
_LONGEST_REST_SECONDS = 30.0

# A call given less than this may have failed for want of time alone.
_FAIR_SECONDS = 0.5

_ANSWERS = (UpstreamRefused, UpstreamUnauthorized, AnswerTooLarge)
_FAILURES = (UpstreamUnreachable, UpstreamUnknown, UpstreamUnavailable, UpstreamGarbled, UpstreamThrottled)


class Breaker:
    """This environment's part in sparing `upstream`. `clock` gives epoch seconds."""

    def __init__(
        self, client: DynamoDBClient, table: str, upstream: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        self._votes = Tally(client, table, f"breaker {upstream}", VOTES, VOTING_SECONDS, clock)
        self._votes_read_at = 0.0
        self._resting_until = 0.0
        self._failures = 0

    def check(self) -> None:
        """Raises `UpstreamResting` while the vendor is spared."""
        if self._clock() >= self._resting_until and self._others_rest():
            self._rest_until(self._votes.window_ends_at())
        if self._clock() < self._resting_until:
            raise UpstreamResting(self._upstream)

    def record(self, error: BundleError | None, given_seconds: float) -> None:
        """Takes note of how a call ended that was given so many seconds; None means well."""
        if error is None or isinstance(error, _ANSWERS):
            self._failures = 0
            return
        is_late = isinstance(error, DeadlineExceeded) and given_seconds >= _FAIR_SECONDS
        if not is_late and not isinstance(error, _FAILURES):
            return  # trouble of our own, which says nothing of the vendor
        self._failures += 1
        wait = error.retry_after_seconds if isinstance(error, UpstreamThrottled) else 0.0
        if wait or self._failures >= FAILURES_IN_A_ROW:
            self._failures = FAILURES_IN_A_ROW - 1  # after the rest one more is enough
            self._rest_until(self._clock() + min(max(wait, REST_SECONDS), _LONGEST_REST_SECONDS))
            with suppress(StoreUnavailable, DeadlineExceeded):  # then each rests for itself
                within(Deadline(_VOTES_READ_SECONDS), self._votes.add)

    def _others_rest(self) -> bool:
        now = self._clock()
        if now - self._votes_read_at < _VOTES_READ_EVERY_SECONDS:
            return False
        self._votes_read_at = now
        try:
            return within(Deadline(_VOTES_READ_SECONDS), self._votes.is_full)
        except (StoreUnavailable, DeadlineExceeded):
            return False

    def _rest_until(self, moment: float) -> None:
        self._resting_until = moment
        count("UpstreamRests")
        logger.warning("upstream rests", upstream=self._upstream, seconds=round(moment - self._clock(), 1))
