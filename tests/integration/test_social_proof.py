"""Events and purchases that Braze counts, in the shape of a segment's size and from the same cache."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from infra.local.simulators import BrazeSimulator, Status, Throttle
from segment_size.endpoint import build
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Invoked, get


def points(name: str, *values: float) -> Status:
    """An answer of Braze's with these values, the last of them the latest."""
    data = [{"time": f"2026-11-{at + 1:02}T00:00:00.000Z", name: value} for at, value in enumerate(values)]
    return Status(200, {"message": "success", "data": data})


@pytest.fixture
def counting(braze: BrazeSimulator) -> BrazeSimulator:
    braze.add_event("joined the club")
    braze.add_product("latte")
    return braze


@pytest.fixture
def handle(aws: Aws, counting: BrazeSimulator) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=counting.url))


def event(handle: Invoked, name: str = "joined the club", **query: str) -> Answered:
    return get(handle, "GET /events/{event}/count", path={"event": name}, query=query)


def product(handle: Invoked, name: str = "latte", **query: str) -> Answered:
    return get(handle, "GET /products/{product}/sold", path={"product": name}, query=query)


def test_a_count_is_the_sum_of_its_window_beside_that_of_the_one_before(
    handle: Invoked, counting: BrazeSimulator
) -> None:
    counting.faults.add("GET *", points("count", 1, 400, 500, 600.0, 700))

    body = event(handle, window="2d", min="1300", culture="de").body

    as_of = body.pop("as_of")
    assert as_of is not None
    assert body == {
        "ok": True,
        "stale": False,
        "reason": None,
        "event": "joined the club",
        "segment_id": None,
        "window": "2d",
        "count": 1300,
        "count_text": "1.300",
        "since": "2026-11-04",
        "until": "2026-11-05",
        "previous_count": 900,
        "change": 400,
        "change_text": "+400",
        "change_percent": 44.4,
        "meets_min": True,
    }


def test_a_window_without_one_before_it_has_no_change(handle: Invoked, counting: BrazeSimulator) -> None:
    counting.faults.add("GET *", points("count", 1, 2, 3))

    body = event(handle, window="2d").body

    assert (body["count"], body["previous_count"], body["change"], body["change_text"]) == (5, None, None, "")


def test_by_default_the_last_24_hours_are_counted(handle: Invoked, counting: BrazeSimulator) -> None:
    body = event(handle).body

    assert (body["window"], body["ok"]) == ("24h", True)
    assert 1600 < body["count"] < 3200
    assert counting.requests()[0].query == "event=joined+the+club&unit=hour&length=100"


def test_a_count_can_be_of_a_segment(handle: Invoked) -> None:
    everybody, members = event(handle).body, event(handle, segment_id="segment-1").body

    assert 0 < members["count"] < everybody["count"]
    assert members["segment_id"] == "segment-1"


@pytest.mark.parametrize(("measure", "sold", "text"), [("quantity", 5, "5"), ("revenue", 1234.5, "1,234.50")])
def test_what_was_sold_is_a_quantity_or_revenue(
    handle: Invoked, counting: BrazeSimulator, measure: str, sold: float, text: str
) -> None:
    name = "purchase_quantity" if measure == "quantity" else "revenue"
    counting.faults.add("GET *", points(name, sold))

    body = product(handle, measure=measure, window="7d", min="5").body

    assert (body["sold"], body["sold_text"], body["meets_min"]) == (sold, text, True)
    assert (body["product"], body["measure"]) == ("latte", measure)
    assert counting.requests()[0].path == f"/purchases/{measure}_series"


@pytest.mark.parametrize("value", [1e308, -1e308, 1e16])
@pytest.mark.parametrize(
    ("name", "query"),
    [("count", {}), ("purchase_quantity", {"measure": "quantity"}), ("revenue", {"measure": "revenue"})],
)
def test_a_number_that_cannot_be_is_not_believed_and_not_kept(
    aws: Aws, handle: Invoked, counting: BrazeSimulator, name: str, query: dict[str, str], value: float
) -> None:
    counting.faults.add("GET *", points(name, value, 1, value))

    answered = (product if query else event)(handle, on_error="data", window="1d", **query)

    assert (answered.status, answered.body["ok"], answered.body["reason"]) == (200, False, "upstream_garbled")
    assert not any("value" in item for item in aws.items("cache"))


@pytest.mark.parametrize("window", ["1d", "1h"])
@pytest.mark.parametrize(
    "point",
    [
        {"time": "Nov 22", "count": 1},
        {"time": "2026-22-11T05:00:00Z", "count": 1},
        {"time": "2026-11-22", "count": -1},
    ],
    ids=str,
)
def test_a_count_below_zero_or_of_no_time_is_not_believed(
    handle: Invoked, counting: BrazeSimulator, window: str, point: dict[str, object]
) -> None:
    counting.faults.add("GET *", Status(200, {"message": "success", "data": [point]}))

    assert event(handle, window=window).body["reason"] == "upstream_garbled"


def test_an_hour_that_is_none_is_not_believed(handle: Invoked, counting: BrazeSimulator) -> None:
    data = [{"time": "2026-11-22T25:00:00Z", "count": 1}]
    counting.faults.add("GET *", Status(200, {"message": "success", "data": data}))

    assert event(handle, window="1h").body["reason"] == "upstream_garbled"


def test_what_was_given_back_can_be_more_than_what_was_bought(handle: Invoked, counting: BrazeSimulator) -> None:
    counting.faults.add("GET *", points("revenue", 20, -5.25))

    body = product(handle, measure="revenue", window="1d").body

    assert (body["sold"], body["sold_text"], body["change"], body["change_text"]) == (-5.25, "-5.25", -25.25, "-25.25")


