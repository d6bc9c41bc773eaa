"""SessionM's wallet trimmed to what is worth keeping: the same for every request, so one call serves all of them.

What a message prints is made of it for each answer (`wallet_proxy/wallet.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared.errors import UpstreamGarbled
from shared.values import date_of, number_of

# The most offers SessionM's documentation asks for at once.
MAX_OFFERS = 1000

# Offers asked for at first. Most members have fewer, and a smaller answer is a quicker one.
PAGE_OFFERS = 200

# Ours, and the names SessionM's answers and SDKs use for it, best first.
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
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

# What an offer says of itself when it can no longer be used. Which words SessionM has is not published.
_SPENT = frozenset({"redeemed", "used", "expired", "revoked"})

# No member has more offers than this: a count above it is no count, and would be printed.
_MOST_RECORDS = 100_000

_NEVER = float("inf")
_DAY_SECONDS = 86_400


class Offer(msgspec.Struct, frozen=True, array_like=True):
    """An offer with SessionM's values under our names. `ends_at` is in epoch seconds, None for one without an end."""

    offer_id: Any
    user_offer_id: Any
    root_offer_id: Any
    name: Any
    description: Any
    terms: Any
    type: Any
    image_url: Any
    expires_at: Any
    points_required: float | int | None
    redeemable: Any
    ends_at: float | None


class Wallet(msgspec.Struct, frozen=True, array_like=True):
    """All of a member's offers that can be used, soonest to expire first, and how many more were not fetched."""

    available_points: float | int | None
    total_points: float | int | None
    not_fetched: int
    offers: list[Offer]


def next_page(pages: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """`skip` and `take` of the next page of a wallet, given its payloads so far; None when that is all of it.

    Raises `UpstreamGarbled` as `check_page` does.
    """
    if not pages:
        return 0, PAGE_OFFERS
    fetched = sum(len(offers_of(page)) for page in pages)
    wanted = min(total_of(pages[0]), MAX_OFFERS)
    return (fetched, wanted - fetched) if fetched < wanted and offers_of(pages[-1]) else None


def wallet_of(pages: Sequence[Mapping[str, Any]]) -> Wallet:
    """A wallet from one or more payloads of `get_user_offers`.

    Raises `UpstreamGarbled` when they are not of the documented shape.
    """
    offers: dict[Any, Offer] = {}
    fetched = 0
    for page in pages:
        for user_offer in offers_of(page):
            fetched += 1
            offer = _offer_of(user_offer)
            # Offers move from page to page while pages are turned.
            key = offer.user_offer_id if isinstance(offer.user_offer_id, str) else fetched
            if not _is_spent(user_offer):
                offers.setdefault(key, offer)
    payload = pages[0]
    # After a page without an offer there are no more to come, whatever the count says.
    is_whole = not offers_of(pages[-1])
    return Wallet(
        _points_of(payload, "available_points"),
        _points_of(payload, "total_points"),
        0 if is_whole else max(0, total_of(payload) - fetched),
        sorted(offers.values(), key=lambda offer: _NEVER if offer.ends_at is None else offer.ends_at),
    )


def check_page(payload: Mapping[str, Any]) -> None:
    """Raises `UpstreamGarbled` when a payload of `get_user_offers` is none that a wallet can be made of."""
    offers_of(payload)
    total_of(payload)
    for name in ("available_points", "total_points"):
        _points_of(payload, name)


def offers_of(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The offers of one payload; raises `UpstreamGarbled`."""
    user_offers = payload.get("user_offers")
    if not isinstance(user_offers, list) or not all(isinstance(offer, dict) for offer in user_offers):
        raise UpstreamGarbled("SessionM Connect", "user_offers is no list of objects")
    if len(user_offers) > MAX_OFFERS:
        raise UpstreamGarbled("SessionM Connect", f"more than the {MAX_OFFERS} offers that can be asked for")
    return user_offers


def total_of(payload: Mapping[str, Any]) -> int:
    """How many offers SessionM says there are; 0 when it does not say. Raises `UpstreamGarbled` past belief."""
    total_records = payload.get("total_records")
    if type(total_records) is not int:
        return 0
    if total_records > _MOST_RECORDS:
        raise UpstreamGarbled("SessionM Connect", f"total_records is above {_MOST_RECORDS}")
    return total_records


def _points_of(payload: Mapping[str, Any], name: str) -> float | int | None:
    """None when SessionM leaves them out. Anything but a number would be printed, or left blank in a sentence."""
    sent = payload.get(name)
    points = _number(sent)
    if points is None and sent is not None:
        raise UpstreamGarbled("SessionM Connect", f"{name} is no number")
    return points


def _offer_of(user_offer: Mapping[str, Any]) -> Offer:
    ours: dict[str, Any] = {
        name: next((user_offer[theirs] for theirs in spellings if user_offer.get(theirs) is not None), None)
        for name, spellings in _SPELLINGS.items()
    }
    if ours["image_url"] is None:
        ours["image_url"] = next(_media_uris(user_offer.get("media")), None)
    ours["points_required"] = _number(ours["points_required"])
    end = _end_of(ours["expires_at"])
    if end is None:
        return Offer(**ours, ends_at=None)
    moment, is_day = end
    # A date alone is the last day on which the offer is good.
    return Offer(**ours, ends_at=moment.timestamp() + (_DAY_SECONDS if is_day else 0))


def _is_spent(user_offer: Mapping[str, Any]) -> bool:
    status = user_offer.get("status")
    return user_offer.get("redeem_date") is not None or (isinstance(status, str) and status.lower() in _SPENT)


def _media_uris(media: Any) -> Iterator[str]:
    for item in media if isinstance(media, list) else ():
        if isinstance(item, dict) and isinstance(item.get("uri"), str):
            yield item["uri"]


def expiry_of(value: Any) -> datetime | None:
    """The moment of expiry; None when there is none, or none that can be read. Without a zone it is taken as UTC."""
    end = _end_of(value)
    return end[0] if end else None


def _end_of(value: Any) -> tuple[datetime, bool] | None:
    """The moment, and whether it is a day without an hour."""
    for reader in (_as_it_is, date_of):
        try:
            text = reader(value)
            moment = datetime.fromisoformat(text)
        except (TypeError, ValueError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC), len(text) <= len("2026-11-22")
    return None


def _as_it_is(value: Any) -> Any:
    return value


def _number(value: Any) -> int | float | None:
    """A number, also one that came as text; anything else is none."""
    number = number_of(value)
    return number if isinstance(number, int | float) and not isinstance(number, bool) else None
