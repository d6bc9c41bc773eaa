"""Answers worth keeping, in a real table."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from string import ascii_letters, digits
from typing import Any

import pytest

from shared.cache import Cache, Failure, Known, Seen, TooLargeToKeep
from shared.errors import StoreUnavailable
from tests.integration.support.aws import Aws


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_000_000.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(aws: Aws, clock: Clock) -> Cache[list[int]]:
    return Cache(aws.dynamodb, aws.table("cache"), list[int], 600, clock)


def test_a_value_comes_back_with_the_time_it_was_put_in(cache: Cache[list[int]], clock: Clock) -> None:
    cache.put("k", [1, 2])
    stored_at = clock.now
    clock.now += 100

    found = cache.get("k")

    assert found is not None
    assert (found.value, found.stored_at) == ([1, 2], stored_at)


def test_a_value_never_put_in_is_none(cache: Cache[list[int]]) -> None:
    assert cache.get("k") is None


def test_a_value_is_gone_after_its_time_though_the_table_still_holds_it(cache: Cache[list[int]], clock: Clock) -> None:
    cache.put("k", [1])
    clock.now += 601

    assert cache.get("k") is None


def test_a_value_of_another_shape_is_as_good_as_none(aws: Aws, cache: Cache[list[int]], clock: Clock) -> None:
    Cache(aws.dynamodb, aws.table("cache"), dict[str, str], 600, clock).put("k", {"a": "b"})

    assert cache.get("k") is None


def test_a_large_value_comes_back_whole_and_takes_little_room(aws: Aws, clock: Clock) -> None:
    cache = Cache(aws.dynamodb, aws.table("cache"), list[str], 600, clock)
    cache.put("k", ["the same again"] * 10_000)

    found = cache.get("k")

    assert found is not None
    assert found.value == ["the same again"] * 10_000
    item = aws.dynamodb.get_item(TableName=aws.table("cache"), Key={"id": {"S": "k"}})["Item"]
    assert len(item["value"]["B"]) < 4_000


def test_the_vendors_time_counts_when_it_is_given(cache: Cache[list[int]], clock: Clock) -> None:
    cache.put("k", [1], as_of=clock.now - 601)

    assert cache.get("k") is None


def test_only_one_holds_a_lease_until_it_ends(cache: Cache[list[int]], clock: Clock) -> None:
    nothing = cache.look("k")
    assert cache.lease("k", "first", 1.0, nothing) is None

    refused = cache.lease("k", "second", 1.0, nothing)
    assert refused is not None
    assert refused.leased is True

    clock.now += 1.1
    assert cache.lease("k", "second", 1.0, nothing) is None


def test_a_lease_is_not_given_to_one_who_has_not_seen_the_newest_value(cache: Cache[list[int]]) -> None:
    before = cache.look("k")
    cache.put("k", [1])

    seen = cache.lease("k", "first", 1.0, before)

    assert seen is not None
    assert (seen.entry is not None and seen.entry.value, seen.leased) == ([1], False)
    assert cache.lease("k", "first", 1.0, seen) is None


def test_what_was_forgotten_while_it_was_fetched_is_not_kept(cache: Cache[list[int]], clock: Clock) -> None:
    cache.lease("k", "first", 1.0, cache.look("k"))
    cache.evict("k")

    assert cache.settle("k", "first", [1], clock.now) is False
    assert cache.get("k") is None


def test_one_eviction_forgets_all_variants(cache: Cache[list[int]], clock: Clock) -> None:
    for variant in ("en", "ko"):
        cache.lease("k", "first", 1.0, cache.look("k", variant), variant)
        assert cache.settle("k", "first", [len(variant)], clock.now, variant) is True
    assert [cache.get("k", variant) is not None for variant in ("en", "ko", "ja")] == [True, True, False]

    cache.evict("k")

    assert [cache.get("k", variant) for variant in ("en", "ko")] == [None, None]


def test_a_failure_counts_for_its_time_and_does_not_hide_the_value(cache: Cache[list[int]], clock: Clock) -> None:
    failure = Failure("upstream_refused", "SessionM Connect", "user_not_found")
    cache.put("k", [1])
    cache.lease("k", "first", 1.0, cache.look("k"))

    assert cache.give_up("k", "first", failure, 5) is True
    seen = cache.look("k")
    assert (seen.failure, seen.leased, seen.entry is not None) == (failure, False, True)

    clock.now += 6
    assert cache.look("k").failure is None


def test_a_lease_can_be_given_back_without_a_word(cache: Cache[list[int]]) -> None:
    cache.lease("k", "first", 1.0, cache.look("k"))

    assert cache.give_up("k", "first", None, 0) is True
    assert cache.look("k") == Seen()


def test_a_table_that_refuses_is_a_store_that_is_unavailable(aws: Aws, clock: Clock) -> None:
    cache = Cache(aws.dynamodb, "no-such-table", list[int], 600, clock)

    with pytest.raises(StoreUnavailable):
        cache.look("k")
    with pytest.raises(StoreUnavailable):
        cache.lease("k", "first", 1, Seen())
    with pytest.raises(StoreUnavailable):
        cache.evict("k")


# --- what is fetched ahead ------------------------------------------------------------------------------------------


def ahead(cache: Cache[list[int]], value: list[int], fresh_seconds: float, variant: str = "") -> bool:
    """Whether a value fetched ahead was kept."""
    assert cache.lease_anyway("k", "me", 1, variant)
    return cache.settle("k", "me", value, cache.clock(), variant, fresh_until=cache.clock() + fresh_seconds)


def test_a_value_fetched_ahead_says_until_when_it_is_fresh_and_is_kept_beyond(
    cache: Cache[list[int]], clock: Clock
) -> None:
    begun_at = clock.now
    assert ahead(cache, [1], 3600)

    clock.now += 3600 + 599
    found = cache.get("k")
    assert found is not None
    assert (found.value, found.fresh_until) == ([1], begun_at + 3600)

    clock.now += 2
    assert cache.get("k") is None


def test_a_value_fetched_later_is_fresh_by_its_age_again(cache: Cache[list[int]]) -> None:
    assert ahead(cache, [1], 3600)
    assert cache.lease_anyway("k", "other", 1)
    assert cache.settle("k", "other", [2], cache.clock())

    found = cache.get("k")
    assert found is not None
    assert (found.value, found.fresh_until) == ([2], 0.0)


def test_a_variant_that_is_kept_for_less_time_does_not_end_one_that_is_kept_for_more(
    aws: Aws, cache: Cache[list[int]], clock: Clock
) -> None:
    assert ahead(cache, [1], 3600, "ko-KR")
    item = aws.item("cache", "k")
    assert item is not None

    assert cache.lease_anyway("k", "a", 1, "en-US")
    assert cache.settle("k", "a", [2], clock.now, "en-US")
    assert cache.lease_anyway("k", "b", 1, "pt-BR")
    assert cache.give_up("k", "b", Failure("upstream_refused", "S", "no"), 30, "pt-BR")

    after = aws.item("cache", "k")
    assert after is not None
    assert after["expires_at"] == item["expires_at"]
    assert cache.look("k", "en-US").entry is not None
    assert cache.look("k", "pt-BR").failure == Failure("upstream_refused", "S", "no")


def test_a_failure_is_kept_for_as_long_as_it_counts(aws: Aws, cache: Cache[list[int]], clock: Clock) -> None:
    assert cache.lease_anyway("k", "me", 1)
    assert cache.give_up("k", "me", Failure("upstream_refused", "S", "no"), 3600)

    item = aws.item("cache", "k")
    assert item is not None
    assert int(item["expires_at"]) > clock.now + 3600


def test_who_fetches_ahead_waits_for_who_is_asking_and_holds_what_it_has(cache: Cache[list[int]], clock: Clock) -> None:
    assert cache.lease("k", "reader", 2, Seen()) is None
    assert not cache.lease_anyway("k", "me", 1)

    clock.now += 2.5
    assert cache.lease_anyway("k", "me", 1)
    assert cache.lease_anyway("k", "me", 1)
    cache.evict("k")
    assert not cache.settle("k", "me", [1], clock.now)
    assert not cache.give_up("k", "me", Failure("c"), 1)


def test_what_is_known_ahead_is_told_for_many_at_once(cache: Cache[list[int]], clock: Clock) -> None:
    assert ahead(cache, [1], 3600, "ko-KR")
    assert cache.lease_anyway("gone", "me", 1, "ko-KR")
    assert cache.give_up("gone", "me", Failure("upstream_refused", "S", "no"), 100, "ko-KR")
    cache.put("old", [1])

    known = cache.known({"k": "ko-KR", "gone": "ko-KR", "old": "en-US", "never": "en-US"})

    assert known == {
        "k": Known(clock.now + 3600, as_of=clock.now),
        "gone": Known(clock.now + 100, Failure("upstream_refused", "S", "no")),
        "old": Known(0.0),
    }


def test_a_value_no_table_takes_is_told_from_a_table_that_fails(aws: Aws, clock: Clock) -> None:
    cache = Cache(aws.dynamodb, aws.table("cache"), str, 600, clock)
    noise = "".join(Random(1).choices(ascii_letters + digits, k=700_000))
    assert cache.lease_anyway("k", "me", 1)

    with pytest.raises(TooLargeToKeep):
        cache.settle("k", "me", noise, clock.now)
    with pytest.raises(StoreUnavailable) as failed:
        Cache(aws.dynamodb, "no-such-table", str, 600, clock).settle("k", "me", "", clock.now)
    assert not isinstance(failed.value, TooLargeToKeep)


# Each as one who edits the table by hand might leave it; the rest of the entry stays as it was written.
TAMPERED: dict[str, dict[str, Any]] = {
    "when it was stored is text": {"stored_at": {"S": "1795000000.250"}},
    "when it was stored is no number of seconds": {"stored_at": {"N": "9e120"}},
    "when it was stored is before all time": {"stored_at": {"N": "-1"}},
    "the value is a number": {"value": {"N": "1"}},
    "the value is a map": {"value": {"M": {"a": {"L": []}}}},
    "the value is missing": {"value": None},
    "until when it is fresh is text": {"fresh_until": {"S": "tomorrow"}},
    "the failure is missing": {"failed_until": {"N": "1795000100"}},
    "the failure is none": {"failed_until": {"N": "1795000100"}, "failure": {"S": "[]"}},
    "the failure is no JSON": {"failed_until": {"N": "1795000100"}, "failure": {"S": "{"}},
    "the failure is a number": {"failed_until": {"N": "1795000100"}, "failure": {"N": "4"}},
    "until when it failed is nothing": {"failed_until": {"NULL": True}},
    "the holder is a number": {"holder": {"N": "7"}},
    "until when all ask alone is text": {"alone_until": {"S": "9999999999"}},
    "until when it is held is text": {"held_until": {"S": "9999999999"}},
    "until when it is held is a set": {"held_until": {"NS": ["1", "2"]}, "expires_at": {"S": "never"}},
}


def tamper(aws: Aws, changes: Mapping[str, Any], variant: str = "") -> None:
    name = {part: part if part == "expires_at" or not variant else f"{part}#{variant}" for part in changes}
    item = aws.dynamodb.get_item(TableName=aws.table("cache"), Key={"id": {"S": "k"}})["Item"]
    item |= {name[part]: value for part, value in changes.items() if value is not None}
    for part in [part for part, value in changes.items() if value is None]:
        del item[name[part]]
    aws.dynamodb.put_item(TableName=aws.table("cache"), Item=item)


def unreadable_in(text: str) -> int:
    return text.count('"cache entry cannot be read"')


@pytest.mark.parametrize("variant", ["", "en"], ids=["plain", "variant"])
@pytest.mark.parametrize("changes", TAMPERED.values(), ids=TAMPERED)
def test_an_entry_that_was_tampered_with_is_none_is_told_once_and_is_written_over(
    aws: Aws,
    cache: Cache[list[int]],
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    variant: str,
) -> None:
    assert cache.lease("k", "first", 5, cache.look("k", variant), variant) is None
    assert cache.settle("k", "first", [1], clock.now, variant)
    tamper(aws, changes, variant)
    capsys.readouterr()

    seen = cache.look("k", variant)
    assert (seen.entry, seen.failure, seen.leased) == (None, None, False)
    assert unreadable_in(capsys.readouterr().out) == 1
    assert cache.lease("k", "second", 5, seen, variant) is None
    late = cache.lease("k", "third", 5, seen, variant)
    assert late is not None
    assert late.leased, "one alone asks the vendor in its place"
    assert cache.settle("k", "second", [2], clock.now, variant)

    found = cache.get("k", variant)
    assert found is not None
    assert found.value == [2]
    assert unreadable_in(capsys.readouterr().out) == 0


@pytest.mark.parametrize("changes", TAMPERED.values(), ids=TAMPERED)
def test_who_fetches_ahead_writes_over_what_was_tampered_with(
    aws: Aws, cache: Cache[list[int]], clock: Clock, changes: dict[str, Any]
) -> None:
    cache.put("k", [1])
    tamper(aws, changes)

    assert cache.lease_anyway("k", "ahead", 5)
    assert cache.settle("k", "ahead", [2], clock.now, fresh_until=clock.now + 100)
    assert cache.known({"k": ""}) == {"k": Known(clock.now + 100, as_of=clock.now)}


def test_of_what_was_tampered_with_nothing_is_known_ahead_and_of_the_rest_all(
    aws: Aws, cache: Cache[list[int]], clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("k", "other"):
        assert cache.lease(key, "me", 5, cache.look(key)) is None
        assert cache.settle(key, "me", [1], clock.now, fresh_until=clock.now + 100)
    tamper(aws, {"fresh_until": {"S": "tomorrow"}})

    assert cache.known({"k": "", "other": ""}) == {"other": Known(clock.now + 100, as_of=clock.now)}
    assert unreadable_in(capsys.readouterr().out) == 1
