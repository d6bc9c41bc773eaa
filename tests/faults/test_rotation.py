"""A vendor credential that is changed while requests are under way."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from clients.braze import Braze, BrazeCredentials
from clients.sessionm import Sessionm, SessionmCredentials
from clients.transport import Timeouts, Transport
from clients.vocabulary import Member
from infra.local.simulators import BrazeSimulator, SessionmSimulator
from shared import aws as clients
from shared.errors import UpstreamUnauthorized
from shared.secrets import REFRESH_INTERVAL_SECONDS, Secret
from tests.integration.support.aws import BRAZE_KEY, SESSIONM_SECRET, Aws
from tests.integration.support.faulty_aws import FaultyAws

TIMEOUTS = Timeouts(2, 5)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vendors(sessionm: SessionmSimulator, braze: BrazeSimulator) -> Iterator[tuple[SessionmSimulator, BrazeSimulator]]:
    yield sessionm, braze
    sessionm.rotate_credentials(
        core_api_key="local-core-key",
        core_api_secret="local-core-secret",
        connect_key="local-connect-key",
        connect_secret="local-connect-secret",
    )
    braze.rotate_credentials(api_key=BRAZE_KEY)


def test_sessionm_core_and_connect_go_on_after_a_rotation(
    aws: Aws, clock: Clock, vendors: tuple[SessionmSimulator, BrazeSimulator]
) -> None:
    sessionm, _ = vendors
    secret = Secret(aws.secretsmanager, aws.secret_id("sessionm"), SessionmCredentials, clock=clock)
    core = Transport("Core", sessionm.url, connections=4)
    client = Sessionm(core, Transport("Connect", sessionm.url, connections=4), secret)
    client.add_tags(Member("user_id", "member-1"), ["before"], 60, TIMEOUTS)
    sessionm.rotate_credentials(core_api_key="new-key", core_api_secret="new-secret", connect_secret="new")
    rotated: dict[str, Any] = {
        **SESSIONM_SECRET,
        "core_api_key": "new-key",
        "core_api_secret": "new-secret",
        "connect_authorization": "Basic " + b64encode(b"local-connect-key:new").decode(),
    }
    aws.put_secret("sessionm", rotated)
    clock.now += REFRESH_INTERVAL_SECONDS

    with pytest.raises(UpstreamUnauthorized):
        client.add_tags(Member("external_id", "loyal-1"), ["after"], 60, TIMEOUTS)
    client.add_tags(Member("external_id", "loyal-1"), ["after"], 60, TIMEOUTS)
    offers = client.get_user_offers("member-1", culture="en-US", skip=0, take=1, timeouts=TIMEOUTS)

    assert set(sessionm.tags_of("member-1")) == {"before", "after"}
    assert len(sessionm.requests()) == 4, "tags are one request a call, so that a rate can be kept to"
    assert offers["user_id"] == "member-1"


def test_many_calls_that_meet_a_401_read_the_secret_once_and_all_succeed(
    aws: Aws, faulty_aws: FaultyAws, clock: Clock, vendors: tuple[SessionmSimulator, BrazeSimulator]
) -> None:
    _, braze = vendors
    secret = Secret(clients.secretsmanager(), aws.secret_id("braze"), BrazeCredentials, clock=clock)
    client = Braze(Transport("Braze", braze.url, connections=16), secret)
    client.segment_sizes("segment-1", length=1, ending_at=None, timeouts=TIMEOUTS)
    braze.rotate_credentials(api_key="new-key")
    aws.put_secret("braze", {"rest_api_key": "new-key"})
    clock.now += REFRESH_INTERVAL_SECONDS

    def ask(_: int) -> int:
        return len(client.segment_sizes("segment-1", length=1, ending_at=None, timeouts=TIMEOUTS))

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, range(64))) == [1] * 64

    assert faulty_aws.calls == ["GetSecretValue"] * 2


def test_a_credential_that_stays_wrong_is_refused_without_a_storm(
    aws: Aws, faulty_aws: FaultyAws, clock: Clock, vendors: tuple[SessionmSimulator, BrazeSimulator]
) -> None:
    _, braze = vendors
    secret = Secret(clients.secretsmanager(), aws.secret_id("braze"), BrazeCredentials, clock=clock)
    braze.rotate_credentials(api_key="a-key-nobody-put-into-the-secret")
    client = Braze(Transport("Braze", braze.url, connections=16), secret)
    for _ in range(10):
        with pytest.raises(UpstreamUnauthorized):
            client.segment_sizes("segment-1", length=1, ending_at=None, timeouts=TIMEOUTS)

    assert faulty_aws.calls == ["GetSecretValue"]
    assert len(braze.requests()) == 10, "one call each: the secret had nothing newer"
