"""A Braze segment export, from the request until its file lies in our bucket; from there on it is read like any file.

Braze calls back when the export is there. A callback can be lost, so the address is also looked at, with growing
patience: the message stays in ImportQueue. An address is good for a few hours and reading may take longer, so the file
is copied first.

Braze has no idempotency keys. When it is not known whether a request was taken on, it is made again later: Braze
refuses it with 429 while the first export runs, and should that one call back before, it is the one that is used.

Source: Braze's page on POST /users/export/segment (callback, address, limits).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import structs

from bulk.jobs import Export, Job, Jobs, JobState, Later, Outdated, Source
from clients.braze import Braze, SegmentExport
from clients.downloads import downloaded, may_be_fetched
from clients.transport import Timeouts
from member_lists.export_bucket import ExportBucket, UnusableExport
from member_lists.leavers import LastRuns
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import (
    UpstreamError,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    UpstreamUnknown,
    UpstreamUnreachable,
)
from shared.observability import logger
from shared.uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Twenty million external ids pack to half a gigabyte. Forty times that is something else than a list of members.
MOST_EXPORT_BYTES = 20 * 1024**3

# For so long a request is repeated that Braze does not take on, and an export is waited for: twenty million users take
# more than an hour, and the longest waits between two looks are an hour.
PATIENCE_SECONDS = 86_400.0

# Exports of our own bucket are complete when Braze says so or, without a word, when nothing was added for so long.
SETTLED_SECONDS = 300.0

_FIRST_WAIT_SECONDS = 30.0

_REQUEST_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=20)
_FILE_TIMEOUTS = Timeouts(connect_seconds=5, read_seconds=60)

# A function runs for fifteen minutes at most. What has not come by then is begun anew.
COPY_SECONDS = 780.0

# After these errors Braze has certainly begun nothing, so nobody will call back.
_NOTHING_BEGUN = (UpstreamUnreachable, UpstreamThrottled, UpstreamUnavailable, UpstreamUnauthorized)

# A save that meets a callback is made again, with what the callback wrote.
_SAVE_TRIES = 5

Change = Callable[[Job], Job]


class _NotThereYet(Exception):
    """The text says what was found instead of the export."""


class Exporter:
    """`make_token` gives what Braze calls back with, once. Exports of more than `most_bytes` are refused, and those
    that take more than `copy_seconds` begun anew.

    Both steps raise `Later` when Braze is not ready, and `StoreUnavailable` when a store of ours cannot be asked.
    """

    def __init__(
        self,
        braze: Braze,
        s3: S3Client,
        jobs: Jobs,
        last_runs: LastRuns,
        settings: Settings,
        make_token: Callable[[], str] = secrets.token_urlsafe,
        most_bytes: int = MOST_EXPORT_BYTES,
        copy_seconds: float = COPY_SECONDS,
    ) -> None:
        self._braze = braze
        self._s3 = s3
        self._jobs = jobs
        self._last_runs = last_runs
        self._bucket = settings.text("IMPORT_BUCKET")
        self._export_bucket = ExportBucket(s3, "".join(settings.names("BRAZE_EXPORT_BUCKET")))
        self._braze_url = settings.text("BRAZE_REST_URL")
        self._callback_base_url = settings.text("CALLBACK_BASE_URL").rstrip("/")
        self._make_token = make_token
        self._most_bytes = most_bytes
        self._copy_seconds = copy_seconds

    # --- from requested to exporting --------------------------------------------------------------------------------

    def start(self, job: Job) -> Job:
        """Asks Braze for the export; `failed` when Braze refuses it for good, or for a day.

        What Braze will call back with is stored before it is told, so no callback can come too early.
        """
        token = self._make_token()
        digest = digest_of(token)
        job = self._saved(job, lambda fresh: _expecting(fresh, (*_export_of(fresh).callback_digests, digest)))
        if job.state is not JobState.REQUESTED:
            return job
        try:
            begun = self._braze.export_segment(
                _export_of(job).segment_id, self._callback_url(job, token), _REQUEST_TIMEOUTS
            )
        except UpstreamRefused as error:
            code = "segment_not_found" if "segment" in error.vendor_message.lower() else error.code
            return self._failed(job, code, f"Braze refuses the export: {error.vendor_message or error.vendor_code}")
        except UpstreamError as error:
            gone = digest if isinstance(error, _NOTHING_BEGUN) else ""
            return self._put_off(job, error, gone)
        now = self._jobs.clock()
        logger.info("segment export begun", import_id=job.import_id)
        return self._saved(job, lambda fresh: _begun(fresh, begun, digest, now))

    def _callback_url(self, job: Job, token: str) -> str:
        return f"{self._callback_base_url}/segment-exports/{job.import_id}/callback/{token}"

    def _put_off(self, job: Job, error: UpstreamError, gone: str) -> Job:
        """Says in the job why Braze has not begun, for whoever asks, and takes back a token nobody will call with."""
        reason = _reason(error)

        def change(fresh: Job) -> Job:
            left = tuple(digest for digest in _export_of(fresh).callback_digests if digest != gone)
            return structs.replace(_expecting(fresh, left), reason_code=error.code, reason=reason)

        job = self._saved(job, change)
        if job.state is not JobState.REQUESTED:
            return job
        if self._jobs.clock() - job.created_at > PATIENCE_SECONDS:
            return self._failed(job, error.code, reason)
        logger.warning("segment export put off", import_id=job.import_id, code=error.code, detail=str(error))
        raise Later(reason, error.retry_after_seconds or _FIRST_WAIT_SECONDS)

    # --- from exporting to reading ----------------------------------------------------------------------------------

    def fetch(self, job: Job) -> Job:
        """Copies the export to our bucket; `failed` when it cannot be used, or is not there after a day."""
        export = _export_of(job)
        try:
            source = self._from_url(job, export.url) if export.url else self._from_bucket(job)
        except UnusableExport as error:
            return self._failed(job, error.code, error.reason)
        except (_NotThereYet, UpstreamError) as error:
            waited = self._jobs.clock() - export.requested_at
            if waited > PATIENCE_SECONDS:
                return self._failed(
                    job, "export_expired", f"the export did not come within a day ({error}); start it again"
                )
            raise Later(str(error), _FIRST_WAIT_SECONDS) from None
        previous = self._last_runs.previous(job)
        now = self._jobs.clock()
        logger.info("segment export fetched", import_id=job.import_id, size_bytes=source.size_bytes)
        return self._saved(job, lambda fresh: _fetched(fresh, source, previous, now))

    def _from_url(self, job: Job, url: str) -> Source:
        if not may_be_fetched(url, self._braze_url):
            raise UnusableExport(
                "export_address_refused", "Braze gave an address that is not to be followed: not https"
            )
        pieces = downloaded("Braze", url, _FILE_TIMEOUTS)
        return self._copied(f"exports/{job.import_id}.zip", "application/zip", pieces)

    def _from_bucket(self, job: Job) -> Source:
        """All its objects unpacked and joined: one file can be gone on with at any place, thousands cannot."""
        listed = self._export_bucket.keys(_export_of(job), self._jobs.clock())
        if not listed:
            raise _NotThereYet(f"no object of this export is in {self._export_bucket.name}")
        if _export_of(job).callback_digests:
            self._hold_settled(job, listed)
        return self._copied(
            f"exports/{job.import_id}.ndjson", "application/x-ndjson", self._export_bucket.unpacked(listed)
        )

    def _hold_settled(self, job: Job, listed: Sequence[str]) -> None:
        seen, now = sha256("\n".join(listed).encode()).hexdigest(), self._jobs.clock()
        export = _export_of(job)
        if seen != export.seen_objects:
            self._saved(job, lambda fresh: _changed(fresh, seen_objects=seen, seen_at=now))
        elif now - export.seen_at >= SETTLED_SECONDS:
            return
        raise _NotThereYet("objects of this export may still be written")

    def _copied(self, key: str, content_type: str, pieces: Iterator[bytes]) -> Source:
        size_bytes, deadline = 0, Deadline(self._copy_seconds)
        with Upload(self._s3, self._bucket, key, content_type) as upload:
            for piece in pieces:
                size_bytes += len(piece)
                if size_bytes > self._most_bytes:
                    raise UnusableExport("export_too_large", f"the export is larger than {self._most_bytes} bytes")
                if deadline.passed():
                    raise UpstreamUnknown("Braze", "the export comes too slowly")
                upload.write(piece)
        return Source(self._bucket, key, size_bytes=size_bytes)

    # --- saving beside a callback -----------------------------------------------------------------------------------

    def _failed(self, job: Job, code: str, reason: str) -> Job:
        return self._saved(
            job, lambda fresh: structs.replace(fresh, state=JobState.FAILED, reason_code=code, reason=reason)
        )

    def _saved(self, job: Job, change: Change) -> Job:
        """Saves a change of the job, onto what a callback has written meanwhile.

        Where the callback has taken the job on, or ended it, that stands. Raises `Outdated` when another worker has it.
        """
        expected, holder = job.state, job.lease_holder
        for _ in range(_SAVE_TRIES):
            try:
                return self._jobs.save(change(job))
            except Outdated:
                found = self._jobs.find(job.import_id)
                if found is None or found.lease_holder != holder:
                    raise
                if found.state is not expected:
                    return found
                job = found
        raise Outdated("the import is being written by others all the time")


def digest_of(token: str) -> str:
    """What is stored of a token."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _export_of(job: Job) -> Export:
    assert job.export is not None  # it is in one of an export's states
    return job.export


