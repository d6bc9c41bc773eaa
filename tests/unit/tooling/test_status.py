"""What `make status` looks at is all that there is, and what it says of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.template import TEMPLATE_PATH, parse
from infra.redrive import QUEUES
from infra.status import BREAKERS, GATES, SECRETS, QueueStatus, ScheduleStatus, SecretStatus, Status, lines_of

FUNCTIONS = Path(TEMPLATE_PATH).parent / "functions"

WELL = Status(
    place="the bundle on this machine",
    queues=[QueueStatus(queue, 3, 1, 0) for queue, _ in QUEUES.values()],
    failed_events=0,
    imports=[],
    unknown_triggers=0,
    unknown_events=0,
    oldest_unknown=None,
    breakers=[],
    gates={},
    secrets=[SecretStatus("BrazeSecret", 12.0)],
    schedules=[],
    alarms=[],
)


def named(class_name: str, argument: int) -> Iterator[str]:
    """What `class_name` is made with in any function; a name is looked up in its module."""
    for path in FUNCTIONS.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    pairs = (
                        zip(target.elts, node.value.elts, strict=True)
                        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                        else [(target, node.value)]
                    )
                    for name, value in pairs:
                        if (
                            isinstance(name, ast.Name)
                            and isinstance(value, ast.Constant)
                            and isinstance(value.value, str)
                        ):
                            texts[name.id] = value.value
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == class_name:
                given = node.args[argument]
                yield texts[given.id] if isinstance(given, ast.Name) else ast.literal_eval(given)


def test_every_breaker_and_every_gate_is_looked_at() -> None:
    assert set(named("Breaker", 2)) == set(BREAKERS)
    assert set(named("Gate", 2)) == set(GATES)


def test_every_secret_that_a_person_fills_and_every_queue_is_looked_at() -> None:
    resources = parse(TEMPLATE_PATH)["Resources"]
    filled_by_hand = {
        name
        for name, resource in resources.items()
        if resource["Type"] == "AWS::SecretsManager::Secret" and "GenerateSecretString" not in resource["Properties"]
    }
    assert filled_by_hand == set(SECRETS)
    queues = {name for name, resource in resources.items() if resource["Type"] == "AWS::SQS::Queue"}
    assert queues == {name for names in QUEUES.values() for name in names} | {"FailedEventsQueue"}


def test_a_screen_without_worries_says_so() -> None:
    screen = "\n".join(lines_of(WELL))

    assert "nobody is needed" in screen
    assert "imports under way: none" in screen
    assert "schedules: none" in screen


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (replace(WELL, secrets=[SecretStatus("BrazeSecret", None)]), "secrets: BrazeSecret empty"),
        (
            replace(WELL, schedules=[ScheduleStatus("gold", "rate(1 day)", False)]),
            "schedules: gold rate(1 day) (disabled)",
        ),
        (replace(WELL, breakers=["SessionM Connect"]), "spared because they fail: SessionM Connect"),
        (
            replace(WELL, unknown_triggers=2, oldest_unknown="2026-11-22T10:00:00+00:00"),
            "unknown: 2 triggers, 0 events, the oldest since 2026-11-22T10:00:00+00:00",
        ),
    ],
)
def test_a_screen_shows_what_is_found(found: Status, line: str) -> None:
    assert line in list(lines_of(found))
