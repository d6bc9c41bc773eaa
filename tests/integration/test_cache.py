"""Answers worth keeping, in a real table."""

from __future__ import annotations

import pytest

from shared.cache import Cache
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
