"""The bodies of Braze's own requests. Source: Braze's page on each endpoint.

A field these pages do not name is refused. What goes to Braze is the body as it was read, not the caller's bytes, in
which a name may stand twice, and mean one thing to us and another to Braze.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


class CampaignSend(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of campaigns/trigger/send."""

    campaign_id: str
    send_id: str | None = None
    trigger_properties: dict[str, Any] | None = None
    broadcast: bool = False
    audience: dict[str, Any] | None = None
    recipients: list[dict[str, Any]] | None = None
    attachments: list[dict[str, Any]] | None = None


class CanvasSend(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of canvas/trigger/send, with the older name of context."""

    canvas_id: str
    context: dict[str, Any] | None = None
    broadcast: bool = False
    audience: dict[str, Any] | None = None
    recipients: list[dict[str, Any]] | None = None
    canvas_entry_properties: dict[str, Any] | None = None


class MessageSend(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of messages/send."""

    messages: dict[str, Any]
    broadcast: bool = False
    external_user_ids: list[str] | None = None
    user_aliases: list[dict[str, Any]] | None = None
    segment_id: str | None = None
    audience: dict[str, Any] | None = None
    campaign_id: str | None = None
    send_id: str | None = None
    override_frequency_capping: bool | None = None
    recipient_subscription_state: str | None = None


class UserTrack(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of users/track. How many objects it may have is between you and Braze: contracts differ."""

    attributes: list[dict[str, Any]] | None = None
    events: list[dict[str, Any]] | None = None
    purchases: list[dict[str, Any]] | None = None


class UserExport(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of users/export/ids."""

    external_ids: list[str] | None = None
    user_aliases: list[dict[str, Any]] | None = None
    device_id: str | None = None
    braze_id: str | None = None
    email_address: str | None = None
    phone: str | None = None
    fields_to_export: list[str] | None = None


class SegmentExport(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of users/export/segment. Braze calls `callback_endpoint`; we do not."""

    segment_id: str
    callback_endpoint: (
        Annotated[str, Meta(pattern=r"^https://[^\s]+\Z", max_length=2048, description="Give an https address.")] | None
    ) = None
    fields_to_export: list[str] | None = None
    custom_attributes_to_export: list[str] | None = None
    output_format: Literal["zip", "gzip"] | None = None


class TemplateCreate(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of templates/email/create."""

    template_name: str
    subject: str
    body: str
    plaintext_body: str | None = None
    preheader: str | None = None
    tags: list[str] | None = None
    should_inline_css: bool | None = None


class TemplateUpdate(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of templates/email/update."""

    email_template_id: str
    template_name: str | None = None
    subject: str | None = None
    body: str | None = None
    plaintext_body: str | None = None
    preheader: str | None = None
    tags: list[str] | None = None
    should_inline_css: bool | None = None
