"""SessionM's wallet made into what a message can print: flat, trimmed, every key always there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import msgspec

from shared.errors import UpstreamGarbled

# Braze throws an answer of 1 MB away. Offers beyond this size are left out, and the answer says so.
MAX_OFFERS_BYTES = 900_000

# The most offers SessionM's documentation asks for at once.
MAX_OFFERS = 1000

# Ours, and the names SessionM's answers and SDKs use for it, best first.
_OFFER_FIELDS: Mapping[str, tuple[str, ...]] = {
    "offer_id": ("offer_id",),
    "user_offer_id": ("user_offer_id", "id"),
    "root_offer_id": ("root_offer_id",),
    "name": ("name", "title"),
    "description": ("description", "details"),
    "terms": ("terms", "terms_and_conditions"),
    "type": ("offer_type", "type"),
    "image_url": ("image_url", "logo"),
    "expires_at": ("expiration_date", "redemption_end_date", "end_date"),
    "points_required": ("points_required", "price"),
    "redeemable": ("is_redeemable", "redeemable"),
}

_NEVER = datetime.max.replace(tzinfo=UTC)

OFFER_FIELDS = frozenset(_OFFER_FIELDS)


def wallet_of(payload: Mapping[str, Any], *, limit: int, fields: frozenset[str], now: datetime) -> dict[str, Any]:
    """The short dialect's facts from a `get_user_offers` payload, at most `limit` offers, soonest to expire first.

    Offers expired at `now` are left out: SessionM may list them a while longer. Keys: `available_points`,
    `total_points`, `offer_count` (all the member has, fetched or not), `truncated`, `offers`. Raises `UpstreamGarbled`
    when SessionM's answer is not of the documented shape.
    """
    user_offers = payload.get("user_offers")
    if not isinstance(user_offers, list) or not all(isinstance(offer, dict) for offer in user_offers):
        raise UpstreamGarbled("SessionM Connect", "user_offers is no list of objects")
    if len(user_offers) > MAX_OFFERS:
        raise UpstreamGarbled("SessionM Connect", f"more than the {MAX_OFFERS} offers that can be asked for")
    offers = ((_expires_at(offer) or _NEVER, offer) for offer in map(_offer_of, user_offers))
    live = sorted((entry for entry in offers if entry[0] > now), key=itemgetter(0))
    kept = _within_bytes([{name: offer[name] for name in offer if name in fields} for _, offer in live[:limit]])
    total_records = payload.get("total_records")
    not_fetched = max(0, total_records - len(user_offers)) if type(total_records) is int else 0
    offer_count = len(live) + not_fetched
    return {
        "available_points": _number(payload.get("available_points")),
        "total_points": _number(payload.get("total_points")),
        "offer_count": offer_count,
        "truncated": offer_count > len(kept),
        "offers": kept,
    }


def empty_wallet() -> dict[str, Any]:
    """The same keys when nothing is known: points are null rather than 0, which would be a claim."""
    return {"available_points": None, "total_points": None, "offer_count": 0, "truncated": False, "offers": []}


def _offer_of(user_offer: Mapping[str, Any]) -> dict[str, Any]:
    offer = {
        ours: next((user_offer[theirs] for theirs in names if user_offer.get(theirs) is not None), None)
        for ours, names in _OFFER_FIELDS.items()
    }
    if offer["image_url"] is None:
        offer["image_url"] = _first_media_uri(user_offer.get("media"))
    return offer


def _first_media_uri(media: Any) -> str | None:
    for item in media if isinstance(media, list) else ():
        if isinstance(item, dict) and isinstance(item.get("uri"), str):
            return str(item["uri"])
    return None


def _expires_at(offer: Mapping[str, Any]) -> datetime | None:
    """The moment of expiry; None when there is none, or none that is ISO 8601. Without a zone it is taken as UTC."""
    try:
        moment = datetime.fromisoformat(offer["expires_at"])
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _within_bytes(offers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    size_bytes = 0
    for offer in offers:
        size_bytes += len(msgspec.json.encode(offer)) + 1
        if size_bytes > MAX_OFFERS_BYTES:
            break
        kept.append(offer)
    return kept


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
