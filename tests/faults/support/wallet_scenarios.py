"""What the functions of wallets are for, those fetched ahead included."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from bulk.jobs import Job, Jobs, JobState, Reading
from bulk.jobs import Prefetch as WantedWallets
from bulk.parcels import Label, Packer
from bulk.verdicts import Verdicts
from shared.queues import body_of
from shared.wallets import key_of
from tests.faults.support.scenario import Asked, Delivered, Read, Shown
from tests.integration.support.events import JSON, http_event


class Wallet(Shown):
    function, title, module = "WalletFunction", "a wallet", "wallet_proxy.endpoint"
    shown = "wallet"
    stores = ("DynamoDB", "Secrets Manager")
    vendor = "sessionm"

    def event(self) -> dict[str, Any]:
        return http_event("POST /wallet", headers=JSON, body='{"user_id": "member-1"}')


class WalletChange(Asked):
    slow_seconds = 5.0
    function, title, module = "WalletFunction", "an operation that changes something", "wallet_proxy.endpoint"
    stores = ("DynamoDB", "Secrets Manager")
    vendor = "sessionm"
    settings: ClassVar[Mapping[str, str]] = {"CONNECT_OPERATIONS": "/offers/api/2.0/offers/acquisition/issue"}

    def event(self) -> dict[str, Any]:
        return http_event(
            "POST /offers/{operation+}",
            path={"operation": "api/2.0/offers/acquisition/issue"},
            headers={**JSON, "idempotency-key": "dispatch-1.member-1"},
            body='{"user_id": "member-1", "offer_id": "offer-9", "quantity": 1}',
        )

    def outcome(self) -> str:
        states = [item["state"] for item in self.ground.aws.items("ledger")]
        if "unknown" in states or "sending" in states:
            return "unknown"
        return {0: "nothing", 1: "done"}.get(len(self.ground.sessionm.offers_of("member-1")), "twice")

    def later(self) -> None:
        self.leases_end()


class Prefetch(Asked):
    function, title, module = "WalletPrefetchFunction", "a list", "wallet_prefetch.endpoint"
    stores = ("SQS", "DynamoDB", "S3")
    has_clock = True

    def event(self) -> dict[str, Any]:
        return http_event("POST /wallet-prefetches", headers=JSON, body='{"user_ids": ["member-1"]}')

    def prepare(self) -> None:
        self.ground.aws.bucket()

    def outcome(self) -> str:
        written = {item["import_id"] for item in self.ground.aws.items("imports")}
        woken = {body["import_id"] for body in self.queued("imports")}
        return "done" if written & woken else "nothing"


class SegmentPrefetch(Prefetch):
    title = "a segment"
    stores = ("SQS", "DynamoDB", "Secrets Manager")
    vendor = "braze"

    def event(self) -> dict[str, Any]:
        return http_event("POST /wallet-prefetches", headers=JSON, body='{"segment_id": "segment-1"}')


class PrefetchStatus(Read):
    function, title, module = "WalletPrefetchFunction", "its outcome", "wallet_prefetch.endpoint"
    stores = ("DynamoDB",)

    def prepare(self) -> None:
        wish = WantedWallets(culture="en-US", fresh_seconds=600)
        job = Job(import_id="prefetch-1", state=JobState.DELIVERING, created_at=1.0, prefetch=wish)
        Jobs(self.ground.aws.dynamodb, self.ground.aws.table("imports"), 30).save(job)

    def event(self) -> dict[str, Any]:
        return http_event("GET /wallet-prefetches/{prefetch_id}", path={"prefetch_id": "prefetch-1"})


class PrefetchDelivery(Delivered):
    function, module = "WalletPrefetchDeliveryFunction", "wallet_prefetch.delivery"
    stores = ("SQS", "DynamoDB", "Secrets Manager")
    vendor = "sessionm"

    def prepare(self) -> None:
        member, self._prefetch_id = f"member-{self.number}", f"prefetch-{self.number}"
        self.ground.sessionm.add_member(member, f"loyal-{self.number}")
        packer = Packer(self._prefetch_id)
        packer.add(1, member, Label("user_id", ()))
        self._body = body_of(packer.rest())
        job = Job(
            import_id=self._prefetch_id,
            state=JobState.DELIVERING,
            created_at=time.time(),
            reading=Reading(rows_read=1, rows_queued=1),
            prefetch=WantedWallets(culture="en-US", fresh_seconds=600),
        )
        self.ground.aws.queue_url("imports")
        Jobs(self.ground.aws.dynamodb, self.ground.aws.table("imports"), 30).save(job)

    def body(self) -> str:
        return self._body

    def outcome(self) -> str:
        tally = Verdicts(self.ground.aws.dynamodb, self.ground.aws.table("imports"), 30).tally(self._prefetch_id)
        kept = self.ground.aws.item("cache", key_of(f"member-{self.number}"))
        has_it = kept is not None and any(name.startswith("value") for name in kept)
        return "done" if tally.sent + tally.skipped == 1 and has_it else "nothing"

    def later(self) -> None:
        """What a worker that died was fetching is its for a second, and then anybody's."""
        if self.outcome() == "nothing":
            self.forget()
