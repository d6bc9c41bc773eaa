"""The three segment reads of Braze: list, details, data series. Source: Braze's pages on segment export endpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime

from infra.local.simulators.braze_workspace import Segment, Workspace, iso_offset
from infra.local.simulators.messages import Call, Refused, Reply

PAGE = 100
MAX_LENGTH = 100


def list_segments(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """`page` (from 0, 100 each), `sort_direction` asc or desc: id, name, analytics_tracking_enabled, tags."""
    page, direction = call.query.get("page", "0"), call.query.get("sort_direction", "asc")
    if not _is_whole(page):
        raise _bad("page must be a whole number")
    if direction not in ("asc", "desc"):
        raise _bad("sort_direction must be asc or desc")
    segments = sorted(workspace.segments.values(), key=lambda s: s.created_at, reverse=direction == "desc")
    shown = segments[int(page) * PAGE : (int(page) + 1) * PAGE]
    listed = [{"id": s.id, "name": s.name, "analytics_tracking_enabled": s.analytics, "tags": []} for s in shown]
    return Reply(200, {"message": "success", "segments": listed})


def segment_details(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """`segment_id`: name, texts, tags, teams, when created and changed."""
    segment = _segment(workspace, call)
    return Reply(
        200,
        {
            "message": "success",
            "created_at": iso_offset(segment.created_at),
            "updated_at": iso_offset(segment.created_at),
            "name": segment.name,
            "description": "",
            "text_description": "",
            "tags": [],
            "teams": [],
        },
    )


def segment_series(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """`segment_id`, `length` 1 to 100 days, `ending_at` ISO 8601 (now): `data[{time,size}]`, a day each, oldest first.

    For a segment without analytics tracking the pages do not say what comes back. Read here as: no sizes were ever
    noted, so the call succeeds with empty `data`. That an unknown segment is a 400 rather than a 404 is an assumption
    too.
    """
    length = call.query.get("length", "")
    if not _is_whole(length) or not 1 <= int(length) <= MAX_LENGTH:
        raise _bad(f"length must be a whole number from 1 to {MAX_LENGTH}")
    segment = _segment(workspace, call)
    last_day = _last_day(call)
    data = segment.series(last_day, int(length)) if segment.analytics else []
    return Reply(200, {"message": "success", "data": data})


def _segment(workspace: Workspace, call: Call) -> Segment:
    segment_id = call.query.get("segment_id", "")
    if not segment_id:
        raise _bad("segment_id is required")
    if segment_id not in workspace.segments:
        raise _bad("Invalid Segment ID")
    return workspace.segments[segment_id]


def _last_day(call: Call) -> date:
    given = call.query.get("ending_at")
    if given is None:
        return datetime.fromtimestamp(call.received_at, UTC).date()
    try:
        # A plus sign left unescaped in a query arrives as a space.
        moment = datetime.fromisoformat(re.sub(r" (?=\d\d:?\d\d$)", "+", given))
    except ValueError:
        raise _bad("ending_at must be an ISO 8601 time") from None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date()


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _bad(message: str) -> Refused:
    return Refused(Reply(400, {"message": message}))