def _changed(job: Job, **changes: Any) -> Job:
    return structs.replace(job, export=structs.replace(_export_of(job), **changes))


def _expecting(job: Job, digests: tuple[str, ...]) -> Job:
    return _changed(job, callback_digests=digests)


def _begun(job: Job, begun: SegmentExport, digest: str, now: float) -> Job:
    """The token of an earlier request counts no more: its export has ended, or this one would have been refused.

    That of this request may have been used already, by an export that was there before the answer.
    """
    digests = tuple(each for each in _export_of(job).callback_digests if each == digest)
    job = structs.replace(job, state=JobState.EXPORTING, reason_code="", reason="")
    return _changed(job, callback_digests=digests, url=begun.url, object_prefix=begun.object_prefix, requested_at=now)


def _fetched(job: Job, source: Source, previous_import_id: str, now: float) -> Job:
    """A callback that comes from now on finds no token, so it cannot come between the reader and its checkpoints."""
    job = structs.replace(job, state=JobState.READING, source=source, started_at=now)
    return _changed(job, callback_digests=(), url="", previous_import_id=previous_import_id)


def _reason(error: UpstreamError) -> str:
    if isinstance(error, UpstreamThrottled):
        return "Braze takes on no export of this segment now: one is running, or its limit of calls is reached"
    if isinstance(error, UpstreamUnauthorized):
        return "Braze refuses the REST API key: it needs the permission users.export.segment"
    return f"Braze has not taken on the export ({error})"
