"""What is done for one member of a prefetch: the wallet goes where a message will look for it.

That is the same key and the same variant, under the same lease: a wallet that is forgotten while it is fetched, because
the member redeemed something, stays forgotten, and is fetched again later. Each request to SessionM is a call of its
own with a permit of its own, so a wallet of several pages is several calls.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from bulk.dispatch import Answered, Continued
from bulk.jobs import Job, Jobs, Prefetch
from bulk.parcels import Parcel
from bulk.verdicts import Settling
from clients.sessionm import Sessionm
from clients.transport import Timeouts
from clients.wallet import Wallet, check_page, next_page, wallet_of
from shared.cache import Cache, Known, TooLargeToKeep
from shared.errors import (
    AnswerTooLarge,
    InProgress,
    StoreUnavailable,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamResting,
    UpstreamThrottled,
)
from shared.flight import failure_of
from shared.observability import logger
from shared.outcomes import Outcome, State
from shared.retries import REPEATABLE
from shared.upstream import Upstream
from shared.wallets import key_of, vendor_variant

# A place among the calls at SessionM is good for no longer call (shared/bulkhead.py).
_TIMEOUTS = Timeouts(connect_seconds=0.5, read_seconds=2)

# So long a message that asks for the same wallet waits for this one before it asks SessionM itself.
_LEASE_SECONDS = 1.0

# How long nothing is asked when readers need all places, or SessionM is being spared.
_SPARED_SECONDS = 1.0

# DynamoDB reads at most so many items at once.
_LOOKED_AT = 100

# Refusals that concern the member, and will be the same when a message asks.
_OF_THE_MEMBER = frozenset({"user_not_found", "requires_registered_user"})

_ADVICE = {
    "user_not_found": "SessionM has no such member; see that the external id in Braze is SessionM's user id",
    "requires_registered_user": "SessionM has wallets of registered members only",
}
_OTHER_ADVICE = "SessionM refused the request; look the code up in its documentation"
_TOO_LARGE = "the wallet is too large to be kept, so each message asks SessionM for it"


@dataclass(frozen=True, slots=True)
class WalletCall:
    """One request for a member's wallet, or for the page of it after `pages`, the first of which came at `as_of`.

    A call that is made again begins with the first page: the wallet may have changed since.
    """

    positions: tuple[int, ...]
    user_id: str
    wish: Prefetch
    holder: str
    pages: tuple[dict[str, Any], ...] = ()
    as_of: float = 0.0
    tries: int = 0

    @property
    def repeatable(self) -> tuple[type[UpstreamError], ...]:
        return REPEATABLE

    def again(self) -> WalletCall:
        return replace(self, tries=self.tries + 1)


class Wallets:
    """Fetches for one batch of messages; `send` is safe to use from many threads.

    `wallets` and `answers` are the caches of both dialects. `clock` gives epoch seconds.
    """

    upstream = "SessionM Connect"

    def __init__(
        self,
        sessionm: Sessionm,
        upstream: Upstream,
        jobs: Jobs,
        wallets: Cache[Wallet],
        answers: Cache[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessionm = sessionm
        self._spared = upstream
        self._jobs = jobs
        self._wallets = wallets
        self._answers = answers
        self._clock = clock
        self._found: dict[str, Job | None] = {}

    # --- which calls ------------------------------------------------------------------------------------------------

    def calls_of(self, settling: Settling) -> Sequence[WalletCall]:
        """A call for each member without a verdict, but for those whose wallet is fresh for long enough.

        Raises `StoreUnavailable` when it cannot be found out what is wanted.
        """
        parcel = settling.parcel
        waiting = {position: parcel.rows[position].member_id for position in settling.waiting()}
        job = self._job(parcel.import_id)
        wish = job.prefetch if job is not None else None
        if job is None or wish is None:
            for position in waiting:
                settling.settle(position, Outcome(State.SKIPPED, "prefetch_gone", "the prefetch is not known any more"))
            return []
        known = self._known(set(waiting.values()), wish)
        now = self._clock()
        calls = []
        for position, user_id in waiting.items():
            found = known.get(user_id, Known(0.0))
            is_own = _was_fetched_for(job, wish, found, now)
            if is_own or (not wish.refresh and found.until >= now + wish.good_seconds):
                settling.settle(position, _outcome_of(found, is_own=is_own))
            else:
                calls.append(WalletCall((position,), user_id, wish, os.urandom(8).hex()))
        return calls

    def split(self, _parcel: Parcel, _call: WalletCall, _outcome: Outcome) -> Sequence[WalletCall]:
        return ()

    def _job(self, import_id: str) -> Job | None:
        if import_id not in self._found:
            self._found[import_id] = self._jobs.find(import_id)
        return self._found[import_id]

    def _known(self, user_ids: set[str], wish: Prefetch) -> dict[str, Known]:
        known: dict[str, Known] = {}
        try:
            ids = sorted(user_ids)
            for start in range(0, len(ids), _LOOKED_AT):
                by_key = {key_of(user_id): user_id for user_id in ids[start : start + _LOOKED_AT]}
                found = self._wallets.known({key: _variant(user_id, wish) for key, user_id in by_key.items()})
                known |= {by_key[key]: each for key, each in found.items()}
        except StoreUnavailable as error:
            logger.warning("not known what is fresh", code=error.code, detail=str(error))
        return known

    # --- one call ---------------------------------------------------------------------------------------------------

    def send(self, call: WalletCall) -> Answered | Continued[WalletCall]:
        """Fetches and keeps. Raises `InProgress` when a message is asking, or the wallet changed meanwhile."""
        cache: Cache[Any] = self._wallets if call.wish.vendor is None else self._answers
        key, variant = key_of(call.user_id), _variant(call.user_id, call.wish)
        if not call.pages or call.tries:
            if not cache.lease_anyway(key, call.holder, _LEASE_SECONDS, variant):
                raise InProgress("a message is asking for this wallet")
            call = replace(call, pages=(), as_of=self._clock())
        begun_at = time.perf_counter()
        try:
            value = self._spared.once(lambda: self._ask(call))
        except (UpstreamRefused, AnswerTooLarge) as error:
            lasting = isinstance(error, UpstreamRefused) and error.vendor_code in _OF_THE_MEMBER
            failure = failure_of(error) if lasting else None
            _held(cache.give_up(key, call.holder, failure, call.wish.fresh_seconds, variant))
            return Answered(_refused(error), None)
        except UpstreamError as error:
            with suppress(StoreUnavailable):  # then the lease ends by itself
                cache.give_up(key, call.holder, None, 0, variant)
            if isinstance(error, UpstreamBusy | UpstreamResting):
                raise UpstreamThrottled(error.upstream, _SPARED_SECONDS) from None
            raise
        seconds = time.perf_counter() - begun_at
        if isinstance(value, WalletCall):
            return Continued(value, seconds)
        fresh_until = call.as_of + call.wish.fresh_seconds
        try:
            _held(cache.settle(key, call.holder, value, call.as_of, variant, fresh_until=fresh_until))
        except TooLargeToKeep:
            cache.give_up(key, call.holder, None, 0, variant)
            return Answered(Outcome(State.FAILED, "wallet_too_large", _TOO_LARGE), seconds)
        return Answered(Outcome(State.SENT), seconds)

    def _ask(self, call: WalletCall) -> Wallet | str | WalletCall:
        """What is to be kept, or the call for what is still missing."""
        if call.wish.vendor is not None:
            return self._sessionm.user_offers_answer(_request(call.user_id, call.wish), _TIMEOUTS, once=True)
        skip, take = next_page(call.pages) or (0, 0)
        page = self._sessionm.get_user_offers(
            call.user_id, culture=call.wish.culture, skip=skip, take=take, timeouts=_TIMEOUTS, once=True
        )
        check_page(page)
        pages = (*call.pages, page)
        return wallet_of(pages) if next_page(pages) is None else replace(call, pages=pages, tries=0)


def _variant(user_id: str, wish: Prefetch) -> str:
    return wish.culture if wish.vendor is None else vendor_variant(_request(user_id, wish))


def _request(user_id: str, wish: Prefetch) -> dict[str, Any]:
    """SessionM's own request as `wallet_proxy` has it when it looks for the answer."""
    assert wish.vendor is not None
    return {
        "user_id": user_id,
        "retailer_id": "",
        "skip": wish.vendor.skip,
        "take": wish.vendor.take,
        "include_pending_extended_data": wish.vendor.include_pending_extended_data,
        "culture": wish.culture,
    }


