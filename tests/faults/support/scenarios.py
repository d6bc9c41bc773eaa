"""What each function is for, as a run that can be made under a fault, repeated, and asked what came of it."""

from __future__ import annotations

import importlib
import json
import time
import uuid
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import structs

from bulk.jobs import Export, Job, Jobs, JobState, Options, Reading
from bulk.jobs import Prefetch as WantedWallets
from bulk.parcels import Label, Packer, Parcel
from bulk.verdicts import Verdicts
from infra.local.simulators import BrazeSimulator, SessionmSimulator
from shared.config import Settings
from shared.ledger import Ledger
from shared.outcomes import Outcome, State
from shared.queues import body_of
from shared.wallets import key_of
from tag_import.segment_export import digest_of
from tag_import.worker import import_id_of
from tests.integration.support.aws import CALLER_KEY, Aws
from tests.integration.support.events import JSON, Context, Invoked, failures, http_event, sqs_event, sqs_record
from tests.integration.support.parcels import COUNTER, EXPIRING, Wanted, parcel
from trigger_relay.track import Track
from trigger_relay.triggers import Recipient, Trigger

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


# --- callers and health -----------------------------------------------------------------------------------------------


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


class Shown(Read):
    """A read that Connected Content waits for, and no longer than its budget."""

    slow_seconds = 5.0
    shown: ClassVar[str]

    def run(self, handle: Invoked) -> str:
        sees = super().run(handle)
        return f"{sees}, the {self.shown}" if sees == "200" else sees

    def later(self) -> None:
        self.forget()


class Health(Read):
    function, module = "HealthFunction", "health.endpoint"

    def built(self, _vendor_url: str = "", *, hurried: bool = False) -> Invoked:  # noqa: ARG002
        handle: Invoked = importlib.import_module(self.module).handle
        return handle

    def event(self) -> dict[str, Any]:
        return http_event("GET /health")


# --- tag import -------------------------------------------------------------------------------------------------------


class TagWebhook(Asked):
    function, module = "TagWebhookFunction", "tag_import.webhook"
    stores = ("SQS",)

    def event(self) -> dict[str, Any]:
        body = {"user_id": "member-1", "tags": ["gold"], "ttl": 600}
        return http_event("POST /tags", headers=JSON, body=json.dumps(body))

    def outcome(self) -> str:
        # Twice in the queue is once at SessionM: the tag lives 600 s from the last time it was set.
        return "done" if self.queued("tags") else "nothing"


class FileSubmitted(Asked):
    function, title, module = "TagImportSubmitFunction", "a file", "tag_import.submit"
    stores = ("DynamoDB",)

    def event(self) -> dict[str, Any]:
        return http_event("POST /tag-imports", headers=JSON, body='{"tags": ["gold"], "ttl": 600}')

    def outcome(self) -> str:
        states = [item["state"] for item in self.ground.aws.items("imports")]
        return "done" if "awaiting_upload" in states else "nothing"


class SegmentSubmitted(Asked):
    function, title, module = "TagImportSubmitFunction", "a segment", "tag_import.submit"
    stores = ("DynamoDB", "SQS")

    def event(self) -> dict[str, Any]:
        body = '{"segment_id": "segment-1", "tags": ["gold"]}'
        return http_event("POST /segment-exports", headers=JSON, body=body)

    def outcome(self) -> str:
        written = {item["import_id"] for item in self.ground.aws.items("imports")}
        woken = {body["import_id"] for body in self.queued("imports")}
        return "done" if written & woken else "nothing"


class ImportStatus(Read):
    function, module = "TagImportStatusFunction", "tag_import.status"
    stores = ("DynamoDB",)

    def prepare(self) -> None:
        job = Job(import_id="csv-1", state=JobState.FINISHED, created_at=1.0, failure_file="failures/csv-1.csv")
        Jobs(self.ground.aws.dynamodb, self.ground.aws.table("imports"), 30).save(job)

    def event(self) -> dict[str, Any]:
        return http_event("GET /tag-imports/{import_id}", path={"import_id": "csv-1"})


