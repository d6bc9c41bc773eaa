"""The callers as Secrets Manager holds them: the current list, and during a rotation the one before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from authorizer.callers import Callers
from shared.deadline import Deadline, within
from shared.errors import ConfigurationError, DeadlineExceeded, StoreUnavailable
from shared.secrets import Secret

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

# A caller that was removed is out after this time, and after the longer one while Secrets Manager is down: its being
# down must not lengthen what a leaked key is good for beyond what is promised.
MAX_AGE_SECONDS = 60.0
MAX_STALE_SECONDS = 300.0

# API Gateway waits ten seconds for the caller check. Its clients' own time-outs end sooner; this bounds what they do
# not, such as a name that is not resolved.
ANSWER_SECONDS = 5.0

# After a failure nobody is let in, and nobody asks, for this time: requests that each wait for a store that hangs would
# use up the account's environments, and with them the functions that need no secret.
PAUSE_SECONDS = 5.0


class Roster:
    """Reads the callers secret; `clock` gives epoch seconds."""

    def __init__(
        self,
        client: SecretsManagerClient,
        secret_id: str,
        rotation_seconds: float,
        clock: Callable[[], float] = time.time,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._client = client
        self._secret_id = secret_id
        self._rotation_seconds = rotation_seconds
        self._clock = clock
        self._answer_seconds = answer_seconds
        self._current = self._secret("AWSCURRENT")
        self._replaced: Callers | None = None  # what the version `_replaced_by` replaced, which does not change
        self._replaced_by = ""
        self._paused_until = 0.0

    def lists(self) -> tuple[Callers, Callers | None]:
        """The current list, and the one it replaced: for `rotation_seconds` after it did, None when there was none.

        Raises `ConfigurationError` or `StoreUnavailable`, within `answer_seconds`, when one of them cannot be read: a
        caller check must not live on an old list because the new one is out of reach.
        """
        if self._clock() < self._paused_until:
            raise StoreUnavailable("Secrets Manager: it failed a moment ago")
        try:
            return within(Deadline(self._answer_seconds), self._read)
        except StoreUnavailable:
            self._paused_until = self._clock() + PAUSE_SECONDS
            raise
        except DeadlineExceeded:
            self._paused_until = self._clock() + PAUSE_SECONDS
            raise StoreUnavailable(f"Secrets Manager: no answer in {self._answer_seconds:g} s") from None

    def _read(self) -> tuple[Callers, Callers | None]:
        return self._current.current(), self._former_list()

    def _former_list(self) -> Callers | None:
        if self._clock() - self._current.created_at > self._rotation_seconds:
            return None
        if self._replaced_by != self._current.version:
            try:
                self._replaced = self._secret("AWSPREVIOUS").current()
            except ConfigurationError:
                self._replaced = None  # the first version has none before it
            self._replaced_by = self._current.version
        return self._replaced

    def _secret(self, stage: str) -> Secret[Callers]:
        return Secret(
            self._client,
            self._secret_id,
            Callers,
            stage=stage,
            max_age_seconds=MAX_AGE_SECONDS,
            max_stale_seconds=MAX_STALE_SECONDS,
            clock=self._clock,
        )
