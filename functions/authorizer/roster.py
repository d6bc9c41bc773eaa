"""The callers as Secrets Manager holds them: the current list, and during a rotation the one before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from authorizer.callers import Callers
from shared.errors import ConfigurationError
from shared.secrets import Secret

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


class Roster:
    """Reads the callers secret; `clock` gives epoch seconds.

    Both methods raise `ConfigurationError` or `StoreUnavailable` when the secret cannot be read: a caller check must
    never live on an old list because the new one is out of reach.
    """

    def __init__(
        self,
        client: SecretsManagerClient,
        secret_id: str,
        rotation_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._secret_id = secret_id
        self._rotation_seconds = rotation_seconds
        self._clock = clock
        self._current = self._secret("AWSCURRENT")
        self._previous: Secret[Callers] | None = None
        self._previous_of = 0.0

    def current(self) -> Callers:
        return self._current.current()

    def previous(self) -> Callers | None:
        """The list that `current` replaced, for `rotation_seconds` after it did; None when there was none."""
        if self._clock() - self._current.created_at > self._rotation_seconds:
            return None
        if self._previous is None or self._previous_of != self._current.created_at:
            # Another version is current now, so what was read of the one before it is out of date.
            self._previous, self._previous_of = self._secret("AWSPREVIOUS"), self._current.created_at
        try:
            return self._previous.current()
        except ConfigurationError:
            return None  # the first version has none before it

    def _secret(self, stage: str) -> Secret[Callers]:
        return Secret(self._client, self._secret_id, Callers, stage=stage, max_stale_seconds=0, clock=self._clock)
