"""The Braze simulator: one workspace, and everything of its REST API that decisioning and loyalty need.

Sources: Braze's pages on API basics, errors and responses, API limits, and on the single endpoints.
"""

from __future__ import annotations

import hmac
import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import partial

from infra.local.simulators.braze_analytics import LISTS_AND_PURCHASES_PER_HOUR, Analytics, Counted
from infra.local.simulators.braze_catalogue import CATALOGUE
from infra.local.simulators.braze_contract import ContractError, Kind, TriggerCall, read_trigger
from infra.local.simulators.braze_exports import Exports, Users
from infra.local.simulators.braze_limits import BrazeLimits, rate_headers
from infra.local.simulators.braze_messages import read_messages
from infra.local.simulators.braze_query import parsed
from infra.local.simulators.braze_segments import list_segments, segment_details, segment_series
from infra.local.simulators.braze_templates import create_template, list_templates, template_info, update_template
from infra.local.simulators.braze_users import export_ids, track
from infra.local.simulators.braze_workspace import (
    NOTICES,
    Campaign,
    Canvas,
    CanvasState,
    EmailTemplate,
    Segment,
    Send,
    Tracked,
    User,
    Workspace,
)
from infra.local.simulators.messages import Call, Json, Reply
from infra.local.simulators.routing import Route
from infra.local.simulators.server import KEPT_REQUESTS, Simulator

USUAL_SECONDS = 0.080
MAX_BODY_BYTES = 4 * 1024 * 1024
PUBLIC = "*"  # in place of a permission: whoever knows the address
PERMISSIONS = frozenset(
    {
        *("campaigns.trigger.send", "canvas.trigger.send", "messages.send", "users.track", "users.export.ids"),
        *("segments.list", "segments.details", "segments.data_series", "users.export.segment"),
        *("templates.email.create", "templates.email.update", "templates.email.info", "templates.email.list"),
        *(permission for permission, _ in CATALOGUE.values()),
        *("events.list", "events.data_series", "purchases.product_list"),
        *("purchases.quantity_series", "purchases.revenue_series"),
    }
)


