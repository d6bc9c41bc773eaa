"""What each function is for: the callers' check, health and segment sizes here, the rest by capability."""

from __future__ import annotations

import importlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.faults.support.relay_scenarios import (
    EventIntake,
    EventStatus,
    PassedOn,
    PassedOnRead,
    TrackDelivery,
    TriggerDelivery,
    TriggerIntake,
    TriggerStatus,
)
from tests.faults.support.scenario import Read, Scenario, Shown
from tests.faults.support.tag_scenarios import (
    Callback,
    CounterDelivery,
    FileRead,
    FileSubmitted,
    ImportEnded,
    ImportStatus,
    SegmentExported,
    SegmentSubmitted,
    TagDelivery,
    TagWebhook,
)
from tests.faults.support.wallet_scenarios import (
    Prefetch,
    PrefetchDelivery,
    PrefetchStatus,
    SegmentPrefetch,
    Wallet,
    WalletChange,
)
from tests.integration.support.aws import CALLER_KEY
from tests.integration.support.events import Context, Invoked, http_event


class Authorizer(Scenario):
    function, module = "AuthorizerFunction", "authorizer.endpoint"
    stores = ("Secrets Manager",)
    has_clock = True

    def prepare(self) -> None:
        self.ground.aws.put_secret("callers", {"callers": {"braze": {"key": CALLER_KEY, "allows": ["POST /tags"]}}})
        self.passed = False

    def event(self) -> dict[str, Any]:
        basic = "Basic " + b64encode(f"braze:{CALLER_KEY}".encode()).decode()
        return {"routeKey": "POST /tags", "headers": {"authorization": basic}}

    def run(self, handle: Invoked) -> str:
        try:
            self.passed = handle(self.event(), Context())["isAuthorized"]
        except Exception as error:
            return f"500, for `{type(error).__name__}` is raised"
        return "passes" if self.passed else "403"

    def later(self) -> None:
        self.clock.ahead += 60

    def outcome(self) -> str:
        return "done" if self.passed else "nothing"


class Health(Read):
    function, module = "HealthFunction", "health.endpoint"

    def built(self, _vendor_url: str = "", *, hurried: bool = False) -> Invoked:  # noqa: ARG002
        handle: Invoked = importlib.import_module(self.module).handle
        return handle

    def event(self) -> dict[str, Any]:
        return http_event("GET /health")


class SegmentSize(Shown):
    function, module = "SegmentSizeFunction", "segment_size.endpoint"
    shown = "size"
    stores = ("DynamoDB", "Secrets Manager")
    vendor = "braze"

    def event(self) -> dict[str, Any]:
        return http_event("GET /segments/{segment_id}/size", path={"segment_id": "segment-1"})


class SegmentRefresh(Scenario):
    function, module = "SegmentRefreshFunction", "segment_size.refresh"
    stores = ("DynamoDB", "Secrets Manager")
    vendor = "braze"
    settings: ClassVar[Mapping[str, str]] = {"SEGMENT_IDS": "segment-1"}

    def event(self) -> dict[str, Any]:
        return {}

    def run(self, handle: Invoked) -> str:
        result = handle(self.event(), Context())
        failed = ", ".join(f"`{reason}`" for reason in result["failed"].values())
        return f"a run with {failed}" if failed else "a run"

    def outcome(self) -> str:
        kept = [item for item in self.ground.aws.items("cache") if item["id"].startswith("segment#")]
        return "done" if kept else "nothing"

    def later(self) -> None:
        self.forget()


SCENARIOS: tuple[type[Scenario], ...] = (
    *(Authorizer, Health),
    *(TagWebhook, FileSubmitted, SegmentSubmitted, ImportStatus, Callback),
    *(FileRead, SegmentExported, ImportEnded, TagDelivery, CounterDelivery),
    *(Wallet, WalletChange),
    *(Prefetch, SegmentPrefetch, PrefetchStatus, PrefetchDelivery),
    *(TriggerIntake, TriggerStatus, TriggerDelivery, PassedOn, PassedOnRead),
    *(EventIntake, EventStatus, TrackDelivery),
    *(SegmentSize, SegmentRefresh),
)
