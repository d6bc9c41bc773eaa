"""Reads an import to the end of its file, as the deployed function does; then sends as many messages with nothing else.

Run as a program, with the key of a file and the number of batches to send; prints what it took as JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import boto3
from botocore.config import Config

from bulk.jobs import Job, Jobs, JobState, Source
from member_lists.reading import Reader
from shared import aws
from shared.config import Settings
from shared.deadline import Deadline
from shared.observability import logger
from shared.queues import BATCH_MESSAGES, Queue

# What a message of five hundred rows is like, and how many of them a reader has on the way.
BODY = '[1000000,"0f6a5f0e-6c0b-4d56-9b2e-3f4f8f0a7c11",0],' * 440
AT_ONCE = 8

# An emulator at work for eight senders may take longer than AWS does.
PATIENT = Config(read_timeout=60)


def peak_kb() -> int:
    """The most memory this process has had; what getrusage says is, after a start, the parent's."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def main() -> None:
    logger.setLevel(logging.WARNING)
    settings = Settings(os.environ)
    jobs = Jobs(aws.dynamodb(), settings.text("IMPORTS_TABLE"), 30)
    queue = Queue(boto3.client("sqs", config=PATIENT), settings.text("BULK_TAG_QUEUE_URL"))
    source = Source(settings.text("IMPORT_BUCKET"), sys.argv[1])
    job = jobs.save(Job(import_id=f"csv-{os.getpid():x}", state=JobState.READING, created_at=1.0, source=source))
    idle_kb = peak_kb()
    cpu_before, started = time.process_time(), time.perf_counter()
    job = Reader(aws.s3(), jobs, queue).read(job, Deadline(3_600), lambda: None)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_before
    read_kb = peak_kb()
    batches = int(sys.argv[2])
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(queue.send, repeat([BODY] * BATCH_MESSAGES, batches)))
    answer = {
        "state": job.state.value,
        "rows": job.reading.rows_queued,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "idle_kb": idle_kb,
        "peak_kb": read_kb,
        "bare_seconds": time.perf_counter() - started,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