class BrazeSimulator(Simulator):
    """Braze's REST API on a local port.

    `api_key` and `permissions`: the one key and its scopes. `requests_per_hour`, `broadcasts_per_minute`,
    `broadcasts_per_minute_and_audience`, `tracks_per_three_seconds`: the limits. `known_users_only`: skip recipients
    that were not added with `add_user` and may not be created, as Braze does; otherwise every recipient is taken to
    exist.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        api_key: str = "local-braze-key",
        permissions: Iterable[str] = PERMISSIONS,
        requests_per_hour: int = 250_000,
        broadcasts_per_minute: int = 250,
        broadcasts_per_minute_and_audience: int = 10,
        tracks_per_three_seconds: int = 3000,
        purchase_reads_per_hour: int = LISTS_AND_PURCHASES_PER_HOUR,
        known_users_only: bool = False,
        latency_scale: float = 1.0,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
        keep_requests: int = KEPT_REQUESTS,
    ) -> None:
        super().__init__(host, port, latency_scale=latency_scale, seed=seed, clock=clock, keep_requests=keep_requests)
        self._api_key = api_key
        self._permissions = frozenset(permissions)
        self._known_users_only = known_users_only
        self._limits = BrazeLimits(
            requests_per_hour,
            broadcasts_per_minute,
            broadcasts_per_minute_and_audience,
            tracks_per_three_seconds,
        )
        self._workspace = Workspace()
        self._analytics = Analytics(self._workspace, purchase_reads_per_hour)
        self.exports = Exports(
            self._workspace, self.lock, self.clock, latency_scale, lambda: self.url.replace("0.0.0.0", "127.0.0.1")
        )
        self._ids = random.Random(seed)
        self.use_routes(
            [
                _route("POST", "/campaigns/trigger/send", "campaigns.trigger.send", partial(self._trigger, "campaign")),
                _route("POST", "/canvas/trigger/send", "canvas.trigger.send", partial(self._trigger, "canvas")),
                _route("POST", "/users/export/segment", "users.export.segment", self.exports.begin),
                _route("GET", "/exports/{name}", PUBLIC, self.exports.download),
                _route("GET", "/segments/list", "segments.list", partial(list_segments, self._workspace)),
                _route("GET", "/segments/details", "segments.details", partial(segment_details, self._workspace)),
                _route(
                    "GET", "/segments/data_series", "segments.data_series", partial(segment_series, self._workspace)
                ),
                *(
                    _route("GET", path, permission, read)
                    for path, (permission, read) in self._analytics.reads().items()
                ),
                *(
                    _route("GET", path, permission, partial(read, self._workspace))
                    for path, (permission, read) in CATALOGUE.items()
                ),
                _route("POST", "/messages/send", "messages.send", self._messages),
                _route("POST", "/users/track", "users.track", self._stored(track, self._workspace, known_users_only)),
                _route("POST", "/users/export/ids", "users.export.ids", self._stored(export_ids, self._workspace)),
                _route(
                    "POST",
                    "/templates/email/create",
                    "templates.email.create",
                    self._stored(create_template, self._workspace, self._new_id),
                ),
                _route(
                    "POST",
                    "/templates/email/update",
                    "templates.email.update",
                    self._stored(update_template, self._workspace),
                ),
                _route("GET", "/templates/email/info", "templates.email.info", partial(template_info, self._workspace)),
                _route(
                    "GET", "/templates/email/list", "templates.email.list", partial(list_templates, self._workspace)
                ),
            ]
        )

    # --- set-up and inspection --------------------------------------------------------------------------------------

    @property
    def authorization(self) -> str:
        """The Authorization header value that is accepted now."""
        return f"Bearer {self._api_key}"

    def rotate_credentials(self, *, api_key: str) -> None:
        """From now on accept this key instead; the former one gets 401."""
        with self.lock:
            self._api_key = api_key

    def set_permissions(self, permissions: Iterable[str]) -> None:
        """Replace the key's scopes."""
        with self.lock:
            self._permissions = frozenset(permissions)

    def add_campaign(self, id: str | None = None, name: str = "Offer reminder", archived: bool = False) -> Campaign:
        """Add an API-triggered campaign; without `id` one is made up."""
        with self.lock:
            campaign = Campaign(id or self._new_id(), name, self.clock(), archived)
            self._workspace.campaigns[campaign.id] = campaign
        return campaign

    def add_canvas(self, id: str | None = None, name: str = "Welcome journey", state: CanvasState = "active") -> Canvas:
        """Add an API-triggered Canvas, or change the one with this id; without `id` one is made up."""
        with self.lock:
            canvas = Canvas(id or self._new_id(), name, state, self.clock())
            self._workspace.canvases[canvas.id] = canvas
        return canvas

    def add_segment(
        self,
        id: str | None = None,
        name: str = "Gold members",
        size: int = 10_000,
        analytics: bool = True,
        archived: bool = False,
    ) -> Segment:
        """Add a segment of about `size` users; without `id` one is made up."""
        with self.lock:
            segment = Segment(id or self._new_id(), name, size, analytics, self.clock(), archived=archived)
            self._workspace.segments[segment.id] = segment
        return segment

    def add_email_template(self, id: str | None = None, name: str = "Weekly offer") -> EmailTemplate:
        """Add an email template; without `id` one is made up."""
        with self.lock:
            fields: dict[str, Json] = {"template_name": name, "subject": "Free coffee", "body": "<p>It is on us</p>"}
            template = EmailTemplate(id or self._new_id(), fields, self.clock(), self.clock())
            self._workspace.templates[template.id] = template
        return template

    def set_segment_sizes(self, segment_id: str, sizes: Mapping[date, int]) -> None:
        """Replace the made-up series by exactly these days. Raises KeyError for an unknown segment."""
        with self.lock:
            self._workspace.segments[segment_id].exact = dict(sizes)

    def set_segment_users(self, segment_id: str, users: Users) -> None:
        """The external ids that an export of the segment holds, None for an anonymous user."""
        self.exports.set_users(segment_id, users)

    def add_event(self, name: str, per_day: int = 2400) -> None:
        """Add a custom event that happens about `per_day` times a day."""
        with self.lock:
            self._analytics.events[name] = Counted(name, per_day)

    def add_product(self, name: str, per_day: int = 240, price: float = 4.5) -> None:
        """Add a product that is bought about `per_day` times a day at `price`."""
        with self.lock:
            self._analytics.products[name] = Counted(name, per_day, price)

    def add_user(self, external_id: str, email: str | None = None) -> User:
        """Add a profile; it matters only to a simulator with `known_users_only`."""
        user = User(external_id, email)
        with self.lock:
            self._workspace.users[external_id] = user
        return user

    @property
    def sends(self) -> list[Send]:
        """What was sent, oldest first, one entry for each recipient and one for each broadcast."""
        with self.lock:
            return list(self._workspace.sends)

    @property
    def tracked(self) -> list[Tracked]:
        """What users/track stored, oldest first, one entry for each object."""
        with self.lock:
            return list(self._workspace.tracked)

    # --- what the server asks for -----------------------------------------------------------------------------------

    def answer(self, call: Call, found: tuple[Route, dict[str, str]] | None) -> Reply:
        """Key, path, permission, media type, size, limit, in this order (an assumption), then the route itself."""
        if found is not None and found[0].permission == PUBLIC:
            return found[0].handler(call, found[1])
        if not hmac.compare_digest(call.authorization, self.authorization.encode()):
            return self._error(401, "Invalid API Key")
        if call.path.endswith("/") and call.path != "/":
            return self._error(403, "Access Denied: the path ends with a slash")
        if found is None:
            return self._error(404, "Invalid URL")
        route, params = found
        if route.permission not in self._permissions:
            return self._error(403, f"Access Denied: the key lacks {route.permission}")
        if call.method == "POST":
            if not call.media_type:
                return self._error(415, "Content-Type is required")
            if len(call.body) > MAX_BODY_BYTES:
                return self._error(413, "Request Entity Too Large")
        elif (own := self._analytics.take(call.path, call.received_at)) is not None:
            if not own.allowed:
                return self._rate_limited().with_headers(rate_headers(own))
            return route.handler(call, params).with_headers(rate_headers(own))
        elif not self._limits.take(call.received_at).allowed:
            return self._rate_limited()
        return route.handler(call, params)

    def error_reply(self, status: int, code: str, message: str) -> Reply:
        return self._error(status, f"{code}: {message}")

    def standing_headers(self) -> dict[str, str]:
        with self.lock:
            return rate_headers(self._limits.peek(self.clock()))

    def state(self) -> dict[str, Json]:
        with self.lock:
            workspace = self._workspace
            return {
                "campaigns": [{"id": c.id, "name": c.name} for c in workspace.campaigns.values()],
                "canvases": [{"id": c.id, "name": c.name, "state": c.state} for c in workspace.canvases.values()],
                "segments": [
                    {"id": s.id, "name": s.name, "size": s.size, "analytics": s.analytics}
                    for s in workspace.segments.values()
                ],
                "users": [{"external_id": u.external_id, "email": u.email} for u in workspace.users.values()],
                "sends": [send.to_json() for send in workspace.sends],
                "tracked": [each.to_json() for each in workspace.tracked],
            }

    def stop(self) -> None:
        super().stop()
        self.exports.stop()

    def forget(self) -> None:
        """Forget sends, exports, what was tracked, requests and used-up limits; everything else stays."""
        super().forget()
        with self.lock:
            self._workspace.sends.clear()
            self.exports.forget()
            self._workspace.tracked.clear()
            self._limits.reset()
            self._analytics.reset()

    # --- triggers ---------------------------------------------------------------------------------------------------

    def _trigger(self, kind: Kind, call: Call, _params: Mapping[str, str]) -> Reply:
        """201 `{"dispatch_id","message":"success"}`.

        With `notice` for a Canvas that is not running, and with `errors` for items skipped. Success means taken on, not
        delivered. A Canvas that is not running sends nothing.
        """
        try:
            body = call.json()
        except ValueError:
            body = None
        is_broadcast = isinstance(body, dict) and body.get("broadcast") is True
        if not is_broadcast and not self._limits.take(call.received_at).allowed:
            return self._rate_limited()
        if body is None:
            return self._error(400, "Error while parsing request body. Please check your syntax.")
        try:
            trigger = read_trigger(kind, body)
        except ContractError as error:
            return self._error(400, error.message, error.errors)
        known = self._workspace.campaigns if kind == "campaign" else self._workspace.canvases
        if trigger.target_id not in known:
            return self._error(400, "Invalid Campaign ID" if kind == "campaign" else "Invalid Canvas ID")

        headers: dict[str, str] = {}
        if trigger.broadcast:
            allowance = self._limits.take_broadcast(trigger.audience_key, call.received_at)
            headers = rate_headers(allowance)
            if not allowance.allowed:
                return self._rate_limited().with_headers(headers)
        notice = NOTICES.get(self._workspace.canvases[trigger.target_id].state) if kind == "canvas" else None
        dispatch_id = self._new_id()
        if notice is None:
            self._dispatch(trigger, dispatch_id, call.received_at)
        answer: dict[str, Json] = {"dispatch_id": dispatch_id, "message": "success"}
        if notice is not None:
            answer["notice"] = notice
        if trigger.errors:
            answer["errors"] = trigger.errors
        return Reply(201, answer, headers)

    def _dispatch(self, trigger: TriggerCall, dispatch_id: str, now: float) -> None:
        """Note a send for each recipient (or one for the audience); a profile that may be created is created first."""
        common = (dispatch_id, trigger.kind, trigger.target_id)
        if trigger.broadcast:
            self._workspace.sends.append(Send(*common, "broadcast", "", trigger.properties, {}, trigger.send_id, now))
        for to in trigger.recipients:
            if to.identifier == "external_user_id" and not to.send_to_existing_only:
                self._workspace.users.setdefault(to.value, User(to.value, to.attributes.get("email")))
            if self._known_users_only and not self._workspace.knows(to.identifier, to.value):
                continue
            sent = Send(*common, to.identifier, to.value, to.properties, to.attributes, trigger.send_id, now)
            self._workspace.sends.append(sent)

    # --- messages, user data, templates -----------------------------------------------------------------------------

    def _messages(self, call: Call, _params: Mapping[str, str]) -> Reply:
        """201 `{"dispatch_id","message":"success"}`."""
        try:
            body = read_messages(parsed(call))
        except ContractError as error:
            return self._error(400, error.message)
        body.check_ids(self._workspace)
        limits, now = self._limits, call.received_at
        allowance = limits.take(now) if body.recipients else limits.take_broadcast(body.audience_key, now)
        if not allowance.allowed:
            return self._rate_limited().with_headers(rate_headers(allowance))
        dispatch_id = self._new_id()
        self._workspace.sends.extend(body.sends(self._workspace, dispatch_id, self._known_users_only, now))
        return Reply(201, {"dispatch_id": dispatch_id, "message": "success"})

    def _stored(self, write: Callable[..., Reply], *known: object) -> Callable[[Call, Mapping[str, str]], Reply]:
        """A POST that counts against its path's limit, and whose body is handed over as JSON."""

        def handle(call: Call, _params: Mapping[str, str]) -> Reply:
            allowance = self._limits.take_for(call.path, call.received_at)
            if not allowance.allowed:
                return self._rate_limited().with_headers(rate_headers(allowance))
            return write(*known, call, parsed(call)).with_headers(rate_headers(allowance))

        return handle

    def _rate_limited(self) -> Reply:
        return self._error(429, "Rate limit exceeded")

    @staticmethod
    def _error(status: int, message: str, errors: list[dict[str, Json]] | None = None) -> Reply:
        return Reply(status, {"message": message, "errors": errors} if errors else {"message": message})

    def _new_id(self) -> str:
        """An id in the form of Braze's dashboard: a UUID, here drawn from the seed."""
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))


def _route(method: str, path: str, permission: str, handler: Callable[[Call, Mapping[str, str]], Reply]) -> Route:
    return Route(method, path, handler, USUAL_SECONDS, permission)
