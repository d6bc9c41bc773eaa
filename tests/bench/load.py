"""Everything at once, for as long as MINUTES says (10): the running bundle in Lambda's own emulator, under a send.

The send is of a million recipients in half an hour, at twice its rate, scaled from the processors that an account's
environments have to those of this machine. These carry the emulated AWS, both vendors and the callers as well.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import requests

from infra.local.bundle import BundleSettings, LocalBundle
from infra.local.settings import CAMPAIGN_ID, SEGMENT_ID
from tests.bench.figures import Figure, percentile
from tests.bench.ground import Ground
from tests.bench.load_environment import Emulated
from tests.bench.load_traffic import Plan, Tally, traffic

SENT_TO, SENT_IN_SECONDS = 1_000_000, 1_800
TIMES = 2

# What an account has unless it asks for more, each with the share of a processor that 1,024 MB get.
ACCOUNT_ENVIRONMENTS = 1_000
PROCESSORS_AN_ENVIRONMENT = 1_024 / 1_769

# Rows of a file whose import goes on beside, for each second of the run.
ROWS_A_SECOND = 20

MEMBERS = 5_000
ENVIRONMENTS = 8  # of each function, at most; a read holds one for as long as SessionM takes

# The rate is kept, nothing fails, and SessionM is asked once for what a message asks three times.
RATE_KEPT_PERCENT = 98.0
ERRORS = 0
UPSTREAM_CALLS_A_RECIPIENT = 1.02
DRAINED_SECONDS = 60.0

# Everything that was accepted has its verdict and is at the far side; no message goes out twice.
MISSING = 0
SENT_TWICE = 0

# What an environment may take more at the end than at half-time. Python's allocator moves in steps of 1 MiB.
GROWTH_MB = 3.0

_DEFAULT_MINUTES = 10.0
_WARM_UP_SECONDS = 5.0
_WARM_UP_PACES = (0.25, 2.0)  # of the rate: environments begin one by one, and then as many as a peak needs
_WARM_UP_ROWS = 20
_SAMPLE_SECONDS = 1.0
_BACKLOG_SECONDS = 5.0
_DRAIN_LIMIT_SECONDS = 300.0
_MIB = 1_048_576


@dataclass
class Watched:
    """What was seen at the end, and meanwhile: each environment's memory (bytes) with the time (seconds).

    Of rows and triggers together: `missing` are said to be sent and are not at the vendors, `waiting` have no verdict,
    `not_sent` another than that; `apart` tells of these by what they are.
    """

    tally: Tally
    memory: Mapping[str, Sequence[tuple[float, int]]]
    drained_seconds: float
    left_in_queues: dict[str, int]
    missing: int
    sent_twice: int
    rows: int
    waiting: int
    not_sent: int
    wallets_asked: int
    tags_asked: int
    backlog: list[int] = field(default_factory=list)
    apart: Mapping[str, int] = field(default_factory=dict)


def recipients_per_second(processors: int) -> float:
    """Of the send, scaled to so many processors."""
    return TIMES * SENT_TO / SENT_IN_SECONDS * processors / (ACCOUNT_ENVIRONMENTS * PROCESSORS_AN_ENVIRONMENT)


def figures(ground: Ground) -> Iterator[Figure]:
    minutes = float(os.environ.get("MINUTES") or _DEFAULT_MINUTES)
    processors = os.cpu_count() or 1
    rate = recipients_per_second(processors)
    seen = run(ground.code.folder, ground.runtime, ground.scratch, rate, minutes * 60)
    scaled = (
        f"{TIMES} x {SENT_TO:,} in {SENT_IN_SECONDS} s = {TIMES * SENT_TO / SENT_IN_SECONDS:,.0f}/s, from "
        f"{ACCOUNT_ENVIRONMENTS} environments x {PROCESSORS_AN_ENVIRONMENT:.2f} to {processors} processors"
    )
    yield from judged(seen, rate, minutes * 60, scaled, ground.code.remark)


def judged(seen: Watched, rate: float, seconds: float, scaled: str, remark: str = "") -> Iterator[Figure]:
    """What was seen as figures; `scaled` says where the rate comes from."""
    tally = seen.tally
    apart = "".join(f"; {number} x {what}" for what, number in seen.apart.items())
    recipients = round(rate * seconds)
    accepted = f"{len(tally.tags) + seen.rows:,} tags and {len(tally.triggers):,} triggers"
    calls = sum(map(len, tally.milliseconds.values()))
    yield Figure("load: recipients a second", rate, "/s", scaled)
    yield Figure(
        "load: of that rate kept",
        100 * recipients / rate / max(tally.took_seconds, 0.001),
        "%",
        f"{recipients:,} came in {tally.took_seconds:.0f} s, the latest {tally.late_ms:.0f} ms late; {calls:,} calls",
        at_least=RATE_KEPT_PERCENT,
        remark=remark,
    )
    told = "".join(f"; {times} x {error}" for error, times in tally.errors.most_common(5))
    if tally.failed_seconds:
        told += f"; between {min(tally.failed_seconds):.0f} and {max(tally.failed_seconds):.0f} s"
    yield Figure("load: errors", tally.errors.total(), "", f"of {calls:,} answers{told}", at_most=ERRORS, remark=remark)
    for kind, samples in sorted(tally.milliseconds.items()):
        p99 = f"p99 {percentile(samples, 0.99):.0f} ms of {len(samples):,}"
        yield Figure(f"  {kind}, p50", median(samples), "ms", p99)
    yield Figure(
        "load: SessionM calls a recipient",
        seen.wallets_asked / max(1, recipients),
        "",
        f"{seen.wallets_asked:,} for {len(tally.milliseconds.get('wallet', ())):,} wallets read",
        at_most=UPSTREAM_CALLS_A_RECIPIENT,
        remark=remark,
    )
    yield Figure(
        "load: backlog drained after",
        seen.drained_seconds,
        "s",
        f"messages waiting at most {max(seen.backlog, default=0):,}, at the end {sum(seen.left_in_queues.values())}",
        at_most=DRAINED_SECONDS,
        remark=remark,
    )
    yield Figure(
        "load: told as sent and missing at the vendors",
        seen.missing,
        "",
        f"of {accepted}; SessionM was asked for tags {seen.tags_asked:,} times",
        at_most=MISSING,
        remark=remark,
    )
    yield Figure(
        "load: messages sent twice",
        seen.sent_twice,
        "",
        f"of {len(tally.triggers):,}",
        at_most=SENT_TWICE,
        remark=remark,
    )
    yield Figure(
        "load: without a verdict, or not sent",
        seen.waiting + seen.not_sent,
        "",
        f"{seen.waiting} and {seen.not_sent} of {accepted}{apart}",
        at_most=MISSING,
        remark=remark,
    )
    yield from memory_figures(seen.memory, remark)


def memory_figures(memory: Mapping[str, Sequence[tuple[float, int]]], remark: str = "") -> Iterator[Figure]:
    """Growth over the second half of the run of the environment that grew most, and the most of each function."""
    grown = {name: growth_bytes(samples) / _MIB for name, samples in memory.items()}
    if not grown:
        return
    worst = max(grown, key=lambda name: grown[name])
    yield Figure(
        "load: memory grown in the second half, worst",
        grown[worst],
        "MB",
        f"{worst}, {slope_bytes_per_second(memory[worst]) * 3600 / _MIB:+.1f} MB an hour; {len(grown)} environments",
        at_most=GROWTH_MB,
        remark=remark,
    )
    most: Counter[str] = Counter()
    for name, samples in memory.items():
        function = name.rpartition("-")[0]
        most[function] = max(most[function], *(taken for _, taken in samples))
    for function, taken in sorted(most.items()):
        slopes = [slope_bytes_per_second(memory[name]) for name in memory if name.rpartition("-")[0] == function]
        slope = (
            f"{max(slopes) * 3600 / _MIB:+.1f} MB an hour in its second half, of {len(slopes)} environments the worst"
        )
        yield Figure(f"  memory of {function}", taken / _MIB, "MB", slope)


def second_half(samples: Sequence[tuple[float, int]]) -> Sequence[tuple[float, int]]:
    """The samples from the middle of their time on."""
    middle = (samples[0][0] + samples[-1][0]) / 2
    return [sample for sample in samples if sample[0] >= middle]


def growth_bytes(samples: Sequence[tuple[float, int]]) -> float:
    """The median of the last tenth of the second half, less that of its first tenth."""
    half = [taken for _, taken in second_half(samples)]
    some = max(1, len(half) // 10)
    return median(half[-some:]) - median(half[:some])


def slope_bytes_per_second(samples: Sequence[tuple[float, int]]) -> float:
    """Of the straight line that fits the second half best."""
    half = second_half(samples)
    mean_at = sum(at for at, _ in half) / len(half)
    mean_taken = sum(taken for _, taken in half) / len(half)
    spread = sum((at - mean_at) ** 2 for at, _ in half)
    return sum((at - mean_at) * (taken - mean_taken) for at, taken in half) / spread if spread else 0.0


def run(
    folder: Path,
    runtime: Path,
    scratch: Path,
    rate: float,
    seconds: float,
    settings: Mapping[str, Any] | None = None,
) -> Watched:
    """The bundle with its functions' code in `folder`, under load; waits until its queues are empty."""
    emulated = Emulated(folder, runtime)
    chosen = BundleSettings(
        **{
            "state_dir": scratch / "load",
            "members": MEMBERS,
            "max_environments": ENVIRONMENTS,
            "warm": False,
            "start": emulated,
            **(settings or {}),
        }
    )
    with LocalBundle(chosen) as bundle:
        plan = Plan(
            content_url=bundle.content_url,
            intake_url=bundle.intake_url,
            authorizations={
                caller: bundle.authorization(caller)
                for caller in ("braze-connected-content", "braze-webhook", "sessionm")
            },
            members=[(member.user_id, member.available_points) for member in bundle.members],
            campaign_id=CAMPAIGN_ID,
            segment_id=SEGMENT_ID,
            recipients_per_second=rate,
            seconds=seconds,
        )
        return _watched(bundle, emulated, plan)