class Callback(Asked):
    function, module = "SegmentExportCallbackFunction", "tag_import.callback"
    stores = ("DynamoDB", "SQS")
    has_clock = True

    def prepare(self) -> None:
        export = Export("segment-1", callback_digests=(digest_of("token"),), requested_at=time.time())
        job = Job(import_id="segment-1", state=JobState.EXPORTING, created_at=time.time(), export=export)
        self._jobs = Jobs(self.ground.aws.dynamodb, self.ground.aws.table("imports"), 30)
        self._jobs.save(job)

    def event(self) -> dict[str, Any]:
        body = '{"success": true, "url": "https://files.example/export.zip"}'
        route = "POST /segment-exports/{import_id}/callback/{token}"
        return http_event(route, path={"import_id": "segment-1", "token": "token"}, body=body)

    def outcome(self) -> str:
        # The job is what counts: its worker looks at it from time to time, and sooner when a message says so.
        job = self._jobs.find("segment-1")
        assert job is not None
        assert job.export is not None
        return "done" if job.export.url else "nothing"


class ImportStep(Delivered):
    """What all runs of the import worker share."""

    function, module = "TagImportFunction", "tag_import.worker"

    def jobs(self) -> Jobs:
        return Jobs(self.ground.aws.dynamodb, self.ground.aws.table("imports"), 30)

    def job(self) -> Job | None:
        return self.jobs().find(self.import_id())

    @abstractmethod
    def import_id(self) -> str: ...

    def parcels(self) -> int:
        """How many different parcels of this import are in the queue."""
        mine = [body for body in self.queued("bulk-tags") if body["import_id"] == self.import_id()]
        return len({body["id"] for body in mine})

    def later(self) -> None:
        """A worker that died leaves its lease behind, and its message comes again when that is over."""
        job = self.job()
        if job is not None and job.lease_until:
            self.jobs().save(structs.replace(job, lease_until=0.0))


class FileRead(ImportStep):
    title = "a file"
    stores = ("SQS", "DynamoDB", "S3")

    def prepare(self) -> None:
        self._key = f"imports/members-{self.number}.csv"
        content = b"user_id,tags,ttl\nmember-1,gold,600\n"
        self.ground.aws.s3.put_object(Bucket=self.ground.aws.bucket(), Key=self._key, Body=content)

    def _dropped(self) -> dict[str, Any]:
        return {"key": self._key, "sequencer": "1", "etag": "e"}

    def import_id(self) -> str:
        return import_id_of(self.ground.aws.bucket(), self._dropped())

    def body(self) -> str:
        return json.dumps({"detail": {"bucket": {"name": self.ground.aws.bucket()}, "object": self._dropped()}})

    def outcome(self) -> str:
        job = self.job()
        if job is None or job.state is not JobState.DELIVERING:
            return "nothing"
        return {0: "nothing", 1: "done"}.get(self.parcels(), "twice")


class SegmentExported(ImportStep):
    title = "a segment"
    stores = ("SQS", "DynamoDB", "S3", "Secrets Manager")
    vendor = "braze"

    def prepare(self) -> None:
        self.ground.aws.bucket()
        segment_id = f"segment-{self.number}"
        self.ground.braze.add_segment(segment_id)
        self.ground.braze.set_segment_users(segment_id, ["member-1"])
        job = Job(
            import_id=self.import_id(),
            state=JobState.REQUESTED,
            created_at=time.time(),
            options=Options(tags=("gold",), ttl_seconds=600),
            export=Export(segment_id),
        )
        self.jobs().save(job)

    def import_id(self) -> str:
        return f"segment-{self.number}"

    def body(self) -> str:
        return json.dumps({"import_id": self.import_id()})

    def outcome(self) -> str:
        return {0: "nothing", 1: "done"}.get(self.parcels(), "twice")


