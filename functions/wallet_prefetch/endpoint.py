"""POST /wallet-prefetches takes on the wallets of a segment or a list; GET /wallet-prefetches/{prefetch_id} tells how
it goes.

A prefetch is an import like one of tags, and is written down as one: a segment is exported first, a list becomes a file
of the same kind at once. ImportQueue's worker reads either into PrefetchQueue.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable

from msgspec import structs

import wiring
from bulk.answers import links
from bulk.jobs import IMPORT_ID, Jobs, Source, take_on
from bulk.verdicts import Verdicts
from shared import aws
from shared.aws import store
from shared.config import Settings
from shared.errors import NotFound
from shared.http import Answer, Handler, Request, http_handler
from shared.observability import correlation_id, count, note
from shared.queues import Queue
from shared.rate import share_of
from wallet_prefetch.status import status_of
from wallet_prefetch.submit import PrefetchFields, lines_of, list_job, prefetch_of, segment_job, size_of, taken_on

_LIST_TOO_LARGE = "Give the user_ids in several prefetches, or a segment_id."


def build(settings: Settings, clock: Callable[[], float] = time.time) -> Handler:
    s3, bucket = aws.s3_for_requests(), settings.text("IMPORT_BUCKET")
    link = links(aws.s3_signer(), bucket)
    queue = Queue(aws.sqs_for_requests(), settings.text("IMPORT_QUEUE_URL"))
    dynamodb, table = aws.dynamodb_for_requests(), settings.text("IMPORTS_TABLE")
    retention_days = settings.whole_number("IMPORT_RETENTION_DAYS")
    jobs = Jobs(dynamodb, table, retention_days, clock)
    verdicts = Verdicts(dynamodb, table, retention_days, clock)
    braze = wiring.braze(settings, connections=2)
    default_culture = settings.text("WALLET_DEFAULT_CULTURE")
    most_fresh_seconds = settings.whole_number("PREFETCH_MOST_FRESH_SECONDS")
    most_per_second = share_of(
        settings.whole_number("TAG_RATE_PER_SECOND"), settings.whole_number("PREFETCH_SHARE_PERCENT")
    )

    def submit(request: Request) -> Answer:
        fields = request.json(PrefetchFields, too_large_hint=_LIST_TOO_LARGE)
        wish = prefetch_of(fields, default_culture, most_fresh_seconds)
        prefetch_id = f"prefetch-{uuid.uuid4().hex[:24]}"
        if fields.user_ids is not None:
            user_ids = list(dict.fromkeys(fields.user_ids))
            source = Source(bucket, f"exports/{prefetch_id}.ndjson")
            with store("import bucket"):
                s3.put_object(
                    Bucket=bucket, Key=source.key, Body=lines_of(user_ids), ContentType="application/x-ndjson"
                )
            job = list_job(prefetch_id, structs.replace(wish, members_expected=len(user_ids)), source, clock())
        else:
            segment_id = str(fields.segment_id)
            wish = structs.replace(wish, members_expected=size_of(braze, segment_id))
            job = segment_job(prefetch_id, wish, segment_id, clock())
        note(import_id=prefetch_id)
        take_on(structs.replace(job, correlation_id=correlation_id()), jobs, queue)
        count("WalletPrefetchesSubmitted")
        return Answer(202, taken_on(job, most_per_second))

    def status(request: Request) -> Answer:
        prefetch_id = request.path["prefetch_id"]
        job = jobs.find(prefetch_id) if IMPORT_ID.match(prefetch_id) else None
        if job is None or job.prefetch is None:
            raise NotFound(
                "no such prefetch",
                field="prefetch_id",
                hint="Ids are kept for ImportRetentionDays; see the answer of POST /wallet-prefetches.",
            )
        return Answer(200, status_of(job, job.prefetch, verdicts.tally(prefetch_id), clock(), most_per_second, link))

    return http_handler({"POST /wallet-prefetches": submit, "GET /wallet-prefetches/{prefetch_id}": status})


handle = build(Settings(os.environ))
