"""Between tests a local bundle forgets: nobody at work, no item cached, no memory of a vendor that failed."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, cast

import pytest
import requests

from infra.local.aws import Clients
from infra.local.event_sources import QueuePoller
from infra.local.reset import empty_tables, has_failed, settle, with_memory_of
from infra.local.simulators import BrazeSimulator, Status
from infra.local.views import QueueMapping

ENVIRONMENTS = {
    "Reader": {"CACHE_TABLE": "cache", "BRAZE_REST_URL": "http://braze"},
    "Other": {"CACHE_TABLE": "cache", "SESSIONM_CORE_URL": "http://sessionm"},
    "Forgetful": {"BRAZE_REST_URL": "http://braze"},
}


@pytest.fixture
def braze() -> Iterator[BrazeSimulator]:
    simulator = BrazeSimulator(latency_scale=0)
    simulator.start()
    yield simulator
    simulator.stop()


def ask(braze: BrazeSimulator) -> int:
    headers = {"Authorization": braze.authorization}
    return requests.get(f"{braze.url}/segments/list", headers=headers, timeout=5).status_code


def test_a_vendor_has_failed_once_it_was_told_to_or_answered_so(braze: BrazeSimulator) -> None:
    assert ask(braze) == 200
    assert not has_failed(braze)
    braze.faults.add("GET /segments/*", Status(500), times=1)
    assert has_failed(braze)
    assert ask(braze) == 500
    assert braze.faults.rules() == []
    assert has_failed(braze)
    braze.forget()
    assert not has_failed(braze)


def test_functions_with_a_memory_of_a_vendor_are_those_that_share_it_in_the_cache() -> None:
    assert with_memory_of(["http://braze"], ENVIRONMENTS) == ["Reader"]
    assert with_memory_of([], ENVIRONMENTS) == []


def test_cache_and_ledger_are_emptied_whatever_their_size(moto_url: str) -> None:
    dynamodb = Clients.at(moto_url).dynamodb
    tables = {name: f"{name}-{uuid.uuid4().hex}" for name in ("CACHE_TABLE", "LEDGER_TABLE")}
    for table in tables.values():
        dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )
        for number in range(60):
            dynamodb.put_item(TableName=table, Item={"id": {"S": str(number)}})

    empty_tables(dynamodb, {"Reader": tables, "Other": {}})

    assert [dynamodb.scan(TableName=table)["Count"] for table in tables.values()] == [0, 0]


def test_settling_waits_for_the_batch_in_hand_and_purges_what_it_left(moto_url: str) -> None:
    sqs, at_work, done = Clients.at(moto_url).sqs, threading.Event(), threading.Event()
    url = sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]
    purged: list[bool] = []

    def invoke(_function: str, _event: Any) -> None:
        at_work.set()
        time.sleep(0.2)
        done.set()

    mapping = QueueMapping("Q", "f", 10, 0, True, 1)
    poller = QueuePoller(mapping, sqs, url, "arn:aws:sqs:us-east-1:123456789012:q", invoke, wait_seconds=0)
    idle = [poller.is_idle]
    poller.start()
    try:
        sqs.send_message(QueueUrl=url, MessageBody="one")
        assert at_work.wait(5)
        idle.append(poller.is_idle)
        settle([poller], lambda: purged.append(done.is_set()), lambda _: None)
        assert idle == [True, False]
        assert done.is_set()
        assert purged == [False, True]
    finally:
        poller.stop()


def test_a_worker_that_does_not_end_is_killed() -> None:
    class Stuck:
        function, is_idle = "f", False

    stuck = Stuck()

    def kill(_function: str) -> None:
        stuck.is_idle = True

    settle([cast("QueuePoller", stuck)], lambda: None, kill, patience_seconds=0)

    assert stuck.is_idle
