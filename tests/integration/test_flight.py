"""Many readers of one key, each with clients of its own as environments have, and one question to the vendor."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import pytest

from shared.cache import Cache, Failure
from shared.deadline import Deadline
from shared.errors import (
    BundleError,
    ConfigurationError,
    InProgress,
    StoreUnavailable,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamUnavailable,
)
from shared.flight import Found, SingleFlight
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import FaultyAws

FRESH_SECONDS = 60
NOT_FOUND = UpstreamRefused("Vendor", "user_not_found")
DOWN = UpstreamUnavailable("Vendor")


class Vendor:
    """Answers with the number of the call, or with the next of `errors`, after `seconds`."""

    def __init__(self, seconds: float = 0, *errors: BundleError) -> None:
        self.seconds, self.errors, self.calls = seconds, list(errors), 0
        self._lock = Lock()

    def __call__(self) -> int:
        with self._lock:
            self.calls += 1
            number, error = self.calls, self.errors.pop(0) if self.errors else None
        time.sleep(self.seconds)
        if error is not None:
            raise error
        return number


class Clock:
    """The time, moved on by as much as a test says."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(aws: Aws, clock: Clock) -> Cache[int]:
    return Cache(aws.dynamodb, aws.table("cache"), int, 3600, clock)


@pytest.fixture
def flight(cache: Cache[int]) -> SingleFlight[int]:
    return SingleFlight(cache, FRESH_SECONDS, refused_seconds=30)


def read(flight: SingleFlight[int], vendor: Callable[[], int], seconds: float = 5, variant: str = "") -> Found[int]:
    return flight.read("k", vendor, Deadline(seconds), variant)


def test_a_value_is_fetched_once_and_then_comes_from_the_cache(flight: SingleFlight[int]) -> None:
    vendor = Vendor()

    first, second = read(flight, vendor), read(flight, vendor)

    assert (first.value, first.cached, second.value, second.cached) == (1, False, 1, True)
    assert abs(second.as_of - first.as_of) < 0.01
    assert (first.stale, second.stale) == (False, False)


def test_a_store_that_only_the_fetch_needs_is_not_taken_for_the_cache(
    flight: SingleFlight[int], capsys: pytest.CaptureFixture[str]
) -> None:
    vendor = Vendor(0, StoreUnavailable("secrets"), StoreUnavailable("secrets"))

    with pytest.raises(StoreUnavailable, match="secrets"):
        read(flight, vendor)

    assert vendor.calls == 1
    assert "cache not read" not in capsys.readouterr().out


def test_variants_are_fetched_apart(flight: SingleFlight[int]) -> None:
    vendor = Vendor()

    assert [read(flight, vendor, variant=variant).value for variant in ("en", "ko", "en")] == [1, 2, 1]


def test_a_value_that_is_no_longer_fresh_is_fetched_again(flight: SingleFlight[int], clock: Clock) -> None:
    vendor = Vendor()
    read(flight, vendor)
    clock.ahead += FRESH_SECONDS + 1

    assert read(flight, vendor).value == 2
    assert read(flight, vendor).value == 2


def test_a_burst_for_one_key_costs_one_question(flight: SingleFlight[int]) -> None:
    vendor = Vendor(0.2)

    with ThreadPoolExecutor(6) as readers:
        found = list(readers.map(lambda _: read(flight, vendor), range(6)))

    assert {each.value for each in found} == {1}
    assert vendor.calls == 1


@pytest.mark.parametrize("error", [DOWN, NOT_FOUND], ids=str)
def test_a_burst_for_one_key_meets_one_failure_together(flight: SingleFlight[int], error: BundleError) -> None:
    vendor = Vendor(0.2, error)

    def reason(_: int) -> str:
        with pytest.raises(type(error)) as raised:
            read(flight, vendor)
        return str(raised.value)

    with ThreadPoolExecutor(6) as readers:
        reasons = set(readers.map(reason, range(6)))

    assert len(reasons) <= 2  # the one who asked has the details as well
    assert vendor.calls == 1


