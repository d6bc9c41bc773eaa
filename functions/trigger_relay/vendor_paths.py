"""Which of Braze's own requests exist here, in groups that a deployment switches on, and what is refused in each.

A path that is not in this table cannot be reached. One whose group is off answers 403. Which caller may use which path
is in the callers secret, as for every route.

Whatever can message an audience stands under one rule: an audience must be known by an id in BroadcastAllowedIds.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

from shared.errors import ConfigurationError, InvalidInput, NotAllowed
from trigger_relay.triggers import MAX_RECIPIENTS, check_audience, check_properties
from trigger_relay.vendor_bodies import (
    CampaignSend,
    CanvasSend,
    MessageSend,
    SegmentExport,
    TemplateCreate,
    TemplateUpdate,
    UserExport,
    UserTrack,
)
from trigger_relay.vendor_queries import (
    CampaignDetails,
    CampaignSeries,
    CanvasDetails,
    CanvasSeries,
    Query,
    SegmentDetails,
    SegmentList,
    SegmentSeries,
    TargetList,
    TemplateInfo,
    TemplateList,
)

# triggers: API-triggered campaigns and Canvases. messages: messages that come whole. track: events, attributes and
# purchases. exports: profiles. reads: campaigns, Canvases, segments and templates. templates: making and changing them.
Group = Literal["triggers", "messages", "track", "exports", "reads", "templates"]

Check = Callable[[Any, Container[str]], str]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of Braze's. `permission` is what Braze's key needs for it.

    A read may be asked again, whatever became of it. `check` raises a `RequestError` for what a shape cannot tell,
    given the body and the ids that may be broadcast, and returns the id of the audience, empty when members are named.
    """

    method: Literal["GET", "POST"]
    path: str
    group: Group
    permission: str
    shape: type[msgspec.Struct]
    is_read: bool = False
    check: Check | None = None

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"


def groups_of(names: Sequence[str]) -> frozenset[str]:
    """The groups that are switched on; raises `ConfigurationError` for one that does not exist."""
    if unknown := sorted(set(names) - set(get_args(Group))):
        raise ConfigurationError(f"BrazePathGroups knows no {unknown[0]}; there are {', '.join(get_args(Group))}")
    return frozenset(names)


def _check_campaign(body: CampaignSend, broadcast_allowed: Container[str]) -> str:
    check_audience("campaign", body.campaign_id, body.recipients, body.broadcast, broadcast_allowed)
    check_properties("campaign", body.trigger_properties or {})
    for position, recipient in enumerate(body.recipients or ()):
        check_properties("campaign", recipient.get("trigger_properties") or {}, f"recipients[{position}].")
    return body.campaign_id if body.broadcast else ""


def _check_canvas(body: CanvasSend, broadcast_allowed: Container[str]) -> str:
    check_audience("canvas", body.canvas_id, body.recipients, body.broadcast, broadcast_allowed)
    check_properties("canvas", body.context or body.canvas_entry_properties or {})
    for position, recipient in enumerate(body.recipients or ()):
        check_properties("canvas", recipient.get("context") or {}, f"recipients[{position}].")
    return body.canvas_id if body.broadcast else ""


def _check_messages(body: MessageSend, broadcast_allowed: Container[str]) -> str:
    """To users by name, or to a segment that is allowed.

    The campaign of such a message is for its figures only and bounds no audience, and an audience of filters has no id
    by which it could be allowed.
    """
    named = len(body.external_user_ids or ()) + len(body.user_aliases or ())
    if named > MAX_RECIPIENTS:
        raise InvalidInput(
            f"more than {MAX_RECIPIENTS} users",
            field="external_user_ids",
            hint=f"Braze takes {MAX_RECIPIENTS} a call: send several.",
        )
    if named and body.broadcast:
        raise InvalidInput("a broadcast names no users", field="broadcast", hint="Leave out the users, or broadcast.")
    if named:
        return ""
    if not (body.broadcast or body.segment_id or body.audience):
        raise InvalidInput(
            "nobody to send to", code="no_recipients", field="external_user_ids", hint="Name at least one user."
        )
    if body.segment_id is None or body.segment_id not in broadcast_allowed:
        raise NotAllowed(
            "this audience is not allowed to be messaged",
            code="broadcast_not_allowed",
            field="audience" if body.segment_id is None else "segment_id",
            hint="Name users, or a segment whose id the operator has added to the parameter BroadcastAllowedIds.",
        )
    return body.segment_id


def _read(path: str, permission: str, shape: type[Query]) -> Endpoint:
    return Endpoint("GET", path, "reads", permission, shape, is_read=True)


ENDPOINTS: Mapping[str, Endpoint] = {
    each.route: each
    for each in (
        Endpoint(
            "POST",
            "/campaigns/trigger/send",
            "triggers",
            "campaigns.trigger.send",
            CampaignSend,
            check=_check_campaign,
        ),
        Endpoint("POST", "/canvas/trigger/send", "triggers", "canvas.trigger.send", CanvasSend, check=_check_canvas),
        Endpoint("POST", "/messages/send", "messages", "messages.send", MessageSend, check=_check_messages),
        Endpoint("POST", "/users/track", "track", "users.track", UserTrack),
        Endpoint("POST", "/users/export/ids", "exports", "users.export.ids", UserExport, is_read=True),
        Endpoint("POST", "/users/export/segment", "exports", "users.export.segment", SegmentExport),
        Endpoint("POST", "/templates/email/create", "templates", "templates.email.create", TemplateCreate),
        Endpoint("POST", "/templates/email/update", "templates", "templates.email.update", TemplateUpdate),
        _read("/templates/email/list", "templates.email.list", TemplateList),
        _read("/templates/email/info", "templates.email.info", TemplateInfo),
        _read("/campaigns/list", "campaigns.list", TargetList),
        _read("/campaigns/details", "campaigns.details", CampaignDetails),
        _read("/campaigns/data_series", "campaigns.data_series", CampaignSeries),
        _read("/canvas/list", "canvas.list", TargetList),
        _read("/canvas/details", "canvas.details", CanvasDetails),
        _read("/canvas/data_series", "canvas.data_series", CanvasSeries),
        _read("/segments/list", "segments.list", SegmentList),
        _read("/segments/details", "segments.details", SegmentDetails),
        _read("/segments/data_series", "segments.data_series", SegmentSeries),
    )
}
