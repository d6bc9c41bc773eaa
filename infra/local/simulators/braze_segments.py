"""The three segment reads of Braze: list, details, data series. Source: Braze's pages on segment export endpoints."""

from __future__ import annotations

from collections.abc import Mapping

from infra.local.simulators.braze_query import bad, last_day, length_of, page_of, required
from infra.local.simulators.braze_workspace import Segment, Workspace, iso_offset
from infra.local.simulators.messages import Call, Reply

MAX_LENGTH = 100


def list_segments(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """`page` (from 0, 100 each), `sort_direction` asc or desc: id, name, analytics_tracking_enabled, tags.

    Archived segments are not listed.
    """
    current = [segment for segment in workspace.segments.values() if not segment.archived]
    shown = page_of(call, sorted(current, key=lambda segment: segment.created_at))
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

    For a segment without analytics tracking, or an archived one, the pages do not say what comes back. Read here as: no
    sizes were noted, so the call succeeds with empty `data`. That an unknown segment is a 400 rather than a 404 is an
    assumption too.
    """
    length = length_of(call, MAX_LENGTH)
    segment = _segment(workspace, call)
    ending = last_day(call)
    data = segment.series(ending, length) if segment.analytics and not segment.archived else []
    return Reply(200, {"message": "success", "data": data})


def _segment(workspace: Workspace, call: Call) -> Segment:
    segment_id = required(call, "segment_id")
    if segment_id not in workspace.segments:
        raise bad("Invalid Segment ID")
    return workspace.segments[segment_id]
