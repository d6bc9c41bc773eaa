"""Braze REST: triggered sends, segment analytics and segment exports.

Sources: Braze's REST endpoint pages for campaigns/trigger/send, canvas/trigger/send, segments/data_series and
users/export/segment, and its pages on rate limits and errors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from clients.credentials import Credentials, Token, with_fresh_credentials
from clients.transport import Reply, Timeouts, Transport, raise_for_status, retry_after_seconds
from clients.vocabulary import TargetKind
from shared.errors import UpstreamError, UpstreamGarbled, UpstreamRefused, UpstreamUnavailable

SEND_PATHS: Mapping[TargetKind, str] = {"campaign": "/campaigns/trigger/send", "canvas": "/canvas/trigger/send"}


class BrazeCredentials(msgspec.Struct, frozen=True):
    """The Braze secret: one REST API key of the workspace."""

    rest_api_key: Token


# By what time, and by what, Braze counts.
SeriesUnit = Literal["hour", "day"]
PurchaseMeasure = Literal["quantity", "revenue"]

# No day, and no number, that Braze has counted or will count lies beyond these. Such numbers are exact as they are.
_FIRST_DAY, _LAST_DAY = "2000-01-01", "2099-12-31"
_MOST = 10.0**15

# Braze's texts are kept with a trigger's outcome; this is longer than any of its messages.
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Quota:
    """What Braze's headers say of a limit: requests in its window, how many are left, seconds until it starts anew."""

    limit: int
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What Braze said to a send. "success" means queued, not delivered.

    `notice` is set when a Canvas is paused or archived: accepted, yet nobody will get it. `skipped` has Braze's reason
    for each recipient it left out, by the recipient's place in the call (from 0), and `error_count` counts all that was
    left out, recipients and fields. `quota` is None when Braze did not say.
    """

    dispatch_id: str
    notice: str
    error_count: int
    skipped: Mapping[int, str] = field(default_factory=dict)
    quota: Quota | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object of users/track that Braze left out: which array it stood in, its place there (from 0), and why."""

    array: str
    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a series: of the day (YYYY-MM-DD) or the hour (ISO 8601) that `time` names.

    There is none whose time is no time, or whose value nobody can have counted: raises `ValueError`.
    """

    time: str
    value: float

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.time)
        # Which reads other forms, too, and their texts do not stand in the order of their days.
        if not (self.time[4:5] == self.time[7:8] == "-" and self.time[10:11] in ("", "T", " ")):
            raise ValueError("not written as YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ")
        if not _FIRST_DAY <= self.time[:10] <= _LAST_DAY:
            raise ValueError("no day of Braze's")
        if not -_MOST <= self.value <= _MOST:
            raise ValueError("no number of Braze's")


@dataclass(frozen=True, slots=True)
class ListedSegment:
    """A segment as Braze lists it; only one with analytics tracking has sizes."""

    id: str
    tracked: bool


@dataclass(frozen=True, slots=True)
class SegmentExport:
    """An export that Braze has begun.

    `url` is where it will be, to be fetched without a credential; empty when Braze writes to storage of the brand's
    own, where `object_prefix` names its folder.
    """

    url: str
    object_prefix: str


_RAW_POINTS = list[dict[str, Any]]

# How many there were is never below zero, and whole: 2537.0 comes, too, and what is estimated is rounded. An amount has
# its cents, and where more was given back than bought, a minus.
_Count = Annotated[float, msgspec.Meta(ge=0)]
_COUNTS, _AMOUNTS = list[tuple[str, _Count]], list[tuple[str, float]]


class _Listed(msgspec.Struct):
    id: str
    analytics_tracking_enabled: bool = False


class Braze:
    """Typed calls; every method may raise any `UpstreamError`."""

    def __init__(self, transport: Transport, credentials: Credentials[BrazeCredentials]) -> None:
        self._transport = transport
        self._credentials = credentials

    def send(self, kind: TargetKind, body: Mapping[str, Any] | bytes, timeouts: Timeouts) -> Dispatch:
        """Sends an API-triggered campaign or Canvas; `body` is as Braze documents it, at most 50 recipients."""
        upstream = self._transport.upstream
        reply = self.relay("POST", SEND_PATHS[kind], timeouts=timeouts, body=body)
        raise_for_status(upstream, reply, _refusal)
        answer = reply.json(upstream)
        dispatch_id = answer.get("dispatch_id")
        if dispatch_id is None and answer.get("message") != "success" and _words(answer):
            raise UpstreamRefused(upstream, "no_success", _words(answer))
        if answer.get("message") != "success" or not isinstance(dispatch_id, str) or not dispatch_id:
            raise UpstreamGarbled(upstream, "neither a success with its dispatch_id nor a refusal")
        errors = answer["errors"] if isinstance(answer.get("errors"), list) else []
        return Dispatch(
            dispatch_id[:_LONGEST_TEXT],
            str(answer.get("notice") or "")[:_LONGEST_TEXT],
            len(errors),
            _skipped(errors),
            _quota(reply.headers),
        )

    def track(self, body: bytes, timeouts: Timeouts) -> list[Skipped]:
        """Stores events and attributes; `body` is as Braze documents it, at most 75 objects. Repeats double events.

        Returns the objects Braze left out; everything else is accepted.
        """
        upstream = self._transport.upstream
        reply = self.relay("POST", "/users/track", timeouts=timeouts, body=body)
        raise_for_status(upstream, reply, _refusal)
        answer = reply.json(upstream)
        if answer.get("message") not in ("success", "queued"):
            if _words(answer):
                raise UpstreamRefused(upstream, "no_success", _words(answer))
            raise UpstreamGarbled(upstream, "neither a success nor a refusal")
        errors = answer["errors"] if isinstance(answer.get("errors"), list) else []
        return [
            Skipped(str(error.get("input_array")), error["index"], str(error.get("type") or "")[:_LONGEST_TEXT])
            for error in errors
            if isinstance(error, dict) and type(error.get("index")) is int
        ]

    def segment_sizes(self, segment_id: str, *, length: int, ending_at: str | None, timeouts: Timeouts) -> list[Point]:
        """Estimated sizes of the `length` (1 to 100) days up to `ending_at` (ISO 8601, None for now), oldest first."""
        query = {"segment_id": segment_id, "length": str(length)} | ({"ending_at": ending_at} if ending_at else {})
        return self._series("/segments/data_series", query, "size", timeouts)

    def event_counts(
        self, event: str, *, unit: SeriesUnit, length: int, segment_id: str, timeouts: Timeouts
    ) -> list[Point]:
        """How often a custom event happened in each of the last `length` (1 to 100) hours or days, oldest first.

        `segment_id`, unless empty, counts those in a segment only. Source: Braze's page on GET /events/data_series.
        """
        query = {"event": event, "unit": unit, "length": str(length)} | (
            {"segment_id": segment_id} if segment_id else {}
        )
        return self._series("/events/data_series", query, "count", timeouts, unit)

    def purchases(
        self, measure: PurchaseMeasure, product: str, *, unit: SeriesUnit, length: int, timeouts: Timeouts
    ) -> list[Point]:
        """How much of a product was bought in each of the last `length` (1 to 100) hours or days, oldest first.

        Braze allows 1,000 of these calls an hour, together with its lists of names. Source: Braze's pages on
        GET /purchases/quantity_series and /purchases/revenue_series.
        """
        query = {"product": product, "unit": unit, "length": str(length)}
        name = "purchase_quantity" if measure == "quantity" else "revenue"
        return self._series(f"/purchases/{measure}_series", query, name, timeouts, unit)

    def segments(self, page: int, timeouts: Timeouts) -> list[ListedSegment]:
        """A page, from 0, of the segments that are not archived; an empty one is past the last."""
        upstream = self._transport.upstream
        reply = self.relay("GET", "/segments/list", timeouts=timeouts, query={"page": str(page)})
        raise_for_status(upstream, reply, _refusal)
        try:
            listed = msgspec.convert(reply.json(upstream)["segments"], list[_Listed])
        except (KeyError, msgspec.ValidationError):
            raise UpstreamGarbled(upstream, "the answer lists no segments") from None
        return [ListedSegment(each.id, each.analytics_tracking_enabled) for each in listed]

    def _series(
        self, path: str, query: Mapping[str, str], name: str, timeouts: Timeouts, unit: SeriesUnit = "day"
    ) -> list[Point]:
        upstream = self._transport.upstream
        reply = self.relay("GET", path, timeouts=timeouts, query=query)
        raise_for_status(upstream, reply, _refusal)
        try:
            given = [(each["time"], each[name]) for each in msgspec.convert(reply.json(upstream)["data"], _RAW_POINTS)]
            if name == "revenue":
                values = msgspec.convert(given, _AMOUNTS)
            else:
                values = [(at, round(value)) for at, value in msgspec.convert(given, _COUNTS)]
            points = [Point(at[:10] if unit == "day" else at, value) for at, value in values]
        except (KeyError, ValueError):
            raise UpstreamGarbled(upstream, "the answer has no data series") from None
        return sorted(points, key=lambda point: point.time)

    def export_segment(self, segment_id: str, callback_url: str, timeouts: Timeouts) -> SegmentExport:
        """Begins an export of the users' external ids, of which Braze will tell `callback_url` once it is there.

        Braze runs one export of a segment at a time, and answers 429 to a second. Source: Braze's page on
        POST /users/export/segment.
        """
        upstream = self._transport.upstream
        body = {
            "segment_id": segment_id,
            "callback_endpoint": callback_url,
            "fields_to_export": ["external_id"],
            "output_format": "zip",
        }
        reply = self.relay("POST", "/users/export/segment", timeouts=timeouts, body=body)
        raise_for_status(upstream, reply, _refusal)
        answer = reply.json(upstream)
        if answer.get("message") != "success" and _words(answer):
            raise UpstreamRefused(upstream, "no_success", _words(answer))
        url, object_prefix = answer.get("url") or "", answer.get("object_prefix") or ""
        if not isinstance(url, str) or not isinstance(object_prefix, str) or not (url or object_prefix):
            raise UpstreamGarbled(upstream, "the answer does not say where the export will be")
        return SegmentExport(url, object_prefix)

    def relay(
        self,
        method: str,
        path: str,
        *,
        timeouts: Timeouts,
        body: Mapping[str, Any] | bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """Any endpoint, with the key added, and Braze's own answer whatever its status."""

        def call(credentials: BrazeCredentials) -> Reply:
            authorization = f"Bearer {credentials.rest_api_key}"
            return self._transport.send(
                method, path, authorization=authorization, timeouts=timeouts, body=body, query=query, operation=path
            )

        return with_fresh_credentials(self._credentials, call)


