"""Settings: every fault names the variable."""

from __future__ import annotations

import pytest

from shared.config import Settings
from shared.errors import ConfigurationError


@pytest.mark.parametrize("environment", [{}, {"TAG_QUEUE_URL": ""}, {"TAG_QUEUE_URL": "  "}])
def test_a_setting_that_is_unset_or_blank_is_named_in_the_error(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="TAG_QUEUE_URL is not set or blank"):
        Settings(environment).text("TAG_QUEUE_URL")


def test_a_number_that_is_none_is_named_in_the_error_but_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="IMPORT_RETENTION_DAYS must be a whole number") as error:
        Settings({"IMPORT_RETENTION_DAYS": "thirty"}).whole_number("IMPORT_RETENTION_DAYS")
    assert "thirty" not in str(error.value)


def test_milliseconds_become_seconds() -> None:
    assert Settings({"BUDGET": "1500"}).milliseconds_as_seconds("BUDGET") == 1.5


@pytest.mark.parametrize(
    ("value", "names"),
    [("", ()), (" , ,", ()), ("a", ("a",)), (" b , a,, c ", ("b", "a", "c"))],
)
def test_a_list_keeps_its_order_and_drops_blanks(value: str, names: tuple[str, ...]) -> None:
    assert Settings({"SEGMENT_IDS": value}).names("SEGMENT_IDS") == names


def test_a_list_that_is_not_set_is_empty() -> None:
    assert Settings({}).names("SEGMENT_IDS") == ()
