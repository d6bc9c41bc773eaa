"""The page on costs says what its figures give, and what other pages say of costs agrees with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from infra.release.costs import PAGE, cost_of, figures, memory_gb, tables, written
from tests.unit.docs.material import DOCS, template

KNOWN = figures()
OPERATIONS: Mapping[str, Mapping[str, Any]] = {each["name"]: each for each in KNOWN["operations"]}


def total(name: str) -> float:
    return cost_of(OPERATIONS[name], KNOWN["prices"], template()).total


def test_the_page_holds_the_tables_that_the_figures_give() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert written(page, tables(KNOWN, template())) == page, "make costs WRITE=yes"


def test_the_page_names_day_and_region_of_the_prices() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert f"{KNOWN['basis']['day']} in {KNOWN['basis']['region']}" in page


def test_a_sum_is_that_of_its_parts_worked_out_by_hand() -> None:
    operation = {
        "name": "made up",
        "api_requests": 1,
        "milliseconds": {"WalletFunction": 100, "TagDeliveryFunction": 10},
        "dynamodb_read_units": 2,
        "dynamodb_write_units": 3,
        "sqs_requests": 1.5,
        "internet_kb": 10,
        "log_kb": 2,
        "traces": 0.05,
    }
    prices = {
        "million_api_requests": 1.0,
        "million_lambda_requests": 0.2,
        "million_lambda_gb_seconds": 13.0,
        "million_dynamodb_read_units": 0.1,
        "million_dynamodb_write_units": 0.6,
        "million_sqs_requests": 0.4,
        "million_traces": 5.0,
        "internet_gb": 0.09,
        "log_gb": 0.5,
    }
    functions = {"WalletFunction": {"Properties": {}}, "TagDeliveryFunction": {"Properties": {"MemorySize": 2048}}}
    small = {"Globals": {"Function": {"MemorySize": 1024}}, "Resources": functions}

    cost = cost_of(operation, prices, small)

    assert cost.api == pytest.approx(1.0)
    assert cost.compute == pytest.approx((0.1 * 1 + 0.01 * 2) * 13.0 + 2 * 0.2)
    assert cost.dynamodb == pytest.approx(0.2 + 1.8)
    assert cost.sqs == pytest.approx(0.6)
    assert cost.traffic == pytest.approx(0.9)
    assert cost.logs == pytest.approx(1.0 + 0.25)
    assert cost.total == pytest.approx(1.0 + 1.96 + 2.0 + 0.6 + 0.9 + 1.25)


def test_memory_is_the_templates() -> None:
    assert memory_gb(template(), "WalletFunction") == template()["Globals"]["Function"]["MemorySize"] / 1024
    with pytest.raises(KeyError, match="NoFunction"):
        memory_gb(template(), "NoFunction")


def test_the_page_on_tags_gives_the_same_sum_for_a_file() -> None:
    page = (DOCS / "tag-import.md").read_text(encoding="utf-8")
    told = re.search(r"\*\*together\*\* \| \| \*\*([\d.]+) USD\*\* \| \*\*([\d.]+) USD\*\*", page)

    assert told
    assert [f"{total(f'Row of a CSV, at {rate} a second'):.2f}" for rate in ("100", "1,000")] == list(told.groups())


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table of operations"):
        written("nothing", {"operations": ["| a |"]})


def test_each_kind_of_operation_is_there() -> None:
    for kind in (
        "Wallet, from the cache",
        "Wallet, fetched",
        "Tag of one",
        "CSV",
        "Trigger, alone",
        "burst",
        "Segment",
    ):
        assert any(kind in name for name in OPERATIONS)
