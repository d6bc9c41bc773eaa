"""How the bundle is, in one screen, and whether it needs a person.

    make status                of the bundle on this machine while it runs, else of what `make deploy` has deployed
    make status STACK=name     of a stack
    make status JSON=yes       for scripts

Of the bundle on this machine it also says whether its two APIs answer, and whether they let its operator in.

The exit code is 0 when all is well, 1 when something needs a person, 2 when AWS could not be asked. Nothing is changed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import requests
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from bulk.jobs import UNDER_WAY, Job
from bulk.progress import Counts, counts_of
from bulk.verdicts import Verdicts
from clients.braze import BrazeCredentials
from clients.sessionm import SessionmCredentials
from infra.commands.redrive import FAILED_EVENTS, QUEUES
from infra.commands.schedules import listed, place_of
from infra.commands.stack import CannotRun, Stack, local_bundle, refusal, stack_of
from infra.commands.triggers import Triggers, Unresolved
from infra.commands.wishes import said_yes
from shared.breaker import VOTES, VOTING_SECONDS
from shared.errors import StoreUnavailable
from shared.gate import Gate
from shared.tally import Tally

# Whose breaker there is, and what stands before which door of Braze's.
BREAKERS: Final = ("SessionM Connect",)
GATES: Final[Mapping[str, str]] = {
    "braze": "triggers, segments and events",
    "braze-broadcasts": "broadcasts",
    "braze-track": "users/track",
    "braze-purchases": "purchases",
}
SECRETS: Final = ("CallersSecret", "SessionmSecret", "BrazeSecret")
VENDOR_SECRETS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "SessionmSecret": SessionmCredentials,
    "BrazeSecret": BrazeCredentials,
}

_NO_VALUE: Final = "it has no value, put one in"
_UNREADABLE: Final = "cannot be read"

# Messages are tried for 34 hours at most; an import that takes longer waits for something else.
_LONG_HOURS: Final = 36

_MOST_SHOWN: Final = 10

# What takes no credential, and what takes one and does nothing: nobody has an import of that name.
_OPEN_ROUTE: Final = "/health"
_OPERATORS_ROUTE: Final = "/tag-imports/none"
_OPERATOR: Final = "operator"
_TIMEOUTS: Final = (2, 12)  # seconds to connect and to answer; API Gateway gives up after ten

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class QueueStatus:
    """Messages that wait, those in a worker's hand or put off, and those in its dead-letter queue."""

    name: str
    waiting: int
    in_hand: int
    given_up: int


@dataclass(frozen=True)
class ImportStatus:
    import_id: str
    state: str
    hours: float
    rows_read: int
    sent: int
    failed: int
    skipped: int
    unknown: int
    waiting: int


@dataclass(frozen=True)
class SecretStatus:
    """`age_days` is None while the secret has no value.

    `usable` says whether a vendor's value has the documented shape; it is None where the value was not looked at, or
    may not be. `fault` is why not, in words without any part of the value.
    """

    name: str
    age_days: float | None
    usable: bool | None = None
    fault: str = ""


@dataclass(frozen=True)
class ScheduleStatus:
    name: str
    expression: str
    enabled: bool


@dataclass(frozen=True)
class ApiStatus:
    """What an API of this machine answers at `path`, asked by `caller` (empty: without a credential).

    `status` is None when it does not answer.
    """

    url: str
    path: str
    caller: str
    status: int | None


@dataclass(frozen=True)
class Status:
    """`breakers` holds vendors that are being spared, `gates` those that asked to be left alone, in seconds from now.

    `alarms` are those that ring, `apis` what those of this machine answer, `needs` says in words what a person has to
    see to.
    """

    place: str
    queues: list[QueueStatus]
    failed_events: int
    imports: list[ImportStatus]
    unknown_triggers: int
    unknown_events: int
    oldest_unknown: str | None
    breakers: list[str]
    gates: dict[str, float]
    secrets: list[SecretStatus]
    schedules: list[ScheduleStatus]
    alarms: list[str]
    apis: list[ApiStatus] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)


