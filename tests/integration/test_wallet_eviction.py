"""A member's wallet is forgotten by whoever sees it change."""

from __future__ import annotations

import pytest

from shared.cache import Cache
from shared.errors import StoreUnavailable
from shared.wallets import evict, key_of
from tests.integration.support.aws import Aws


def test_an_evicted_wallet_is_gone_and_no_other(aws: Aws) -> None:
    cache = Cache(aws.dynamodb, aws.table("cache"), int, 600)
    for member in ("member-1", "member-2"):
        cache.put(key_of(member), 1)

    evict(aws.dynamodb, aws.table("cache"), "member-1")
    evict(aws.dynamodb, aws.table("cache"), "nobody")

    assert [cache.get(key_of(member)) is None for member in ("member-1", "member-2")] == [True, False]


def test_a_table_that_cannot_be_asked_is_told_to_the_one_who_evicts(aws: Aws) -> None:
    with pytest.raises(StoreUnavailable):
        evict(aws.dynamodb, "no-such-table", "member-1")


def test_the_key_does_not_name_the_member() -> None:
    assert "member-1" not in key_of("member-1")
