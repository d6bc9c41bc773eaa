"""One cell of the table, run: a scenario under a fault, what was seen, and what came of it once the fault was over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from infra.local.simulators.server import Simulator
from infra.template import TEMPLATE_PATH, parse
from tests.faults.support.alarms import Metric, emitted, metric, raised_by, without_failures
from tests.faults.support.injection import SLOW, TARGETS, VENDOR_FAULTS, fail_stores, failing_vendor, store_faults
from tests.faults.support.page import Cell
from tests.faults.support.scenario import Asked, Delivered, Ground, Scenario, Shown
from tests.faults.support.scenarios import Authorizer
from tests.integration.support.events import Context, failures, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws


@cache
def template() -> dict[str, Any]:
    return parse(TEMPLATE_PATH)


def functions() -> dict[str, dict[str, Any]]:
    """The properties of every function in template.yaml."""
    resources = template()["Resources"]
    return {
        name: resource["Properties"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def service_of(function: str) -> str:
    name: str = functions()[function]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
    return name


def apis_of(function: str) -> set[str]:
    """The APIs whose caller gets a function's answer: both, for the one that checks callers."""
    events = functions()[function].get("Events", {}).values()
    named = {event["Properties"]["ApiId"]["Ref"] for event in events if event["Type"] == "HttpApi"}
    return named or {"ContentApi", "IntakeApi"}


def queues_of(function: str) -> dict[str, str]:
    """A function's queues, each with the one that takes what was given up."""
    resources = template()["Resources"]
    events = functions()[function].get("Events", {}).values()
    queues = [_named(event["Properties"]["Queue"]) for event in events if event["Type"] == "SQS"]
    return {queue: _named(resources[queue]["Properties"]["RedrivePolicy"]["deadLetterTargetArn"]) for queue in queues}


def _named(reference: Any) -> str:
    """The logical id in a GetAtt."""
    got = reference["Fn::GetAtt"]
    return str(got[0] if isinstance(got, list) else got.split(".")[0])


# Parts of a policy's actions that are no store: what can fail there shows in the stores, or in nothing but logs.
_NO_STORES = frozenset({"xray", "logs", "kms"})
_STORES = {
    "sqs": "SQS",
    "dynamodb": "DynamoDB",
    "s3": "S3",
    "secretsmanager": "Secrets Manager",
    "events": "EventBridge",
}


def stores_allowed(function: str) -> set[str]:
    """The AWS services that a function's permissions name. Raises KeyError for one whose faults nobody thought of."""
    properties = functions()[function]
    policies = [properties.get("Policies", [])]
    if "Role" in properties:
        policies.append(template()["Resources"][_named(properties["Role"])]["Properties"]["Policies"])
    prefixes = {action.partition(":")[0] for action in _actions(policies)} - _NO_STORES
    return {_STORES[prefix] for prefix in prefixes}


def _actions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        action = value.get("Action", [])
        yield from [action] if isinstance(action, str) else action
        for each in value.values():
            yield from _actions(each)
    elif isinstance(value, list):
        for each in value:
            yield from _actions(each)


def vendors_allowed(function: str) -> set[str]:
    """The vendors whose credentials a function is given."""
    return {vendor for vendor in ("braze", "sessionm") if f"{vendor.upper()}_SECRET_ID" in variables_of(function)}


def variables_of(function: str) -> tuple[str, ...]:
    """The names of a function's own environment variables."""
    named = functions()[function].get("Environment", {}).get("Variables", {})
    return tuple(name for name in named if not name.startswith("POWERTOOLS"))


def made(scenario: type[Scenario], ground: Ground) -> Scenario:
    return scenario(ground, variables_of(scenario.function))


# --- faults of messages and of the function itself ------------------------------------------------------------------

TWICE = "a message comes twice"
ANOTHER_ORDER = "messages come in another order"
POISONED = "a message is poisoned"
MESSAGE_FAULTS = (TWICE, ANOTHER_ORDER, POISONED)

AGAIN = "the function is run again for the same event"
ENDED = "the function runs out of time or memory, or is killed"
FUNCTION_FAULTS = (AGAIN, ENDED)

# Nothing, something else, nested beyond measure, and what is almost a message.
POISON = ("", "null", "[]", "{}", "\x00", "[" * 100_000, '{"import_id": 7}', '{"trigger_id": "", "id": []}')


