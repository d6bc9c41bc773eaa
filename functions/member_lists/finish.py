"""The end of an import: the failure file, a look at what SessionM has, one event, one line in the log.

All of it is done before the job is saved as ended. So what a worker leaves undone when it dies the next one does again:
the files are written over with the same rows, and the event may come twice, but never not at all. Whoever acts on the
event knows a repeat by its `import_id`.
"""

from __future__ import annotations

import codecs
import csv
import io
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from heapq import merge
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import structs

from bulk.jobs import Job, Jobs, JobState, ReadBack
from bulk.progress import Counts, counts_of
from bulk.verdicts import SentSample, Verdicts
from clients.sessionm import Sessionm
from clients.transport import Timeouts
from clients.vocabulary import Member
from member_lists.failures import COLUMNS, LINE, cells_of_unsent, failure_key, part_key
from member_lists.leavers import LastRuns, leavers_of
from shared.aws import store
from shared.config import Settings
from shared.deadline import Deadline
from shared.errors import BundleError, StoreUnavailable
from shared.observability import count, logger
from shared.uploads import Upload

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client

EVENT_SOURCE = "sessionm-braze.tag-import"
EVENT_NAME = "Tag Import Finished"
PREFETCH_EVENT_NAME = "Wallet Prefetch Finished"

# Reading back is a check and no part of the import: a slow SessionM makes it incomplete, not the import late.
_READ_BACK_SECONDS = 60.0
_READ_BACK_AT_ONCE = 8
_READ_BACK_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=5)

# A line that cannot be taken apart is listed whole, however long.
_LONGEST_CELL = 2**31 - 1

Drawn = TypeVar("Drawn")


class Finisher:
    """Ends imports; every method raises `StoreUnavailable` when a store of ours cannot be asked.

    `choose` draws the rows that are read back.
    """

    def __init__(
        self,
        s3: S3Client,
        jobs: Jobs,
        verdicts: Verdicts,
        last_runs: LastRuns,
        sessionm: Sessionm,
        events: EventBridgeClient,
        settings: Settings,
        choose: random.Random | None = None,
    ) -> None:
        self._s3 = s3
        self._jobs = jobs
        self._verdicts = verdicts
        self._sessionm = sessionm
        self._events = events
        self._last_runs = last_runs
        self._bucket = settings.text("IMPORT_BUCKET")
        self._sample = settings.whole_number("TAG_READ_BACK_SAMPLE")
        self._choose = choose or random.Random()

    def finish(self, job: Job) -> Job:
        """Ends an import whose rows all have their verdict."""
        if job.prefetch is not None:
            return self._end(structs.replace(job, state=JobState.FINISHED))
        read_back = None
        if self._sample:
            samples = drawn(self._verdicts.samples(job.import_id), self._sample, self._choose)
            read_back = look_up(self._sessionm, samples, Deadline(_READ_BACK_SECONDS))
        leavers_file = leavers_of(self._s3, self._jobs, job)
        if job.export is not None:
            self._last_runs.remember(job)
        return self._end(structs.replace(job, state=JobState.FINISHED, read_back=read_back, leavers_file=leavers_file))

    def tell(self, job: Job) -> Job:
        """Ends an import that failed, once rows that had been queued by then have their verdicts."""
        return self._end(job)

    def _end(self, job: Job) -> Job:
        ended = structs.replace(
            job, failure_file=self._write_failures(job), finished_at=self._jobs.clock(), lease_until=0.0
        )
        counts = counts_of(ended, self._verdicts.tally(job.import_id))
        self._publish(ended, counts)
        saved = self._jobs.save(ended)
        if saved.prefetch is None:
            count("TagImportsFinished" if saved.state is JobState.FINISHED else "TagImportsFailed")
        else:
            count("WalletPrefetchesFinished" if saved.state is JobState.FINISHED else "WalletPrefetchesFailed")
        logger.info(
            "tag import finished" if saved.prefetch is None else "wallet prefetch finished",
            import_id=saved.import_id,
            state=saved.state.value,
            reason=saved.reason_code,
            seconds=_seconds(saved),
            **structs.asdict(counts),
        )
        return saved

    def _write_failures(self, job: Job) -> str:
        """The failure file's key; empty when there is nothing to list. Memory holds one part and one page at a time."""
        with _long_cells():
            rows = by_line(self._refused(job), map(cells_of_unsent, self._verdicts.unsent(job.import_id)))
            first = next(rows, None)
            if first is None:
                return ""
            key = failure_key(job.import_id)
            with Upload(self._s3, self._bucket, key, "text/csv; charset=utf-8") as upload:
                upload.write(codecs.BOM_UTF8)  # says what it is to spreadsheets, and to an import told otherwise
                for piece in csv_pieces(chain([COLUMNS, first], rows)):
                    upload.write(piece)
        return key

    def _refused(self, job: Job) -> Iterator[list[str]]:
        for number in range(job.reading.parts):
            with store("import bucket"):
                part = self._s3.get_object(Bucket=self._bucket, Key=part_key(job.import_id, number))["Body"].read()
            yield from csv.reader(io.StringIO(part.decode(), newline=""))

    def _publish(self, job: Job, counts: Counts) -> None:
        detail = {
            "import_id": job.import_id,
            "state": job.state.value,
            "reason": job.reason_code or None,
            "counts": counts,
            "bucket": self._bucket,
            "failure_file": job.failure_file or None,
            "leavers_file": job.leavers_file or None,
            "read_back": job.read_back,
            "seconds": _seconds(job),
        }
        text = msgspec.json.encode(detail).decode()
        name = EVENT_NAME if job.prefetch is None else PREFETCH_EVENT_NAME
        with store("event bus"):
            answer = self._events.put_events(Entries=[{"Source": EVENT_SOURCE, "DetailType": name, "Detail": text}])
        if answer["FailedEntryCount"]:
            raise StoreUnavailable(f"event bus: {answer['Entries'][0].get('ErrorCode', 'unknown')}")


