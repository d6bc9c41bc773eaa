"""A run of a function that can be made under a fault, repeated, and asked what came of it."""

from __future__ import annotations

import importlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from infra.local.simulators import BrazeSimulator, SessionmSimulator
from shared.config import Settings
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, failures, sqs_event, sqs_record

Vendor = Literal["", "braze", "sessionm"]


@dataclass(frozen=True)
class Ground:
    """What a scenario stands on."""

    aws: Aws
    sessionm: SessionmSimulator
    braze: BrazeSimulator
    received: dict[str, list[Any]] = field(default_factory=dict)  # what was seen in each queue


class Clock:
    """Epoch seconds, put ahead by a test."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Scenario(ABC):
    """One thing a function does.

    `function` is its logical id in template.yaml, `title` what tells it from others of that function, `stores` the AWS
    services it calls and `vendor` whom else.
    """

    function: ClassVar[str]
    title: ClassVar[str] = ""
    module: ClassVar[str]
    stores: ClassVar[tuple[str, ...]] = ()
    vendor: ClassVar[Vendor] = ""
    settings: ClassVar[Mapping[str, str]] = {}
    has_clock: ClassVar[bool] = False

    # Longer than the vendor usually takes, and shorter than workers wait: 15 s, of which no test can wait.
    slow_seconds: ClassVar[float] = 1.2

    def __init__(self, ground: Ground, names: tuple[str, ...], number: int = 1) -> None:
        """`names` are those of the function's environment variables, `number` tells runs on one ground apart."""
        self.ground = ground
        self.number = number
        self.clock = Clock()
        self.changed: dict[str, str] = {}  # variables that a test wants otherwise
        self._names = names
        self.prepare()

    @classmethod
    def name(cls) -> str:
        return f"{cls.function}, {cls.title}" if cls.title else cls.function

    def environment(self, vendor_url: str, *, hurried: bool = False) -> dict[str, str]:
        """The function's variables, with storage of this test's and the vendor at this address."""
        urls = {"SESSIONM_CORE_URL": self.ground.sessionm.url, "SESSIONM_CONNECT_URL": self.ground.sessionm.url}
        urls |= {"BRAZE_REST_URL": self.ground.braze.url}
        if self.vendor:
            urls |= {name: vendor_url for name in urls if name.startswith(self.vendor.upper())}
        reads = dict.fromkeys(("READ_BUDGET_MILLISECONDS", "READ_COLD_BUDGET_MILLISECONDS"), "1500") if hurried else {}
        given = self.ground.aws.settings(**(urls | reads | dict(self.settings)))
        return {name: ",".join(given.names(name)) for name in self._names} | self.changed

    def built(self, vendor_url: str = "", *, hurried: bool = False) -> Invoked:
        """A new environment of the function; reads have only as long as Braze waits when they are to be `hurried`."""
        build = importlib.import_module(self.module).build
        environment = Settings(self.environment(vendor_url or self.vendor_url(), hurried=hurried))
        handle: Invoked = build(environment, self.clock) if self.has_clock else build(environment)
        return handle

    def vendor_url(self) -> str:
        return {"braze": self.ground.braze.url, "sessionm": self.ground.sessionm.url, "": ""}[self.vendor]

    def prepare(self) -> None:
        """What has to be there before."""
        return

    @abstractmethod
    def event(self) -> dict[str, Any]:
        """What the function is invoked with; the same each time."""

    @abstractmethod
    def run(self, handle: Invoked) -> str:
        """Invokes it; what whoever called sees, in the words of the table."""

    @abstractmethod
    def outcome(self) -> str:
        """What has come of it by now: `nothing`, `done`, `twice` or `unknown`."""

    def comes_again(self, sees: str) -> bool:
        """Whether whoever saw this tries again, or does so by mistake."""
        return not sees.startswith("409")

    def later(self) -> None:
        """Lets the time pass after which it is tried again."""
        return

    def leases_end(self) -> None:
        """A worker that died leaves its claim behind, for three minutes at most."""
        aws = self.ground.aws
        for item in aws.items("ledger"):
            if item["state"] == "sending":
                aws.dynamodb.update_item(
                    TableName=aws.table("ledger"),
                    Key={"id": {"S": item["id"]}},
                    UpdateExpression="SET lease_until = :past",
                    ExpressionAttributeValues={":past": {"N": "1"}},
                )

    def forget(self) -> None:
        """What the cache table has of failures and resets is over."""
        aws = self.ground.aws
        for item in aws.items("cache"):
            aws.dynamodb.delete_item(TableName=aws.table("cache"), Key={"id": {"S": item["id"]}})

    def queued(self, which: str) -> list[Any]:
        """The bodies of all that was ever put into a queue."""
        known = self.ground.received.setdefault(which, [])
        known += self.ground.aws.queued(which)
        return known


class Asked(Scenario):
    """A request to one of the HTTP APIs."""

    def run(self, handle: Invoked) -> str:
        self.answered = False
        try:
            result = handle(self.event(), Context())
        except Exception as error:  # what the runtime makes a 500 of
            return f"500, for `{type(error).__name__}` is raised"
        body = json.loads(result["body"]) if result["body"] else {}
        self.answered = result["statusCode"] < 300 and body.get("ok") is not False
        code = body.get("code") or body.get("reason") or (body.get("errors") or {}).get("code") or ""
        retry = ", Retry-After" if "Retry-After" in result["headers"] else ""
        return f"{result['statusCode']}" + (f" `{code}`" if code else "") + retry


class Read(Asked):
    """A request that changes nothing."""

    def outcome(self) -> str:
        return "done" if self.answered else "nothing"


class Delivered(Scenario):
    """A message of a queue."""

    @abstractmethod
    def body(self) -> str: ...

    def event(self) -> dict[str, Any]:
        return sqs_event([self.record()])

    def record(self) -> dict[str, Any]:
        return sqs_record(self.body(), f"message-{self.number}")

    def run(self, handle: Invoked) -> str:
        try:
            return "the message stays" if failures(handle(self.event(), Context(900_000))) else "the message is done"
        except Exception as error:
            return f"all messages stay, for `{type(error).__name__}` is raised"


class Shown(Read):
    """A read that Connected Content waits for, and no longer than its budget."""

    slow_seconds = 5.0
    shown: ClassVar[str]

    def run(self, handle: Invoked) -> str:
        sees = super().run(handle)
        return f"{sees}, the {self.shown}" if sees == "200" else sees

    def later(self) -> None:
        self.forget()
