"""SessionM Connect (`/offers/...`, `/incentives/...`): wallets, balances, and offers that are issued.

Sources: Braze's partner page on SessionM for `get_user_offers`; public clients for the others. Connect's error body
and statuses are not public. Assumed here: the envelope `{"status","payload","errors"}` with Core's code words; 401 for
a wrong credential, 404 for an unknown member, 200 for everything else that is refused.
"""

from __future__ import annotations

import hmac
import re
import uuid
from collections.abc import Callable, Mapping

from infra.local.simulators.messages import Call, Json, Refused, Reply, basic_authorization
from infra.local.simulators.routing import Route
from infra.local.simulators.sessionm_core import READ_SECONDS, WRITE_SECONDS
from infra.local.simulators.sessionm_members import Member, Members, UserOffer
from infra.local.simulators.sessionm_seed import OFFER_CATEGORIES, OFFER_GROUPS

# Documented as the maximum for reward-store lists; for wallets nobody says, so the same is assumed.
MAX_TAKE = 1000
DEFAULT_CULTURE = "en-US"

# A culture is a language and a region. What SessionM does with a bare language is not published; refusing it shows up a
# client that forwards Braze's `ko` unmapped.
CULTURE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?-[A-Z]{2}")

OFFERS_FIELDS = {"retailer_id", "user_id", "skip", "take", "include_pending_extended_data", "culture"}
ISSUE_FIELDS = {"retailer_id", "user_id", "offer_id", "quantity", "issue_exact_version"}
BALANCES_FIELDS = {"retailer_id", "user_id", "culture"}


def connect_error(status: int, code: str, message: str = "") -> Reply:
    return Reply(status, {"status": "error", "payload": None, "errors": {"code": code, "message": message}})


