"""Made-up loyalty data that looks like a shop's: the same for the same seed and the same day."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass

from infra.local.simulators.messages import Json
from infra.local.simulators.sessionm_members import Member, UserOffer, iso

DAY_SECONDS = 86_400.0

OFFER_GROUPS: list[dict[str, Json]] = [
    {"id": "5d0c7a52-64c1-4f0e-9d2b-0a4f6f1c1e01", "name": "Drinks", "sort_order": 0},
    {"id": "5d0c7a52-64c1-4f0e-9d2b-0a4f6f1c1e02", "name": "Food", "sort_order": 1},
    {"id": "5d0c7a52-64c1-4f0e-9d2b-0a4f6f1c1e03", "name": "Member extras", "sort_order": 2},
]
OFFER_CATEGORIES: list[dict[str, Json]] = [
    {"id": "8be4f0c6-9a57-4f16-8f0a-3d2f5c7b2a01", "name": "Everyday", "sort_order": 0},
    {"id": "8be4f0c6-9a57-4f16-8f0a-3d2f5c7b2a02", "name": "Seasonal", "sort_order": 1},
]


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    description: str
    offer_type: str
    group: int
    valid_days: int
    korean_name: str = ""


_KINDS = (
    _Kind("Free coffee", "Any size, hot or iced.", "manual_fulfillment", 0, 14, "무료 커피"),
    _Kind("Second tea for half", "Buy one tea, the second costs half.", "percent_discount", 0, 30),
    _Kind("2 off any sandwich", "Taken off at the till.", "fixed_amount_discount", 1, 21, "샌드위치 2달러 할인"),
    _Kind("Birthday slice", "A slice of cake in your birthday month.", "manual_fulfillment", 1, 31, "생일 케이크"),
    _Kind("10% off your basket", "Food and drinks, once.", "percent_discount", 2, 7),
    _Kind("Early access tasting", "Try next season's menu first.", "manual_fulfillment", 2, 45),
    _Kind("Oat milk on us", "No charge for the switch.", "manual_fulfillment", 0, 60),
    _Kind("5 off orders over 25", "For orders made in the app.", "fixed_amount_discount", 2, 10),
)
_TERMS = "One use per member. Not with other offers. Not for gift cards or delivery fees."


def guid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def make_members(members: int, offers_each: int, seed: int, now: float) -> list[Member]:
    """`members` members with `offers_each` offers each.

    Dates lie around midnight UTC of the day of `now` (epoch seconds).
    """
    today = now - now % DAY_SECONDS
    made = []
    for number in range(members):
        rng = random.Random(f"{seed}:{number}")
        total = rng.randrange(0, 20_000, 25)
        member = Member(
            user_id=guid(rng),
            external_id=f"LC-{100_000 + number}" if number % 10 else None,
            available_points=rng.randrange(0, total + 1, 5),
            total_points=total,
            opted_in=rng.random() < 0.92,
            created_at=today - rng.randrange(10, 1_500) * DAY_SECONDS,
        )
        member.offers = [_make_offer(rng, number + position, position, today) for position in range(offers_each)]
        made.append(member)
    return made


def _make_offer(rng: random.Random, which: int, position: int, today: float) -> UserOffer:
    """One offer; every nth lacks something, is over, is not yet on, or uses the other spelling of a field.

    Both spellings exist in public clients: `id` and `user_offer_id`, `expiration_date` and `redemption_end_date`. The
    date format is an assumption.
    """
    kind = _KINDS[which % len(_KINDS)]
    expired, not_yet = position % 7 == 6, position % 7 == 4
    acquired = today - rng.randrange(1, 6) * DAY_SECONDS
    start = today + 3 * DAY_SECONDS if not_yet else acquired
    end = today - DAY_SECONDS if expired else start + kind.valid_days * DAY_SECONDS - 1
    offer_id = guid(rng)
    fields: dict[str, Json] = {
        "id" if position % 2 == 0 else "user_offer_id": guid(rng),
        "offer_id": offer_id,
        "root_offer_id": guid(rng) if position % 6 == 5 else offer_id,
        "offer_group_id": OFFER_GROUPS[kind.group]["id"],
        "offer_type": kind.offer_type,
        "name": kind.name,
        "description": kind.description,
        "acquire_date": iso(acquired),
        "start_date": iso(start),
        "redemption_end_date" if position % 3 == 2 else "expiration_date": iso(end),
        "is_redeemable": not expired and not not_yet,
    }
    if position % 4 != 3:
        fields["terms"] = _TERMS
        fields["media"] = [
            {
                "uri": f"https://media.example.com/offers/{offer_id}/logo.png",
                "category_id": "1f0b8a6e-7c55-4f3e-8f5b-6b1f6a1d9c10",
                "category_name": "logo",
                "content_type": "image/png",
            }
        ]
    if position % 5 == 1:
        fields["pos_discount_id"] = f"POS{1_000 + which % len(_KINDS)}"
    translations = {"ko-KR": {"name": kind.korean_name}} if kind.korean_name else {}
    return UserOffer(fields, translations=translations)
