"""The SessionM simulator: Core and Connect on one port, as their paths do not collide."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from infra.local.simulators.limits import ClockWindow
from infra.local.simulators.messages import Call, Json, Reply, basic_authorization
from infra.local.simulators.routing import Route
from infra.local.simulators.server import KEPT_REQUESTS, Simulator
from infra.local.simulators.sessionm_connect import Connect, connect_error
from infra.local.simulators.sessionm_core import Core, core_error
from infra.local.simulators.sessionm_members import Member, Members, Tag, UserOffer
from infra.local.simulators.sessionm_seed import OFFER_GROUPS, make_members

RETAILER_ID = "0f6a5f0e-6c0b-4d56-9b2e-3f4f8f0a7c11"


class SessionmSimulator(Simulator):
    """SessionM on a local port.

    The credentials are what callers must present: Core's key (also in the path) and secret, Connect's own pair and the
    retailer id. `rate_limit_per_second` counts all vendor requests together and answers 429 with Retry-After beyond it;
    SessionM publishes no limit, so the form is an assumption and there is none by default.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        core_api_key: str = "local-core-key",
        core_api_secret: str = "local-core-secret",
        connect_key: str = "local-connect-key",
        connect_secret: str = "local-connect-secret",
        retailer_id: str = RETAILER_ID,
        rate_limit_per_second: int | None = None,
        latency_scale: float = 1.0,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
        keep_requests: int = KEPT_REQUESTS,
    ) -> None:
        super().__init__(host, port, latency_scale=latency_scale, seed=seed, clock=clock, keep_requests=keep_requests)
        self._seed = seed
        self._members = Members()
        self._core = Core(lambda: self._members, core_api_key, core_api_secret)
        self._connect = Connect(lambda: self._members, connect_key, connect_secret, retailer_id)
        self._window = ClockWindow(rate_limit_per_second, 1) if rate_limit_per_second is not None else None
        self.use_routes([*self._core.routes(), *self._connect.routes()])

    # --- credentials ------------------------------------------------------------------------------------------------

    @property
    def core_api_key(self) -> str:
        return self._core.api_key

    @property
    def core_authorization(self) -> str:
        """The Authorization header value that Core accepts now."""
        return basic_authorization(self._core.api_key, self._core.api_secret)

    @property
    def connect_authorization(self) -> str:
        """The Authorization header value that Connect accepts now."""
        return basic_authorization(self._connect.key, self._connect.secret)

    @property
    def retailer_id(self) -> str:
        return self._connect.retailer_id

    def rotate_credentials(
        self,
        *,
        core_api_key: str | None = None,
        core_api_secret: str | None = None,
        connect_key: str | None = None,
        connect_secret: str | None = None,
    ) -> None:
        """From now on accept these instead; what is left out stays. The former ones get 401."""
        with self.lock:
            self._core.api_key = core_api_key or self._core.api_key
            self._core.api_secret = core_api_secret or self._core.api_secret
            self._connect.key = connect_key or self._connect.key
            self._connect.secret = connect_secret or self._connect.secret

    # --- state ------------------------------------------------------------------------------------------------------

    def add_member(
        self,
        user_id: str,
        external_id: str | None = None,
        *,
        available_points: int = 100,
        total_points: int = 1000,
        opted_in: bool = True,
        activated: bool = True,
    ) -> Member:
        """Add a member, or replace the one with this id."""
        member = Member(user_id, external_id, available_points, total_points, opted_in, activated, self.clock())
        with self.lock:
            self._members.add(member)
        return member

    def add_offer(
        self,
        user_id: str,
        *,
        state: str = "issued",
        translations: Mapping[str, Mapping[str, Json]] | None = None,
        **fields: Json,
    ) -> dict[str, Json]:
        """Put an offer into a member's wallet and return the fields it is sent with.

        `fields` go out as given; only the three documented ones (`offer_id`, `offer_group_id`, `offer_type`) and `id`
        (unless `user_offer_id` is given) are filled in. `state` other than `issued` keeps it out of the wallet answer.
        `translations`: fields that change with the asked culture, e.g. `{"ko-KR": {"name": ...}}`. Raises KeyError for
        an unknown member.
        """
        with self.lock:
            member = self._members.by_user_id[user_id]
            number = len(member.offers) + 1
            sent: dict[str, Json] = {
                "offer_id": f"offer-{number}",
                "offer_group_id": OFFER_GROUPS[0]["id"],
                "offer_type": "manual_fulfillment",
                **fields,
            }
            if "user_offer_id" not in sent:
                sent.setdefault("id", f"user-offer-{user_id}-{number}")
            member.offers.append(UserOffer(sent, state, translations or {}))
        return dict(sent)

    def offers_of(self, user_id: str) -> list[UserOffer]:
        """What is in a member's wallet. Raises KeyError for an unknown member."""
        with self.lock:
            return list(self._members.by_user_id[user_id].offers)

    def seed(self, members: int = 100, offers_each: int = 8) -> list[Member]:
        """Add made-up members with wallets: the same ones for the same `seed` of the simulator and the same day.

        Their wallets mix what a client meets: offers that have expired or not begun (`is_redeemable` false), optional
        fields there and missing, both spellings of the id and of the expiry, Korean names for the culture ko-KR.
        """
        made = make_members(members, offers_each, self._seed, self.clock())
        with self.lock:
            for member in made:
                self._members.add(member)
        return made

    @property
    def members(self) -> dict[str, Member]:
        """The members by user id; for reading."""
        with self.lock:
            return dict(self._members.by_user_id)

    def tags_of(self, user_id: str) -> dict[str, Tag]:
        """A member's tags that have not expired, by name. Raises KeyError for an unknown member."""
        with self.lock:
            return self._members.by_user_id[user_id].live_tags(self.clock())

    # --- what the server asks for -----------------------------------------------------------------------------------

    def answer(self, call: Call, found: tuple[Route, dict[str, str]] | None) -> Reply:
        if self._window is not None:
            allowance = self._window.take(call.received_at)
            if not allowance.allowed:
                wait = max(1, math.ceil(allowance.reset_at - call.received_at))
                refusal = core_error if call.path.startswith("/priv/") else connect_error
                return refusal(429, "not_available", "too many requests").with_headers({"Retry-After": str(wait)})
        return super().answer(call, found)

    def error_reply(self, status: int, code: str, message: str) -> Reply:
        return core_error(status, code, message)

    def state(self) -> dict[str, Json]:
        with self.lock:
            return {"members": [self._member_state(member) for member in self._members.by_user_id.values()]}

    def forget(self) -> None:
        """Forget tags and requests; members and wallets stay."""
        super().forget()
        with self.lock:
            for member in self._members.by_user_id.values():
                member.tags.clear()
            if self._window is not None:
                self._window.reset()

    def forget_members(self) -> None:
        with self.lock:
            self._members = Members()

    def _member_state(self, member: Member) -> dict[str, Json]:
        tags = member.live_tags(self.clock())
        return {
            "user_id": member.user_id,
            "external_id": member.external_id,
            "available_points": member.available_points,
            "total_points": member.total_points,
            "tags": [tag.to_json(name) for name, tag in sorted(tags.items())],
            "offers": [{**offer.fields, "state": offer.state} for offer in member.offers],
        }