def status_of(stack: Stack, now: float, running: Mapping[str, Any] | None = None) -> Status:
    """Raises `CannotRun` when AWS refuses. `running` is what a bundle on this machine has written down of itself."""
    dynamodb, cache_table = stack.client("dynamodb"), stack.physical_id("CacheTable")
    unknown = list(_unknown(stack))
    events = sum(each.is_event for each in unknown)
    found = Status(
        place=stack.place,
        queues=[_queue(stack, *names) for names in QUEUES.values()],
        failed_events=_lengths(stack, "FailedEventsQueue")[0],
        imports=[_import(job, counts, now) for job, counts in _imports(stack)],
        unknown_triggers=len(unknown) - events,
        unknown_events=events,
        oldest_unknown=unknown[0].entered_at.isoformat() if unknown else None,
        breakers=[
            upstream
            for upstream in BREAKERS
            if _asked(Tally(dynamodb, cache_table, f"breaker {upstream}", VOTES, VOTING_SECONDS).is_full)
        ],
        gates={
            name: round(seconds, 1)
            for name in GATES
            if (seconds := Gate(dynamodb, cache_table, name).wait_seconds(urgent=False))
        },
        secrets=[_secret(stack, name, now) for name in SECRETS],
        schedules=list(_schedules(stack)),
        alarms=_alarms(stack),
        apis=list(_apis(running or {})),
    )
    found.needs.extend(_needs(found, _secret_max_age_days(stack)))
    return found


def _needs(found: Status, secret_max_age_days: float) -> Iterator[str]:
    for name, queue in zip(QUEUES, found.queues, strict=True):
        if queue.given_up:
            again = f"mend the cause, then make redrive QUEUE={name}"
            yield f"{queue.given_up} messages of {queue.name} were given up: {again}"
    if found.failed_events:
        yield f"{found.failed_events} events failed: make redrive QUEUE={FAILED_EVENTS} lists them"
    for each in found.imports:
        if each.hours > _LONG_HOURS:
            yield f"import {each.import_id} is {each.state} for {each.hours:.0f} hours"
    if found.unknown_triggers or found.unknown_events:
        number = found.unknown_triggers + found.unknown_events
        yield f"{number} triggers and events are unknown: make triggers lists them, make resend decides"
    for secret in found.secrets:
        if secret.usable is False:
            yield f"{secret.name} is not usable: {secret.fault}; see docs/runbook.md, Secrets unreadable"
        elif secret.age_days is None:
            yield f"{secret.name} has no value: put one in"
        elif secret.age_days > secret_max_age_days:
            yield f"{secret.name} is {secret.age_days:.0f} days old: rotate it"
    yield from filter(None, map(_need_of, found.apis))
    for alarm in found.alarms:
        yield f"alarm {alarm}: see docs/runbook.md"


def _need_of(api: ApiStatus) -> str | None:
    asked = f"{api.url} answers {api.status} to GET {api.path}"
    if api.status is None:
        return f"{api.url} does not answer: start the bundle anew with make run"
    if not api.caller:
        if api.status in (401, 403):
            return (
                f"{asked}, which takes no credential: something else listens there; start the bundle anew with make run"
            )
        return None if api.status == 200 else f"{asked}: see the log of health"
    if api.status in (401, 403):
        return (
            f"{asked} by {api.caller}: its key is not the one in CallersSecret, or may not do that; give it one with "
            f'make caller NAME={api.caller} ALLOWS="*", or start the bundle anew with make run'
        )
    return f"{asked} by {api.caller}: see the log of authorizer" if api.status >= 500 else None


# --- what the APIs of this machine tell -------------------------------------------------------------------------------


def _apis(running: Mapping[str, Any]) -> Iterator[ApiStatus]:
    """Nothing for what is not written down. A credential goes to this machine alone, where it was made."""
    for name in ("content_url", "intake_url"):
        if name in running:
            yield ApiStatus(running[name], _OPEN_ROUTE, "", _answered(running[name] + _OPEN_ROUTE, None))
    key = running.get("callers", {}).get(_OPERATOR)
    if key and "intake_url" in running:
        status = _answered(running["intake_url"] + _OPERATORS_ROUTE, (_OPERATOR, key))
        yield ApiStatus(running["intake_url"], _OPERATORS_ROUTE, _OPERATOR, status)


def _answered(url: str, caller: tuple[str, str] | None) -> int | None:
    try:
        return requests.get(url, auth=caller, timeout=_TIMEOUTS, allow_redirects=False).status_code
    except requests.RequestException:
        return None


