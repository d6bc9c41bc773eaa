"""The wallet for Connected Content, in our short dialect and in SessionM's, inside a deadline whatever SessionM does.

Liquid can read only a 2xx answer, so what goes wrong behind us is data: `ok` is false, `reason` says why, and every key
is there. A template that uses `:retry` asks for `on_error=retry` and gets a 503 where asking again may help.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

import wiring
from clients.cultures import culture_of
from clients.sessionm import GET_USER_OFFERS
from clients.vocabulary import MAX_SHOWN_BYTES, Culture, UserId
from clients.wallet import Wallet
from shared import aws
from shared.breaker import Breaker
from shared.budgets import BudgetMilliseconds, ReadBudget
from shared.bulkhead import Bulkhead
from shared.cache import Cache
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import BundleError, InvalidInput, RequestError, UpstreamRefused
from shared.flight import SingleFlight
from shared.health_guard import WINDOW_SECONDS, may_ask_for_retry
from shared.http import Answer, Handler, Request, http_handler
from shared.ledger import Ledger
from shared.observability import count, logger
from shared.reads import count_if_out_of_time
from shared.tally import Tally
from shared.upstream import Upstream
from shared.validation import convert
from wallet_proxy.connect import KEY_HEADER, Connect
from wallet_proxy.reader import WalletReader
from wallet_proxy.wallet import (
    OFFER_FIELDS,
    Shape,
    answer_of,
    empty_wallet,
    fitted,
    for_html,
    for_json,
)

_RETRY_AFTER = {"Retry-After": "5"}

_ESCAPES: dict[str, Callable[[str], str] | None] = {"": None, "json": for_json, "html": for_html}

# A caller that will not have an answer out of a cache says so in SessionM's dialect as HTTP has it.
_UNCACHED = frozenset({"no-cache", "no-store"})


class WalletOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the short dialect. `v` and `cache_id` only make a URL differ for Braze's cache."""

    user_id: UserId
    culture: Culture = ""
    limit: Annotated[int, Meta(ge=1, le=1000, description="Give 1 to 1000 offers.")] = 50
    fields: Annotated[str, Meta(max_length=500, description="Give names of offer fields, separated by commas.")] = ""
    safe: Annotated[Literal["", "json", "html"], Meta(description="Give json or html, or leave it out.")] = ""
    max_bytes: Annotated[
        int, Meta(ge=1000, le=MAX_SHOWN_BYTES, description="Give the most bytes of an answer, 1000 to 900000.")
    ] = MAX_SHOWN_BYTES
    cache: Annotated[Literal["yes", "no"], Meta(description="Give yes or no.")] = "yes"
    budget_ms: BudgetMilliseconds | None = None
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


@dataclass(frozen=True, slots=True)
class Wallets:
    """What the short dialect's answers are made with."""

    reader: WalletReader
    retry_answers: Tally
    default_culture: str


def build(settings: Settings) -> Handler:
    table, dynamodb = settings.text("CACHE_TABLE"), aws.dynamodb_for_reads()
    sessionm = wiring.sessionm(settings, connections=4)
    upstream = Upstream(
        Breaker(dynamodb, table, "SessionM Connect"),
        Bulkhead(dynamodb, table, "SessionM Connect", settings.whole_number("SESSIONM_MAX_CONCURRENT_CALLS")),
    )
    fresh_seconds = settings.whole_number("WALLET_FRESH_SECONDS")
    unknown_seconds = settings.whole_number("WALLET_UNKNOWN_SECONDS")
    keep_seconds = fresh_seconds + settings.whole_number("WALLET_STALE_SECONDS")
    reader = WalletReader(
        sessionm,
        upstream,
        SingleFlight(Cache(dynamodb, table, Wallet, keep_seconds), fresh_seconds, unknown_seconds),
        SingleFlight(Cache(dynamodb, table, str, fresh_seconds), fresh_seconds, unknown_seconds),
    )
    ledger = Ledger(dynamodb, settings.text("LEDGER_TABLE"))
    connect = Connect(sessionm, upstream, ledger, settings.names("CONNECT_OPERATIONS"))
    default_culture = settings.text("WALLET_DEFAULT_CULTURE")
    most_retry_answers = settings.whole_number("RETRY_ANSWERS_PER_MINUTE")
    wallets = Wallets(
        reader, Tally(dynamodb, table, "retry answers", most_retry_answers, WINDOW_SECONDS), default_culture
    )
    budget = ReadBudget(settings)

    def by_path(request: Request) -> Answer:
        options = convert({**request.query, "user_id": request.path["user_id"]}, WalletOptions, strict=False)
        return short_answer(wallets, options, budget.deadline(request, options.budget_ms))

    def by_body(request: Request) -> Answer:
        options = request.json(WalletOptions)
        return short_answer(wallets, options, budget.deadline(request, options.budget_ms))

    def user_offers(request: Request) -> Answer:
        body = request.json(UserOffersBody)
        asked = msgspec.to_builtins(body) | {"culture": culture_of(body.culture, default_culture), "retailer_id": ""}
        deadline, use_cache = budget.deadline(request), may_be_cached(request.headers.get("cache-control", ""))
        return vendor_answer(
            lambda: reader.vendor_answer(body.user_id, asked, deadline, use_cache=use_cache).value,
            {"user_offers": [], "total_records": 0},
        )

    def operation(request: Request) -> Answer:
        path = f"{request.route.partition(' ')[2].partition('{')[0]}{request.path['operation']}"
        body = request.json(dict[str, Any])
        deadline, key = budget.deadline(request), request.headers.get(KEY_HEADER, "")
        return vendor_answer(lambda: connect.call(path, body, key, deadline, request.caller), None)

    services = ("offers", "incentives", "catalog", "transactions")
    return http_handler(
        {
            "GET /wallet/{user_id}": by_path,
            "POST /wallet": by_body,
            f"POST {GET_USER_OFFERS}": user_offers,
            **{f"POST /{service}/{{operation+}}": operation for service in services},
        }
    )


