"""A member's wallet from the cache, or from SessionM page by page."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from clients.sessionm import Sessionm
from clients.timeouts import timeouts_of
from clients.wallet import Wallet, check_page, next_page, wallet_of
from shared.deadline import Deadline
from shared.errors import BundleError
from shared.flight import Found, SingleFlight
from shared.observability import count, logger
from shared.reads import count_if_out_of_time
from shared.upstream import Upstream
from shared.wallets import key_of, vendor_variant

Kept = TypeVar("Kept")


class WalletReader:
    """Reads wallets in both dialects; `wallets` and `answers` are kept in the same table, under the same keys."""

    def __init__(
        self, sessionm: Sessionm, upstream: Upstream, wallets: SingleFlight[Wallet], answers: SingleFlight[str]
    ) -> None:
        self._sessionm = sessionm
        self._upstream = upstream
        self._wallets = wallets
        self._answers = answers

    def wallet(self, user_id: str, culture: str, deadline: Deadline, *, use_cache: bool) -> Found[Wallet]:
        """All of a member's offers. Raises the `BundleError` that kept us from them when nothing older can serve."""

        def fetch() -> Wallet:
            return wallet_of(self._pages(user_id, culture, deadline))

        return _read(self._wallets, user_id, culture, fetch, deadline, use_cache)

    def vendor_answer(
        self, user_id: str, request: dict[str, Any], deadline: Deadline, *, use_cache: bool
    ) -> Found[str]:
        """SessionM's own answer to its own request, when it is one that Braze will let a template see."""

        def ask() -> str:
            return self._sessionm.user_offers_answer(request, timeouts_of(deadline))

        variant = vendor_variant(request)
        fetch = lambda: self._upstream.read(ask, deadline)  # noqa: E731
        return _read(self._answers, user_id, variant, fetch, deadline, use_cache)

    def _pages(self, user_id: str, culture: str, deadline: Deadline) -> list[dict[str, Any]]:
        """The first page, and as many more as there are offers and there is time. What is missing will be counted."""
        pages: list[dict[str, Any]] = []
        try:
            while page := next_page(pages):
                pages.append(self._page(user_id, culture, *page, deadline))
        except BundleError as error:
            if not pages:
                raise
            count("WalletsIncomplete")
            logger.warning("wallet not read to its end", code=error.code, detail=str(error))
        return pages

    def _page(self, user_id: str, culture: str, skip: int, take: int, deadline: Deadline) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            payload = self._sessionm.get_user_offers(
                user_id, culture=culture, skip=skip, take=take, timeouts=timeouts_of(deadline)
            )
            check_page(payload)
            return payload

        return self._upstream.read(ask, deadline)


def _read(
    flight: SingleFlight[Kept],
    user_id: str,
    variant: str,
    fetch: Callable[[], Kept],
    deadline: Deadline,
    use_cache: bool,
) -> Found[Kept]:
    if not use_cache:
        as_of = time.time()
        count("WalletCacheMisses")
        return Found(fetch(), as_of, cached=False)
    found = flight.read(key_of(user_id), fetch, deadline, variant)
    count("WalletCacheHits" if found.cached else "WalletCacheMisses")
    if found.stale:
        count("WalletsStale")
        count_if_out_of_time(found.reason)
    return found
