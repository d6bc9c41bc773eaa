"""From a queue of parcels to a vendor: many members at a time, each to one verdict or back to its queue.

A message ends in one of three ways. All of its rows have their verdict: it is deleted. The vendor or a table of ours
could not be had for some: it stays, hidden for longer each time, and is given up to the dead-letter queue after 40
receives. Or there was no time to get to them: then it is replaced by a fresh copy of itself, because being slow is no
reason to be given up. Copies and repeats do no harm, as rows that have their verdict are not sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bulk.dispatch import Dispatch, Load
from bulk.jobs import Jobs, JobState, wake_up
from bulk.parcels import Parcel, is_webhook_import
from bulk.progress import is_delivered
from bulk.verdicts import Verdicts
from shared.errors import StoreUnavailable
from shared.observability import logger, narrow
from shared.queues import Message, Queue, Staying

# No id of ours is longer. A key that DynamoDB does not take would fail all parcels that are opened together.
_LONGEST_ID_BYTES = 255


@dataclass(frozen=True)
class Storage:
    """What delivery reads and writes. `queue` is the one the messages came from."""

    verdicts: Verdicts
    jobs: Jobs
    imports: Queue
    queue: Queue


def deliver(messages: Sequence[Message], storage: Storage, dispatch: Dispatch[Any]) -> list[Staying]:
    """Sends every row of every message that has no verdict; returns the messages that must stay in their queue."""
    loads, staying = _opened(messages, storage)
    dispatch.run(loads)
    staying += [
        Staying(message, load.error.retry_after_seconds)
        for load in loads
        if load.error is not None
        for message in load.messages
    ]
    staying += _replaced((load for load in loads if load.error is None and not load.settled), storage.queue)
    staying += _announced([load for load in loads if load.settled and load.error is None], storage)
    return staying


def _opened(messages: Sequence[Message], storage: Storage) -> tuple[list[Load], list[Staying]]:
    """The parcels of the messages, each once, and the messages that stay because theirs cannot be had."""
    parcels: dict[tuple[str, str], Parcel] = {}
    brought_by: dict[tuple[str, str], list[Message]] = {}
    unreadable: list[Staying] = []
    for message in messages:
        parcel = _parcel_in(message)
        if parcel is None:
            logger.error("unreadable message", message_id=message.id)
            unreadable.append(Staying(message))
            continue
        parcels.setdefault((parcel.import_id, parcel.id), parcel)
        brought_by.setdefault((parcel.import_id, parcel.id), []).append(message)
    narrow(correlation_ids := list(dict.fromkeys(parcel.correlation_id for parcel in parcels.values())))
    import_ids = list(dict.fromkeys(parcel.import_id for parcel in parcels.values()))
    logger.info("parcels taken", parcels=len(parcels), import_ids=import_ids, correlation_ids=correlation_ids)
    try:
        settlings = storage.verdicts.open(list(parcels.values()))
    except StoreUnavailable as error:
        logger.warning("parcels not opened", detail=str(error))
        return [], [Staying(message) for message in messages]
    return [Load(settling, brought_by[key]) for key, settling in zip(parcels, settlings, strict=True)], unreadable


def _parcel_in(message: Message) -> Parcel | None:
    try:
        parcel = msgspec.json.decode(message.body, type=Parcel)
    except (msgspec.DecodeError, RecursionError):
        return None
    is_one = parcel.import_id and max(len(each.encode()) for each in (parcel.import_id, parcel.id)) <= _LONGEST_ID_BYTES
    return parcel if is_one and all(0 <= row.label < len(parcel.labels) for row in parcel.rows) else None


def _replaced(loads: Iterable[Load], queue: Queue) -> list[Staying]:
    """Puts fresh copies into the queue; returns the messages if that failed."""
    messages = [message for load in loads for message in load.messages]
    try:
        queue.send(dict.fromkeys(message.body for message in messages))
    except StoreUnavailable as error:
        logger.warning("not put back", detail=str(error))
        return [Staying(message) for message in messages]
    return []


def _announced(settled: Sequence[Load], storage: Storage) -> list[Staying]:
    """Sends word of imports that are complete now; returns the messages of those where that cannot be told.

    It comes before the messages are deleted. So whoever dies here leaves them behind, and the import is looked at
    again; and of workers that write its last verdicts at the same time the later one finds it complete. What came by
    HTTP has no job that could be.
    """
    by_import: dict[str, list[Load]] = {}
    for load in settled:
        if not is_webhook_import(load.settling.parcel.import_id):
            by_import.setdefault(load.settling.parcel.import_id, []).append(load)
    staying: list[Staying] = []
    for import_id, loads in by_import.items():
        try:
            if _complete(import_id, storage):
                storage.imports.send([wake_up(import_id)])
        except StoreUnavailable as error:
            logger.warning("import not looked at", import_id=import_id, detail=str(error))
            staying += [Staying(message) for load in loads for message in load.messages]
    return staying


def _complete(import_id: str, storage: Storage) -> bool:
    job = storage.jobs.find(import_id)
    if job is None or job.finished_at or job.state not in (JobState.DELIVERING, JobState.FAILED):
        return False
    return is_delivered(job, storage.verdicts.tally(import_id))