class Connect:
    """The Connect handlers over the shared members."""

    def __init__(self, members: Callable[[], Members], key: str, secret: str, retailer_id: str) -> None:
        self._members = members
        self.key = key
        self.secret = secret
        self.retailer_id = retailer_id

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/offers/api/2.0/offers/get_user_offers", self.get_user_offers, READ_SECONDS),
            Route("POST", "/offers/api/2.0/offers/acquisition/issue", self.issue, WRITE_SECONDS),
            Route("POST", "/incentives/api/1.0/user_points/all_balances", self.all_balances, READ_SECONDS),
        ]

    def get_user_offers(self, call: Call, _params: Mapping[str, str]) -> Reply:
        """One page of a member's issued offers, with `total_records` for all of them and the member's points.

        Body: `retailer_id`, `user_id`, and optionally `skip` (0), `take` (1 to 1000), `include_pending_extended_data`,
        `culture` (en-US); any other field is refused. Groups and categories are sent whole with each page (an
        assumption).
        """
        body = self._authorized_body(call, OFFERS_FIELDS)
        skip, take = _whole(body, "skip", 0, 0, None), _whole(body, "take", MAX_TAKE, 1, MAX_TAKE)
        if not isinstance(body.get("include_pending_extended_data", False), bool):
            raise Refused(connect_error(200, "validation", "include_pending_extended_data must be true or false"))
        culture = _culture(body)
        member = self._member(body)
        offers = member.issued()
        payload = {
            "user": {"opted_in": member.opted_in, "activated": member.activated},
            "user_id": member.user_id,
            "user_offers": [offer.shown(culture) for offer in offers[skip : skip + take]],
            "total_records": len(offers),
            "offer_groups": OFFER_GROUPS,
            "offer_categories": OFFER_CATEGORIES,
            "total_points": member.total_points,
            "available_points": member.available_points,
        }
        return Reply(200, {"status": "ok", "payload": payload})

    def issue(self, call: Call, _params: Mapping[str, str]) -> Reply:
        """Puts an offer into a member's wallet, each time it is called: `status_list` has one entry for each.

        Body: `retailer_id`, `user_id`, `offer_id`, optional `quantity` (1) and `issue_exact_version`.
        """
        body = self._authorized_body(call, ISSUE_FIELDS)
        member = self._member(body)
        offer_id = body.get("offer_id")
        if not isinstance(offer_id, str) or not offer_id:
            raise Refused(connect_error(200, "missing_data", "offer_id"))
        listed: list[Json] = []
        for _ in range(_whole(body, "quantity", 1, 1, 100)):
            user_offer_id = str(uuid.uuid4())
            member.offers.append(UserOffer({"id": user_offer_id, "offer_id": offer_id, "root_offer_id": offer_id}))
            listed.append(
                {
                    "user_id": member.user_id,
                    "user_offer_id": user_offer_id,
                    "offer_id": offer_id,
                    "root_offer_id": offer_id,
                    "pending_extended_data": False,
                    "fail_reason": 0,
                }
            )
        return Reply(200, {"status": "ok", "payload": {"status_list": listed}})

    def all_balances(self, call: Call, _params: Mapping[str, str]) -> Reply:
        """A member's balances: `{summary{total_points,life_time_points},details[...]}`, here with a single account.

        Body: `retailer_id`, `user_id`, optional `culture`. What the totals of the summary mean is not published; both
        are the member's total here.
        """
        body = self._authorized_body(call, BALANCES_FIELDS)
        _culture(body)
        member = self._member(body)
        account = str(uuid.uuid5(uuid.NAMESPACE_URL, f"points/{self.retailer_id}"))
        detail = {
            "account_name": "Points",
            "user_point_account_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{account}/{member.user_id}")),
            "point_account_id": account,
            "grouping_label": "Points",
            "available_balance": member.available_points,
            "life_time_value": member.total_points,
        }
        summary = {"total_points": member.total_points, "life_time_points": member.total_points}
        payload = {
            "retailer_id": self.retailer_id,
            "user_id": member.user_id,
            "summary": summary,
            "details": [detail],
        }
        return Reply(200, {"status": "ok", "payload": payload})

    def _authorized_body(self, call: Call, known: set[str]) -> dict[str, Json]:
        if not hmac.compare_digest(call.authorization, basic_authorization(self.key, self.secret).encode()):
            raise Refused(connect_error(401, "invalid_api_key"))
        if call.media_type != "application/json":
            raise Refused(connect_error(200, "argument_error", "Content-Type must be application/json"))
        try:
            body = call.json()
        except ValueError:
            raise Refused(connect_error(200, "argument_error", "the body is not JSON")) from None
        if not isinstance(body, dict):
            raise Refused(connect_error(200, "validation", "the body must be an object"))
        unknown = body.keys() - known
        if unknown:
            raise Refused(connect_error(200, "argument_error", f"unknown field: {', '.join(sorted(unknown))}"))
        for name in ("retailer_id", "user_id"):
            if not body.get(name):
                raise Refused(connect_error(200, "missing_data", name))
            if not isinstance(body[name], str):
                raise Refused(connect_error(200, "validation", f"{name} must be text"))
        if body["retailer_id"] != self.retailer_id:
            raise Refused(connect_error(200, "access_denied", "retailer_id"))
        return body

    def _member(self, body: Mapping[str, Json]) -> Member:
        member = self._members().find(body["user_id"])
        if member is None:
            raise Refused(connect_error(404, "user_not_found"))
        return member


def _whole(body: Mapping[str, Json], name: str, default: int, least: int, most: int | None) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"from {least} to {most}"
        raise Refused(connect_error(200, "validation", f"{name} must be a whole number, {bounds}"))
    return value


def _culture(body: Mapping[str, Json]) -> str:
    culture = body.get("culture", DEFAULT_CULTURE)
    if not isinstance(culture, str) or not CULTURE.fullmatch(culture):
        raise Refused(connect_error(200, "validation", "culture must look like en-US"))
    return culture