def short_answer(
    wallets: Wallets, options: WalletOptions, deadline: Deadline, clock: Callable[[], float] = time.time
) -> Answer:
    fields = _offer_fields(options.fields)
    culture = culture_of(options.culture, wallets.default_culture)
    now = clock()
    reason, stale, as_of, may_help = None, False, now, False
    try:
        found = wallets.reader.wallet(options.user_id, culture, deadline, use_cache=options.cache == "yes")
        shape = Shape(culture, options.limit, fields, _ESCAPES[options.safe])
        facts = answer_of(found.value, shape, datetime.fromtimestamp(clock(), UTC))
        stale, reason, as_of = found.stale, found.reason or None, found.as_of
    except BundleError as error:
        facts, reason = empty_wallet(culture), _reason(error)
        # SessionM's own refusal is its last word: asking again would only use up Braze's retries.
        may_help = not isinstance(error, UpstreamRefused)
        _report(error, reason)
    body = {
        "ok": reason is None or stale,
        "stale": stale,
        "reason": reason,
        "as_of": datetime.fromtimestamp(as_of, UTC).isoformat(timespec="seconds"),
        "user_id": options.user_id,
        **facts,
    }
    if may_help and options.on_error == "retry" and may_ask_for_retry(wallets.retry_answers, deadline):
        return Answer(503, body, _RETRY_AFTER)
    return Answer(200, fitted(body, options.max_bytes))


def vendor_answer(ask: Callable[[], str], empty_payload: Any) -> Answer:
    """SessionM's answer, or one of its shape with `"status":"error"`, for a template can read nothing but a 2xx."""
    try:
        return Answer(200, ask().encode())
    except RequestError:
        raise
    except BundleError as error:
        reason = _reason(error)
        _report(error, reason)
        return Answer(200, {"status": "error", "errors": {"code": reason}, "payload": empty_payload})


def may_be_cached(cache_control: str) -> bool:
    """Whether a request with this `Cache-Control`, a list of directives in any letter case, takes a kept answer."""
    return _UNCACHED.isdisjoint(directive.strip().lower() for directive in cache_control.split(","))


def _offer_fields(listed: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in listed.split(",") if name.strip())
    if names - frozenset(OFFER_FIELDS):
        raise InvalidInput(
            "not a field of an offer", field="fields", hint=f"Known are {', '.join(sorted(OFFER_FIELDS))}."
        )
    return names or frozenset(OFFER_FIELDS)


def _reason(error: BundleError) -> str:
    """SessionM's own code where it gave one, as in "user_not_found", else ours."""
    return error.vendor_code if isinstance(error, UpstreamRefused) else error.code


def _report(error: BundleError, reason: str) -> None:
    count("WalletsRefused" if isinstance(error, UpstreamRefused) else "WalletsFailed")
    count_if_out_of_time(error.code)
    logger.warning("wallet failed", code=reason, detail=str(error))


handle = build(Settings(os.environ))
