"""The gate in a real table, when what stands there was not written here."""

from __future__ import annotations

from typing import Any

import pytest

from shared.gate import Gate
from tests.integration.support.aws import Aws

NOW = 1_795_000_000.0


def gate(aws: Aws) -> Gate:
    """That of a new environment."""
    return Gate(aws.dynamodb, aws.table("cache"), "braze", lambda: NOW)


@pytest.mark.parametrize("until", [{"S": "9999999999"}, {"NULL": True}], ids=["text", "nothing"])
def test_a_gate_that_cannot_be_read_stands_open_and_can_be_shut(aws: Aws, until: Any) -> None:
    item = {"id": {"S": "gate#braze"}, "wide_until": until, "narrow_until": {"N": str(NOW + 5)}}
    aws.dynamodb.put_item(TableName=aws.table("cache"), Item=item)

    assert gate(aws).wait_seconds(urgent=False) == 0
    assert gate(aws).wait_seconds(urgent=True) == 5, "the other half says what it says"
    gate(aws).shut(30, urgent_too=False)
    assert gate(aws).wait_seconds(urgent=False) == 30
