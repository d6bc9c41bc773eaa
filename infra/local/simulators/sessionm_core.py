"""SessionM Core (`/priv/v1/apps/{app_key}/...`): tags and profiles.

Sources: docs.sessionm.com on authentication, errors and customer tags, and Braze's partner page on SessionM. The
pairing of HTTP status and error code is published only for 401 (authentication) and 404 (not found); everything else a
member's request can get wrong is answered here with 200 and `"status":"error"`, which the error page allows and which a
client must be able to read.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from infra.local.simulators.messages import Call, Json, Refused, Reply, basic_authorization
from infra.local.simulators.routing import Route
from infra.local.simulators.sessionm_members import Member, Members, MixedTag, iso

WRITE_SECONDS = 0.300  # one customer's measurement of a Core write
READ_SECONDS = 0.150  # and of a read


def core_error(status: int, code: str, message: str = "") -> Reply:
    """Core's error shape; `message` inside `errors` is optional there."""
    errors = {"code": code, "message": message} if message else {"code": code}
    return Reply(status, {"status": "error", "errors": errors})


class Core:
    """The Core handlers over the shared members."""

    def __init__(self, members: Callable[[], Members], api_key: str, api_secret: str) -> None:
        self._members = members
        self.api_key = api_key
        self.api_secret = api_secret

    def routes(self) -> list[Route]:
        own, foreign = "/priv/v1/apps/{app_key}/users/{user_id}", "/priv/v1/apps/{app_key}/external/users/{external_id}"
        return [
            *(Route("POST", f"{path}/tags", self.add_tags, WRITE_SECONDS) for path in (own, foreign)),
            *(Route("GET", f"{path}/tags", self.list_tags, READ_SECONDS) for path in (own, foreign)),
            *(Route("GET", path, self.show_user, READ_SECONDS) for path in (own, foreign)),
        ]

    def add_tags(self, call: Call, params: Mapping[str, str]) -> Reply:
        """POST tags `{"tags": [text, ...], "ttl"?: positive whole number}`.

        The documentation does not print the answer: `{"status":"ok"}` alone is an assumption. So are the refusal of a
        body not sent as application/json and, for what the body gets wrong, the choice between `argument_error`,
        `missing_data` and `validation`.
        """
        member = self._authorized_member(call, params)
        names, ttl_seconds = self._tag_body(call)
        try:
            member.tag(names, ttl_seconds, call.received_at)
        except MixedTag as error:
            return core_error(200, "validation", str(error))
        return Reply(200, {"status": "ok"})

    def list_tags(self, call: Call, params: Mapping[str, str]) -> Reply:
        """GET on the same path: `{"status":"ok","tags":[{"name","count"} or {"name","expires_at"}]}`.

        A method to retrieve tags exists; its path and its answer are not public, so both are assumptions.
        """
        member = self._authorized_member(call, params)
        tags = member.live_tags(call.received_at)
        return Reply(200, {"status": "ok", "tags": [tag.to_json(name) for name, tag in sorted(tags.items())]})

    def show_user(self, call: Call, params: Mapping[str, str]) -> Reply:
        """GET a profile: the commoner fields of those that public clients read."""
        return Reply(200, {"status": "ok", "user": _profile(self._authorized_member(call, params))})

    def _authorized_member(self, call: Call, params: Mapping[str, str]) -> Member:
        right = basic_authorization(self.api_key, self.api_secret).encode()
        if not hmac.compare_digest(call.authorization, right) or params["app_key"] != self.api_key:
            raise Refused(core_error(401, "invalid_api_key"))
        members = self._members()
        member = (
            members.find(params["user_id"]) if "user_id" in params else members.find_external(params["external_id"])
        )
        if member is None:
            raise Refused(core_error(404, "user_not_found"))
        return member

    def _tag_body(self, call: Call) -> tuple[list[str], int | None]:
        if call.media_type != "application/json":
            raise Refused(core_error(200, "argument_error", "Content-Type must be application/json"))
        try:
            body = call.json()
        except ValueError:
            raise Refused(core_error(200, "argument_error", "the body is not JSON")) from None
        if not isinstance(body, dict):
            raise Refused(core_error(200, "validation", "the body must be an object"))
        tags = body.get("tags")
        if tags is None or tags == []:
            raise Refused(core_error(200, "missing_data", "tags"))
        if not isinstance(tags, list) or not all(isinstance(name, str) and name.strip() for name in tags):
            raise Refused(core_error(200, "validation", "tags must be a list of names"))
        if "ttl" not in body:
            return tags, None
        ttl = body["ttl"]
        if isinstance(ttl, bool) or not isinstance(ttl, int) or ttl < 1:
            raise Refused(core_error(200, "validation", "ttl must be a positive whole number"))
        return tags, ttl


def _profile(member: Member) -> dict[str, Json]:
    identifiers = [{"external_id": member.external_id, "external_id_type": "loyalty"}] if member.external_id else []
    return {
        "id": member.user_id,
        "external_id": member.external_id,
        "opted_in": member.opted_in,
        "activated": member.activated,
        "proxy_ids": [],
        "identifiers": identifiers,
        "available_points": member.available_points,
        "test_points": 0,
        "unclaimed_achievement_count": 0,
        "created_at": iso(member.created_at),
        "updated_at": iso(member.created_at),
        "suspended": False,
        "account_status": "good",
    }
