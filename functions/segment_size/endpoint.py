"""How many people are in a segment, did something or bought something, in our short dialect; and Braze's own series.

Liquid can read only a 2xx answer, so what goes wrong behind us is data: `ok` is false, `reason` says why, and every key
is there. A template that uses `:retry` asks for `on_error=retry` and gets a 503 where asking again may help.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from clients.braze import SeriesUnit
from segment_size.answers import Wish, count_answer, size_answer
from segment_size.assembly import analytics as analytics_of
from segment_size.assembly import retry_answers as retry_answers_of
from segment_size.options import (
    EventOptions,
    ProductOptions,
    SeriesOptions,
    ShortOptions,
    SizeOptions,
    SizesOptions,
    span_of,
)
from segment_size.series import LENGTH, MOST_AT_ONCE, Analytics, Series, day_of, reason_of
from shared import aws
from shared.budgets import ReadBudget
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import BundleError, UpstreamRefused
from shared.flight import Found
from shared.health_guard import may_ask_for_retry
from shared.http import Answer, Handler, Request, http_handler
from shared.observability import count, logger
from shared.reads import count_if_out_of_time
from shared.validation import convert

_RETRY_AFTER = {"Retry-After": "5"}

# What asking again will not change.
_FINAL = frozenset({"segment_not_found", "segment_archived", "analytics_off", "no_data", "not_found"})


def build(settings: Settings) -> Handler:
    client, budget = aws.dynamodb_for_reads(), ReadBudget(settings)
    analytics, retry_answers = analytics_of(settings, client), retry_answers_of(settings, client)

    def answer(request: Request, options: ShortOptions, read: Callable[[Deadline], dict[str, Any]]) -> Answer:
        deadline = budget.deadline(request, options.budget_ms)
        body = read(deadline)
        may_help = not body["ok"] and body["reason"] not in _FINAL
        if may_help and options.on_error == "retry" and may_ask_for_retry(retry_answers, deadline):
            return Answer(503, body, _RETRY_AFTER)
        return Answer(200, body)

    def size(request: Request) -> Answer:
        options = convert({**request.query, "segment_id": request.path["segment_id"]}, SizeOptions, strict=False)
        return answer(request, options, lambda deadline: size_of(analytics, options.segment_id, options, deadline))

    def sizes(request: Request) -> Answer:
        options = convert(dict(request.query), SizesOptions, strict=False)
        return answer(request, options, lambda deadline: sizes_of(analytics, options, deadline))

    def vendor(request: Request) -> Answer:
        options = convert(dict(request.query), SeriesOptions, strict=False)
        return vendor_answer(analytics, options, budget.deadline(request))

    def event(request: Request) -> Answer:
        options = convert({**request.query, "event": request.path["event"]}, EventOptions, strict=False)
        return answer(request, options, lambda deadline: event_count(analytics, options, deadline))

    def product(request: Request) -> Answer:
        options = convert({**request.query, "product": request.path["product"]}, ProductOptions, strict=False)
        return answer(request, options, lambda deadline: product_sold(analytics, options, deadline))

    return http_handler(
        {
            "GET /segments/{segment_id}/size": size,
            "GET /segments/sizes": sizes,
            "GET /segments/data_series": vendor,
            "GET /events/{event}/count": event,
            "GET /products/{product}/sold": product,
        }
    )


def size_of(
    analytics: Analytics, segment_id: str, options: SizeOptions | SizesOptions, deadline: Deadline
) -> dict[str, Any]:
    """One segment's answer; a trend from before Braze's hundred days comes out of our history."""
    wish = Wish(options.min, options.culture)

    def found() -> Found[Series]:
        recent = analytics.sizes(segment_id, deadline)
        if options.days < LENGTH - 1 or not recent.value.points:
            return recent
        latest = day_of(recent.value.points[-1])  # which may be long past
        return analytics.between(recent, segment_id, latest - timedelta(days=options.days), latest, deadline)

    return _or_reason(found, lambda got, reason: size_answer(segment_id, wish, options.days, got, reason), reason_of)


def sizes_of(analytics: Analytics, options: SizesOptions, deadline: Deadline) -> dict[str, Any]:
    """Several segments at once, in the order they were asked for: one call of a template instead of one for each."""
    from concurrent.futures import ThreadPoolExecutor  # not paid for by a cold start that reads one

    ids = options.ids.split(",")
    with ThreadPoolExecutor(min(len(ids), MOST_AT_ONCE)) as pool:
        segments = list(pool.map(lambda segment_id: size_of(analytics, segment_id, options, deadline), ids))
    return {
        "ok": all(segment["ok"] for segment in segments),
        "stale": any(segment["stale"] for segment in segments),
        "reason": next((segment["reason"] for segment in segments if segment["reason"]), None),
        "as_of": min((segment["as_of"] for segment in segments if segment["as_of"]), default=None),
        "meets_min": all(segment["meets_min"] for segment in segments),
        "segments": segments,
    }


def event_count(analytics: Analytics, options: EventOptions, deadline: Deadline) -> dict[str, Any]:
    length, unit = _length_and_unit(options.window)
    named = {"event": options.event, "segment_id": options.segment_id, "window": options.window}
    wish = Wish(options.min, options.culture)
    return _or_reason(
        lambda: analytics.event(options.event, options.segment_id or "", unit, deadline),
        lambda got, reason: count_answer("count", named, wish, length, got, reason),
        reason_of if options.segment_id else _plain_reason,
    )


def product_sold(analytics: Analytics, options: ProductOptions, deadline: Deadline) -> dict[str, Any]:
    length, unit = _length_and_unit(options.window)
    named = {"product": options.product, "measure": options.measure, "window": options.window}
    wish = Wish(options.min, options.culture, decimals=2 if options.measure == "revenue" else 0)
    return _or_reason(
        lambda: analytics.purchases(options.measure, options.product, unit, deadline),
        lambda got, reason: count_answer("sold", named, wish, length, got, reason),
        _plain_reason,
    )


def vendor_answer(
    analytics: Analytics, options: SeriesOptions, deadline: Deadline, clock: Callable[[], float] = time.time
) -> Answer:
    """Braze's shape. A failure is `{"message": reason, "data": []}` with 200, for Liquid can read nothing else."""
    first, last = span_of(options, clock())
    try:
        found = analytics.sizes_between(options.segment_id, first, last, deadline)
    except BundleError as error:
        _report(error)
        in_brazes_words = error.vendor_message if isinstance(error, UpstreamRefused) else ""
        return Answer(200, {"message": in_brazes_words or reason_of(error), "data": []})
    _count(found)
    data = [{"time": point.time, "size": round(point.value)} for point in found.value.points]
    return Answer(200, {"message": "success", "data": data})


def _or_reason(
    read: Callable[[], Found[Series]],
    answer: Callable[[Found[Series] | None, str], dict[str, Any]],
    reason: Callable[[BundleError], str],
) -> dict[str, Any]:
    try:
        found = read()
    except BundleError as error:
        _report(error)
        return answer(None, reason(error))
    _count(found)
    return answer(found, "")


def _count(found: Found[Series]) -> None:
    count("SeriesCacheHits" if found.cached else "SeriesCacheMisses")
    if found.stale:
        count("SeriesStale")
        count_if_out_of_time(found.reason)


def _report(error: BundleError) -> None:
    count("SeriesRefused" if isinstance(error, UpstreamRefused) else "SeriesFailed")
    count_if_out_of_time(error.code)
    logger.warning("series not had", code=error.code, detail=str(error))


def _plain_reason(error: BundleError) -> str:
    return "not_found" if isinstance(error, UpstreamRefused) else error.code


def _length_and_unit(window: str) -> tuple[int, SeriesUnit]:
    return int(window[:-1]), "hour" if window.endswith("h") else "day"


handle = build(Settings(os.environ))