@pytest.mark.parametrize(("then", "now", "percent"), [(-50, 50, 200.0), (-50, -100, -100.0), (-50, -25, 50.0)])
def test_a_percentage_has_the_sign_of_its_change(
    handle: Invoked, counting: BrazeSimulator, then: float, now: float, percent: float
) -> None:
    counting.faults.add("GET *", points("revenue", then, now))

    body = product(handle, measure="revenue", window="1d").body

    assert (body["change"], body["change_percent"]) == (now - then, percent)


def test_next_to_nothing_given_back_is_nothing(handle: Invoked, counting: BrazeSimulator) -> None:
    counting.faults.add("GET *", points("revenue", 0, -0.001))

    body = product(handle, measure="revenue", window="1d").body

    assert [str(body[name]) for name in ("sold", "sold_text", "change", "change_text")] == [
        "0.0",
        "0.00",
        "0.0",
        "0.00",
    ]


def test_a_count_that_is_not_whole_is_rounded_once(handle: Invoked, counting: BrazeSimulator) -> None:
    counting.faults.add("GET *", points("count", 1, 5.7))

    body = event(handle, window="1d").body

    assert (body["count"], body["count_text"], body["change"], body["change_text"]) == (6, "6", 5, "+5")


def test_every_window_of_a_unit_comes_from_one_call(handle: Invoked, counting: BrazeSimulator) -> None:
    for window in ("1h", "24h", "100h"):
        assert product(handle, window=window).body["ok"] is True

    assert len(counting.requests()) == 1


def test_a_million_messages_cost_one_call_a_product_and_refresh(aws: Aws, counting: BrazeSimulator) -> None:
    environments = [build(aws.settings(BRAZE_REST_URL=counting.url)) for _ in range(6)]

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(product, environments * 20))

    assert all(answered.body["ok"] for answered in answers)
    assert len(counting.requests()) == 1


def test_names_that_look_alike_are_told_apart(handle: Invoked, counting: BrazeSimulator) -> None:
    counting.add_product('latte","quantity')

    for name in ("latte", 'latte","quantity'):
        product(handle, name)

    assert len(counting.requests()) == 2


@pytest.mark.parametrize("fault", [Throttle(1200, "reset-delta"), Status(429)], ids=str)
def test_when_brazes_purchases_are_used_up_they_are_let_be_and_the_rest_goes_on(
    handle: Invoked, counting: BrazeSimulator, fault: Any
) -> None:
    counting.add_product("tea")
    counting.faults.add("GET /purchases/*", fault)

    assert [product(handle, name).body["reason"] for name in ("latte", "tea", "latte")] == ["upstream_throttled"] * 3
    assert len(counting.requests()) == 1
    assert event(handle).body["ok"] is True


@pytest.mark.parametrize(("on_error", "status"), [("data", 200), ("retry", 503)])
def test_a_failure_has_every_key_and_the_reason(
    handle: Invoked, counting: BrazeSimulator, on_error: str, status: int
) -> None:
    counting.faults.add("GET *", Status(500))

    answered = product(handle, on_error=on_error)

    assert answered.status == status
    assert answered.body == {
        "ok": False,
        "stale": False,
        "reason": "upstream_unavailable",
        "as_of": None,
        "product": "latte",
        "measure": "quantity",
        "window": "24h",
        "sold": None,
        "sold_text": "",
        "since": None,
        "until": None,
        "previous_sold": None,
        "change": None,
        "change_text": "",
        "change_percent": None,
        "meets_min": False,
    }


@pytest.mark.parametrize("on_error", ["data", "retry"])
def test_what_nobody_ever_noted_is_final(handle: Invoked, on_error: str) -> None:
    for answered in (event(handle, "unheard of", on_error=on_error), product(handle, "?", on_error=on_error)):
        assert (answered.status, answered.body["ok"], answered.body["reason"]) == (200, False, "no_data")


@pytest.mark.parametrize(
    ("fault", "query", "reason"),
    [
        (None, {"segment_id": "nobody-knows"}, "segment_not_found"),
        (Status(400, {"message": "No such event"}), {}, "not_found"),
    ],
)
def test_what_braze_refuses_is_final_too(
    handle: Invoked, counting: BrazeSimulator, fault: Status | None, query: dict[str, str], reason: str
) -> None:
    if fault is not None:
        counting.faults.add("GET *", fault)

    answered = event(handle, on_error="retry", **query)

    assert (answered.status, answered.body["reason"]) == (200, reason)


@pytest.mark.parametrize(
    ("route", "name", "query", "field"),
    [
        ("event", "a\nb", {}, "event"),
        ("event", "x" * 256, {}, "event"),
        ("event", "e", {"window": "0h"}, "window"),
        ("event", "e", {"window": "101h"}, "window"),
        ("event", "e", {"window": "1w"}, "window"),
        ("event", "e", {"segment_id": "a b"}, "segment_id"),
        ("product", "p", {"measure": "weight"}, "measure"),
        ("product", "p", {"segment_id": "s"}, "segment_id"),
        ("product", "p", {"min": "-1"}, "min"),
    ],
)
def test_a_wrong_option_is_a_400_that_names_it(
    handle: Invoked, counting: BrazeSimulator, route: str, name: str, query: dict[str, str], field: str
) -> None:
    answered = (event if route == "event" else product)(handle, name, **query)

    assert (answered.status, answered.body["field"]) == (400, field)
    assert counting.requests() == []
