"""The contract of Braze's `POST /messages/send`: messages that come whole, to users, a segment or an audience.

Source: Braze's page on that endpoint. As strict as the contract of the trigger endpoints: a field the page does not
name is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from infra.local.simulators.braze_contract import MAX_RECIPIENTS, ContractError
from infra.local.simulators.braze_query import bad
from infra.local.simulators.braze_workspace import Send, SendKind, Workspace
from infra.local.simulators.messages import Json

FIELDS = {
    *("broadcast", "external_user_ids", "user_aliases", "segment_id", "audience", "campaign_id", "send_id"),
    *("override_frequency_capping", "recipient_subscription_state", "messages"),
}
CHANNELS = {
    *("apple_push", "android_push", "web_push", "kindle_push", "content_card", "email", "sms", "webhook", "whats_app"),
}
SUBSCRIPTION_STATES = {"opted_in", "subscribed", "all"}


@dataclass(frozen=True, slots=True)
class MessageCall:
    """A body that keeps the contract. `recipients` are (identifier, value), and none for a broadcast."""

    campaign_id: str
    segment_id: str
    send_id: str | None
    recipients: list[tuple[str, str]]
    audience_key: str
    messages: Mapping[str, Json]

    def check_ids(self, workspace: Workspace) -> None:
        if self.campaign_id and self.campaign_id not in workspace.campaigns:
            raise bad("Invalid Campaign ID")
        if self.segment_id and self.segment_id not in workspace.segments:
            raise bad("Invalid Segment ID")

    def sends(self, workspace: Workspace, dispatch_id: str, known_users_only: bool, now: float) -> Iterator[Send]:
        """One for each user, or one for the audience; the messages are their properties."""
        common: tuple[str, SendKind, str] = (dispatch_id, "message", self.campaign_id)
        if not self.recipients:
            yield Send(*common, "broadcast", self.segment_id, self.messages, {}, self.send_id, now)
        for identifier, value in self.recipients:
            if not known_users_only or workspace.knows(identifier, value):
                yield Send(*common, identifier, value, self.messages, {}, self.send_id, now)


def read_messages(body: Json) -> MessageCall:
    """Check a parsed body and give it a meaning. Raises ContractError."""
    if not isinstance(body, dict):
        raise ContractError("The request body must be an object")
    if unknown := body.keys() - FIELDS:
        raise ContractError(f"Unknown field: {', '.join(sorted(unknown))}")
    for name in ("campaign_id", "segment_id", "send_id"):
        if not isinstance(body.get(name, ""), str):
            raise ContractError(f"{name} must be a string")
    for name in ("broadcast", "override_frequency_capping"):
        if not isinstance(body.get(name, False), bool):
            raise ContractError(f"{name} must be true or false")
    if body.get("recipient_subscription_state", "all") not in SUBSCRIPTION_STATES:
        raise ContractError(f"recipient_subscription_state knows {', '.join(sorted(SUBSCRIPTION_STATES))}")
    recipients = _recipients(body)
    audience = body.get("audience")
    if audience is not None and not isinstance(audience, dict):
        raise ContractError("audience must be an object")
    if not recipients and not body.get("segment_id") and not audience:
        raise ContractError("No Recipients")
    if body.get("broadcast", False) == bool(recipients):
        raise ContractError("broadcast must be true when no users are named, and only then")
    return MessageCall(
        body.get("campaign_id", ""),
        body.get("segment_id", ""),
        body.get("send_id"),
        recipients,
        json.dumps([body.get("segment_id"), audience], sort_keys=True),
        _messages(body.get("messages")),
    )


def _recipients(body: Mapping[str, Json]) -> list[tuple[str, str]]:
    ids, aliases = body.get("external_user_ids", []), body.get("user_aliases", [])
    if not isinstance(ids, list) or not all(isinstance(each, str) and each for each in ids):
        raise ContractError("external_user_ids must be an array of strings")
    if not isinstance(aliases, list) or not all(_is_alias(each) for each in aliases):
        raise ContractError("user_aliases must be an array of objects with alias_name and alias_label")
    if len(ids) + len(aliases) > MAX_RECIPIENTS:
        raise ContractError(f"More than {MAX_RECIPIENTS} users")
    return [("external_user_id", each) for each in ids] + [
        ("user_alias", f"{each['alias_label']}:{each['alias_name']}") for each in aliases
    ]


def _is_alias(value: Json) -> bool:
    return isinstance(value, dict) and value.keys() == {"alias_name", "alias_label"}


def _messages(messages: Json) -> Mapping[str, Json]:
    if not isinstance(messages, dict) or not messages:
        raise ContractError("No message to send")
    if unknown := messages.keys() - CHANNELS:
        raise ContractError(f"Unknown channel: {', '.join(sorted(unknown))}")
    if not all(isinstance(message, dict) for message in messages.values()):
        raise ContractError("each message must be an object")
    return messages