def _watched(bundle: LocalBundle, emulated: Emulated, plan: Plan) -> Watched:
    acknowledged_before, imports_before = _warm_up(bundle, plan)
    asked_before = bundle.sessionm.asked()
    rows = round(plan.seconds * ROWS_A_SECOND)
    memory: dict[str, list[tuple[float, int]]] = {}
    backlog: list[int] = []
    begun_at = time.monotonic()
    with traffic(plan) as done:
        import_id = _import(bundle, rows)
        while not done.poll(_SAMPLE_SECONDS):
            for name, taken in emulated.memory_bytes().items():
                memory.setdefault(name, []).append((time.monotonic() - begun_at, taken))
            if time.monotonic() - begun_at > len(backlog) * _BACKLOG_SECONDS:
                backlog.append(sum(_depths(bundle).values()))
        tally: Tally = done.recv()
    ended_at = time.monotonic()
    status = _status_of(bundle, import_id)
    while (any(_depths(bundle).values()) or status()["state"] != "finished") and (
        time.monotonic() < ended_at + _DRAIN_LIMIT_SECONDS
    ):
        time.sleep(2 * _SAMPLE_SECONDS)
    drained_seconds = time.monotonic() - ended_at
    asked = bundle.sessionm.asked() - asked_before
    sends = Counter(str(send.properties.get("event_id")) for send in bundle.braze.sends)
    states = _states(bundle, tally)
    imports = [_status_of(bundle, each)() for each in {import_id, *imports_before, *tally.import_ids}]
    rows_not_sent = sum(each["failed"] + each["skipped"] + each["unknown"] for each in imports)
    rows_waiting = sum(each["waiting"] for each in imports)
    # A request whose answer was lost may be among those read, and was not acknowledged.
    rows_unread = max(0, rows + acknowledged_before + len(tally.tags) - sum(each["rows_read"] for each in imports))
    apart = Counter(f"trigger {state}" for state in states.values() if state != "sent")
    apart |= Counter({"row not read": rows_unread, "row waiting": rows_waiting, "row not sent": rows_not_sent})
    return Watched(
        tally=tally,
        memory=memory,
        drained_seconds=drained_seconds,
        left_in_queues=_depths(bundle),
        missing=max(0, _missing_tags(bundle, tally, rows) - rows_not_sent - rows_waiting - rows_unread)
        + sum(state == "sent" and event_id not in sends for event_id, state in states.items()),
        sent_twice=sum(number - 1 for number in sends.values()),
        rows=rows,
        waiting=rows_waiting + rows_unread + sum(state == "queued" for state in states.values()),
        not_sent=rows_not_sent + sum(state not in ("sent", "queued") for state in states.values()),
        wallets_asked=asked["POST /offers/api/2.0/offers/get_user_offers"],
        tags_asked=sum(number for route, number in asked.items() if route.endswith("/tags")),
        backlog=backlog,
        apart=+apart,
    )


