"""Braze's reads of campaigns and Canvases: list, details, data series.

Source: Braze's pages on campaign and Canvas export endpoints. Figures are made from what was sent; conversions and
revenue are always 0. What the pages print and nobody here can know is there with an empty value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from infra.local.simulators.braze_query import bad, flag_of, last_day, length_of, moment_of, page_of, required
from infra.local.simulators.braze_workspace import Campaign, Canvas, SendKind, Workspace, iso_offset
from infra.local.simulators.messages import Call, Json, Reply

MAX_LENGTH = 100
MAX_CANVAS_LENGTH = 14

Shown = TypeVar("Shown", Campaign, Canvas)

Read = Callable[[Workspace, Call, Mapping[str, str]], Reply]


def list_campaigns(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """`page`, `sort_direction`, `include_archived`, `last_edit.time[gt]`."""
    listed = [
        {
            "id": campaign.id,
            "last_edited": iso_offset(campaign.created_at),
            "name": campaign.name,
            "is_api_campaign": True,
            "tags": list(campaign.tags),
        }
        for campaign in _shown(call, workspace.campaigns)
    ]
    return Reply(200, {"message": "success", "campaigns": listed})


def list_canvases(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """The same for Canvases; those that were stopped are listed, archived ones only when asked for."""
    listed = [
        {
            "id": canvas.id,
            "last_edited": iso_offset(canvas.created_at),
            "name": canvas.name,
            "tags": list(canvas.tags),
        }
        for canvas in _shown(call, workspace.canvases)
    ]
    return Reply(200, {"message": "success", "canvases": listed})


def campaign_details(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """`campaign_id`, `post_launch_draft_version`."""
    flag_of(call, "post_launch_draft_version")
    campaign = _campaign(workspace, call)
    variation = f"{campaign.id}-variation"
    return Reply(
        200,
        {
            "message": "success",
            **_standing(campaign),
            "schedule_type": "api_triggered",
            "channels": ["email"],
            "messages": {variation: {"channel": "email", "name": "Variation 1"}},
            "conversion_behaviors": [],
        },
    )


def canvas_details(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """`canvas_id`, `post_launch_draft_version`, `include_has_translatable_content`."""
    flag_of(call, "post_launch_draft_version")
    flag_of(call, "include_has_translatable_content")
    canvas = _canvas(workspace, call)
    step = f"{canvas.id}-step"
    return Reply(
        200,
        {
            "message": "success",
            **_standing(canvas),
            "schedule_type": "api_triggered",
            "channels": ["email"],
            "variants": [
                {"name": "Variant 1", "id": f"{canvas.id}-variant", "first_step_ids": [step], "first_step_id": step}
            ],
            "steps": [
                {
                    "name": "Message",
                    "type": "message",
                    "id": step,
                    "next_step_ids": [],
                    "next_paths": [],
                    "channels": ["email"],
                    "messages": {f"{step}-message": {"channel": "email"}},
                }
            ],
        },
    )


def campaign_series(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """`campaign_id`, `length` 1 to 100 days, `ending_at`."""
    length = length_of(call, MAX_LENGTH)
    campaign = _campaign(workspace, call)
    data: list[Json] = [
        {
            "time": day.isoformat(),
            "conversions": 0,
            "unique_recipients": sent,
            "revenue": 0.0,
            "messages": {
                "email": [
                    {
                        "variation_api_id": f"{campaign.id}-variation",
                        "sent": sent,
                        "opens": 0,
                        "unique_opens": 0,
                        "clicks": 0,
                        "unique_clicks": 0,
                        "unsubscribes": 0,
                        "bounces": 0,
                        "delivered": sent,
                        "reported_spam": 0,
                    }
                ]
            },
        }
        for day, sent in _sent_by_day(workspace, "campaign", campaign.id, last_day(call), length)
    ]
    return Reply(200, {"message": "success", "data": data})


def canvas_series(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """`canvas_id`, `ending_at` (required), `starting_at` or `length` 1 to 14 days, and breakdowns."""
    required(call, "ending_at")
    ending, starting = last_day(call), moment_of(call, "starting_at")
    length = (ending - starting.date()).days + 1 if starting else length_of(call, MAX_CANVAS_LENGTH)
    if not 1 <= length <= MAX_CANVAS_LENGTH:
        raise bad(f"starting_at must lie within {MAX_CANVAS_LENGTH} days before ending_at")
    by_variant, by_step = flag_of(call, "include_variant_breakdown"), flag_of(call, "include_step_breakdown")
    flag_of(call, "include_deleted_step_data")
    canvas = _canvas(workspace, call)

    def stats(entries: int) -> dict[str, Json]:
        return {"revenue": 0.0, "conversions": 0, "conversions_by_entry_time": 0, "entries": entries}

    series: list[Json] = []
    for day, sent in _sent_by_day(workspace, "canvas", canvas.id, ending, length):
        figures: dict[str, Json] = {"time": day.isoformat(), "total_stats": stats(sent)}
        if by_variant:
            figures["variant_stats"] = {f"{canvas.id}-variant": {"name": "Variant 1", **stats(sent)}}
        if by_step:
            figures["step_stats"] = {f"{canvas.id}-step": {"name": "Message", "revenue": 0.0, "conversions": 0}}
        series.append(figures)
    return Reply(200, {"message": "success", "data": {"name": canvas.name, "stats": series}})


# By path: the permission of the key, and what answers.
CATALOGUE: Mapping[str, tuple[str, Read]] = {
    "/campaigns/list": ("campaigns.list", list_campaigns),
    "/campaigns/details": ("campaigns.details", campaign_details),
    "/campaigns/data_series": ("campaigns.data_series", campaign_series),
    "/canvas/list": ("canvas.list", list_canvases),
    "/canvas/details": ("canvas.details", canvas_details),
    "/canvas/data_series": ("canvas.data_series", canvas_series),
}


def _shown(call: Call, known: Mapping[str, Shown]) -> list[Shown]:
    archived, edited_after = flag_of(call, "include_archived"), moment_of(call, "last_edit.time[gt]")
    oldest = edited_after.timestamp() if edited_after else float("-inf")
    listed = [each for each in known.values() if each.created_at > oldest and (archived or not each.archived)]
    return list(page_of(call, sorted(listed, key=lambda each: each.created_at)))


def _standing(each: Campaign | Canvas) -> dict[str, Json]:
    return {
        "created_at": iso_offset(each.created_at),
        "updated_at": iso_offset(each.created_at),
        "archived": each.archived,
        "draft": False,
        "enabled": not (isinstance(each, Canvas) and each.state != "active"),
        "has_post_launch_draft": False,
        "name": each.name,
        "description": "",
        "first_sent": None,
        "last_sent": None,
        "tags": list(each.tags),
        "teams": [],
    }


def _campaign(workspace: Workspace, call: Call) -> Campaign:
    campaign_id = required(call, "campaign_id")
    if campaign_id not in workspace.campaigns:
        raise bad("Invalid Campaign ID")
    return workspace.campaigns[campaign_id]


def _canvas(workspace: Workspace, call: Call) -> Canvas:
    canvas_id = required(call, "canvas_id")
    if canvas_id not in workspace.canvases:
        raise bad("Invalid Canvas ID")
    return workspace.canvases[canvas_id]


def _sent_by_day(
    workspace: Workspace, kind: SendKind, target_id: str, ending: date, length: int
) -> list[tuple[date, int]]:
    """Days, oldest first, and how many sends each saw."""
    days = [ending - timedelta(days=back) for back in range(length - 1, -1, -1)]
    sent = dict.fromkeys(days, 0)
    for send in workspace.sends:
        day = datetime.fromtimestamp(send.at, UTC).date()
        if (send.kind, send.target_id) == (kind, target_id) and day in sent:
            sent[day] += 1
    return list(sent.items())