def by_line(*sources: Iterable[list[str]]) -> Iterator[list[str]]:
    """Rows of the failure file in the order of their lines, from sources that are in that order each."""
    return merge(*sources, key=lambda cells: int(cells[LINE]))


def csv_pieces(rows: Iterable[Iterable[str]]) -> Iterator[bytes]:
    """The rows as CSV, some hundred at a time."""
    waiting = iter(rows)
    while some := list(islice(waiting, 500)):
        text = io.StringIO(newline="")
        csv.writer(text).writerows(some)
        yield text.getvalue().encode()


def drawn(items: Iterable[Drawn], number: int, choose: random.Random) -> list[Drawn]:
    """So many of the items, each with the same chance, without holding more of them."""
    kept: list[Drawn] = []
    for position, item in enumerate(items):
        if position < number:
            kept.append(item)
        elif (place := choose.randrange(position + 1)) < number:
            kept[place] = item
    return kept


def look_up(sessionm: Sessionm, samples: list[SentSample], deadline: Deadline) -> ReadBack:
    """Asks SessionM for the tags of these members; whatever goes wrong is counted, and nothing is raised."""

    def has_all(sample: SentSample) -> bool | None:
        if deadline.passed():
            return None
        try:
            found = sessionm.tags_of(Member(sample.kind, sample.member_id), _READ_BACK_TIMEOUTS)
        except BundleError as error:
            logger.warning("tags not read back", code=error.code)
            return None
        return found.issuperset(sample.tags)

    with ThreadPoolExecutor(_READ_BACK_AT_ONCE) as pool:
        seen = Counter(pool.map(has_all, samples))
    return ReadBack(asked=len(samples), found=seen[True], missing=seen[False], unreadable=seen[None])


def _seconds(job: Job) -> int:
    return round(job.finished_at - (job.started_at or job.created_at))


@contextmanager
def _long_cells() -> Iterator[None]:
    """The longest cell that Python's CSV reader takes is one setting of the whole process."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