def _warm_up(bundle: LocalBundle, plan: Plan) -> tuple[int, set[str]]:
    """A little of everything: what is measured is the going, not that all environments begin at once.

    The rows and tags it was acknowledged, and the imports that have them.
    """
    import_id = _import(bundle, _WARM_UP_ROWS)
    acknowledged, import_ids = _WARM_UP_ROWS, {import_id}
    for pace in _WARM_UP_PACES:
        rate = plan.recipients_per_second * pace
        few = replace(
            plan, members=plan.members[-50:], recipients_per_second=rate, seconds=max(_WARM_UP_SECONDS, 2 / rate)
        )
        with traffic(few) as done:
            tally: Tally = done.recv()
        acknowledged += len(tally.tags)
        import_ids |= tally.import_ids
        _states(bundle, tally)
    status = _status_of(bundle, import_id)
    bundle.wait_until(
        lambda: not any(_depths(bundle).values()) and status()["state"] == "finished",
        _DRAIN_LIMIT_SECONDS,
        "the first calls to be through",
    )
    bundle.braze.forget()
    bundle.sessionm.forget()
    return acknowledged, import_ids


def _import(bundle: LocalBundle, rows: int) -> str:
    """Uploads a file of so many rows; returns its import id."""
    headers = {"Authorization": bundle.authorization("analyst")}
    body = {"tags": ["load-file"], "ttl": "30d", "file_name": "load.csv"}
    submitted = requests.post(f"{bundle.intake_url}/tag-imports", json=body, headers=headers, timeout=40)
    submitted.raise_for_status()
    upload = submitted.json()["upload"]
    lines = (f"{bundle.members[number % len(bundle.members)].user_id}\n" for number in range(rows))
    content = ("user_id\n" + "".join(lines)).encode()
    requests.request(upload["method"], upload["url"], data=content, headers=upload["headers"], timeout=40)
    return str(submitted.json()["import_id"])


