"""The contract of Braze's two trigger endpoints: what a body may hold, and what it then means.

Source: Braze's pages on `POST /campaigns/trigger/send` and `POST /canvas/trigger/send`. Enforced more strictly than
Braze is known to: a field the page does not name is refused, also `segment_id` and the former
`canvas_entry_properties`, so that a client cannot lean on what is silently ignored. The words of an error are ours
where the pages print none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from infra.local.simulators.messages import Json

Kind = Literal["campaign", "canvas"]

MAX_RECIPIENTS = 50
MAX_PROPERTIES_BYTES = 50 * 1024  # of compact JSON; the page says 50 KB and not how it measures
MAX_EXTERNAL_ID_BYTES = 987
IDENTIFIERS = ("external_user_id", "user_alias", "email", "braze_id")
PRIORITIZATIONS = {"unidentified", "identified", "most_recently_updated", "least_recently_updated"}
EMAIL_STATES = {"opted_in", "subscribed", "unsubscribed"}

PROPERTIES_FIELD: dict[Kind, str] = {"campaign": "trigger_properties", "canvas": "context"}
TOP_FIELDS: dict[Kind, set[str]] = {
    "campaign": {
        *("campaign_id", "send_id", "trigger_properties", "broadcast", "audience", "recipients", "attachments"),
    },
    "canvas": {"canvas_id", "context", "broadcast", "audience", "recipients"},
}
ATTACHMENT_FIELDS = {"file_name", "url", "basic_auth_credential"}


class ContractError(Exception):
    """The body breaks the contract and nothing is done; `errors` are the items that were wrong, if it was items."""

    def __init__(self, message: str, errors: list[dict[str, Json]] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.errors = errors or []


@dataclass(frozen=True, slots=True)
class Recipient:
    """One addressee: the kind of identifier, its value (an alias as `label:name`), and the properties after merging."""

    identifier: str
    value: str
    properties: Mapping[str, Json]
    attributes: Mapping[str, Json]
    send_to_existing_only: bool


@dataclass(frozen=True, slots=True)
class TriggerCall:
    """A body that keeps the contract.

    `recipients` is empty for a broadcast; `errors` are what was skipped on the way.
    """

    kind: Kind
    target_id: str
    send_id: str | None
    broadcast: bool
    audience: Mapping[str, Json] | None
    properties: Mapping[str, Json]
    recipients: list[Recipient]
    errors: list[dict[str, Json]] = field(default_factory=list)

    @property
    def audience_key(self) -> str:
        """The same text for the same campaign or Canvas with the same audience."""
        return f"{self.target_id} {json.dumps(self.audience, sort_keys=True)}"


def read_trigger(kind: Kind, body: Json) -> TriggerCall:
    """Check a parsed body and give it a meaning. Raises ContractError.

    Recipients named twice count once, the last one wins. Skipped, and told about in `errors`, without failing the rest:
    an external id that is too long, an email subscription state that does not exist, and, for a Canvas, subscription
    groups. The pages give that vocabulary for user data; that triggers use it too is an assumption.
    """
    if not isinstance(body, dict):
        raise ContractError("The request body must be an object")
    unknown = body.keys() - TOP_FIELDS[kind]
    if unknown:
        raise ContractError(f"Unknown field: {', '.join(sorted(unknown))}")
    target_id = body.get(f"{kind}_id")
    if not isinstance(target_id, str) or not target_id:
        raise ContractError(f"{kind}_id is required")
    send_id = body.get("send_id")
    if send_id is not None and not isinstance(send_id, str):
        raise ContractError("send_id must be a string")
    broadcast = _boolean(body, "broadcast", False)
    audience = body.get("audience")
    if audience is not None and not isinstance(audience, dict):
        raise ContractError("audience must be an object")
    properties = _properties(body, PROPERTIES_FIELD[kind])
    listed = body.get("recipients")
    _check_addressing(body, broadcast, listed)
    errors: list[dict[str, Json]] = []
    recipients = _recipients(kind, listed, properties, errors) if listed is not None else []
    if listed and not recipients:
        raise ContractError("No Recipients", errors)
    return TriggerCall(kind, target_id, send_id, broadcast, audience, properties, recipients, errors)


def _check_addressing(body: Mapping[str, Json], broadcast: bool, listed: Json) -> None:
    if "recipients" in body and broadcast:
        raise ContractError("broadcast and recipients exclude each other")
    if "recipients" not in body and not broadcast:
        raise ContractError("broadcast must be true when recipients are absent")
    if "attachments" in body:
        if broadcast:
            raise ContractError("broadcast and attachments exclude each other")
        _check_attachments(body["attachments"])
    if "recipients" not in body:
        return
    if not isinstance(listed, list):
        raise ContractError("recipients must be an array")
    if not listed:
        raise ContractError("No Recipients")
    if len(listed) > MAX_RECIPIENTS:
        raise ContractError(f"More than {MAX_RECIPIENTS} recipients")


def _check_attachments(attachments: Json) -> None:
    if not isinstance(attachments, list):
        raise ContractError("attachments must be an array")
    for attachment in attachments:
        if not isinstance(attachment, dict) or attachment.keys() - ATTACHMENT_FIELDS:
            raise ContractError("an attachment holds file_name, url and basic_auth_credential")
        if not all(isinstance(attachment.get(name), str) and attachment[name] for name in ("file_name", "url")):
            raise ContractError("an attachment needs a file_name and a url")


def _recipients(
    kind: Kind, listed: list[Json], parent: Mapping[str, Json], errors: list[dict[str, Json]]
) -> list[Recipient]:
    by_identity: dict[tuple[str, str], Recipient] = {}
    for index, item in enumerate(listed):
        recipient = _recipient(kind, item, parent, index, errors)
        if len(recipient.value.encode()) > MAX_EXTERNAL_ID_BYTES and recipient.identifier == "external_user_id":
            errors.append(_skipped("EXTERNAL_USER_ID_TOO_LARGE", index))
            continue
        identity = (recipient.identifier, recipient.value)
        by_identity.pop(identity, None)
        by_identity[identity] = recipient
    return list(by_identity.values())


def _recipient(
    kind: Kind, item: Json, parent: Mapping[str, Json], index: int, errors: list[dict[str, Json]]
) -> Recipient:
    properties_field = PROPERTIES_FIELD[kind]
    if not isinstance(item, dict):
        raise ContractError(f"recipients[{index}] must be an object")
    unknown = item.keys() - {*IDENTIFIERS, properties_field, "prioritization", "send_to_existing_only", "attributes"}
    if unknown:
        raise ContractError(f"recipients[{index}] has an unknown field: {', '.join(sorted(unknown))}")
    named = [name for name in IDENTIFIERS if name in item]
    if len(named) != 1:
        raise ContractError(f"recipients[{index}] needs exactly one of {', '.join(IDENTIFIERS)}")
    identifier = named[0]
    value = _identity(identifier, item[identifier], index)
    _check_prioritization(identifier, item, index)

    attributes = item.get("attributes", {})
    if not isinstance(attributes, dict):
        raise ContractError(f"recipients[{index}].attributes must be an object")
    if identifier == "user_alias" and "send_to_existing_only" in item:
        raise ContractError(f"recipients[{index}]: send_to_existing_only cannot be used with a user_alias")
    existing_only = _boolean(item, "send_to_existing_only", True)
    if not existing_only and not attributes:
        raise ContractError(f"recipients[{index}]: send_to_existing_only false needs attributes")
    kept = _kept_attributes(kind, attributes, index, errors)
    merged = {**parent, **_properties(item, properties_field)}
    return Recipient(identifier, value, merged, kept, existing_only)


def _identity(identifier: str, value: Json, index: int) -> str:
    if identifier == "user_alias":
        if not isinstance(value, dict) or value.keys() != {"alias_name", "alias_label"}:
            raise ContractError(f"recipients[{index}].user_alias holds alias_name and alias_label")
        if not all(isinstance(part, str) and part for part in value.values()):
            raise ContractError(f"recipients[{index}].user_alias holds two strings")
        return f"{value['alias_label']}:{value['alias_name']}"
    if not isinstance(value, str) or not value:
        raise ContractError(f"recipients[{index}].{identifier} must be a string")
    return value


def _check_prioritization(identifier: str, item: Mapping[str, Json], index: int) -> None:
    listed = item.get("prioritization")
    if listed is None:
        if identifier == "email":
            raise ContractError(f"recipients[{index}]: prioritization is required with email")
        return
    if not isinstance(listed, list) or not listed or not all(isinstance(p, str) for p in listed):
        raise ContractError(f"recipients[{index}].prioritization must be an array of strings")
    if not PRIORITIZATIONS.issuperset(listed):
        raise ContractError(f"recipients[{index}].prioritization knows {', '.join(sorted(PRIORITIZATIONS))}")


def _kept_attributes(
    kind: Kind, attributes: Mapping[str, Json], index: int, errors: list[dict[str, Json]]
) -> dict[str, Json]:
    kept = dict(attributes)
    if "email_subscribe" in kept and str(kept["email_subscribe"]) not in EMAIL_STATES:
        del kept["email_subscribe"]
        errors.append(_skipped("BAD_EMAIL_SUBSCRIPTION_STATE", index))
    if kind == "canvas" and "subscription_groups" in kept:
        del kept["subscription_groups"]
        errors.append(_skipped("BAD_SUBSCRIPTION_GROUP", index))
    return kept


def _skipped(reason: str, index: int) -> dict[str, Json]:
    return {"type": reason, "input_array": "recipients", "index": index}


def _properties(holder: Mapping[str, Json], name: str) -> dict[str, Json]:
    value = holder.get(name, {})
    if not isinstance(value, dict):
        raise ContractError(f"{name} must be an object")
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_PROPERTIES_BYTES:
        raise ContractError(f"{name} is larger than 50 KB")
    return value


def _boolean(holder: Mapping[str, Json], name: str, default: bool) -> bool:
    value = holder.get(name, default)
    if not isinstance(value, bool):
        raise ContractError(f"{name} must be true or false")
    return value
