"""Members in logs: hashes that say "the same member again" to whoever reads the logs, and who it is to nobody.

An id or an address alone could be found by trying all there are, so the hash is keyed, with a key made for the stack
and known to nobody: LogKeySecret. `make member-hash` computes the hash of a member whose events are looked for.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from shared.aws import store
from shared.errors import StoreUnavailable
from shared.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

HASH_CHARACTERS = 12

# Of a request with more members the first so many are named.
MOST_NAMED = 10

# A line without hashes is better than a request that waits for Secrets Manager again.
_SPARED_SECONDS = 60.0


class LogKey(msgspec.Struct, frozen=True):
    """What LogKeySecret holds; Secrets Manager makes it up when the stack is made."""

    key: str


def member_hash(key: str, member: str) -> str:
    """Twelve hex digits for an id, external id, alias or email address; of the last the case does not count."""
    name = member.strip().lower() if "@" in member else member.strip()
    return hmac.new(key.encode(), name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:HASH_CHARACTERS]


class MemberHashes:
    """Hashes with the key of the secret, which is read once, when the first is wanted. Raises nothing.

    `clock` gives seconds that only grow.
    """

    def __init__(
        self, client: SecretsManagerClient, secret_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._secret_id = secret_id
        self._clock = clock
        self._key: str | None = None
        self._spared_until = 0.0

    def of(self, members: Iterable[str]) -> str:
        """The hashes of the first few members, each once, with spaces between; empty while there is no key."""
        named = list(dict.fromkeys(members))[:MOST_NAMED]
        key = self._key or self._read()
        return " ".join(member_hash(key, member) for member in named) if key else ""

    def _read(self) -> str | None:
        if self._clock() < self._spared_until:
            return None
        try:
            with store("Secrets Manager"):
                answer = self._client.get_secret_value(SecretId=self._secret_id)
            self._key = msgspec.json.decode(answer.get("SecretString", ""), type=LogKey).key
        except (StoreUnavailable, msgspec.DecodeError) as error:
            self._spared_until = self._clock() + _SPARED_SECONDS
            # The decoder's words give the path and the expected type, and no part of the value.
            logger.warning("members not named", detail=str(error))
        return self._key
