"""Braze's email templates: create, update, info, list. Source: Braze's pages on email template endpoints.

Every template here is an HTML one; those made by drag and drop are neither accepted nor returned by Braze.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from infra.local.simulators.braze_query import bad, is_whole, moment_of, required
from infra.local.simulators.braze_workspace import EmailTemplate, Workspace, iso_offset
from infra.local.simulators.messages import Call, Json, Refused, Reply

MAX_BODY_BYTES = 400 * 1024
PAGE, MAX_PAGE = 100, 1000

TEXTS = ("template_name", "subject", "body", "plaintext_body", "preheader")
FIELDS = {*TEXTS, "tags", "should_inline_css"}
_REQUIRED = {
    "template_name": "Template name is required",
    "subject": "Subject is required",
    "body": "Body is required",
}


def create_template(workspace: Workspace, new_id: Callable[[], str], call: Call, body: Json) -> Reply:
    fields = _fields(body, FIELDS)
    for name, words in _REQUIRED.items():
        if not fields.get(name):
            raise bad(words)
    template = EmailTemplate(new_id(), fields, call.received_at, call.received_at)
    workspace.templates[template.id] = template
    return Reply(201, {"email_template_id": template.id, "message": "success"})


def update_template(workspace: Workspace, call: Call, body: Json) -> Reply:
    fields = _fields(body, {*FIELDS, "email_template_id"})
    template = _template(workspace, str(fields.pop("email_template_id", "")))
    if not fields:
        raise bad("At least one field to update is required")
    template.fields |= fields
    template.updated_at = call.received_at
    return Reply(200, {"message": "success"})


def template_info(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    template = _template(workspace, required(call, "email_template_id"))
    empty = dict.fromkeys((*TEXTS, "description"), "") | {"tags": [], "should_inline_css": False}
    return Reply(200, {**empty, **_known_by(template), **template.fields, "message": "success"})


def list_templates(workspace: Workspace, call: Call, _params: Mapping[str, str]) -> Reply:
    """`modified_after`, `modified_before`, `limit` (100, at most 1000), `offset`."""
    limit, offset = call.query.get("limit", str(PAGE)), call.query.get("offset", "0")
    if not is_whole(limit) or not 1 <= int(limit) <= MAX_PAGE:
        raise bad(f"limit must be a whole number from 1 to {MAX_PAGE}")
    if not is_whole(offset):
        raise bad("offset must be a whole number")
    after, before = moment_of(call, "modified_after"), moment_of(call, "modified_before")
    found = [
        template
        for template in workspace.templates.values()
        if (after is None or template.updated_at > after.timestamp())
        and (before is None or template.updated_at < before.timestamp())
    ]
    shown = found[int(offset) : int(offset) + int(limit)]
    listed = [
        {**_known_by(each), "template_name": each.fields["template_name"], "tags": each.fields.get("tags", [])}
        for each in shown
    ]
    return Reply(200, {"count": len(listed), "templates": listed, "message": "success"})


def _fields(body: Json, known: set[str]) -> dict[str, Json]:
    if not isinstance(body, dict):
        raise bad("The request body must be an object")
    if unknown := body.keys() - known:
        raise bad(f"Unknown field: {', '.join(sorted(unknown))}")
    for name in TEXTS:
        if not isinstance(body.get(name, ""), str):
            raise bad(f"{name} must be a string")
    if len(str(body.get("body", "")).encode()) > MAX_BODY_BYTES:
        raise bad("The body is larger than 400 KB")
    tags = body.get("tags", [])
    if not isinstance(tags, list):
        raise bad("Tags must be an array")
    if not all(isinstance(tag, str) for tag in tags):
        raise bad("All tags must be strings")
    if not isinstance(body.get("should_inline_css", False), bool):
        raise bad("Invalid value for should_inline_css. One of true or false was expected")
    return dict(body)


def _template(workspace: Workspace, template_id: str) -> EmailTemplate:
    if template_id not in workspace.templates:
        raise Refused(Reply(400, {"message": "Invalid Email Template ID"}))
    return workspace.templates[template_id]


def _known_by(template: EmailTemplate) -> dict[str, Json]:
    return {
        "email_template_id": template.id,
        "created_at": iso_offset(template.created_at),
        "updated_at": iso_offset(template.updated_at),
    }