# --- what AWS tells ---------------------------------------------------------------------------------------------------


def _asked(call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except (BotoCoreError, ClientError, StoreUnavailable) as error:
        raise CannotRun(refusal(error)) from None


def _unknown(stack: Stack) -> Iterator[Unresolved]:
    """Oldest first."""
    return Triggers(
        stack.client("dynamodb"),
        stack.physical_id("LedgerTable"),
        stack.client("sqs"),
        stack.physical_id("TriggerQueue"),
        stack.physical_id("TrackQueue"),
    ).unresolved()


def _secret_max_age_days(stack: Stack) -> float:
    """What the stack was told, and its template's default for one from before it could be told."""
    (found,) = _asked(lambda: stack.client("cloudformation").describe_stacks(StackName=stack.name))["Stacks"]
    told = {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])}
    return float(told.get("SecretMaxAgeDays", 365))


def _lengths(stack: Stack, queue: str) -> tuple[int, int]:
    """Messages that can be received, and those that cannot yet or not again."""
    url = stack.physical_id(queue)
    kinds: Sequence[Any] = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    found = _asked(lambda: stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=kinds))["Attributes"]
    waiting, *others = (int(found[kind]) for kind in kinds)
    return waiting, sum(others)


def _queue(stack: Stack, queue: str, dead_letters: str) -> QueueStatus:
    waiting, in_hand = _lengths(stack, queue)
    return QueueStatus(queue, waiting, in_hand, sum(_lengths(stack, dead_letters)))


def _imports(stack: Stack) -> Iterator[tuple[Job, Counts]]:
    dynamodb, table = stack.client("dynamodb"), stack.physical_id("ImportsTable")
    verdicts = Verdicts(dynamodb, table, retention_days=1)  # which only counts for what is written
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table,
        IndexName=UNDER_WAY,
        KeyConditionExpression=f"{UNDER_WAY} = :yes",
        ExpressionAttributeValues={":yes": {"S": "yes"}},
    )
    for found in _asked(lambda: [item for page in pages for item in page["Items"]]):
        job = msgspec.json.decode(found["job"]["S"], type=Job)
        yield job, counts_of(job, _asked(partial(verdicts.tally, job.import_id)))


def _import(job: Job, counts: Counts, now: float) -> ImportStatus:
    hours = round((now - (job.started_at or job.created_at)) / 3600, 1)
    return ImportStatus(job.import_id, job.state.value, hours, **msgspec.structs.asdict(counts))


def _secret(stack: Stack, name: str, now: float) -> SecretStatus:
    secret_id = stack.secret_id(name)
    versions = _asked(lambda: stack.client("secretsmanager").list_secret_version_ids(SecretId=secret_id))["Versions"]
    current = [version for version in versions if "AWSCURRENT" in version.get("VersionStages", [])]
    shape = VENDOR_SECRETS.get(name)
    if not current:
        return SecretStatus(name, None) if shape is None else SecretStatus(name, None, False, _NO_VALUE)
    age_days = max(0.0, round((now - current[0]["CreatedDate"].timestamp()) / 86_400, 1))
    if shape is None:
        return SecretStatus(name, age_days)
    return SecretStatus(name, age_days, *_asked(partial(_looked_at, stack, secret_id, shape)))


def _looked_at(stack: Stack, secret_id: str, shape: type[msgspec.Struct]) -> tuple[bool | None, str]:
    """Whether the current value is of this shape, and why not: what the functions find that read it."""
    try:
        answer = stack.client("secretsmanager").get_secret_value(SecretId=secret_id, VersionStage="AWSCURRENT")
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code.startswith("AccessDenied"):  # of the secret, or of its key
            return None, _UNREADABLE
        if code == "ResourceNotFoundException":  # taken out since its versions were listed
            return False, _NO_VALUE
        raise
    try:
        msgspec.json.decode(answer.get("SecretString", ""), type=shape)
    except (msgspec.DecodeError, UnicodeError) as error:
        # msgspec's message gives the path and the expected type, and no part of the value.
        return False, f"its value is not of the documented shape ({error})"
    return True, ""


