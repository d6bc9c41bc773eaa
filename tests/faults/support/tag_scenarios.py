"""What the functions of tag import are for."""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import structs

from bulk.jobs import Export, Job, Jobs, JobState, Options, Reading
from bulk.parcels import Parcel
from bulk.verdicts import Verdicts
from member_lists.segment_export import digest_of
from member_lists.worker import import_id_of
from shared.outcomes import Outcome, State
from tests.faults.support.scenario import Asked, Delivered, Read
from tests.integration.support.events import JSON, http_event
from tests.integration.support.parcels import COUNTER, EXPIRING, Wanted, parcel


class TagWebhook(Asked):
    function, module = "TagWebhookFunction", "tag_import.webhook"
    stores = ("SQS", "Secrets Manager")

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
    function, module = "SegmentExportCallbackFunction", "member_lists.callback"
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

    function, module = "TagImportFunction", "member_lists.worker"

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
