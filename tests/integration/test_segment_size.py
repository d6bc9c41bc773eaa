"""A segment's size: from the cache while fresh, from Braze when not, from the cache again when Braze fails."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest

from clients.braze import Point
from infra.local.simulators import BrazeSimulator, Slow, Status
from segment_size.endpoint import build
from segment_size.series import Series
from shared.cache import Cache
from shared.light_aws import Patience
from tests.integration.support.aws import Aws
from tests.integration.support.events import Answered, Invoked, get
from tests.integration.support.faulty_aws import FaultyAws

TODAY = date(2026, 11, 22)
NOTHING = {
    "as_of": None,
    "size": None,
    "size_text": "",
    "date": None,
    "previous_size": None,
    "change": None,
    "change_text": "",
    "change_percent": None,
    "trend": None,
    "trend_days": 7,
    "trend_size": None,
    "trend_change": None,
    "trend_change_text": "",
    "trend_change_percent": None,
    "meets_min": False,
}


@pytest.fixture
def handle(aws: Aws, braze: BrazeSimulator) -> Invoked:
    return build(aws.settings(BRAZE_REST_URL=braze.url))


def short(handle: Invoked, segment_id: str = "segment-1", **query: str) -> Answered:
    return get(handle, "GET /segments/{segment_id}/size", path={"segment_id": segment_id}, query=query)


def vendor(handle: Invoked, **query: str) -> Answered:
    return get(handle, "GET /segments/data_series", query={"segment_id": "segment-1", "length": "3"} | query)


def sized(braze: BrazeSimulator, *points: int, segment_id: str = "segment-1") -> None:
    """The series Braze gives: the last point is today's."""
    days = [date.today() - timedelta(days=back) for back in range(len(points) - 1, -1, -1)]
    braze.set_segment_sizes(segment_id, dict(zip(days, points, strict=True)))


def remember(aws: Aws, *points: int, age: float) -> None:
    """Puts sizes into the cache as they were `age` seconds ago."""
    cache = Cache(aws.dynamodb, aws.table("cache"), Series, 604_800, lambda: time.time() - age)
    sizes = [Point((TODAY + timedelta(days=at)).isoformat(), size) for at, size in enumerate(points)]
    cache.put('segment#["segment-1"]', Series(sizes))


def test_a_size_is_printed_with_its_change(handle: Invoked, braze: BrazeSimulator) -> None:
    sized(braze, 12_000, 12_345)

    answered = short(handle)

    assert answered.status == 200
    assert {**answered.body, "as_of": "", "date": ""} == {
        "ok": True,
        "stale": False,
        "reason": None,
        "as_of": "",
        "segment_id": "segment-1",
        "size": 12_345,
        "size_text": "12,345",
        "date": "",
        "previous_size": 12_000,
        "change": 345,
        "change_text": "+345",
        "change_percent": 2.9,
        "trend": None,
        "trend_days": 7,
        "trend_size": None,
        "trend_change": None,
        "trend_change_text": "",
        "trend_change_percent": None,
        "meets_min": True,
    }
    assert len(answered.body["date"]) == 10


@pytest.mark.parametrize(
    ("points", "change", "percent"),
    [((7,), None, None), ((0, 5), 5, None), ((200, 100), -100, -50.0), ((3, 3), 0, 0.0)],
)
def test_a_change_is_told_where_there_is_one(
    handle: Invoked, braze: BrazeSimulator, points: tuple[int, ...], change: int | None, percent: float | None
) -> None:
    sized(braze, *points)

    body = short(handle).body

    assert (body["change"], body["change_percent"]) == (change, percent)


@pytest.mark.parametrize(("least", "meets"), [("0", True), ("100", True), ("101", False)])
def test_a_template_may_ask_whether_a_size_is_worth_showing(
    handle: Invoked, braze: BrazeSimulator, least: str, meets: bool
) -> None:
    sized(braze, 90, 100)

    assert short(handle, min=least, v="1", cache_id="x").body["meets_min"] is meets