class ImportEnded(ImportStep):
    title = "the end"
    stores = ("SQS", "DynamoDB", "S3", "EventBridge", "Secrets Manager")
    vendor = "sessionm"
    settings: ClassVar[Mapping[str, str]] = {"TAG_READ_BACK_SAMPLE": "1"}

    def prepare(self) -> None:
        aws = self.ground.aws
        aws.bucket()
        job = Job(
            import_id=self.import_id(),
            state=JobState.DELIVERING,
            created_at=time.time(),
            reading=Reading(rows_read=2, rows_queued=2),
        )
        self.jobs().save(job)
        verdicts = Verdicts(aws.dynamodb, aws.table("imports"), 30)
        rows = msgspec.json.decode(parcel(EXPIRING, COUNTER, import_id=self.import_id(), once="once"), type=Parcel)
        settlings = verdicts.open([rows])
        settlings[0].settle(0, Outcome(State.SENT))
        settlings[0].settle(1, Outcome(State.FAILED, "user_not_found"))
        verdicts.record(settlings)

    def import_id(self) -> str:
        return f"csv-{self.number}"

    def body(self) -> str:
        return json.dumps({"import_id": self.import_id()})

    def outcome(self) -> str:
        job = self.job()
        return "done" if job is not None and job.finished_at and job.failure_file else "nothing"


class TagDelivery(Delivered):
    function, title, module = "TagDeliveryFunction", "a tag with a ttl", "tag_import.delivery"
    stores = ("SQS", "DynamoDB", "Secrets Manager")
    vendor = "sessionm"
    ttl_seconds: ClassVar[int | None] = 600

    def prepare(self) -> None:
        self._tag, import_id = f"tag-{self.number}", f"csv-{self.number}"
        self._body = parcel(Wanted(2, tags=(self._tag,), ttl_seconds=self.ttl_seconds), import_id=import_id)
        reading = Reading(rows_read=1, rows_queued=1)
        job = Job(import_id=import_id, state=JobState.DELIVERING, created_at=time.time(), reading=reading)
        self.ground.aws.queue_url("imports")
        Jobs(self.ground.aws.dynamodb, self.ground.aws.table("imports"), 30).save(job)

    def body(self) -> str:
        return self._body

    def outcome(self) -> str:
        tagged = self.ground.sessionm.tags_of("member-1").get(self._tag)
        if self.ttl_seconds is None and tagged is not None and (tagged.count or 0) > 1:
            return "twice"
        verdicts = Verdicts(self.ground.aws.dynamodb, self.ground.aws.table("imports"), 30)
        tally = verdicts.tally(f"csv-{self.number}")
        if tally.unknown:
            return "unknown"
        return "done" if tagged is not None and tally.sent == 1 else "nothing"


class CounterDelivery(TagDelivery):
    title = "a counter"
    ttl_seconds = None

    def later(self) -> None:
        self.leases_end()


# --- wallet -----------------------------------------------------------------------------------------------------------


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


# --- trigger relay ----------------------------------------------------------------------------------------------------


class TriggerIntake(Asked):
    function, module = "TriggerIntakeFunction", "trigger_relay.intake"
    stores = ("SQS", "DynamoDB")
    settings: ClassVar[Mapping[str, str]] = {"TRACKED_EVENTS": "points_awarded"}
    has_clock = True

    def event(self) -> dict[str, Any]:
        body = {
            "braze_campaign_id": "campaign-1",
            "customer identifier": "member-1",
            "event name": "points_awarded",
            "point award amount": "250",
        }
        return http_event("POST /triggers", headers=JSON, body=json.dumps(body))

    def outcome(self) -> str:
        # Twice in the queue under one id is once at Braze: delivery claims the id.
        triggers = {body["trigger_id"] for body in self.queued("triggers")}
        tracks = {body["id"] for body in self.queued("tracks")}
        if not triggers or not tracks:
            return "nothing"
        return "done" if len(triggers) == len(tracks) == 1 else "twice"


class TriggerStatus(Read):
    function, module = "TriggerStatusFunction", "trigger_relay.status"
    stores = ("DynamoDB",)
    entry_id = f"trg-{uuid.UUID(int=1).hex}"

    def prepare(self) -> None:
        Ledger(self.ground.aws.dynamodb, self.ground.aws.table("ledger")).enter(self.entry_id)

    def event(self) -> dict[str, Any]:
        return http_event("GET /triggers/{trigger_id}", path={"trigger_id": self.entry_id})


