"""What Braze counts: custom events and purchases by the day or the hour, and the names of both.

Source: Braze's pages on the export endpoints for custom events and purchases. The series of purchases and the lists of
names share a limit of 1,000 requests an hour, the series of an event counts with everything else. Assumed, as the
pages do not say: an hour's `time` is its beginning in UTC; for an event or product nobody ever noted the call succeeds
with empty `data`; a `segment_id` that is unknown is a 400, and one without analytics tracking has no data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from infra.local.simulators.braze_query import bad, length_of, moment_of, page_of, required
from infra.local.simulators.braze_workspace import Workspace
from infra.local.simulators.limits import Allowance, ClockWindow
from infra.local.simulators.messages import Call, Json, Reply

MAX_LENGTH = 100
LISTS_AND_PURCHASES_PER_HOUR = 1000

Unit = Literal["day", "hour"]
Read = Callable[[Call, Mapping[str, str]], Reply]


@dataclass(frozen=True, slots=True)
class Counted:
    """Something that happens about `per_day` times a day; `price` is a product's."""

    name: str
    per_day: int
    price: float = 0.0

    def count(self, begin: datetime, unit: Unit, share: float = 1.0) -> int:
        """How often in the day or hour from `begin`: made up from name and time, hence the same in every call.

        A day is the sum of its hours, each a twenty-fourth of `per_day`, give or take a third.
        """
        hours = [begin + timedelta(hours=hour) for hour in range(24 if unit == "day" else 1)]
        return sum(self._in_hour(hour, share) for hour in hours)

    def _in_hour(self, hour: datetime, share: float) -> int:
        digest = hashlib.sha256(f"{self.name} {hour.isoformat()}".encode()).digest()
        scatter = int.from_bytes(digest[:4], "big") / 2**32 * 2 - 1
        return round(self.per_day / 24 * (1 + scatter / 3) * share)


@dataclass
class Analytics:
    """The events and products of a workspace, by name, and the limit that some of their reads share."""

    workspace: Workspace
    per_hour: int = LISTS_AND_PURCHASES_PER_HOUR
    events: dict[str, Counted] = field(default_factory=dict)
    products: dict[str, Counted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._window = ClockWindow(self.per_hour, 3600)

    def reads(self) -> dict[str, tuple[str, Read]]:
        """Permission and handler of each path."""
        return {
            "/events/data_series": ("events.data_series", self.event_series),
            "/events/list": ("events.list", self.event_names),
            "/purchases/quantity_series": ("purchases.quantity_series", self.quantity_series),
            "/purchases/revenue_series": ("purchases.revenue_series", self.revenue_series),
            "/purchases/product_list": ("purchases.product_list", self.product_names),
        }

    def take(self, path: str, now: float) -> Allowance | None:
        """Counts a request against the shared limit; None where the path has no part in it."""
        return None if path == "/events/data_series" or path not in self.reads() else self._window.take(now)

    def reset(self) -> None:
        self._window.reset()

    def event_series(self, call: Call, _params: Mapping[str, str]) -> Reply:
        """`event`, `length`, `unit` day or hour, `ending_at`, `segment_id`, `app_id`: `data[{time,count}]`."""
        event = self.events.get(required(call, "event"))
        share = self._share_of_segment(call)
        return _series(call, event, "count", lambda each, begin, unit: each.count(begin, unit, share))

    def quantity_series(self, call: Call, _params: Mapping[str, str]) -> Reply:
        """`length`, `unit`, `ending_at`, `app_id`, `product` (all of them): `data[{time,purchase_quantity}]`."""
        return _series(
            call, self._product(call), "purchase_quantity", lambda each, begin, unit: each.count(begin, unit)
        )

    def revenue_series(self, call: Call, _params: Mapping[str, str]) -> Reply:
        """The same with `data[{time,revenue}]`."""

        def revenue(each: Counted, begin: datetime, unit: Unit) -> float:
            return round(each.count(begin, unit) * each.price, 2)

        return _series(call, self._product(call), "revenue", revenue)

    def event_names(self, call: Call, _params: Mapping[str, str]) -> Reply:
        return Reply(200, {"message": "success", "events": list(page_of(call, sorted(self.events)))})

    def product_names(self, call: Call, _params: Mapping[str, str]) -> Reply:
        return Reply(200, {"message": "success", "products": list(page_of(call, sorted(self.products)))})

    def _product(self, call: Call) -> Counted | None:
        if call.query.get("product"):
            return self.products.get(call.query["product"])
        every = list(self.products.values())
        sold = sum(each.per_day for each in every)
        revenue = sum(each.per_day * each.price for each in every)
        return Counted("", sold, revenue / sold) if sold else None

    def _share_of_segment(self, call: Call) -> float:
        segment_id = call.query.get("segment_id")
        if segment_id is None:
            return 1.0
        if segment_id not in self.workspace.segments:
            raise bad("Invalid Segment ID")
        return 0.25 if self.workspace.segments[segment_id].analytics else 0.0


def _series(call: Call, counted: Counted | None, name: str, value: Callable[[Counted, datetime, Unit], float]) -> Reply:
    length = length_of(call, MAX_LENGTH)
    unit: Unit = "day" if (given := call.query.get("unit", "day")) == "day" else "hour"
    if given not in ("day", "hour"):
        raise bad("unit must be day or hour")
    ending = moment_of(call, "ending_at") or datetime.fromtimestamp(call.received_at, UTC)
    last = ending.replace(minute=0, second=0, microsecond=0)
    step = timedelta(hours=1)
    if unit == "day":
        last, step = last.replace(hour=0), timedelta(days=1)
    begins = [last - step * back for back in range(length - 1, -1, -1)]
    data: list[Json] = []
    if counted is not None:
        form = "%Y-%m-%d" if unit == "day" else "%Y-%m-%dT%H:%M:%SZ"
        data = [{"time": begin.strftime(form), name: value(counted, begin, unit)} for begin in begins]
    return Reply(200, {"message": "success", "data": data})
