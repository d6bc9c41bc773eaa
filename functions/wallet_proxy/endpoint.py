"""The wallet for Connected Content, in our short dialect and in SessionM's, inside a deadline whatever SessionM does.

Liquid can read only a 2xx answer, so what goes wrong behind us is data: `ok` is false, `reason` says why, and every key
is there. A template that uses `:retry` asks for `on_error=retry` and gets a 503 where asking again may help.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

import wiring
from clients.sessionm import GET_USER_OFFERS, Sessionm, refusal
from clients.transport import Reply, Timeouts, raise_for_status
from clients.vocabulary import Culture, UserId
from shared.config import Settings
from shared.deadline import Deadline, within
from shared.errors import AnswerTooLarge, BundleError, InvalidInput, UpstreamRefused
from shared.http import Answer, Handler, Request, http_handler
from shared.observability import count, logger
from shared.retries import REPEATABLE, repeated
from shared.validation import convert
from shared.cultures import culture_of
from wallet_proxy.wallet import MAX_OFFERS_BYTES, OFFER_FIELDS, empty_wallet, wallet_of

# Time kept for shaping and for the way back to Braze.
_ANSWER_RESERVE_SECONDS = 0.1
_CONNECT_SECONDS = 0.5
_ABANDONED_SECONDS = 0.25
_RETRY_AFTER = {"Retry-After": "5"}

# Offers asked for at least, so that the soonest to expire are found among all that a member usually has.
_PAGE_OFFERS = 200


class WalletOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the short dialect. `v` and `cache_id` only make a URL differ for Braze's cache."""

    user_id: UserId
    culture: Culture = ""
    limit: Annotated[int, Meta(ge=1, le=1000, description="Give 1 to 1000 offers.")] = 50
    fields: Annotated[str, Meta(max_length=500, description="Give names of offer fields, separated by commas.")] = ""
    on_error: Annotated[Literal["data", "retry"], Meta(description="Give data or retry.")] = "data"
    v: str = ""
    cache_id: str = ""


class UserOffersBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of SessionM's get_user_offers. The retailer id is ours to add: one that is sent is not used."""

    user_id: UserId
    retailer_id: str = ""
    skip: Annotated[int, Meta(ge=0, le=1_000_000, description="Give the number of offers to pass over.")] = 0
    take: Annotated[int, Meta(ge=1, le=1000, description="Give 1 to 1000 offers.")] = 1000
    include_pending_extended_data: bool = False
    culture: Culture = ""


class WalletReader:
    """Asks SessionM within what is left of the budget, once more if the first try failed early."""

    def __init__(self, sessionm: Sessionm, default_culture: str) -> None:
        self._sessionm = sessionm
        self._default_culture = default_culture

    def wallet(self, options: WalletOptions, fields: frozenset[str], deadline: Deadline) -> dict[str, Any]:
        culture = culture_of(options.culture, self._default_culture)

        take = max(options.limit, _PAGE_OFFERS)

        def ask() -> dict[str, Any]:
            return self._sessionm.get_user_offers(
                options.user_id, culture=culture, skip=0, take=take, timeouts=_timeouts(deadline)
            )

        def shaped() -> dict[str, Any]:
            payload = repeated(ask, REPEATABLE, deadline)
            return wallet_of(payload, limit=options.limit, fields=fields, now=datetime.now(UTC))

        return within(deadline, shaped)

    def vendor_answer(self, body: UserOffersBody, deadline: Deadline) -> bytes:
        """SessionM's own answer, byte for byte, when it is one that Braze will let a template see."""
        request = msgspec.to_builtins(body) | {"culture": culture_of(body.culture, self._default_culture)}

        def ask() -> Reply:
            reply = self._sessionm.connect(GET_USER_OFFERS, request, _timeouts(deadline))
            raise_for_status("SessionM Connect", reply, refusal)
            reply.json("SessionM Connect")
            return reply

        reply = within(deadline, lambda: repeated(ask, REPEATABLE, deadline))
        if len(reply.content) > MAX_OFFERS_BYTES:
            raise AnswerTooLarge("SessionM Connect", "more than Braze takes; ask for fewer offers with take")
        return reply.content


def build(settings: Settings) -> Handler:
    reader = WalletReader(wiring.sessionm(settings, connections=4), settings.text("WALLET_DEFAULT_CULTURE"))
    budget_seconds = settings.milliseconds_as_seconds("READ_BUDGET_MILLISECONDS") - _ANSWER_RESERVE_SECONDS

    def by_path(request: Request) -> Answer:
        options = convert({**request.query, "user_id": request.path["user_id"]}, WalletOptions, strict=False)
        return short_answer(reader, options, request.deadline(budget_seconds))

    def by_body(request: Request) -> Answer:
        return short_answer(reader, request.json(WalletOptions), request.deadline(budget_seconds))

    def vendor(request: Request) -> Answer:
        return vendor_answer(reader, request.json(UserOffersBody), request.deadline(budget_seconds))

    return http_handler({"GET /wallet/{user_id}": by_path, "POST /wallet": by_body, f"POST {GET_USER_OFFERS}": vendor})


def short_answer(
    reader: WalletReader, options: WalletOptions, deadline: Deadline, clock: Callable[[], float] = time.time
) -> Answer:
    fields = _offer_fields(options.fields)
    reason, may_help = None, False
    try:
        facts = reader.wallet(options, fields, deadline)
    except BundleError as error:
        facts, reason = empty_wallet(), _reason(error)
        # SessionM's own refusal is its last word: asking again would only use up Braze's retries.
        may_help = not isinstance(error, UpstreamRefused)
        _report(error, reason)
    as_of = datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds")
    body = {"ok": reason is None, "stale": False, "reason": reason, "as_of": as_of, "user_id": options.user_id, **facts}
    if may_help and options.on_error == "retry":
        return Answer(503, body, _RETRY_AFTER)
    return Answer(200, body)


def vendor_answer(reader: WalletReader, body: UserOffersBody, deadline: Deadline) -> Answer:
    """SessionM's answer, or one of its shape with `"status":"error"`, for a template can read nothing but a 2xx."""
    try:
        return Answer(200, reader.vendor_answer(body, deadline))
    except BundleError as error:
        reason = _reason(error)
        _report(error, reason)
        return Answer(
            200, {"status": "error", "errors": {"code": reason}, "payload": {"user_offers": [], "total_records": 0}}
        )


def _timeouts(deadline: Deadline) -> Timeouts:
    # The deadline itself ends the wait; the socket's own time-out comes after it and only ends the abandoned thread.
    left = deadline.remaining_seconds()
    return Timeouts(min(_CONNECT_SECONDS, max(0.01, left)), left + _ABANDONED_SECONDS)


def _offer_fields(listed: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in listed.split(",") if name.strip())
    if names - OFFER_FIELDS:
        raise InvalidInput(
            "not a field of an offer", field="fields", hint=f"Known are {', '.join(sorted(OFFER_FIELDS))}."
        )
    return names or OFFER_FIELDS


def _reason(error: BundleError) -> str:
    """SessionM's own code where it gave one, as in "user_not_found", else ours."""
    return error.vendor_code if isinstance(error, UpstreamRefused) else error.code


def _report(error: BundleError, reason: str) -> None:
    count("WalletsFailed")
    logger.warning("wallet failed", code=reason, detail=str(error))


handle = build(Settings(os.environ))
