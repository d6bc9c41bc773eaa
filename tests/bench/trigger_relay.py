"""How full the relay's calls to Braze are, how fast a burst drains, and how soon a lone trigger is with Braze.

A burst is fed to the delivery handler in batches of the size Lambda forms of a deep queue (TriggerBatchSize); what
stays comes back later, as from SQS. moto's queues slow down with their depth, and would be what is measured.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import requests

from infra.local import views
from infra.local.bundle import BundleSettings, LocalBundle
from infra.local.settings import CAMPAIGN_ID
from infra.local.simulators import Fault, Garbage, Reset, ResetAfterEffect, Status, Throttle
from infra.local.template import Template
from tests.bench.figures import Figure, percentile
from tests.bench.ground import Ground
from tests.bench.relay_ground import ANSWER_SECONDS, braze, ledger

MEMBERS_PER_CALL = 45.0
DRAIN_TIMES_ONE_BY_ONE = 40.0
LONE_TRIGGER_P50_SECONDS = 1.2
DUPLICATES_AND_LOSSES = 0.0

TRIGGERS = 100_000
CAMPAIGNS = 20
CALLS_AN_HOUR = 500
FAULTY_TRIGGERS = 5_000
LONE_TRIGGERS = 15

# One call in twenty goes wrong, in each of these ways as often.
FAULTS: tuple[Fault, ...] = (
    *(Status(503), Status(500), Status(502), Throttle(5), Reset()),
    *(ResetAfterEffect(), Garbage(), Status(400, {"message": "Something about a recipient"})),
)
FAULTY_SHARE = 0.05


@dataclass(frozen=True)
class Fed:
    """What became of triggers fed to a worker: processor seconds of the worker, wall seconds, messages left over."""

    cpu_seconds: float
    seconds: float
    left_over: int


def figures(ground: Ground) -> Iterator[Figure]:
    targets = [f"campaign-{number}" for number in range(CAMPAIGNS)]
    batch = _default("TriggerBatchSize")
    remark = ground.code.remark

    with ledger() as (aws_url, states), braze(targets) as vendor:
        burst = _fed(ground, vendor.url, aws_url, TRIGGERS, batch)
        calls, sent = vendor.sent()
        states.send("states")
        outcomes = Counter(states.recv().values())
    yield Figure(
        "members per Braze call, burst of 100,000",
        len(sent) / calls,
        "members",
        f"1 one by one; {CAMPAIGNS} campaigns, fed in event batches of {batch}, ledger in memory",
        at_least=MEMBERS_PER_CALL,
    )
    yield Figure("  triggers a second of one worker", TRIGGERS / burst.seconds, "/s", "Braze grants 69 calls a second")
    yield Figure(
        "  processor time a trigger",
        burst.cpu_seconds / TRIGGERS * 1000,
        "ms",
        "decode, claim, send, settle, log; the worker's process alone",
    )
    yield Figure(
        "  duplicates and losses of the burst",
        _duplicates(sent) + TRIGGERS - outcomes["sent"],
        "",
        f"of {TRIGGERS} triggers",
        at_most=DUPLICATES_AND_LOSSES,
    )

    for size in (200, 5_000):
        with ledger() as (aws_url, _), braze(targets) as vendor:
            _fed(ground, vendor.url, aws_url, 20_000, size)
            calls, sent = vendor.sent()
        yield Figure(f"  members per call in batches of {size}", len(sent) / calls, "members", "burst of 20,000")

    drained = {}
    for name, size in (("together", batch), ("one by one", 1)):
        with ledger() as (aws_url, _), braze(targets, CALLS_AN_HOUR) as vendor:
            _fed(ground, vendor.url, aws_url, 50 * CALLS_AN_HOUR, size, until_held_back=True)
            drained[name] = len(vendor.sent()[1])
    yield Figure(
        "triggers drained in an hour's calls, times",
        drained["together"] / drained["one by one"],
        "x",
        f"{drained['together']} together, {drained['one by one']} one by one, of {CALLS_AN_HOUR} calls granted",
        at_least=DRAIN_TIMES_ONE_BY_ONE,
    )

    yield from _under_faults(ground, targets, batch)
    for window in (_default("TriggerWindowSeconds"), 0):
        lone = _lone_triggers(ground.scratch / f"lone-{window}", window)
        yield Figure(
            f"lone trigger to Braze's answer, window {window} s, p50",
            percentile(lone, 0.5),
            "s",
            f"p99 {percentile(lone, 0.99):.2f} s; {len(lone)} triggers, {ANSWER_SECONDS} s of it Braze's, local bundle",
            at_most=LONE_TRIGGER_P50_SECONDS,
            remark=remark,
        )


def _under_faults(ground: Ground, targets: list[str], batch: int) -> Iterator[Figure]:
    shares = [(fault, FAULTY_SHARE / len(FAULTS)) for fault in FAULTS]
    with ledger() as (aws_url, states), braze(targets, faults=shares) as vendor:
        fed = _fed(ground, vendor.url, aws_url, FAULTY_TRIGGERS, min(batch, 100))
        _, sent = vendor.sent()
        states.send("states")
        outcomes: dict[str, str] = states.recv()
    went_out = Counter(sent)
    wrong = sum(
        went_out[_member(number)] != (state == "sent")
        for number in range(FAULTY_TRIGGERS)
        if (state := outcomes.get(_trigger_id(number), "lost")) != "unknown"
    )
    unknown = sum(state == "unknown" for state in outcomes.values())
    words = f"{FAULTY_TRIGGERS} triggers, 5 % of calls failing in {len(FAULTS)} ways; {unknown} ended as unknown"
    yield Figure("duplicates under faults", _duplicates(sent), "", words, at_most=DUPLICATES_AND_LOSSES)
    yield Figure("losses under faults", wrong + fed.left_over, "", words, at_most=DUPLICATES_AND_LOSSES)


def _duplicates(sent: list[str]) -> int:
    return sum(times - 1 for times in Counter(sent).values())


def _default(parameter: str) -> int:
    return int(Template.load().values[parameter])


def _member(number: int) -> str:
    return f"member-{number}"


def _trigger_id(number: int) -> str:
    return f"trg-{number:032x}"


def _fed(ground: Ground, braze_url: str, aws_url: str, triggers: int, batch: int, until_held_back: bool = False) -> Fed:
    """Feeds triggers to a worker in a process of its own, which runs the code that is measured."""
    function = next(each for each in views.functions(Template.load()).values() if each.name == "trigger-delivery")
    variables = {
        **ground.deployment.environments[function.logical_id],
        "TRIGGER_BATCH_SIZE": str(batch),
        "BRAZE_REST_URL": braze_url,
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "POWERTOOLS_LOG_LEVEL": "ERROR",
    }
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_worked, ground.code.folder, variables, triggers, batch, until_held_back).result()


def _worked(code: Path, variables: Mapping[str, str], triggers: int, batch: int, until_held_back: bool) -> Fed:
    """Runs in the worker's process. Time runs ahead when nothing but what is held back is left."""
    os.environ.update(variables)
    sys.path.insert(0, str(code))
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # metrics nobody reads
        return _worked_off(triggers, batch, until_held_back)


