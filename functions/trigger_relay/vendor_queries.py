"""The query parameters of Braze's own reads. Source: Braze's page on each endpoint.

One these pages do not name is refused, and so is a value that Braze would not understand.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from clients.vocabulary import SegmentId

_BrazeId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z", description="Give the API id Braze shows.")]
_Moment = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+ -]\d{1,2}:?\d{2})?)?\Z",
        description="Give an ISO 8601 date or time, as in 2026-11-22T23:59:59Z.",
    ),
]
_Page = Annotated[int, Meta(ge=0, le=1_000_000, description="Give the number of a page, from 0.")]
_Days = Annotated[int, Meta(ge=1, le=100, description="Give 1 to 100 days.")]
_Direction = Literal["asc", "desc"]


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """Any query of these; itself that of a path without parameters. Those that were left out are None."""


def as_sent(query: msgspec.Struct) -> dict[str, str]:
    """The parameters for Braze, which has its own defaults for what was left out."""
    values = ((field.encode_name, getattr(query, field.name)) for field in msgspec.structs.fields(query))
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values
        if value is not None
    }


class SegmentList(Query):
    page: _Page | None = None
    sort_direction: _Direction | None = None


class SegmentDetails(Query):
    segment_id: SegmentId


class SegmentSeries(Query):
    segment_id: SegmentId
    length: _Days
    ending_at: _Moment | None = None


class TargetList(Query):
    """Of campaigns/list and canvas/list."""

    page: _Page | None = None
    include_archived: bool | None = None
    sort_direction: _Direction | None = None
    edited_after: _Moment | None = msgspec.field(default=None, name="last_edit.time[gt]")


class CampaignDetails(Query):
    campaign_id: _BrazeId
    post_launch_draft_version: bool | None = None


class CampaignSeries(Query):
    campaign_id: _BrazeId
    length: _Days
    ending_at: _Moment | None = None


class CanvasDetails(Query):
    canvas_id: _BrazeId
    post_launch_draft_version: bool | None = None
    include_has_translatable_content: bool | None = None


class CanvasSeries(Query):
    canvas_id: _BrazeId
    ending_at: _Moment
    starting_at: _Moment | None = None
    length: Annotated[int, Meta(ge=1, le=14, description="Give 1 to 14 days.")] | None = None
    include_variant_breakdown: bool | None = None
    include_step_breakdown: bool | None = None
    include_deleted_step_data: bool | None = None


class TemplateList(Query):
    modified_after: _Moment | None = None
    modified_before: _Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="Give 1 to 1000.")] | None = None
    offset: Annotated[int, Meta(ge=0, le=1_000_000_000, description="Give how many to leave out.")] | None = None


class TemplateInfo(Query):
    email_template_id: _BrazeId