def introduction(scenario: type[Scenario]) -> str:
    """What its section of the page says of a scenario's vendor, and of what it cannot meet."""
    vendors = {"braze": "Braze", "sessionm": "SessionM"}
    never = [store for store in TARGETS if store not in scenario.stores]
    never += [name for vendor, name in vendors.items() if vendor != scenario.vendor]
    never += [] if issubclass(scenario, Delivered) else ["a queue's messages"]
    vendor = f"The vendor is {vendors[scenario.vendor]}. " if scenario.vendor else ""
    return f"{vendor}Not met here: {', '.join(never)}."


def faults_of(scenario: type[Scenario]) -> tuple[str, ...]:
    """The faults that a scenario can meet."""
    messages = MESSAGE_FAULTS if issubclass(scenario, Delivered) else ()
    vendor = VENDOR_FAULTS if scenario.vendor else ()
    return (*vendor, *store_faults(scenario.stores), *messages, *FUNCTION_FAULTS)


def cell_of(run: Scenario, fault: str, between: FaultyAws, folder: Path, printed: Callable[[], str]) -> Cell:
    """Runs a scenario under a fault, ends the fault, and lets whoever has to try again do so.

    `printed` gives what was printed since it was last asked.
    """
    printed()
    if fault == AGAIN:
        return _again(run)
    if fault in MESSAGE_FAULTS:
        assert isinstance(run, Delivered)
        return _messages(run, fault)
    if fault in VENDOR_FAULTS:
        vendor: Simulator = run.ground.sessionm if run.vendor == "sessionm" else run.ground.braze
        with failing_vendor(fault, vendor, run.slow_seconds, folder) as url:
            sees = run.run(run.built(url, hurried=fault == SLOW))
            asked = len(vendor.requests())
        handle = run.built()
    else:
        fail_stores(fault, between)
        handle = run.built()
        sees = run.run(handle)
        asked = between.failed.count(between.failed[0]) if between.failed else 0
        between.heal()
    if isinstance(run, Shown):
        asked = 0  # as often as there was time for
    metrics = {*emitted(printed(), service_of(run.function)), *_counted_by_aws(run, fault, sees)}
    end = run.outcome()
    if run.comes_again(sees):
        run.later()
        run.run(handle)
        end = run.outcome()
    return Cell(sees, asked, end, raised_by(without_failures(metrics)))


def _counted_by_aws(run: Scenario, fault: str, sees: str) -> Iterator[Metric]:
    """What AWS counts when that is seen; a message that stays for good ends in a dead-letter queue."""
    if sees.startswith("5"):
        yield from (metric("5xx", ApiId=api) for api in apis_of(run.function))
    if "is raised" in sees or fault == ENDED:
        yield metric("Errors", FunctionName=run.function)
    if "stays" in sees:
        for queue, dead_letters in queues_of(run.function).items():
            yield metric("ApproximateAgeOfOldestMessage", QueueName=queue)
            yield metric("ApproximateNumberOfMessagesVisible", QueueName=dead_letters)
    if fault == "DynamoDB throttles":
        yield from (metric(f"{kind}ThrottleEvents", TableName="CacheTable") for kind in ("Read", "Write"))


def _again(run: Scenario) -> Cell:
    handle = run.built()
    run.run(handle)
    return Cell(run.run(handle), 0, run.outcome())


def _messages(run: Delivered, fault: str) -> Cell:
    handle, other = run.built(), type(run)(run.ground, variables_of(run.function), 2)
    records = {
        TWICE: [run.record(), run.record() | {"messageId": "message-2"}],
        ANOTHER_ORDER: [other.record(), run.record()],
        POISONED: [*(sqs_record(poison, f"poison-{at}") for at, poison in enumerate(POISON)), run.record()],
    }[fault]
    stays = failures(handle(sqs_event(records), Context(900_000)))
    if fault == TWICE:
        stays += failures(handle(sqs_event(records), Context(900_000)))
    if fault == POISONED:
        assert set(stays) == {f"poison-{at}" for at in range(len(POISON))}
        alarms = raised_by(_counted_by_aws(run, fault, "it stays"))
        return Cell("it stays, and no other does", 0, run.outcome(), alarms)
    ends = {run.outcome(), other.outcome()} if fault == ANOTHER_ORDER else {run.outcome()}
    return Cell("the messages stay" if stays else "the messages are done", 0, " and ".join(sorted(ends)))


def ended_cell(run: Scenario, ends: set[str]) -> Cell:
    """What the table says of a function that was killed; `ends` are those of each place at which it was."""
    if isinstance(run, Asked | Authorizer):
        sees = "500"
    else:
        sees = "the message stays" if isinstance(run, Delivered) else "nothing: Lambda runs it again, up to twice"
    return Cell(sees, 0, " or ".join(sorted(ends)), raised_by(_counted_by_aws(run, ENDED, sees)))