def _status_of(bundle: LocalBundle, import_id: str) -> Callable[[], Any]:
    headers = {"Authorization": bundle.authorization("analyst")}
    return lambda: requests.get(f"{bundle.intake_url}/tag-imports/{import_id}", headers=headers, timeout=40).json()


def _depths(bundle: LocalBundle) -> dict[str, int]:
    """Messages of every queue, dead letters included."""
    return {queue: bundle.queue_depth(queue) for queue in bundle.deployment.queue_urls}


def _missing_tags(bundle: LocalBundle, tally: Tally, rows: int) -> int:
    """Tags that were accepted and that SessionM has not."""
    held = {member.user_id: set(bundle.sessionm.tags_of(member.user_id)) for member in bundle.members}
    by_webhook = sum(tag not in held[member] for tag, member in tally.tags.items())
    in_file = {bundle.members[number % len(bundle.members)].user_id for number in range(rows)}
    return by_webhook + sum("load-file" not in held[member] for member in in_file)


def _states(bundle: LocalBundle, tally: Tally) -> dict[str, str]:
    """What became of each trigger, by event id, as the API tells."""
    headers = {"Authorization": bundle.authorization("sessionm")}

    def state_of(trigger_id: str) -> str:
        answer = requests.get(f"{bundle.intake_url}/triggers/{trigger_id}", headers=headers, timeout=40)
        return str(answer.json()["state"] if answer.ok else f"HTTP {answer.status_code}")

    with ThreadPoolExecutor(4) as threads:
        return dict(zip(tally.triggers, threads.map(state_of, tally.triggers.values()), strict=True))
