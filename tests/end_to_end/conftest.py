"""The running bundle, once for all tests of this folder: real HTTP, real queues, the real template."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.bundle import BundleSettings, LocalBundle
from tests.end_to_end.support import Caller

# After this long a dead worker's messages are handed to another; the template's twelve minutes are too long to watch.
DEAD_WORKER_SECONDS = 6

# A delivery that failed is tried again after 1.5 s instead of half a minute.
POSTPONE_SCALE = 0.05


@pytest.fixture(scope="session")
def running_bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBundle]:
    settings = BundleSettings(
        state_dir=tmp_path_factory.mktemp("bundle"),
        latency_scale=0.05,
        queue_overrides={"VisibilityTimeout": DEAD_WORKER_SECONDS},
        postpone_scale=POSTPONE_SCALE,
    )
    with LocalBundle(settings) as bundle:
        yield bundle


@pytest.fixture
def bundle(running_bundle: LocalBundle) -> LocalBundle:
    """The bundle without a past: no vendor effects, no faults, empty queues."""
    running_bundle.reset()
    return running_bundle


@pytest.fixture
def braze_webhook(bundle: LocalBundle) -> Caller:
    return Caller(bundle.intake_url, bundle.authorization("braze-webhook"))


@pytest.fixture
def connected_content(bundle: LocalBundle) -> Caller:
    return Caller(bundle.content_url, bundle.authorization("braze-connected-content"))


@pytest.fixture
def sessionm_template(bundle: LocalBundle) -> Caller:
    return Caller(bundle.intake_url, bundle.authorization("sessionm"))
