"""ImportQueue's worker: takes an import from step to step until it ends or has to wait for somebody.

A message says that a file was dropped, that a segment is due, or only that an import can go on; what is to be done is
in the job itself (jobs.py). So a message that comes twice, late, or after its worker died does no harm: it finds the
job where it stands, or in another worker's hands.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import ClientError
from msgspec import structs

import wiring
from bulk.jobs import Job, Jobs, JobState, Later, Options, Source, import_uploaded_to, wake_up
from bulk.progress import is_delivered
from bulk.verdicts import Verdicts
from member_lists.finish import Finisher
from member_lists.formats import options_of
from member_lists.leavers import LastRuns
from member_lists.reading import LEASE_SECONDS, Reader
from member_lists.scheduled import scheduled_job
from member_lists.segment_export import Exporter
from shared import aws
from shared.aws import store
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import BundleError, InProgress, InvalidInput, StoreUnavailable
from shared.observability import begin, begin_batch, correlation_id, flush, logger
from shared.queues import Message, Queue, SqsHandler, Staying, batch_response, messages_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What a step may take, which is what a function may run (template.yaml). Reading shortens it at its first checkpoint.
_STEP_SECONDS = 900

# Reading stops so long before the function's end: what is in flight arrives, and the checkpoint is written.
_RESERVE_SECONDS = 60.0


class Worker:
    """`work` does what one message asks for."""

    def __init__(
        self,
        s3: S3Client,
        jobs: Jobs,
        verdicts: Verdicts,
        queue: Queue,
        reader: Reader,
        exporter: Exporter,
        finisher: Finisher,
    ) -> None:
        self._s3 = s3
        self._jobs = jobs
        self._verdicts = verdicts
        self._queue = queue
        self._reader = reader
        self._exporter = exporter
        self._finisher = finisher

    def work(self, message: Message, deadline: Deadline) -> Staying | None:
        """Returns the message when it is to come again. Raises nothing that repeating could mend."""
        self._queue.hold([message], _STEP_SECONDS)
        try:
            job = self._job(message)
        except (msgspec.DecodeError, RecursionError, KeyError, TypeError, InvalidInput) as error:
            logger.error("unreadable message", message_id=message.id, detail=type(error).__name__)
            return Staying(message)
        except BundleError as error:
            return _postponed(message, error)
        if job is None:
            logger.warning("no such import", message_id=message.id)
            return None
        if job.correlation_id:
            begin(job.correlation_id)
        logger.info("import taken", import_id=job.import_id, state=job.state.value, message_id=message.id)
        try:
            self._go_on(self._jobs.lease(job, _STEP_SECONDS, message.id), message, deadline)
            return None
        except Later as later:
            self._release(job.import_id)
            if later.retry_after_seconds:
                return Staying(message, later.retry_after_seconds)
            try:
                self._queue.send([wake_up(job.import_id)])
                return None
            except StoreUnavailable as error:
                return _postponed(message, error)
        except InProgress as error:  # the job is another worker's
            return _postponed(message, error)
        except BundleError as error:
            self._release(job.import_id)
            return _postponed(message, error)

    def _go_on(self, job: Job, message: Message, deadline: Deadline) -> None:
        def checkpoint() -> None:
            self._queue.hold([message], LEASE_SECONDS)

        while True:
            state = job.state
            if state is JobState.REQUESTED:
                job = self._exporter.start(job)
                if job.state is JobState.EXPORTING and message.receive_count > 1:
                    raise Later("the export has begun; it is waited for with a message that has not waited yet")
            elif state is JobState.EXPORTING:
                job = self._exporter.fetch(job)
            elif state is JobState.READING:
                job = self._reader.read(job, deadline, checkpoint)
            elif job.finished_at or state is JobState.AWAITING_UPLOAD or not self._is_delivered(job):
                break
            else:
                job = self._ended(job, message)
        self._release(job.import_id)

    def _ended(self, job: Job, message: Message) -> Job:
        """Reading has let go of the job, and a long list of refused rows takes its time to put together."""
        self._queue.hold([message], _STEP_SECONDS)
        job = self._jobs.lease(job, _STEP_SECONDS, message.id)
        return self._finisher.finish(job) if job.state is JobState.DELIVERING else self._finisher.tell(job)

    def _is_delivered(self, job: Job) -> bool:
        """When it is not, delivery sends a message once it is."""
        return is_delivered(job, self._verdicts.tally(job.import_id))

    def _release(self, import_id: str) -> None:
        """A lease that cannot be ended ends by itself."""
        with suppress(BundleError):
            job = self._jobs.find(import_id)
            if job is not None and job.lease_until:
                self._jobs.save(structs.replace(job, lease_until=0.0))

    # --- what a message is about ------------------------------------------------------------------------------------

    def _job(self, message: Message) -> Job | None:
        body = msgspec.json.decode(message.body)
        if "import_id" in body:
            return self._jobs.find(body["import_id"])
        if "segment_export" in body:
            job = scheduled_job(body["segment_export"], self._jobs.clock())
            return self._jobs.find(job.import_id) or self._jobs.save(
                structs.replace(job, correlation_id=correlation_id())
            )
        return self._job_of_file(body["detail"]["bucket"]["name"], body["detail"]["object"])

    def _job_of_file(self, bucket: str, dropped: Mapping[str, Any]) -> Job:
        import_id = import_id_of(bucket, dropped)
        told = {
            "bucket": bucket,
            "key": dropped["key"],
            "version_id": dropped.get("version-id", ""),
            "etag": dropped.get("etag", ""),
            "size_bytes": dropped.get("size", 0),
        }
        source = msgspec.convert(told, Source)  # a job that nobody can read back must not be written
        announced = import_uploaded_to(dropped["key"])
        upload = self._jobs.find(announced) if announced else None
        if upload is not None:
            if upload.state is JobState.AWAITING_UPLOAD:
                return self._jobs.save(
                    structs.replace(upload, state=JobState.READING, source=source, started_at=self._jobs.clock())
                )
            if upload.source == source:
                return upload
            options = upload.options  # a second file under one upload address is an import of its own
        known = self._jobs.find(import_id)
        if known is not None:
            return known
        now = self._jobs.clock()
        job = Job(
            import_id=import_id,
            state=JobState.READING,
            created_at=now,
            started_at=now,
            source=source,
            correlation_id=correlation_id(),  # of nobody's request: this worker's own, for all that follows
        )
        try:
            job = structs.replace(job, options=options if upload is not None else self._options(source))
        except InvalidInput as error:
            job = structs.replace(
                job,
                state=JobState.FAILED,
                reason_code=error.code,
                reason=f"object metadata {error.field}: {error.message}. {error.hint}",
            )
        return self._jobs.save(job)

    def _options(self, source: Source) -> Options:
        version = {"VersionId": source.version_id} if source.version_id else {}
        with store("import bucket"):
            try:
                found = self._s3.head_object(Bucket=source.bucket, Key=source.key, **version)  # type: ignore[arg-type]
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                raise InvalidInput(
                    "the file was gone before it could be read", code="file_gone", field="key", hint="Drop it again."
                ) from None
        return options_of(found["Metadata"])


def import_id_of(bucket: str, dropped: Mapping[str, Any]) -> str:
    """The same for every announcement of one upload, another for the next upload, even of the same file.

    Source: EventBridge's S3 "Object Created" event, whose `sequencer` differs between two writes of one key.
    """
    identity = "\n".join([bucket, dropped["key"], dropped.get("sequencer", ""), dropped.get("etag", "")])
    return "csv-" + sha256(identity.encode()).hexdigest()[:24]


def build(settings: Settings) -> SqsHandler:
    dynamodb, s3 = aws.dynamodb(), aws.s3()
    retention_days = settings.whole_number("IMPORT_RETENTION_DAYS")
    jobs = Jobs(dynamodb, settings.text("IMPORTS_TABLE"), retention_days)
    verdicts = Verdicts(dynamodb, settings.text("IMPORTS_TABLE"), retention_days)
    last_runs = LastRuns(dynamodb, settings.text("IMPORTS_TABLE"), retention_days, jobs.clock)
    queue = Queue(aws.sqs(), settings.text("IMPORT_QUEUE_URL"))
    worker = Worker(
        s3,
        jobs,
        verdicts,
        queue,
        Reader(
            s3,
            jobs,
            Queue(aws.sqs(), settings.text("BULK_TAG_QUEUE_URL")),
            prefetches=Queue(aws.sqs(), settings.text("PREFETCH_QUEUE_URL")),
        ),
        Exporter(wiring.braze(settings, connections=2), s3, jobs, last_runs, settings),
        Finisher(s3, jobs, verdicts, last_runs, wiring.sessionm(settings, connections=8), aws.events(), settings),
    )

    def handle(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        begin_batch(context)
        deadline = Deadline(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
        staying = [stays for message in messages_of(event) if (stays := worker.work(message, deadline)) is not None]
        queue.postpone(staying)
        flush()
        return batch_response(staying)

    return handle


def _postponed(message: Message, error: BundleError) -> Staying:
    logger.warning("import postponed", message_id=message.id, code=error.code, detail=str(error))
    return Staying(message, error.retry_after_seconds)


handle = build(Settings(os.environ))