def _schedules(stack: Stack) -> Iterator[ScheduleStatus]:
    """The refresh of segment sizes, which is a rule, and the schedules of exports. A local bundle has no such rule."""
    if not stack.endpoint_url:
        rule = stack.physical_id("SegmentRefreshFunctionRefresh")
        found = _asked(lambda: stack.client("events").describe_rule(Name=rule))
        yield ScheduleStatus("segment sizes", found["ScheduleExpression"], found["State"] == "ENABLED")
    for each in _asked(lambda: listed(stack.client("scheduler"), place_of(stack))):
        yield ScheduleStatus(each["Name"], each["ScheduleExpression"], each.get("State", "ENABLED") == "ENABLED")


def _alarms(stack: Stack) -> list[str]:
    """The stack's alarms that ring, by their names without the stack's, which may begin another stack's name, too."""
    prefix = f"{stack.name}-"
    pages = (
        stack.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix, StateValue="ALARM")
    )
    ringing = _asked(
        lambda: [each["AlarmName"].removeprefix(prefix) for page in pages for each in page["MetricAlarms"]]
    )
    return [name for name in ringing if name.isalpha()]


# --- what is shown ----------------------------------------------------------------------------------------------------


def lines_of(found: Status) -> Iterator[str]:
    """The screen, line by line."""
    yield found.place
    yield ""
    yield f"{'queue':<20} {'waiting':>9} {'in hand':>9} {'given up':>9}"
    for queue in found.queues:
        yield f"{queue.name:<20} {queue.waiting:>9} {queue.in_hand:>9} {queue.given_up:>9}"
    yield f"{'FailedEventsQueue':<20} {found.failed_events:>9}"
    yield ""
    yield f"imports under way: {len(found.imports) or 'none'}"
    for each in found.imports[:_MOST_SHOWN]:
        yield (
            f"  {each.import_id} {each.state} for {each.hours} h: {each.rows_read} rows read, {each.sent} sent, "
            f"{each.failed} failed, {each.skipped} skipped, {each.unknown} unknown, {each.waiting} waiting"
        )
    if len(found.imports) > _MOST_SHOWN:
        yield f"  and {len(found.imports) - _MOST_SHOWN} more"
    since = f", the oldest since {found.oldest_unknown}" if found.oldest_unknown else ""
    yield f"unknown: {found.unknown_triggers} triggers, {found.unknown_events} events{since}"
    yield f"spared everywhere because they fail: {', '.join(found.breakers) or 'none'}"
    waits = [f"{GATES[name]} for {seconds:g} s" for name, seconds in found.gates.items()]
    yield f"held back because Braze asked for it: {', '.join(waits) or 'none'}"
    yield f"secrets: {', '.join(map(_in_short, found.secrets))}"
    runs = [f"{each.name} {each.expression}{'' if each.enabled else ' (disabled)'}" for each in found.schedules]
    yield f"schedules: {'; '.join(runs) or 'none'}"
    yield f"alarms: {', '.join(found.alarms) or 'none'}"
    if found.apis:
        answers = [
            f"{each.url}{each.path} {each.status or 'no answer'}{f' ({each.caller})' if each.caller else ''}"
            for each in found.apis
        ]
        yield f"APIs: {', '.join(answers)}"
    yield ""
    yield "a person is needed:" if found.needs else "nobody is needed"
    for need in found.needs:
        yield f"  {need}"


def _in_short(secret: SecretStatus) -> str:
    if secret.age_days is None:
        return f"{secret.name} empty"
    worry = {None: secret.fault, False: "not usable", True: ""}[secret.usable]
    return f"{secret.name} {secret.age_days:g} days{worry and f' ({worry})'}"


def run(environment: Mapping[str, str], console: Console, bundle_path: Path | None = None) -> int:
    """Shows the status and returns the exit code."""
    try:
        as_json = said_yes(environment, "JSON")
        stack = stack_of(environment, bundle_path) if bundle_path else stack_of(environment)
        running = (local_bundle(bundle_path) if bundle_path else local_bundle()) if stack.endpoint_url else None
        found = status_of(stack, time.time(), running)
    except CannotRun as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2
    if as_json:
        console.print(json.dumps(asdict(found), indent=2), markup=False, highlight=False, soft_wrap=True)
    else:
        for line in lines_of(found):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 1 if found.needs else 0


if __name__ == "__main__":
    wishes = {"JSON": "yes"} if "--json" in sys.argv[1:] else {}
    sys.exit(run({**os.environ, **wishes}, Console()))