class EventIntake(Asked):
    function, title, module = "EventIntakeFunction", "an event", "trigger_relay.events"
    stores = ("SQS", "DynamoDB")
    settings: ClassVar[Mapping[str, str]] = {"TRACKED_EVENTS": "points_awarded"}
    has_clock = True

    def event(self) -> dict[str, Any]:
        body = {"event name": "points_awarded", "customer identifier": "member-1", "point award amount": "250"}
        return http_event("POST /events", headers=JSON, body=json.dumps(body))

    def outcome(self) -> str:
        ids = {body["id"] for body in self.queued("tracks")}
        return {0: "nothing", 1: "done"}.get(len(ids), "twice")


class EventStatus(TriggerStatus):
    function, title, module = "EventIntakeFunction", "its outcome", "trigger_relay.events"
    entry_id = f"evt-{uuid.UUID(int=1).hex}"

    def event(self) -> dict[str, Any]:
        return http_event("GET /events/{event_id}", path={"event_id": self.entry_id})


class Relayed(Delivered):
    """What triggers and tracks have in common: an entry of the ledger, and a gate that a 429 shuts."""

    stores = ("SQS", "DynamoDB", "Secrets Manager")
    vendor = "braze"
    has_clock = True

    @abstractmethod
    def entry_id(self) -> str: ...

    @abstractmethod
    def times(self) -> int:
        """How often Braze has acted on it."""

    def outcome(self) -> str:
        entry = self.ground.aws.item("ledger", self.entry_id())
        if self.times() > 1:
            return "twice"
        if entry is not None and entry["state"] == "unknown":
            return "unknown"
        return "done" if self.times() and entry is not None and entry["state"] == "sent" else "nothing"

    def later(self) -> None:
        self.clock.ahead += 200  # longer than a lease


class TriggerDelivery(Relayed):
    function, module = "TriggerDeliveryFunction", "trigger_relay.delivery"

    def entry_id(self) -> str:
        return f"trg-{self.number}"

    def body(self) -> str:
        recipients = [Recipient({"external_user_id": f"member-{self.number}"})]
        properties = msgspec.Raw(b'{"offer_title":"Free coffee"}')
        sent = Trigger(self.entry_id(), "campaign", "campaign-1", recipients, properties, accepted_at=self.number)
        return msgspec.json.encode(sent).decode()

    def times(self) -> int:
        return sum(sent.recipient == f"member-{self.number}" for sent in self.ground.braze.sends)


class TrackDelivery(Relayed):
    function, module = "TrackDeliveryFunction", "trigger_relay.track_delivery"

    def entry_id(self) -> str:
        return f"evt-{self.number}"

    def body(self) -> str:
        event = {"external_id": f"member-{self.number}", "name": "seen", "time": "2026-11-22T12:30:00+00:00"}
        return msgspec.json.encode(Track(self.entry_id(), msgspec.Raw(msgspec.json.encode(event)))).decode()

    def times(self) -> int:
        return sum(each.member == f"external_id:member-{self.number}" for each in self.ground.braze.tracked)


class PassedOn(Asked):
    function, title, module = "TriggerPassthroughFunction", "a broadcast", "trigger_relay.passthrough"
    stores = ("DynamoDB", "Secrets Manager")
    vendor = "braze"
    settings: ClassVar[Mapping[str, str]] = {"BROADCAST_ALLOWED_IDS": "campaign-1"}
    has_clock = True

    def event(self) -> dict[str, Any]:
        body = '{"campaign_id": "campaign-1", "broadcast": true}'
        return http_event("POST /campaigns/trigger/send", headers=JSON, body=body)

    def run(self, handle: Invoked) -> str:
        self.sees = super().run(handle)
        return self.sees

    def comes_again(self, sees: str) -> bool:
        return sees.startswith(("429", "5"))

    def outcome(self) -> str:
        # Nothing is written down here: what the answer says is all there is.
        if self.sees.startswith("409"):
            return "unknown"
        return {0: "nothing", 1: "done"}.get(len(self.ground.braze.sends), "twice")


class PassedOnRead(Read):
    function, title, module = "TriggerPassthroughFunction", "a read", "trigger_relay.passthrough"
    stores = ("Secrets Manager",)
    vendor = "braze"

    def event(self) -> dict[str, Any]:
        return http_event("GET /campaigns/details", query={"campaign_id": "campaign-1"})


# --- segment size -----------------------------------------------------------------------------------------------------


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
