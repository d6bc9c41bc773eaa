"""Any other operation of SessionM Connect, as SessionM words it: who may be asked what, and what must happen once.

Which operations are open is configuration. Those known only to read are asked like a wallet: twice if need be, within
the deadline. Every other one counts as a write. Braze calls two or three times for each message, so a write needs a key
of the caller's, is made once for that key and member, and its answer is given to every later call with the same body.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from hashlib import sha256
from threading import Lock
from typing import Any

import msgspec

from clients.sessionm import Sessionm, checked
from clients.timeouts import timeouts_of
from clients.transport import Reply
from clients.vocabulary import MAX_SHOWN_BYTES
from shared.deadline import Deadline, within
from shared.errors import (
    AnswerTooLarge,
    BundleError,
    ConfigurationError,
    DeadlineExceeded,
    InvalidInput,
    NotAllowed,
    StoreUnavailable,
    UpstreamBusy,
    UpstreamRefused,
    UpstreamResting,
    UpstreamThrottled,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    UpstreamUnknown,
    UpstreamUnreachable,
)
from shared.ledger import Ledger, OtherContent
from shared.observability import logger
from shared.outcomes import Outcome, State
from shared.upstream import Upstream

# Operations that change nothing, by their names in public clients. Sources: Braze's partner page; public clients.
READS = (
    "/offers/api/*/offers/get_user_offers",
    "/offers/api/*/offers/fetch_offers_details",
    "/offers/api/*/rewardstores/get_reward_store_offers",
    "/offers/api/*/rewardstores/get_user_reward_stores",
    "/incentives/api/*/user_points/all_balances",
    "/incentives/api/*/point_audit_logs/fetch_point_audit_logs",
    "/incentives/api/*/rule_tree/user_progress",
    "/transactions/api/*/transactions/info/get_store_transactions",
)

KEY_HEADER = "idempotency-key"

_PATH = re.compile(r"/(offers|incentives|catalog|transactions)(/[A-Za-z0-9_-]+(\.[0-9]+)?){1,8}\Z")
_KEY = re.compile(r"[\x21-\x7e]{8,128}\Z")

# Longer than any call of ours can take.
_LEASE_SECONDS = 5.0

# The ledger keeps the answer of a write; those known are a fraction of this.
_LONGEST_KEPT_ANSWER = 100_000
_IN_BRIEF = '{"status":"ok"}'

_NOT_DONE = (
    *(UpstreamUnreachable, UpstreamThrottled, UpstreamUnavailable, UpstreamUnauthorized),
    *(UpstreamResting, UpstreamBusy, StoreUnavailable, ConfigurationError),
)


class _Departure:
    """Whether a step was made in time: of `left` and `called_off` the one that is called first is true."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._decided = False

    def left(self) -> bool:
        return self._decide()

    def called_off(self) -> bool:
        return self._decide()

    def _decide(self) -> bool:
        with self._lock:
            first, self._decided = not self._decided, True
        return first


class Connect:
    """Operations of Connect; `allowed` are paths, in which a `*` stands for any rest."""

    def __init__(self, sessionm: Sessionm, upstream: Upstream, ledger: Ledger, allowed: Collection[str]) -> None:
        self._sessionm = sessionm
        self._upstream = upstream
        self._ledger = ledger
        self._allowed = allowed

    def call(self, path: str, body: dict[str, Any], key: str, deadline: Deadline, caller: str = "") -> str:
        """SessionM's answer. A key counts for `caller` and the member that `body` names, and for one body.

        Raises `NotAllowed`, `InvalidInput` for a write without a key or with that of another, or what went wrong.
        """
        if not _PATH.match(path) or not _matches(path, self._allowed):
            raise NotAllowed(
                "this operation is not open",
                code="operation_not_open",
                field="path",
                hint="Ask the operator to add it to ConnectOperations.",
            )
        if _matches(path, READS):
            return self._upstream.read(lambda: self._ask(path, body, deadline), deadline)
        if not _KEY.match(key):
            raise InvalidInput(
                "an operation that changes something needs a key",
                code="missing_field",
                field=KEY_HEADER,
                hint="Send the header Idempotency-Key, 8 to 128 characters that differ for each change you mean.",
            )
        return self._once(path, body, f"{caller} {key}" if caller else key, deadline)

    def _ask(self, path: str, body: dict[str, Any], deadline: Deadline) -> str:
        reply: Reply = self._sessionm.connect(path, body, timeouts_of(deadline))
        checked("SessionM Connect", reply)
        if len(reply.content) > MAX_SHOWN_BYTES:
            raise AnswerTooLarge("SessionM Connect", "more than Braze takes")
        return reply.content.decode()

    def _once(self, path: str, body: dict[str, Any], key: str, deadline: Deadline) -> str:
        entry_id = f"connect-{_digest([path, key, body.get('user_id')])}"
        try:
            settled = self._claimed(entry_id, _digest({**body, "retailer_id": ""}), deadline)
        except OtherContent:
            raise InvalidInput(
                "this key was sent before with another body",
                code="key_reused",
                field=KEY_HEADER,
                hint="Send the same body with the same key, and a key of its own with each change you mean.",
            ) from None
        if settled is not None:
            return _told_again(settled)
        departure = _Departure()

        def ask() -> str:
            self._sessionm.ready()  # the secret's store may take all the time there is
            if not departure.left():
                raise DeadlineExceeded("the call was called off")
            return self._ask(path, body, deadline)

        try:
            answer = self._upstream.write(ask, deadline)
        except _NOT_DONE:
            self._note(entry_id, None)
            raise
        except DeadlineExceeded as error:
            self._note(entry_id, None if departure.called_off() else Outcome(State.UNKNOWN, error.code))
            raise
        except UpstreamRefused as error:
            self._note(entry_id, Outcome(State.FAILED, error.vendor_code))
            raise
        except AnswerTooLarge:  # to be shown; it was done
            answer = _IN_BRIEF
        except BundleError as error:
            self._note(entry_id, Outcome(State.UNKNOWN, error.code))
            raise
        kept = answer if len(answer) <= _LONGEST_KEPT_ANSWER else _IN_BRIEF
        self._note(entry_id, Outcome(State.SENT, detail=kept))
        return answer

    def _claimed(self, entry_id: str, digest: str, deadline: Deadline) -> Outcome | None:
        """As the ledger's `claim`; what it claims after the deadline is given back."""
        departure = _Departure()

        def claim() -> Outcome | None:
            settled = self._ledger.claim(entry_id, _LEASE_SECONDS, digest=digest)
            if settled is None and not departure.left():
                self._note(entry_id, None)
            return settled

        try:
            return within(deadline, claim)
        except DeadlineExceeded:
            if not departure.called_off():
                self._note(entry_id, None)
            raise

    def _note(self, entry_id: str, outcome: Outcome | None) -> None:
        """Writes down what became of it. If that fails, the entry is unknown when its lease is over."""
        try:
            if outcome is None:
                self._ledger.release(entry_id)
            else:
                self._ledger.settle(entry_id, outcome)
        except StoreUnavailable as error:
            logger.error("outcome of a write not recorded", code=error.code, detail=str(error))


def _told_again(settled: Outcome) -> str:
    if settled.state is State.SENT:
        return settled.detail
    if settled.state is State.FAILED:
        raise UpstreamRefused("SessionM Connect", settled.reason)
    raise UpstreamUnknown("SessionM Connect", "an earlier call with this key may or may not have been carried out")


def _digest(content: Any) -> str:
    """The same in whatever order the keys stand."""
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:40]


def _matches(path: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
