"""Credentials from Secrets Manager: JSON, checked, cached, and read anew when a vendor turns one down."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
from botocore.exceptions import ClientError

from shared.aws import store
from shared.errors import ConfigurationError, StoreUnavailable
from shared.observability import count, gauge

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

Shape = TypeVar("Shape")

# A rotated secret takes effect within this time without any vendor having to answer 401 first.
MAX_AGE_SECONDS = 300.0

# While Secrets Manager is down, the last good value is almost certainly still right.
MAX_STALE_SECONDS = 3600.0

# However many calls meet a 401, or a secret that is not set up, it is read anew once in this time.
REFRESH_INTERVAL_SECONDS = 10.0


class Secret(Generic[Shape]):
    """One secret of JSON shape `shape` (a msgspec Struct).

    Errors: `ConfigurationError` when the secret is missing, empty, not JSON or of another shape; `StoreUnavailable`
    when Secrets Manager cannot be asked and no value younger than `max_stale_seconds` is at hand. The message names
    the secret and the field, never a value.
    """

    def __init__(
        self,
        client: SecretsManagerClient,
        secret_id: str,
        shape: type[Shape],
        *,
        stage: str = "AWSCURRENT",
        max_age_seconds: float = MAX_AGE_SECONDS,
        max_stale_seconds: float = MAX_STALE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._secret_id = secret_id
        self._decoder = msgspec.json.Decoder(shape)
        self._stage = stage
        self._max_age_seconds = max_age_seconds
        self._max_stale_seconds = max_stale_seconds
        self._clock = clock
        self._lock = Lock()
        self._value: Shape | None = None
        self._fault: ConfigurationError | None = None
        self._version = ""
        self._created_at = 0.0
        self._read_at = 0.0
        self._spared_until = 0.0  # no asking before, while the store was just found down and an old value serves

    def current(self) -> Shape:
        """The value, read again when it is older than `max_age_seconds`.

        Without the lock where nothing is to be read: hundreds of threads ask at every call.
        """
        value = self._value
        if value is not None and self._clock() - self._read_at < self._max_age_seconds:
            return value
        return self._younger_than(self._max_age_seconds)

    def refreshed(self) -> Shape:
        """The value read anew, for after a vendor's 401; at most once in `REFRESH_INTERVAL_SECONDS`."""
        return self._younger_than(REFRESH_INTERVAL_SECONDS)

    @property
    def version(self) -> str:
        """Secrets Manager's id of the version last read."""
        return self._version

    @property
    def created_at(self) -> float:
        """When the version last read was put in, in epoch seconds."""
        return self._created_at

    def _younger_than(self, max_age_seconds: float) -> Shape:
        with self._lock:
            now = self._clock()
            age = now - self._read_at
            if self._fault is not None and age < REFRESH_INTERVAL_SECONDS:
                raise self._fault.with_traceback(None)  # else it grows with each caller that meets it
            if self._value is not None and (age < max_age_seconds or now < self._spared_until):
                return self._value
            try:
                self._value, self._fault = self._read(), None
            except ConfigurationError as fault:
                self._value, self._fault, self._read_at = None, fault, now
                self._count_unreadable()
                raise
            except StoreUnavailable:
                self._count_unreadable()
                if self._value is None or age > self._max_stale_seconds:
                    raise
                self._spared_until = now + REFRESH_INTERVAL_SECONDS
                return self._value
            self._read_at = now
            return self._value

    def _count_unreadable(self) -> None:
        if self._stage == "AWSCURRENT":  # there need not be another
            count("SecretsUnreadable")

    def _read(self) -> Shape:
        with store("Secrets Manager"):
            try:
                answer = self._client.get_secret_value(SecretId=self._secret_id, VersionStage=self._stage)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
                    raise
                raise ConfigurationError(f"the secret {self._secret_id} has no value; put one in") from None
        self._version, self._created_at = answer["VersionId"], answer["CreatedDate"].timestamp()
        if self._stage == "AWSCURRENT":
            gauge("SecretAgeDays", (time.time() - self._created_at) / 86_400)
        try:
            return self._decoder.decode(answer.get("SecretString", ""))
        except (msgspec.DecodeError, UnicodeError) as error:
            # msgspec's message gives the path and the expected type, and no part of the value.
            raise ConfigurationError(f"the secret {self._secret_id} is not of the documented shape: {error}") from None
