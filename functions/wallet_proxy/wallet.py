"""A kept wallet made into what a message can print: what depends on the moment and on the request.

That is what has expired by now, the culture's dates, the limit. What is kept is the same for every request
(`clients/wallet.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from clients.wallet import Offer, Wallet, expiry_of
from shared.locales import Form, date_text, form_of, number_text

# In the order in which they are answered.
OFFER_FIELDS = (
    *("offer_id", "user_offer_id", "root_offer_id", "name", "description", "terms", "type", "image_url"),
    *("expires_at", "expires_on", "days_left", "points_required", "points_required_text", "redeemable"),
)


# No template looks so deep into a field, and what is below cannot be made safe by a function that calls itself.
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request wants of a wallet. `escape` makes text safe for where it is put."""

    culture: str
    limit: int
    fields: frozenset[str]
    escape: Callable[[str], str] | None = None


def answer_of(wallet: Wallet, shape: Shape, now: datetime) -> dict[str, Any]:
    """The short dialect's facts, at most `shape.limit` offers; those expired at `now` (with a zone) are left out."""
    form = form_of(shape.culture)
    moment = now.timestamp()
    live = [offer for offer in wallet.offers if offer.ends_at is None or offer.ends_at > moment]
    offer_count = len(live) + wallet.not_fetched
    offers = [_shown(offer, shape, form, now) for offer in live[: shape.limit]]
    return {
        "culture": shape.culture,
        "available_points": wallet.available_points,
        "available_points_text": _points_text(wallet.available_points, form),
        "total_points": wallet.total_points,
        "total_points_text": _points_text(wallet.total_points, form),
        "offer_count": offer_count,
        "truncated": offer_count > len(offers),
        "offers": offers,
    }


def empty_wallet(culture: str) -> dict[str, Any]:
    """The same keys when nothing is known: points are null rather than 0, which would be a claim."""
    return {
        "culture": culture,
        "available_points": None,
        "available_points_text": "",
        "total_points": None,
        "total_points_text": "",
        "offer_count": 0,
        "truncated": False,
        "offers": [],
    }


def fitted(body: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """An answer with as many of its offers as fit into `max_bytes`, saying so when those are not all."""
    size_bytes = len(msgspec.json.encode({**body, "offers": []}))
    kept: list[dict[str, Any]] = []
    for offer in body["offers"]:
        size_bytes += len(msgspec.json.encode(offer)) + 1
        if size_bytes > max_bytes:
            return {**body, "truncated": True, "offers": kept}
        kept.append(offer)
    return body


def for_json(text: str) -> str:
    """Text as it stands between the quotes of a JSON string."""
    return msgspec.json.encode(text)[1:-1].decode()


def for_html(text: str) -> str:
    """Text as it may stand in HTML, in an attribute as well."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;")):
        text = text.replace(character, entity)
    return text


def _shown(offer: Offer, shape: Shape, form: Form, now: datetime) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    expiry = expiry_of(offer.expires_at)
    for name in OFFER_FIELDS:
        if name not in shape.fields:
            continue
        if name == "expires_on":
            value: Any = date_text(expiry.date(), form) if expiry else None
        elif name == "days_left":
            value = (expiry.date() - now.astimezone(expiry.tzinfo).date()).days if expiry else None
        elif name == "points_required_text":
            value = None if offer.points_required is None else number_text(offer.points_required, form)
        else:
            value = getattr(offer, name)
        shown[name] = _escaped(value, shape.escape) if shape.escape else value
    return shown


def _escaped(value: Any, escape: Callable[[str], str], depth: int = 0) -> Any:
    """A value whose every text is made safe, keys too: a field may be a list, or hold a text for each language."""
    if isinstance(value, str):
        return escape(value)
    if not isinstance(value, dict | list):
        return value
    if depth == _DEEPEST:
        return None
    if isinstance(value, dict):
        return {escape(key): _escaped(held, escape, depth + 1) for key, held in value.items()}
    return [_escaped(held, escape, depth + 1) for held in value]


def _points_text(points: float | None, form: Form) -> str:
    return "" if points is None else number_text(points, form)