def test_a_refusal_is_remembered_for_its_time(flight: SingleFlight[int], clock: Clock) -> None:
    vendor = Vendor(0, NOT_FOUND)
    for _ in range(3):
        with pytest.raises(UpstreamRefused, match="user_not_found"):
            read(flight, vendor)
    assert vendor.calls == 1

    clock.ahead += 31
    assert read(flight, vendor).value == 2


def test_an_old_value_serves_while_the_vendor_fails(flight: SingleFlight[int], clock: Clock) -> None:
    vendor = Vendor(0)
    asked_at = read(flight, vendor).as_of
    clock.ahead += FRESH_SECONDS + 1
    vendor.errors = [DOWN]

    for _ in range(2):  # the second learns of the failure from the first
        found = read(flight, vendor)
        assert (found.value, found.stale, found.reason) == (1, True, "upstream_unavailable")
        assert abs(found.as_of - asked_at) < 0.01
    assert vendor.calls == 2


def test_an_old_value_does_not_serve_in_place_of_the_vendors_no(flight: SingleFlight[int], clock: Clock) -> None:
    vendor = Vendor()
    read(flight, vendor)
    clock.ahead += FRESH_SECONDS + 1
    vendor.errors = [NOT_FOUND]

    with pytest.raises(UpstreamRefused):
        read(flight, vendor)


def test_trouble_of_ones_own_is_nobody_elses(flight: SingleFlight[int]) -> None:
    vendor = Vendor(0, ConfigurationError("no secret"))
    with pytest.raises(ConfigurationError):
        read(flight, vendor)

    assert read(flight, vendor).value == 2


def test_a_holder_that_died_is_replaced_while_there_is_time(flight: SingleFlight[int], cache: Cache[int]) -> None:
    cache.lease("k", "who died", 0.3, cache.look("k"))

    started = time.monotonic()
    assert read(flight, Vendor()).value == 1
    assert time.monotonic() - started < 1.5


def test_a_holder_that_dawdles_is_not_waited_for_longer_than_there_is_time(
    flight: SingleFlight[int], cache: Cache[int], clock: Clock
) -> None:
    cache.lease("k", "who dawdles", 60, cache.look("k"))
    with pytest.raises(InProgress):
        read(flight, Vendor(), 0.3)

    cache.put("k", 7, as_of=clock() - FRESH_SECONDS - 1)
    cache.lease("k", "who dawdles", 60, cache.look("k"))
    found = read(flight, Vendor(), 0.3)
    assert (found.value, found.stale, found.reason) == (7, True, "in_progress")


def test_a_table_that_fails_costs_the_cache_and_not_the_answer(aws: Aws, clock: Clock) -> None:
    flight = SingleFlight(Cache(aws.dynamodb, "no-such-table", int, 600, clock), FRESH_SECONDS)
    vendor = Vendor(0)

    assert [read(flight, vendor).value for _ in range(2)] == [1, 2]
    vendor.errors = [UpstreamGarbled("Vendor")]
    with pytest.raises(UpstreamGarbled):
        read(flight, vendor)


@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem"])
def test_a_table_that_hangs_costs_a_moment_and_not_the_answer(faulty_aws: FaultyAws, aws: Aws, operation: str) -> None:
    cache = Cache(Aws.fresh(faulty_aws.url).dynamodb, aws.table("cache"), int, 600)
    faulty_aws.hang(operation, 2)

    started = time.monotonic()
    assert read(SingleFlight(cache, FRESH_SECONDS), Vendor()).value == 1
    assert time.monotonic() - started < 1.5


def test_an_answer_that_cannot_be_kept_is_an_answer(faulty_aws: FaultyAws, aws: Aws) -> None:
    cache = Cache(Aws.fresh(faulty_aws.url).dynamodb, aws.table("cache"), int, 600)
    faulty_aws.refuse_after("UpdateItem", 1)

    assert read(SingleFlight(cache, FRESH_SECONDS), Vendor()).value == 1


