"""How many people are in a segment, in our short dialect and in Braze's."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from clients.vocabulary import SegmentId
from segment_size.assembly import segment_sizes
from segment_size.series import SHORT_LENGTH, SegmentSizes, Series, reason_of
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import BundleError, UpstreamRefused
from shared.http import Answer, Handler, Request, http_handler
from shared.validation import convert

_ANSWER_RESERVE_SECONDS = 0.1
_RETRY_AFTER = {"Retry-After": "5"}


class SizeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the short dialect. `min` is the least size worth showing; `v` and `cache_id` only vary a URL."""

    segment_id: SegmentId
    min: Annotated[int, Meta(ge=0, le=10**12, description="Give the least number of people, as in 1000.")] | None = None
    on_error: Annotated[Literal["data", "retry"], Meta(description="Give data or retry.")] = "data"
    v: str = ""
    cache_id: str = ""


class SeriesOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Query of Braze's segments/data_series. Source: Braze's page on that endpoint."""

    segment_id: SegmentId
    length: Annotated[int, Meta(ge=1, le=100, description="Give 1 to 100 days.")]
    ending_at: (
        Annotated[
            str,
            Meta(
                pattern=r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?\Z",
                description="Give an ISO 8601 date or time, as in 2026-11-22T23:59:59Z.",
            ),
        ]
        | None
    ) = None


def build(settings: Settings) -> Handler:
    sizes = segment_sizes(settings)
    budget_seconds = settings.milliseconds_as_seconds("READ_BUDGET_MILLISECONDS") - _ANSWER_RESERVE_SECONDS

    def short(request: Request) -> Answer:
        options = convert({**request.query, "segment_id": request.path["segment_id"]}, SizeOptions, strict=False)
        return short_answer(sizes, options, request.deadline(budget_seconds))

    def vendor(request: Request) -> Answer:
        options = convert(dict(request.query), SeriesOptions, strict=False)
        return vendor_answer(sizes, options, request.deadline(budget_seconds))

    return http_handler({"GET /segments/{segment_id}/size": short, "GET /segments/data_series": vendor})


def short_answer(sizes: SegmentSizes, options: SizeOptions, deadline: Deadline) -> Answer:
    """200 with `ok:false` and a reason when there is no size, or 503 where the template asked for it and it helps."""
    try:
        series = sizes.series(options.segment_id, SHORT_LENGTH, None, deadline)
    except BundleError as error:
        body = _body(options, None, reason_of(error))
        if options.on_error == "retry" and not isinstance(error, UpstreamRefused):
            return Answer(503, body, _RETRY_AFTER)
        return Answer(200, body)
    if not series.sizes:
        return Answer(200, _body(options, None, "no_data"))
    return Answer(200, _body(options, series, series.reason or None))


def vendor_answer(sizes: SegmentSizes, options: SeriesOptions, deadline: Deadline) -> Answer:
    """Braze's shape. A failure is `{"message": reason, "data": []}` with 200, for Liquid can read nothing else."""
    try:
        series = sizes.series(options.segment_id, options.length, options.ending_at, deadline)
    except UpstreamRefused as error:
        return Answer(200, {"message": error.vendor_message or reason_of(error), "data": []})
    except BundleError as error:
        return Answer(200, {"message": reason_of(error), "data": []})
    return Answer(
        200, {"message": "success", "data": [{"time": point.date, "size": point.size} for point in series.sizes]}
    )


def _body(options: SizeOptions, series: Series | None, reason: str | None) -> dict[str, Any]:
    latest = series.sizes[-1] if series else None
    previous = series.sizes[-2] if series and len(series.sizes) > 1 else None
    change = latest.size - previous.size if latest and previous else None
    return {
        "ok": latest is not None,
        "stale": series.stale if series else False,
        "reason": reason,
        "as_of": datetime.fromtimestamp(series.as_of, UTC).isoformat(timespec="seconds") if series else None,
        "segment_id": options.segment_id,
        "size": latest.size if latest else None,
        "size_text": f"{latest.size:,}" if latest else "",
        "date": latest.date if latest else None,
        "previous_size": previous.size if previous else None,
        "change": change,
        "change_percent": round(100 * change / previous.size, 1)
        if change is not None and previous and previous.size
        else None,
        "meets_min": latest is not None and latest.size >= (options.min or 0),
    }


handle = build(Settings(os.environ))
