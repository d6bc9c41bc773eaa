"""Braze's user data: users/track and users/export/ids.

Sources: Braze's pages on both endpoints and on the attributes, event and purchase objects. A wrong object is skipped
and told about in `errors`; the words of an error are ours where the pages print none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from infra.local.simulators.braze_contract import MAX_EXTERNAL_ID_BYTES, MAX_RECIPIENTS
from infra.local.simulators.braze_query import bad
from infra.local.simulators.braze_workspace import Tracked, User, Workspace
from infra.local.simulators.messages import Call, Json, Reply

MAX_OBJECTS = 75
MAX_PROPERTIES_BYTES = 100 * 1024
MAX_NAME = 255

ARRAYS = ("attributes", "events", "purchases")
PRIMARY = ("external_id", "user_alias", "braze_id")
SECONDARY = ("email", "phone")

EXPORTED_FIELDS = {
    *("apps", "attributed_campaign", "attributed_source", "attributed_adgroup", "attributed_ad", "push_subscribe"),
    *("email_subscribe", "braze_id", "campaigns_received", "canvases_received", "cards_clicked", "country"),
    *("created_at", "created_from", "custom_attributes", "custom_events", "devices", "dob", "email", "external_id"),
    *("first_name", "gender", "home_city", "language", "last_coordinates", "last_name", "phone", "purchases"),
    *("push_tokens", "random_bucket", "time_zone", "total_revenue", "uninstalled_at", "user_aliases"),
}
_STANDARD_ATTRIBUTES = EXPORTED_FIELDS - {"custom_attributes", "custom_events", "purchases"}


def track(workspace: Workspace, known_users_only: bool, call: Call, body: Json) -> Reply:
    """201 with how many objects of each array were taken, and `errors` for those that were not.

    Events are stored as often as they are sent.
    """
    if not isinstance(body, dict):
        raise bad("The request body must be an object")
    if unknown := body.keys() - set(ARRAYS):
        raise bad(f"Unknown field: {', '.join(sorted(unknown))}")
    if not all(isinstance(body.get(array, []), list) for array in ARRAYS):
        raise bad("attributes, events and purchases must be arrays")
    if sum(len(body.get(array, [])) for array in ARRAYS) > MAX_OBJECTS:
        raise bad("Max Input Length Exceeded")
    errors: list[Json] = []
    taken: list[Tracked] = []
    for array in ARRAYS:
        for index, item in enumerate(body.get(array, [])):
            if fault := _fault(array, item):
                errors.append({"type": fault, "input_array": array, "index": index})
            else:
                taken.append(Tracked(array, _member(item), item, call.received_at))
    if not taken:
        words = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
        return Reply(400, {"message": words, "errors": errors})
    answer: dict[str, Json] = {"message": "success"}
    for array in ARRAYS:
        if count := sum(each.array == array for each in taken):
            answer[f"{array}_processed"] = count
    for each in taken:
        _store(workspace, known_users_only, each)
    return Reply(201, answer | ({"errors": errors} if errors else {}))


def export_ids(workspace: Workspace, _call: Call, body: Json) -> Reply:
    """Profiles by up to 50 ids and aliases, or by one email address; `fields_to_export` is required."""
    if not isinstance(body, dict):
        raise bad("The request body must be an object")
    known = {"external_ids", "user_aliases", "device_id", "braze_id", "email_address", "phone", "fields_to_export"}
    if unknown := body.keys() - known:
        raise bad(f"Unknown field: {', '.join(sorted(unknown))}")
    fields = body.get("fields_to_export")
    if not isinstance(fields, list) or not fields or not EXPORTED_FIELDS.issuperset(fields):
        raise bad("fields_to_export must be an array of fields that can be exported")
    ids, aliases = body.get("external_ids", []), body.get("user_aliases", [])
    if not isinstance(ids, list) or not isinstance(aliases, list) or len(ids) + len(aliases) > MAX_RECIPIENTS:
        raise bad(f"At most {MAX_RECIPIENTS} external_ids and user_aliases")
    if not known.difference({"fields_to_export"}).intersection(body):
        raise bad("an identifier is required")
    email = body.get("email_address")
    found = [user for user in workspace.users.values() if user.external_id in ids or (email and user.email == email)]
    unknown_ids = [each for each in ids if each not in workspace.users]
    users = [_exported(workspace, user, fields) for user in found]
    answer: dict[str, Json] = {"message": "success", "users": users}
    return Reply(201, answer | ({"invalid_user_ids": unknown_ids} if unknown_ids else {}))


def _fault(array: str, item: Json) -> str:
    """What is wrong with an object, in a word or a sentence; empty when nothing is."""
    if not isinstance(item, dict):
        return "an object was expected"
    primary = [name for name in PRIMARY if item.get(name)]
    if len(primary) > 1 or not (primary or any(item.get(name) for name in SECONDARY)):
        return "exactly one of 'external_id', 'user_alias' or 'braze_id', or else 'email' or 'phone', is required"
    if not isinstance(item.get("external_id", ""), str | None):
        return "'external_id' must be a string"
    if len(str(item.get("external_id", "")).encode()) > MAX_EXTERNAL_ID_BYTES:
        return "EXTERNAL_USER_ID_TOO_LARGE"
    if array == "attributes":
        return "EMAIL_BAD_FORMAT" if "@" not in str(item.get("email", "@")) else ""
    if array == "events" and not (isinstance(item.get("name"), str) and item["name"]):
        return "'name' is required"
    if array == "purchases":
        for name, kind in (("product_id", str), ("currency", str), ("price", (int, float))):
            if not isinstance(item.get(name), kind):
                return f"'{name}' is required"
    if not _is_time(item.get("time")):
        return "'time' is required, in ISO 8601"
    return _fault_in_properties(item.get("properties", {}))


def _fault_in_properties(properties: Json) -> str:
    if not isinstance(properties, dict):
        return "'properties' must be an object"
    if len(json.dumps(properties, separators=(",", ":"), ensure_ascii=False).encode()) > MAX_PROPERTIES_BYTES:
        return "'properties' is larger than 100 KB"
    for name in properties:
        if not name or len(name) > MAX_NAME or name.startswith("$") or name in ("time", "event_name"):
            return "a property has a name that is not allowed"
    return ""


def _is_time(value: Json) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value) is not None
    except ValueError:
        return False


def _member(item: Mapping[str, Json]) -> str:
    name = next(name for name in (*PRIMARY, *SECONDARY) if item.get(name))
    value = item[name]
    return f"{name}:{value['alias_label']}:{value['alias_name']}" if name == "user_alias" else f"{name}:{value}"


def _store(workspace: Workspace, known_users_only: bool, tracked: Tracked) -> None:
    """A profile nobody had is made, unless the object or this simulator says otherwise."""
    external_id = tracked.data.get("external_id")
    is_new = external_id is not None and external_id not in workspace.users
    if is_new and known_users_only and tracked.data.get("_update_existing_only"):
        return
    email = tracked.data.get("email") if tracked.array == "attributes" else None
    if external_id is not None and (is_new or email):
        workspace.users[external_id] = User(external_id, email)
    workspace.tracked.append(tracked)


def _exported(workspace: Workspace, user: User, fields: list[str]) -> dict[str, Json]:
    own = [each for each in workspace.tracked if each.member == f"external_id:{user.external_id}"]
    attributes: dict[str, Json] = {}
    for each in own:
        if each.array == "attributes":
            attributes |= each.data
    counted: dict[str, int] = {}
    for each in own:
        if each.array == "events":
            counted[each.data["name"]] = counted.get(each.data["name"], 0) + 1
    custom = {name: value for name, value in attributes.items() if name not in _STANDARD_ATTRIBUTES and name[0] != "_"}
    profile: dict[str, Json] = {
        **{name: value for name, value in attributes.items() if name in _STANDARD_ATTRIBUTES},
        "external_id": user.external_id,
        **({"email": user.email} if user.email else {}),
        **({"custom_attributes": custom} if custom else {}),
        **({"custom_events": [{"name": name, "count": count} for name, count in counted.items()]} if counted else {}),
    }
    return {name: profile[name] for name in fields if name in profile}