def in_brazes_words(reply: Reply) -> bool:
    """Whether an answer is Braze's own: all of them are JSON objects with a `message`."""
    try:
        return bool(_words(reply.json("Braze")))
    except UpstreamGarbled:
        return False


def _refusal(upstream: str, reply: Reply) -> UpstreamError:
    """A 4xx in Braze's own words. One without is not Braze's: a wrong host, or something in front of it.

    Only what is too large is too large whoever says so.
    """
    if not in_brazes_words(reply):
        if reply.status == 413:
            return UpstreamRefused(upstream, "status_413")
        return UpstreamUnavailable(upstream, f"status {reply.status}, but not in Braze's words")
    return UpstreamRefused(upstream, f"status_{reply.status}", _words(reply.json(upstream)))


def _words(body: dict[str, Any]) -> str:
    """Braze's own words for a fatal error, as in "Invalid Campaign ID"; Braze has no codes."""
    message = body.get("message")
    return message[:_LONGEST_TEXT] if isinstance(message, str) else ""


def _skipped(errors: list[Any]) -> dict[int, str]:
    """Errors as in {"type": "EXTERNAL_USER_ID_TOO_LARGE", "input_array": "recipients", "index": 3}."""
    return {
        error["index"]: str(error.get("type") or "")[:_LONGEST_TEXT]
        for error in errors
        if isinstance(error, dict) and error.get("input_array") == "recipients" and type(error.get("index")) is int
    }


def _quota(headers: Mapping[str, str]) -> Quota | None:
    limit, remaining = headers.get("x-ratelimit-limit", ""), headers.get("x-ratelimit-remaining", "")
    reset_seconds = retry_after_seconds({"x-ratelimit-reset": headers.get("x-ratelimit-reset", "")}, time.time())
    if not (limit.isdecimal() and remaining.isdecimal()) or reset_seconds is None:
        return None
    return Quota(int(limit), int(remaining), reset_seconds)
