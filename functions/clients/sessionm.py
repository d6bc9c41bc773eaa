"""SessionM: Core (tags) and Connect (wallet). Two API families, two credentials.

Sources: Braze's partner page on SessionM; SessionM's pages on tags, authentication and errors.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from clients.credentials import Credentials, Token, noting_a_401, with_fresh_credentials
from clients.transport import Reply, Timeouts, Transport, path_of, raise_for_status
from clients.vocabulary import MAX_SHOWN_BYTES, Member
from shared.errors import (
    AnswerTooLarge,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)

GET_USER_OFFERS = "/offers/api/2.0/offers/get_user_offers"

_CODE = re.compile(r"[A-Za-z0-9_]{1,64}\Z")

# Which HTTP status goes with which code is not documented, and a 200 can carry any of them. These say "not now" or
# "not with this credential"; every other code is a refusal of the request itself.
_VENDOR_FAILED = frozenset({"internal_server_error", "not_available"})
_CREDENTIAL_REFUSED = frozenset({"invalid_auth_token", "invalid_api_key", "access_denied"})

# A refusal is a code and a sentence. A wallet, which may hold the word as well, is not read twice for it.
_LONGEST_REFUSAL_BYTES = 4_096


class SessionmCredentials(msgspec.Struct, frozen=True):
    """The SessionM secret. `connect_authorization` is the Basic string as handed out, with or without "Basic "."""

    core_api_key: Token
    core_api_secret: Token
    connect_authorization: Annotated[str, Meta(pattern=r"^(Basic )?[\x21-\x7e]+\Z", max_length=4096)]
    retailer_id: Token

    def core_basic(self) -> str:
        return "Basic " + b64encode(f"{self.core_api_key}:{self.core_api_secret}".encode()).decode()

    def connect_basic(self) -> str:
        return "Basic " + self.connect_authorization.removeprefix("Basic ").strip()


class Sessionm:
    """Typed calls; every method may raise any `UpstreamError`."""

    def __init__(self, core: Transport, connect: Transport, credentials: Credentials[SessionmCredentials]) -> None:
        self._core = core
        self._connect = connect
        self._credentials = credentials

    def add_tags(self, member: Member, tags: Sequence[str], ttl_seconds: int | None, timeouts: Timeouts) -> None:
        """Tags one member, who must exist.

        With `ttl_seconds` each tag expires that long from now, and repeating the call merely refreshes it. Without,
        each is a counter tag, and every call adds one. The unit of ttl is inferred from the vendor's sample value.

        This is one request, also after a 401, so that a caller who keeps to a rate counts right: after
        `UpstreamUnauthorized` another call goes out with credentials read anew.
        """
        body: dict[str, Any] = {"tags": list(tags)}
        if ttl_seconds is not None:
            body["ttl"] = ttl_seconds

        def call(credentials: SessionmCredentials) -> Reply:
            path = _tags_path(credentials.core_api_key, member)
            return self._core.send(
                "POST",
                path,
                body=body,
                authorization=credentials.core_basic(),
                timeouts=timeouts,
                operation="add_tags",
            )

        checked(self._core.upstream, noting_a_401(self._credentials, call))

    def tags_of(self, member: Member, timeouts: Timeouts) -> frozenset[str]:
        """The names of the tags a member has.

        That tags can be read is documented; where, and in which shape, is not. Assumed are the address that takes them
        and a list of names, or of objects with a `name`, at the top or one level below; else it is `UpstreamGarbled`.
        """

        def call(credentials: SessionmCredentials) -> Reply:
            path = _tags_path(credentials.core_api_key, member)
            return self._core.send(
                "GET", path, authorization=credentials.core_basic(), timeouts=timeouts, operation="read_tags"
            )

        body = self._checked(self._core.upstream, call)
        for level in (body, *(value for value in body.values() if isinstance(value, dict))):
            tags = level.get("tags")
            if isinstance(tags, list):
                return frozenset(name for name in map(_tag_name, tags) if name)
        raise UpstreamGarbled(self._core.upstream, "the answer has no tags")

    def get_user_offers(
        self, user_id: str, *, culture: str, skip: int, take: int, timeouts: Timeouts, once: bool = False
    ) -> dict[str, Any]:
        """The payload of `get_user_offers`: the member's issued offers and points, as SessionM words them.

        `once` is as in `connect`.
        """
        request = {
            "user_id": user_id,
            "skip": skip,
            "take": take,
            "include_pending_extended_data": False,
            "culture": culture,
        }
        return self._wallet_of(user_id, self.connect(GET_USER_OFFERS, request, timeouts, once=once))

    def ready(self) -> None:
        """Has the credentials at hand: a call made now asks SessionM at once, and waits for no other."""
        self._credentials.current()

    def user_offers_answer(self, request: dict[str, Any], timeouts: Timeouts, *, once: bool = False) -> str:
        """SessionM's own answer to its own request, when it is one that Braze will let a template see.

        Else it is `AnswerTooLarge`. One that says inside that it failed is the error it would be in any other call, for
        the answer is kept. `once` is as in `connect`.
        """
        reply = self.connect(GET_USER_OFFERS, request, timeouts, once=once)
        if not isinstance(self._wallet_of(request["user_id"], reply).get("user_offers", []), list):
            raise UpstreamGarbled(self._connect.upstream, "user_offers is no list")
        if len(reply.content) > MAX_SHOWN_BYTES:
            raise AnswerTooLarge(self._connect.upstream, "more than Braze takes; ask for fewer offers with take")
        return reply.content.decode()

    def connect(self, path: str, request: dict[str, Any], timeouts: Timeouts, *, once: bool = False) -> Reply:
        """Any Connect operation, with our retailer id in the body, and SessionM's own answer whatever its status.

        With `once` it is one request also after a 401, for a caller who keeps to a rate, as in `add_tags`.
        """
        made = noting_a_401 if once else with_fresh_credentials
        return made(self._credentials, self._connect_call(path, request, timeouts))

    def _wallet_of(self, user_id: str, reply: Reply) -> dict[str, Any]:
        """The payload; it names its member, and when that is another one something in between mixes up answers."""
        payload = checked(self._connect.upstream, reply).get("payload")
        if not isinstance(payload, dict):
            raise UpstreamGarbled(self._connect.upstream, "the answer has no payload object")
        named = payload.get("user_id")
        if isinstance(named, str) and named.casefold() != user_id.casefold():
            self._connect.forget_connections()
            raise UpstreamGarbled(self._connect.upstream, "the answer is for another member")
        return payload

    def _connect_call(
        self, path: str, request: dict[str, Any], timeouts: Timeouts
    ) -> Callable[[SessionmCredentials], Reply]:
        def call(credentials: SessionmCredentials) -> Reply:
            body = request | {"retailer_id": credentials.retailer_id}
            return self._connect.send(
                "POST",
                path,
                body=body,
                authorization=credentials.connect_basic(),
                timeouts=timeouts,
                operation="get_user_offers" if path == GET_USER_OFFERS else "other",
            )

        return call

    def _checked(self, upstream: str, call: Callable[[SessionmCredentials], Reply]) -> dict[str, Any]:
        return checked(upstream, with_fresh_credentials(self._credentials, call))


def checked(upstream: str, reply: Reply) -> dict[str, Any]:
    """The body of an answer that says "ok"; raises the error that any other one is."""
    raise_for_status(upstream, reply, refusal)
    body = reply.json(upstream)
    if body.get("status") == "ok":
        return body
    if body.get("status") != "error":
        raise UpstreamGarbled(upstream, "the answer has no status")
    code = error_code(body) or "unspecified"
    if code in _VENDOR_FAILED:
        raise UpstreamUnavailable(upstream, code)
    if code in _CREDENTIAL_REFUSED:
        raise UpstreamUnauthorized(upstream, code)
    raise UpstreamRefused(upstream, code)


def error_code(body: dict[str, Any]) -> str:
    """SessionM's own code, lower case, from `{"status":"error","errors":{"code":...}}`; empty when there is none.

    A code is logged and shown, so anything but a plain word counts as none.
    """
    errors = body.get("errors")
    code = errors.get("code") if isinstance(errors, dict) else None
    return code.lower() if isinstance(code, str) and _CODE.match(code) else ""


def meaning(reply: Reply) -> int:
    """The status of an answer, but 401 where it is 200 and says inside that our credential is refused."""
    if reply.status != 200 or len(reply.content) > _LONGEST_REFUSAL_BYTES or b'"error' not in reply.content:
        return reply.status
    try:
        return 401 if error_code(reply.json("")) in _CREDENTIAL_REFUSED else 200
    except UpstreamGarbled:
        return 200


def refusal(upstream: str, reply: Reply) -> UpstreamError:
    """A 4xx in SessionM's own words. One without is not SessionM's: a wrong host, or something in front of it."""
    try:
        body = reply.json(upstream)
    except UpstreamGarbled:
        body = {}
    if body.get("status") != "error":
        return UpstreamUnavailable(upstream, f"status {reply.status}, but not in SessionM's words")
    return UpstreamRefused(upstream, error_code(body) or f"status_{reply.status}")


def _tag_name(tag: Any) -> str:
    name = tag.get("name") if isinstance(tag, dict) else tag
    return name if isinstance(name, str) else ""


def _tags_path(app_key: str, member: Member) -> str:
    users = ("users",) if member.kind == "user_id" else ("external", "users")
    return path_of("priv", "v1", "apps", app_key, *users, member.id, "tags")