def _worked_off(triggers: int, batch: int, until_held_back: bool) -> Fed:
    from shared.config import Settings
    from trigger_relay.delivery import build

    ahead = [0.0]
    handle = build(Settings(os.environ), lambda: time.time() + ahead[0])
    drawn = random.Random(20)
    waiting = deque(_record(number, drawn.randrange(CAMPAIGNS)) for number in range(triggers))
    cpu_seconds = seconds = 0.0
    while waiting and ahead[0] < 86_400:
        records = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
        cpu, wall = time.process_time(), time.perf_counter()
        failed = {each["itemIdentifier"] for each in handle({"Records": records}, _Context())["batchItemFailures"]}
        cpu_seconds += time.process_time() - cpu
        seconds += time.perf_counter() - wall
        waiting.extend(_again(record) for record in records if record["messageId"] in failed)
        if len(failed) == len(records):
            if until_held_back:
                break
            ahead[0] += 30.0
    return Fed(cpu_seconds, seconds, len(waiting))


class _Context:
    def get_remaining_time_in_millis(self) -> int:
        return 120_000


def _record(number: int, campaign: int) -> dict[str, Any]:
    """A trigger as Lambda hands it over, of the usual size."""
    body = {
        "trigger_id": _trigger_id(number),
        "kind": "campaign",
        "target_id": f"campaign-{campaign}",
        "recipients": [{"address": {"external_user_id": _member(number)}}],
        "properties": {
            "offer_id": "82bd28a5-a16c-441a-ae63-136e4c26da0b",
            "offer_title": "Free coffee",
            "expiration_date": "2030-12-31T23:59:59Z",
            "point_award_amount": 250,
            "point_account_name": "Main",
        },
        "accepted_at": 1_795_000_000.0 + number / 1000,
    }
    return {
        "messageId": str(number),
        "receiptHandle": "handle",
        "body": json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:local-trigger-queue",
    }


def _again(record: dict[str, Any]) -> dict[str, Any]:
    receives = int(record["attributes"]["ApproximateReceiveCount"]) + 1
    return {**record, "attributes": {"ApproximateReceiveCount": str(receives)}}


def _lone_triggers(state_dir: Path, window: int) -> list[float]:
    """Seconds from a request's leaving to Braze's answer, for one trigger after the other."""
    parameters = {"TriggerWindowSeconds": str(window)}
    with LocalBundle(BundleSettings(state_dir=state_dir, parameters=parameters)) as bundle:
        _lone_trigger(bundle, "warm-up")
        return [_lone_trigger(bundle, f"member-{number}") for number in range(LONE_TRIGGERS)]


def _lone_trigger(bundle: LocalBundle, member: str) -> float:
    started = time.time()
    answer = requests.post(
        f"{bundle.intake_url}/triggers",
        json={"braze_campaign_id": CAMPAIGN_ID, "customer identifier": member},
        headers={"Authorization": bundle.authorization("sessionm")},
        timeout=10,
    )
    answer.raise_for_status()

    def arrived() -> list[float]:
        return [sent.at for sent in bundle.braze.sends if sent.recipient == member]

    bundle.wait_until(arrived, what="the trigger at Braze")
    return arrived()[0] + ANSWER_SECONDS - started