@pytest.fixture
def texts(aws: Aws, clock: Clock) -> Cache[str]:
    return Cache(aws.dynamodb, aws.table("cache"), str, 3600, clock)


def text_of(size_bytes: int) -> str:
    """Text that packs to no less."""
    return "".join(chr(random.randrange(0x4E00, 0x9000)) for _ in range(size_bytes // 2))


def test_readers_of_a_value_too_large_to_keep_do_not_wait_for_one_another(texts: Cache[str]) -> None:
    flight, large = SingleFlight(texts, FRESH_SECONDS), text_of(600_000)

    def fetch() -> str:
        time.sleep(0.4)
        return large

    started = time.monotonic()
    with ThreadPoolExecutor(6) as readers:
        found = list(readers.map(lambda _: flight.read("k", fetch, Deadline(6)), range(6)))

    assert time.monotonic() - started < 4 * 0.4, "one asks, then the others all at once"
    assert all(each.value == large and not each.cached for each in found)
    assert not texts.look("k").leased


def test_a_value_that_was_too_large_is_kept_when_it_has_shrunk(texts: Cache[str], clock: Clock) -> None:
    flight, large = SingleFlight(texts, FRESH_SECONDS), text_of(600_000)
    flight.read("k", lambda: large, Deadline(5))

    assert [flight.read("k", lambda: "small", Deadline(5)).cached for _ in range(2)] == [False, False]
    clock.ahead += 31
    assert [flight.read("k", lambda: "small", Deadline(5)).cached for _ in range(2)] == [False, True]
    assert not texts.look("k").alone


def test_an_old_value_serves_when_the_new_one_was_too_large_and_the_vendor_fails(
    texts: Cache[str], clock: Clock
) -> None:
    flight, large = SingleFlight(texts, FRESH_SECONDS), text_of(600_000)
    flight.read("k", lambda: "small", Deadline(5))
    clock.ahead += FRESH_SECONDS + 1
    flight.read("k", lambda: large, Deadline(5))

    def fail() -> str:
        raise DOWN

    found = flight.read("k", fail, Deadline(5))
    assert (found.value, found.reason) == ("small", "upstream_unavailable")


def test_a_variant_for_which_the_others_leave_no_room_is_asked_for_at_once(texts: Cache[str]) -> None:
    flight, part = SingleFlight(texts, FRESH_SECONDS), text_of(120_000)
    variants = ("en", "fr", "ko", "pt")

    assert [flight.read("k", lambda: part, Deadline(5), variant).cached for variant in variants] == [False] * 4
    started = time.monotonic()
    assert [flight.read("k", lambda: part, Deadline(5), variant).cached for variant in variants] == [True] * 3 + [False]
    assert time.monotonic() - started < 1


def test_a_failure_worded_by_another_version_is_a_failure(flight: SingleFlight[int], cache: Cache[int]) -> None:
    cache.lease("k", "newer", 5, cache.look("k"))
    cache.give_up("k", "newer", Failure("a_new_code", "Vendor"), 5)

    with pytest.raises(UpstreamUnavailable):
        read(flight, Vendor())


def test_an_entry_that_was_tampered_with_costs_one_question_for_all(aws: Aws, flight: SingleFlight[int]) -> None:
    vendor = Vendor(0.2)
    assert flight.read("k", vendor, Deadline(5)).value == 1
    item = aws.dynamodb.get_item(TableName=aws.table("cache"), Key={"id": {"S": "k"}})["Item"]
    item |= {"stored_at": {"S": "now"}, "held_until": {"S": "never"}, "holder": {"N": "7"}}
    aws.dynamodb.put_item(TableName=aws.table("cache"), Item=item)

    with ThreadPoolExecutor(5) as threads:
        found = list(threads.map(lambda _: flight.read("k", vendor, Deadline(5)), range(5)))

    assert {each.value for each in found} == {2}
    assert sum(not each.cached for each in found) == 1
    assert vendor.calls == 2
