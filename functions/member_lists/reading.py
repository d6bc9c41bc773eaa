"""From a file in the bucket to parcels in the queue: step one of every import, as long as it takes.

A file is read in intervals. At the end of one, a checkpoint: all its parcels are in the queue, the rows it refused are
written down, and the job says so, in this order. After a death the next worker goes on at the last checkpoint, finds
the same intervals, and so makes the same parcels under the same ids and writes the same objects over; delivery knows by
the ids which rows have their verdict. What the queue holds twice is the interval the death was in, no more.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from bulk.jobs import Job, Jobs, JobState, Later
from bulk.parcels import PACKING, Label, Packer, Parcel
from member_lists.csv_rows import CsvRows
from member_lists.failures import cells_of_refused, part_key
from member_lists.formats import HEAD_BYTES, in_utf_8, layout_of
from member_lists.ndjson_rows import UserLines
from member_lists.objects import Package, UnreadableFile, Window
from member_lists.records import LISTED_CHARACTERS, Records, end_of_lines
from shared.aws import store
from shared.deadline import Deadline
from shared.observability import count, logger
from shared.outcomes import State
from shared.queues import BATCH_MESSAGES, Queue, body_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# A worker that has not come to a checkpoint for so long is taken for dead; they are seconds apart.
LEASE_SECONDS = 120

# SQS takes ten to twenty milliseconds for ten parcels; in that time the next ten are made.
_SENDS_AT_ONCE = 8


_LINE_END = re.compile(rb"\r\n?|\n")


class Grain(msgspec.Struct, frozen=True):
    """How finely a file is read. Where a block or an interval ends depends on nothing but where it begins.

    An interval of 4 MiB is 70,000 rows or so: a quarter of a second of reading, of which its checkpoint takes a tenth.
    It ends sooner when what was refused makes a long list. No record is longer than 1 MiB, which is a hundred tags of
    the longest name many times over: what looks longer is a quote that was never closed, or no text. It is passed over,
    but not for ever: an archive of some megabytes can hold a line that takes longer to unpack than a function runs.
    """

    block_bytes: int = 262_144
    interval_bytes: int = 4_194_304
    interval_refused_characters: int = 4_194_304
    longest_record_bytes: int = 1_048_576
    longest_line_bytes: int = 268_435_456


class Reader:
    """`queue` is where parcels go, `prefetches` those of members whose wallets are wanted.

    An import is read with one grain from its start to its end.
    """

    def __init__(
        self,
        s3: S3Client,
        jobs: Jobs,
        queue: Queue,
        grain: Grain = Grain(),  # noqa: B008  # frozen
        prefetches: Queue | None = None,
    ) -> None:
        self._s3 = s3
        self._jobs = jobs
        self._queue = queue
        self._prefetches = prefetches or queue
        self._grain = grain

    def read(self, job: Job, deadline: Deadline, on_checkpoint: Callable[[], None]) -> Job:
        """Reads on from where `job.reading` says, to the end of the file, and calls `on_checkpoint` on the way.

        Returns the job as saved, in state `delivering`; or `failed`, when the file or what is left of it cannot be
        read: rows queued by then stay queued and counted. Raises `Later` at a checkpoint behind the deadline,
        `Outdated` when another worker has gone on with the job, and `StoreUnavailable` when a store of ours gives out.

        A file that was begun by code that packed otherwise is not gone on with: what a dead worker left in the queue
        behind its last checkpoint could not be told from what is put there now.
        """
        if job.reading.packing not in (0, PACKING):
            return self._refuse_other_packing(job)
        if not job.reading.packing:
            job = self._jobs.save(structs.replace(job, reading=structs.replace(job.reading, packing=PACKING)))
        with ThreadPoolExecutor(_SENDS_AT_ONCE, thread_name_prefix="send") as threads:
            outbox = _Outbox(self._queue if job.prefetch is None else self._prefetches, threads)
            going = _Going(self._s3, self._jobs, outbox, self._grain, job)
            try:
                going.to_the_end(deadline, on_checkpoint)
                end: dict[str, Any] = {"state": JobState.DELIVERING, "read_at": self._jobs.clock()}
            except UnreadableFile as error:
                end = {"state": JobState.FAILED, "reason_code": error.code, "reason": error.message}
            job = going.checkpoint(**end, lease_until=0.0)
        reading = job.reading
        logger.info(
            "file read",
            import_id=job.import_id,
            state=job.state.value,
            rows_read=reading.rows_read,
            rows_queued=reading.rows_queued,
            rows_failed=reading.rows_failed,
            rows_skipped=reading.rows_skipped,
        )
        return job

    def _refuse_other_packing(self, job: Job) -> Job:
        logger.error("file begun by another release", import_id=job.import_id, packing=job.reading.packing)
        reason = (
            f"the bundle was updated while this was read. Rows before line {job.reading.line} are taken on, later ones "
            "may be. Import the rest again: tags with a ttl bear that, counters may be added twice"
        )
        return self._jobs.save(
            structs.replace(
                job, state=JobState.FAILED, reason_code="begun_by_another_release", reason=reason, lease_until=0.0
            )
        )


class _Outbox:
    """Parcels on their way to the queue, a few batches at a time."""

    def __init__(self, queue: Queue, threads: Executor) -> None:
        self._queue = queue
        self._threads = threads
        self._bodies: list[str] = []
        self._under_way: deque[Future[None]] = deque()

    def put(self, parcel: Parcel) -> None:
        self._bodies.append(body_of(parcel))
        if len(self._bodies) == BATCH_MESSAGES:
            self._send()

    def settle(self) -> None:
        """Returns once all parcels are in the queue."""
        if self._bodies:
            self._send()
        while self._under_way:
            self._under_way.popleft().result()

    def _send(self) -> None:
        if len(self._under_way) == _SENDS_AT_ONCE:
            self._under_way.popleft().result()
        self._under_way.append(self._threads.submit(self._queue.send, self._bodies))
        self._bodies = []


class _Going:
    """One worker's way through a file, or a part of it."""

    def __init__(self, s3: S3Client, jobs: Jobs, outbox: _Outbox, grain: Grain, job: Job) -> None:
        self._s3 = s3
        self._jobs = jobs
        self._outbox = outbox
        self._grain = grain
        self._job = job
        self._at = job.reading
        self._packer = Packer(job.import_id, correlation_id=job.correlation_id)
        self._begin_interval()

    def to_the_end(self, deadline: Deadline, on_checkpoint: Callable[[], None]) -> None:
        """Reads until the end of the last file; what is not behind a checkpoint then is left for a last one."""
        assert self._job.source is not None
        with closing(Package(self._s3, self._job.source)) as package:
            if not package.names and self._job.export is None:
                raise UnreadableFile("there is no file in the archive")
            while self._at.member < len(package.names):
                try:
                    self._read_file(package, deadline, on_checkpoint)
                except UnreadableFile as error:
                    raise UnreadableFile(f"{self._place(package)}{error.message}") from None
                self._at = structs.replace(self._at, member=self._at.member + 1, offset=0)
            self._at = structs.replace(self._at, fraction=1.0)

    def checkpoint(self, **changes: Any) -> Job:
        """Makes durable what has been read, then says in the job that it is; returns the job as saved."""
        rest = self._packer.rest()
        if rest is not None:
            self._put(rest)
        self._outbox.settle()
        refused = self._failed + self._skipped
        if refused:
            with store("import bucket"):
                self._s3.put_object(
                    Bucket=self._job.source.bucket,  # type: ignore[union-attr]  # rows have come from it
                    Key=part_key(self._job.import_id, self._at.parts),
                    Body=self._refused.getvalue().encode(),
                    ContentType="text/csv; charset=utf-8",
                )
        self._at = structs.replace(
            self._at,
            rows_read=self._at.rows_read + self._queued + refused,
            rows_queued=self._at.rows_queued + self._queued,
            rows_failed=self._at.rows_failed + self._failed,
            rows_skipped=self._at.rows_skipped + self._skipped,
            parts=self._at.parts + bool(refused),
        )
        lease_until = self._jobs.clock() + LEASE_SECONDS
        self._job = self._jobs.save(
            structs.replace(self._job, **{"reading": self._at, "lease_until": lease_until, **changes})
        )
        is_tagged = self._job.prefetch is None
        count("TagsAccepted" if is_tagged else "WalletsAccepted", self._queued)
        count("TagRowsRefused" if is_tagged else "WalletRowsRefused", self._failed)
        count("TagRowsSkipped" if is_tagged else "WalletRowsSkipped", self._skipped)
        self._begin_interval()
        return self._job

    def _begin_interval(self) -> None:
        self._read_bytes = 0
        self._queued = 0
        self._failed = 0
        self._skipped = 0
        self._refused = io.StringIO(newline="")
        self._lines = csv.writer(self._refused)

    def _read_file(self, package: Package, deadline: Deadline, on_checkpoint: Callable[[], None]) -> None:
        file, records = self._opened(package)
        grain = self._grain
        size = grain.block_bytes
        while block := file.ahead(size):
            is_last, is_stuck = len(block) < size, size >= grain.longest_record_bytes
            lines = block if is_last else block[: end_of_lines(block)]
            taken, line = records.take(lines, self._at.line, is_last, is_stuck) if lines else (0, 0)
            if taken:
                file.take(taken)
            elif not is_stuck:
                size *= 2
                continue
            else:
                taken, line = self._refuse_endless_line(file)
            size = grain.block_bytes
            self._at = structs.replace(self._at, offset=file.position, line=line, fraction=package.fraction())
            self._read_bytes += taken
            if self._read_bytes >= grain.interval_bytes or self._refused.tell() >= grain.interval_refused_characters:
                self.checkpoint()
                on_checkpoint()
                if deadline.passed():
                    raise Later("the function's time is up")

    def _opened(self, package: Package) -> tuple[Window, Records]:
        """The file that is being read, from its first row or the last checkpoint on."""
        file, options = package.open(self._at.member), self._job.options
        records: Records
        if self._job.export is not None or self._job.prefetch is not None:
            records = UserLines(options, self._accept, self._refuse, wallets=self._job.prefetch is not None)
            header_bytes, header_lines = 0, 0
        else:
            file = in_utf_8(file, options.encoding)
            head = file.ahead(HEAD_BYTES)
            layout = layout_of(head, len(head) < HEAD_BYTES, options)
            records = CsvRows(layout, options, self._accept, self._refuse)
            header_bytes, header_lines = layout.header_bytes, layout.header_lines
        if self._at.offset:
            file.go_to(self._at.offset)
        else:
            file.take(header_bytes)
            self._at = structs.replace(self._at, offset=header_bytes, line=self._at.line + header_lines)
        return file, records

    def _place(self, package: Package) -> str:
        name = package.names[self._at.member]
        line = f"line {self._at.line}" if self._at.offset else ""
        place = ", ".join(part for part in (name, line) if part)
        return f"{place}: " if place else ""

    def _accept(self, line: int, member_id: str, label: Label) -> None:
        full = self._packer.add(line, member_id, label)
        if full is not None:
            self._put(full)

    def _put(self, parcel: Parcel) -> None:
        self._queued += len(parcel.rows)
        self._outbox.put(parcel)

    def _refuse(self, line: int, cells: Mapping[str, str], verdict: State, code: str, reason: str) -> None:
        if verdict is State.SKIPPED:
            self._skipped += 1
        else:
            self._failed += 1
        self._lines.writerow(cells_of_refused(line, cells, verdict, code, reason))

    def _refuse_endless_line(self, file: Window) -> tuple[int, int]:
        """Passes over a line that is too long to be one; returns its bytes, and the number of the next line."""
        beginning = file.position
        text = file.ahead(LISTED_CHARACTERS).decode("utf-8", "replace")
        reason = f"this line is longer than {self._grain.longest_record_bytes} bytes"
        self._refuse(self._at.line, {"text": text}, State.FAILED, "invalid_csv", reason)
        while block := file.ahead(self._grain.block_bytes):
            end = _LINE_END.search(block)
            file.take(end.end() if end else len(block))
            if end:
                break
            if file.position - beginning > self._grain.longest_line_bytes:
                raise UnreadableFile(f"a line is longer than {self._grain.longest_line_bytes} bytes; this is no table")
        return file.position - beginning, self._at.line + 1
