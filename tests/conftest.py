"""Fixtures of all tests: AWS as moto plays it, the simulated vendors, and the settings a handler is built with.

A handler module builds itself when it is imported, so the environment below is set before any is. It leads nowhere:
tests build their own handlers from `settings`.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from infra.local.aws import MotoServer
from infra.local.simulators import BrazeSimulator, SessionmSimulator

# A change is judged on the same examples every time; new ones are looked for on developers' machines.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

NOWHERE = "http://127.0.0.1:9"

for _name, _value in {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_ENDPOINT_URL": NOWHERE,
    "POWERTOOLS_METRICS_NAMESPACE": "Tests",
    "POWERTOOLS_SERVICE_NAME": "tests",
    "CALLERS_SECRET_ID": "callers",
    "LOG_KEY_SECRET_ID": "log-key",
    "CALLER_ROTATION_SECONDS": "86400",
    "TAG_QUEUE_URL": f"{NOWHERE}/tags",
    "TRIGGER_QUEUE_URL": f"{NOWHERE}/triggers",
    "URGENT_TRIGGER_QUEUE_URL": f"{NOWHERE}/urgent-triggers",
    "URGENT_TRIGGER_QUEUE_ARN": "arn:aws:sqs:us-east-1:123456789012:urgent-triggers",
    "TRIGGER_BATCH_SIZE": "1000",
    "TRIGGER_CUSTOMER_IDENTIFIER": "external_id",
    "TRIGGER_FIELDS": "",
    "BULK_TAG_QUEUE_URL": f"{NOWHERE}/bulk-tags",
    "BULK_TAG_QUEUE_ARN": "arn:aws:sqs:us-east-1:123456789012:bulk-tags",
    "IMPORT_QUEUE_URL": f"{NOWHERE}/imports",
    "PREFETCH_QUEUE_URL": f"{NOWHERE}/prefetches",
    "PREFETCH_SHARE_PERCENT": "50",
    "PREFETCH_MOST_FRESH_SECONDS": "86400",
    "IMPORT_BUCKET": "imports",
    "TAG_DELIVERY_CONCURRENCY": "2",
    "TAG_RATE_PER_SECOND": "10000",
    "TAG_READ_BACK_SAMPLE": "0",
    "CALLBACK_BASE_URL": NOWHERE,
    "BRAZE_EXPORT_BUCKET": "",
    "LEDGER_TABLE": "ledger",
    "IMPORTS_TABLE": "imports",
    "IMPORT_RETENTION_DAYS": "30",
    "CACHE_TABLE": "cache",
    "SESSIONM_CORE_URL": NOWHERE,
    "SESSIONM_CONNECT_URL": NOWHERE,
    "SESSIONM_SECRET_ID": "sessionm",
    "BRAZE_REST_URL": NOWHERE,
    "BRAZE_SECRET_ID": "braze",
    "BROADCAST_ALLOWED_IDS": "",
    "BRAZE_PATH_GROUPS": "triggers,reads",
    "TRACK_QUEUE_URL": f"{NOWHERE}/tracks",
    "TRACKED_EVENTS": "",
    "SEGMENT_IDS": "",
    "SEGMENT_HISTORY_TABLE": "history",
    "COUNT_FRESH_SECONDS": "3600",
    "SEGMENT_SIZE_FRESH_SECONDS": "3600",
    "SEGMENT_SIZE_STALE_SECONDS": "604800",
    "READ_BUDGET_MILLISECONDS": "1500",
    "WALLET_DEFAULT_CULTURE": "en-US",
    "READ_COLD_BUDGET_MILLISECONDS": "1500",
    "WALLET_FRESH_SECONDS": "60",
    "WALLET_STALE_SECONDS": "3600",
    "WALLET_UNKNOWN_SECONDS": "30",
    "SESSIONM_MAX_CONCURRENT_CALLS": "100",
    "CONNECT_OPERATIONS": "/incentives/api/1.0/user_points/*",
    "RETRY_ANSWERS_PER_MINUTE": "1400",
}.items():
    os.environ[_name] = _value

from shared.observability import logger  # noqa: E402
from tests.integration.support.aws import Aws  # noqa: E402  # creates no client before the environment is set
from tests.integration.support.faulty_aws import FaultyAws  # noqa: E402


class _StandardOutput(io.TextIOBase):
    """Standard output as it is when something is written: the logger would hold on to that of its import."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


for _handler in logger.handlers:
    if isinstance(_handler, logging.StreamHandler):
        _handler.setStream(_StandardOutput())


def pytest_collection_finish() -> None:
    """What is there by now, all tests and their modules, stays to the end: no search for garbage looks at it again."""
    gc.freeze()


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log: Path = tmp_path_factory.mktemp("moto") / "moto.log"
    server = MotoServer(log)
    yield server.url
    server.stop()


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Queues, tables, a bucket and secrets of this test alone, and handlers built now reach them."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    return Aws.fresh(moto_url)


@pytest.fixture
def faulty_aws(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyAws]:
    """The same AWS, but handlers built now reach it through something that can be told to fail."""
    with FaultyAws(aws.url) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        yield between


@pytest.fixture(scope="session")
def sessionm_server() -> Iterator[SessionmSimulator]:
    with SessionmSimulator(latency_scale=0) as simulator:
        yield simulator


@pytest.fixture
def sessionm(sessionm_server: SessionmSimulator) -> Iterator[SessionmSimulator]:
    """SessionM with one member, `member-1` alias `loyal-1`, without faults and without a past."""
    sessionm_server.faults.clear()
    sessionm_server.forget()
    sessionm_server.forget_members()
    sessionm_server.add_member("member-1", "loyal-1", available_points=120, total_points=450)
    yield sessionm_server
    sessionm_server.faults.clear()


@pytest.fixture(scope="session")
def braze_server() -> Iterator[BrazeSimulator]:
    with BrazeSimulator(latency_scale=0) as simulator:
        simulator.add_campaign("campaign-1")
        simulator.add_canvas("canvas-1")
        simulator.add_canvas("canvas-paused", state="paused")
        yield simulator


@pytest.fixture
def braze(braze_server: BrazeSimulator) -> Iterator[BrazeSimulator]:
    """Braze with `campaign-1`, `canvas-1`, `canvas-paused` and `segment-1`, without faults and without a past."""
    braze_server.faults.clear()
    braze_server.forget()
    braze_server.add_segment("segment-1", size=10_000)
    yield braze_server
    braze_server.faults.clear()