def test_a_fresh_size_is_served_without_asking_braze(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    remember(aws, 10, 11, age=3_000)

    body = short(handle).body

    assert (body["ok"], body["stale"], body["size"]) == (True, False, 11)
    assert braze.requests() == []


def test_an_old_size_is_asked_for_anew_and_then_kept(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    remember(aws, 10, 11, age=4_000)
    sized(braze, 20, 21)

    assert [short(handle).body["size"] for _ in range(3)] == [21, 21, 21]
    assert len(braze.requests()) == 1


def test_an_old_size_is_served_as_stale_with_the_reason_when_braze_fails(
    aws: Aws, handle: Invoked, braze: BrazeSimulator
) -> None:
    remember(aws, 10, 11, age=4_000)
    braze.faults.add("GET *", Status(503))

    body = short(handle).body

    assert (body["ok"], body["stale"], body["reason"], body["size"]) == (True, True, "upstream_unavailable", 11)


def test_a_size_too_old_even_for_that_is_not_served(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    remember(aws, 10, 11, age=604_900)
    braze.faults.add("GET *", Status(503))

    assert short(handle).body["ok"] is False


@pytest.mark.parametrize(
    ("segment_id", "on_error", "status", "reason"),
    [("segment-1", "data", 200, "upstream_unavailable"), ("segment-1", "retry", 503, "upstream_unavailable")],
)
def test_without_a_size_the_answer_has_every_key_and_the_reason(
    handle: Invoked, braze: BrazeSimulator, segment_id: str, on_error: str, status: int, reason: str
) -> None:
    braze.faults.add("GET *", Status(500))

    answered = short(handle, segment_id, on_error=on_error)

    assert (answered.status, answered.headers.get("Retry-After")) == (status, "5" if status == 503 else None)
    assert answered.body == {"ok": False, "stale": False, "reason": reason, "segment_id": segment_id, **NOTHING}


@pytest.mark.parametrize("on_error", ["data", "retry"])
@pytest.mark.parametrize(
    ("segment_id", "reason"),
    [
        ("nobody-knows", "segment_not_found"),
        ("segment-silent", "analytics_off"),
        ("segment-archived", "segment_archived"),
        ("segment-new", "no_data"),
    ],
)
def test_a_segment_without_sizes_says_why_and_is_final(
    handle: Invoked, braze: BrazeSimulator, segment_id: str, reason: str, on_error: str
) -> None:
    braze.add_segment("segment-silent", analytics=False)
    braze.add_segment("segment-archived", archived=True)
    braze.add_segment("segment-new")
    braze.set_segment_sizes("segment-new", {})

    answers = [short(handle, segment_id, on_error=on_error) for _ in range(2)]

    for answered in answers:
        assert (answered.status, answered.body["ok"], answered.body["reason"]) == (200, False, reason)
    assert sum("data_series" in request.path for request in braze.requests()) == 1


@pytest.mark.parametrize("fault", [Status(500), Status(200, {"segments": [{"name": "?"}]}), Status(200, {})], ids=str)
def test_a_reason_that_braze_does_not_give_is_no_data(handle: Invoked, braze: BrazeSimulator, fault: Status) -> None:
    braze.add_segment("segment-silent", analytics=False)
    braze.faults.add("GET /segments/list", fault)

    assert short(handle, "segment-silent").body["reason"] == "no_data"


# --- what cannot be ---------------------------------------------------------------------------------------------------


def one_point(time: str = "2026-11-22", size: str = "10") -> Status:
    """Braze's answer with one point, its size as it stands in the JSON."""
    return Status(200, f'{{"message":"success","data":[{{"time":"{time}","size":{size}}}]}}')


IMPOSSIBLE = [
    *(one_point(time) for time in ("Nov 22", "", "2026-13-45", "0001-01-01", "9999-12-31", "2026-W47-7", "2026W47")),
    *(one_point(size=size) for size in ("-10", "1e308", "1e400", "NaN", "Infinity", "-1e-9", "1" + "0" * 30, "true")),
]


@pytest.mark.parametrize("fault", IMPOSSIBLE, ids=str)
def test_a_day_or_a_size_that_cannot_be_is_not_believed_and_not_kept(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, fault: Status
) -> None:
    braze.faults.add("GET /segments/data_series", fault)

    answered = short(handle)

    assert answered.status == 200
    assert answered.body == {
        "ok": False,
        "stale": False,
        "reason": "upstream_garbled",
        "segment_id": "segment-1",
        **NOTHING,
    }
    assert vendor(handle).body == {"message": "upstream_garbled", "data": []}
    assert not any("value" in item for item in aws.items("cache"))
    assert aws.items("history") == []


def test_an_old_size_serves_in_place_of_one_that_cannot_be(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    remember(aws, 10, 11, age=4_000)
    braze.faults.add("GET *", one_point("Nov 22"))

    body = short(handle).body

    assert (body["ok"], body["stale"], body["reason"], body["size"]) == (True, True, "upstream_garbled", 11)


def test_a_series_that_cannot_be_leaves_the_other_segments(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.add_segment("segment-2")
    sized(braze, 7, segment_id="segment-2")
    short(handle, "segment-2")
    braze.faults.add("GET *", one_point("Nov 22"))

    answered = get(handle, "GET /segments/sizes", query={"ids": "segment-1,segment-2"})

    assert (answered.status, answered.body["ok"], answered.body["reason"]) == (200, False, "upstream_garbled")
    assert [each["size"] for each in answered.body["segments"]] == [None, 7]


@pytest.mark.parametrize(
    "point",
    [{"time": "Nov 22", "value": 10}, {"time": "0001-01-01", "value": 10}, {"time": "2026-11-22", "value": 1e99}],
)
def test_a_series_kept_with_what_cannot_be_counts_as_none(
    aws: Aws, handle: Invoked, braze: BrazeSimulator, point: dict[str, object]
) -> None:
    Cache(aws.dynamodb, aws.table("cache"), dict, 604_800).put('segment#["segment-1"]', {"points": [point]})
    sized(braze, 20, 21)

    assert [short(handle).body["size"] for _ in range(2)] == [21, 21]
    assert len(braze.requests()) == 1


def test_a_series_kept_without_points_or_a_reason_is_no_data(aws: Aws, handle: Invoked) -> None:
    remember(aws, age=10)

    body = short(handle).body

    assert (body["ok"], body["reason"]) == (False, "no_data")


def test_a_size_that_is_not_whole_is_rounded_once(handle: Invoked, braze: BrazeSimulator) -> None:
    braze.faults.add("GET *", one_point(date.today().isoformat(), "5.7"))

    body = short(handle, min="6").body

    assert (body["size"], body["size_text"], body["meets_min"]) == (6, "6", True)
    assert [point["size"] for point in vendor(handle).body["data"]] == [6]


def test_sizes_kept_unrounded_are_the_same_in_number_and_text(aws: Aws, handle: Invoked) -> None:
    remember(aws, 4.4, 5.7, age=10)  # type: ignore[arg-type]

    body = short(handle, days="1").body

    assert [body[name] for name in ("size", "size_text", "previous_size", "trend_size")] == [6, "6", 4, 4]
    assert (body["change"], body["change_text"], body["trend_change"]) == (2, "+2", 2)


# --- trend and text ---------------------------------------------------------------------------------------------------


def test_a_trend_is_told_over_as_many_days_as_asked(handle: Invoked, braze: BrazeSimulator) -> None:
    sized(braze, 1_000, 1_100, 1_050, 1_500)

    up, down, flat, none = (short(handle, days=days).body for days in ("3", "1", "2", "4"))

    assert (up["trend"], up["trend_size"], up["trend_change"]) == ("up", 1_000, 500)
    assert (up["trend_change_text"], up["trend_change_percent"]) == ("+500", 50.0)
    assert (down["trend"], down["trend_change"]) == ("up", 450)
    assert (flat["trend"], flat["trend_days"]) == ("up", 2)
    assert (none["trend"], none["trend_change"]) == (None, None)
    assert len(braze.requests()) == 1


@pytest.mark.parametrize(("points", "trend"), [((5, 4), "down"), ((4, 4), "flat"), ((3, 4), "up")])
def test_a_trend_has_a_direction(handle: Invoked, braze: BrazeSimulator, points: tuple[int, ...], trend: str) -> None:
    sized(braze, *points)

    assert short(handle, days="1").body["trend"] == trend


def test_a_day_without_a_size_is_no_day_before(handle: Invoked, braze: BrazeSimulator) -> None:
    today = date.today()
    braze.set_segment_sizes("segment-1", {today: 9, today - timedelta(days=2): 7})

    body = short(handle, days="2").body

    assert (body["previous_size"], body["change"], body["trend_change"]) == (None, None, 2)


@pytest.mark.parametrize(
    ("culture", "size_text", "change_text"),
    [
        ("", "12,345", "-1,000"),
        ("ko", "12,345", "-1,000"),
        ("de-DE", "12.345", "-1.000"),
        ("fr", "12\u202f345", "-1\u202f000"),
        ("hi", "12,345", "-1,000"),
        ("xx", "12,345", "-1,000"),
    ],
)
def test_numbers_are_written_as_the_culture_does(
    handle: Invoked, braze: BrazeSimulator, culture: str, size_text: str, change_text: str
) -> None:
    sized(braze, 13_345, 12_345)

    body = short(handle, culture=culture).body

    assert (body["size_text"], body["change_text"]) == (size_text, change_text)


# --- several in one call ----------------------------------------------------------------------------------------------


def test_several_sizes_come_in_one_answer_in_the_order_asked_for(handle: Invoked, braze: BrazeSimulator) -> None:
    for number in (2, 3):
        braze.add_segment(f"segment-{number}")
        sized(braze, number * 100, segment_id=f"segment-{number}")
    sized(braze, 50)

    body = get(handle, "GET /segments/sizes", query={"ids": "segment-3,segment-1,segment-2", "min": "60"}).body

    assert [(each["segment_id"], each["size"], each["meets_min"]) for each in body["segments"]] == [
        ("segment-3", 300, True),
        ("segment-1", 50, False),
        ("segment-2", 200, True),
    ]
    assert (body["ok"], body["stale"], body["reason"], body["meets_min"]) == (True, False, None, False)
    assert body["as_of"] == min(each["as_of"] for each in body["segments"])


@pytest.mark.parametrize(("on_error", "status"), [("data", 200), ("retry", 503)])
def test_one_size_that_fails_leaves_the_others(
    handle: Invoked, braze: BrazeSimulator, on_error: str, status: int
) -> None:
    braze.add_segment("segment-2")
    short(handle, "segment-2")
    braze.faults.add("GET *", Status(500))

    answered = get(handle, "GET /segments/sizes", query={"ids": "segment-1,segment-2", "on_error": on_error})

    assert (answered.status, answered.body["ok"], answered.body["reason"]) == (status, False, "upstream_unavailable")
    assert [each["ok"] for each in answered.body["segments"]] == [False, True]


@pytest.mark.parametrize("ids", ["", ",", "a,,b", "a b", ",".join(f"s{number}" for number in range(21))])
def test_a_list_of_ids_that_makes_no_sense_is_a_400(handle: Invoked, ids: str) -> None:
    answered = get(handle, "GET /segments/sizes", query={"ids": ids})

    assert (answered.status, answered.body["field"]) == (400, "ids")


# --- one call for many ------------------------------------------------------------------------------------------------


def test_many_environments_that_ask_at_once_cost_one_call(
    aws: Aws, braze: BrazeSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A table that is late is gone without, and eight at once on a busy machine make it so.
    monkeypatch.setattr("shared.aws._READING", Patience(connect_seconds=5, read_seconds=5, tries=1))
    monkeypatch.setattr("shared.flight._STORE_SECONDS", 5.0)
    braze.faults.add("GET *", Slow(0.2))
    environments = [build(aws.settings(BRAZE_REST_URL=braze.url)) for _ in range(8)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(short, environments))

    assert [answered.body["ok"] for answered in answers] == [True] * 8
    assert len(braze.requests()) == 1


def test_a_429_keeps_everybody_from_asking_until_brazes_reset(aws: Aws, handle: Invoked, braze: BrazeSimulator) -> None:
    braze.add_segment("segment-2")
    braze.faults.add("GET *", Status(429), times=1)
    another = build(aws.settings(BRAZE_REST_URL=braze.url))

    reasons = [short(each, name).body["reason"] for each in (handle, another) for name in ("segment-1", "segment-2")]

    assert reasons == ["upstream_throttled"] * 4
    assert len(braze.requests()) == 1


# --- what is wrong with a request -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segment_id", "query", "field"),
    [
        ("a b", {}, "segment_id"),
        ("segment-1?length=100", {}, "segment_id"),
        ("a/b", {}, "segment_id"),
        ("s" * 65, {}, "segment_id"),
        ("segment-1", {"min": "-1"}, "min"),
        ("segment-1", {"min": "many"}, "min"),
        ("segment-1", {"days": "0"}, "days"),
        ("segment-1", {"days": "1001"}, "days"),
        ("segment-1", {"culture": "english"}, "culture"),
        ("segment-1", {"on_error": "x"}, "on_error"),
        ("segment-1", {"size": "1"}, "size"),
    ],
)
def test_a_wrong_option_is_a_400_that_names_it(
    handle: Invoked, braze: BrazeSimulator, segment_id: str, query: dict[str, str], field: str
) -> None:
    answered = short(handle, segment_id, **query)

    assert (answered.status, answered.body["field"]) == (400, field)
    assert braze.requests() == []


def test_the_vendor_dialect_answers_in_brazes_shape(handle: Invoked, braze: BrazeSimulator) -> None:
    sized(braze, 1, 2, 3)

    answered = vendor(handle)

    days = [(date.today() - timedelta(days=back)).isoformat() for back in (2, 1, 0)]
    assert answered.body == {
        "message": "success",
        "data": [{"time": day, "size": size} for day, size in zip(days, (1, 2, 3), strict=True)],
    }


@pytest.mark.parametrize(
    ("query", "days"),
    [
        ({"length": "2"}, (-1, 0)),
        ({"length": "1", "ending_at": "-1"}, (-1,)),
        ({"starting_at": "-2"}, (-2, -1, 0)),
        ({"starting_at": "-3", "ending_at": "-2"}, (-3, -2)),
        ({"starting_at": "-1", "ending_at": "-1", "length": "1"}, (-1,)),
        ({"starting_at": "-3", "ending_at": "0", "length": "2"}, (-1, 0)),
        ({"starting_at": "-1", "ending_at": "0", "length": "4"}, (-1, 0)),
    ],
)
def test_a_series_begins_and_ends_where_it_was_asked_to_at_the_cost_of_one_call(
    handle: Invoked, braze: BrazeSimulator, query: dict[str, str], days: tuple[int, ...]
) -> None:
    sized(braze, 40, 30, 20, 10)
    today = date.today()
    dated = {
        name: (today + timedelta(days=int(value))).isoformat() if name != "length" else value
        for name, value in query.items()
    }

    answers = [get(handle, "GET /segments/data_series", query={"segment_id": "segment-1", **dated}) for _ in range(2)]

    wanted = [{"time": (today + timedelta(days=day)).isoformat(), "size": 10 - 10 * day} for day in days]
    assert [answered.body for answered in answers] == [{"message": "success", "data": wanted}] * 2
    assert len(braze.requests()) == 1


@pytest.mark.parametrize(
    ("ending_at", "last"),
    [
        ("{day}T23:59:59Z", 0),
        ("{day} 23:59", 0),
        ("{day}T23:59:59-5:00", 1),
        ("{day}T23:59:59.5-0500", 1),
        ("{day}T00:30:00+05:00", -1),
        ("{day}T00:30:00 05:00", -1),
    ],
)
def test_an_end_in_another_zone_is_the_day_in_utc(handle: Invoked, ending_at: str, last: int) -> None:
    day = date.today() - timedelta(days=5)

    answered = vendor(handle, length="1", ending_at=ending_at.format(day=day))

    assert [point["time"] for point in answered.body["data"]] == [(day + timedelta(days=last)).isoformat()]


def test_one_call_serves_every_length_and_both_dialects(handle: Invoked, braze: BrazeSimulator) -> None:
    for length in ("1", "7", "97"):
        assert len(vendor(handle, length=length).body["data"]) == int(length)
    short(handle, days="30")

    assert len(braze.requests()) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"length": "0"}, "length"),
        ({"length": "1001"}, "length"),
        ({"ending_at": "2026-13-01"}, "ending_at"),
        ({"ending_at": "2026-11-22T25:00"}, "ending_at"),
        ({"ending_at": "2026-11-22T10:00 99:00"}, "ending_at"),
        ({"starting_at": "2026-11-22", "ending_at": "2026-11-21"}, "starting_at"),
        ({"length": "x"}, "length"),
        ({"segment_id": "a b"}, "segment_id"),
        ({"ending_at": "yesterday"}, "ending_at"),
        ({"ending_at": "2026-11-22T23:59:59Z&length=100"}, "ending_at"),
        ({"unit": "day"}, "unit"),
    ],
)
def test_a_wrong_option_of_the_vendor_dialect_is_a_400_that_names_it(
    handle: Invoked, query: dict[str, str], field: str
) -> None:
    answered = vendor(handle, **query)

    assert (answered.status, answered.body["field"]) == (400, field)


def test_a_missing_option_is_named(handle: Invoked) -> None:
    answered = get(handle, "GET /segments/data_series", query={"segment_id": "segment-1"})

    assert (answered.status, answered.body["code"], answered.body["field"]) == (400, "missing_field", "length")


@pytest.mark.parametrize(
    ("segment_id", "fault", "message"),
    [
        ("nobody-knows", None, "Invalid Segment ID"),
        ("segment-1", Status(404, "<html>"), "upstream_unavailable"),
        ("segment-1", Status(429), "upstream_throttled"),
        ("segment-1", Status(500), "upstream_unavailable"),
    ],
)
def test_a_failure_of_the_vendor_dialect_is_a_message_and_no_data(
    handle: Invoked, braze: BrazeSimulator, segment_id: str, fault: Status | None, message: str
) -> None:
    if fault is not None:
        braze.faults.add("GET *", fault)

    answered = vendor(handle, segment_id=segment_id)

    assert (answered.status, answered.body) == (200, {"message": message, "data": []})


@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem"])
def test_a_cache_that_fails_costs_a_call_and_not_the_answer(
    aws: Aws, faulty_aws: FaultyAws, braze: BrazeSimulator, operation: str
) -> None:
    faulty_aws.refuse(operation)
    handle = build(aws.settings(BRAZE_REST_URL=braze.url))

    assert [short(handle).body["ok"] for _ in range(2)] == [True, True]
    assert len(braze.requests()) == 2