def _was_fetched_for(job: Job, wish: Prefetch, known: Known, now: float) -> bool:
    """Whether it was fetched since the prefetch began, by a worker that died or is late, and for as long.

    One that an earlier prefetch made to last longer is no answer to this one. When a failure was met is not kept, but
    of this prefetch it counts for no longer than from now on.
    """
    if known.until < job.started_at + wish.fresh_seconds:
        return False
    return known.as_of >= job.started_at if known.failure is None else known.until <= now + wish.fresh_seconds


def _outcome_of(known: Known, *, is_own: bool) -> Outcome:
    if known.failure is None and is_own:
        return Outcome(State.SENT)
    if known.failure is None:
        return Outcome(State.SKIPPED, "still_fresh", "the wallet was fetched before and stays fresh for long enough")
    code = known.failure.vendor_code
    return Outcome(State.FAILED, code, _ADVICE.get(code, _OTHER_ADVICE))


def _refused(error: UpstreamRefused | AnswerTooLarge) -> Outcome:
    if isinstance(error, AnswerTooLarge):
        return Outcome(State.FAILED, error.code, error.detail)
    return Outcome(State.FAILED, error.vendor_code, _ADVICE.get(error.vendor_code, _OTHER_ADVICE))


def _held(kept: bool) -> None:
    if not kept:
        raise InProgress("the wallet changed while it was fetched")
