"""Secrets: checked, cached, read anew in moderation, and never quoted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from clients.braze import BrazeCredentials
from shared.errors import ConfigurationError, StoreUnavailable
from shared.secrets import MAX_AGE_SECONDS, MAX_STALE_SECONDS, REFRESH_INTERVAL_SECONDS, Secret

MARKED = "marked-as-a-secret"


class Clock:
    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Vault:
    """Secrets Manager with one secret; None stands for one without a value."""

    def __init__(self, text: str | None = '{"rest_api_key": "first"}') -> None:
        self.text = text
        self.reads = 0
        self.failure: Exception | None = None

    def get_secret_value(self, SecretId: str, VersionStage: str) -> dict[str, Any]:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        if self.text is None:
            raise client_error("ResourceNotFoundException")
        assert (SecretId, VersionStage) == ("braze", "AWSCURRENT")
        return {
            "SecretString": self.text,
            "VersionId": str(self.reads),
            "CreatedDate": datetime(2026, 11, 22, tzinfo=UTC),
        }


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": MARKED}}, "GetSecretValue")


def secret_of(vault: Vault, clock: Clock, max_stale_seconds: float = MAX_STALE_SECONDS) -> Secret[BrazeCredentials]:
    return Secret(cast("Any", vault), "braze", BrazeCredentials, max_stale_seconds=max_stale_seconds, clock=clock)


def test_a_secret_is_read_once_and_again_when_it_is_old() -> None:
    vault, clock = Vault(), Clock()
    secret = secret_of(vault, clock)
    assert [secret.current().rest_api_key for _ in range(3)] == ["first"] * 3

    vault.text = '{"rest_api_key": "second"}'
    clock.now += MAX_AGE_SECONDS - 1
    assert (secret.current().rest_api_key, vault.reads) == ("first", 1)

    clock.now += 1
    assert (secret.current().rest_api_key, vault.reads) == ("second", 2)


def test_a_secret_tells_when_its_version_was_put_in() -> None:
    secret = secret_of(Vault(), Clock())
    secret.current()

    assert secret.created_at == datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    assert secret.version == "1"


def test_a_secret_may_be_read_again_sooner_than_others() -> None:
    vault, clock = Vault(), Clock()
    secret = Secret(cast("Any", vault), "braze", BrazeCredentials, max_age_seconds=60, clock=clock)
    for _ in range(3):
        secret.current()
        clock.now += 60
    assert vault.reads == 3


def test_many_refreshes_at_once_read_the_secret_once() -> None:
    vault, clock = Vault(), Clock()
    secret = secret_of(vault, clock)
    secret.current()
    clock.now += REFRESH_INTERVAL_SECONDS

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: secret.refreshed(), range(64)))

    assert vault.reads == 2


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        MARKED,
        f'["{MARKED}"]',
        f'"{MARKED}"',
        "{}",
        f'{{"rest_key": "{MARKED}"}}',
        f'{{"rest_api_key": ["{MARKED}"]}}',
        f'{{"rest_api_key": "{MARKED} with a space"}}',
        f'{{"rest_api_key": "{MARKED}\\n"}}',
        f'{{"rest_api_key": "{MARKED * 400}"}}',
    ],
)
def test_a_secret_missing_or_malformed_is_named_and_never_quoted(text: str | None) -> None:
    with pytest.raises(ConfigurationError, match="the secret braze ") as error:
        secret_of(Vault(text), Clock()).current()
    assert MARKED not in str(error.value)


def test_a_malformed_secret_is_not_asked_for_by_every_request() -> None:
    vault, clock = Vault("{}"), Clock()
    secret = secret_of(vault, clock)
    for _ in range(5):
        with pytest.raises(ConfigurationError):
            secret.current()
    assert vault.reads == 1

    vault.text = '{"rest_api_key": "mended"}'
    clock.now += REFRESH_INTERVAL_SECONDS
    assert secret.current().rest_api_key == "mended"


def test_a_fault_that_many_meet_does_not_grow_with_them() -> None:
    secret = secret_of(Vault("not JSON"), Clock())

    frames = []
    for _ in range(20):
        with pytest.raises(ConfigurationError) as raised:
            secret.current()
        frames.append(len(raised.traceback))

    assert frames[-1] == frames[1]


def test_a_secret_that_turns_malformed_is_no_longer_served() -> None:
    vault, clock = Vault(), Clock()
    secret = secret_of(vault, clock)
    secret.current()
    vault.text = "{}"
    clock.now += MAX_AGE_SECONDS

    with pytest.raises(ConfigurationError):
        secret.current()


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (client_error("AccessDeniedException"), "Secrets Manager: AccessDeniedException"),
        (EndpointConnectionError(endpoint_url="https://example.com"), "Secrets Manager: EndpointConnectionError"),
    ],
)
def test_a_secret_out_of_reach_says_which_store_and_why_and_nothing_else(failure: Exception, words: str) -> None:
    vault = Vault()
    vault.failure = failure

    with pytest.raises(StoreUnavailable) as error:
        secret_of(vault, Clock()).current()
    assert str(error.value) == words


def test_the_last_good_value_serves_for_a_while_when_the_store_is_out_of_reach() -> None:
    vault, clock = Vault(), Clock()
    secret = secret_of(vault, clock)
    secret.current()
    vault.failure = client_error("InternalServiceError")

    clock.now += MAX_STALE_SECONDS
    assert secret.current().rest_api_key == "first"

    clock.now += REFRESH_INTERVAL_SECONDS
    with pytest.raises(StoreUnavailable):
        secret.current()


def test_a_secret_that_must_not_be_stale_is_refused_as_soon_as_it_is_old() -> None:
    vault, clock = Vault(), Clock()
    secret = secret_of(vault, clock, max_stale_seconds=0)
    secret.current()
    vault.failure = client_error("InternalServiceError")
    clock.now += MAX_AGE_SECONDS

    with pytest.raises(StoreUnavailable):
        secret.current()


def test_a_store_out_of_reach_is_not_asked_by_every_request_while_an_old_value_serves() -> None:
    vault, clock = Vault(), Clock()
    secret = secret_of(vault, clock)
    secret.current()
    vault.failure = client_error("InternalServiceError")
    clock.now += MAX_AGE_SECONDS

    for _ in range(5):
        assert secret.current().rest_api_key == "first"
    assert vault.reads == 2
