"""What `make status` looks at is all that there is, and what it says of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.commands.redrive import QUEUES
from infra.commands.status import (
    BREAKERS,
    GATES,
    SECRETS,
    ApiStatus,
    QueueStatus,
    ScheduleStatus,
    SecretStatus,
    Status,
    _apis,
    _needs,
    lines_of,
)
from infra.template import TEMPLATE_PATH, parse
from tests.unit.tooling.scripted import Scripted, scripted

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
        (replace(WELL, secrets=[SecretStatus("BrazeSecret", 2.0, True)]), "secrets: BrazeSecret 2 days"),
        (
            replace(WELL, secrets=[SecretStatus("BrazeSecret", 2.0, False, "it is not JSON")]),
            "secrets: BrazeSecret 2 days (not usable)",
        ),
        (
            replace(WELL, secrets=[SecretStatus("BrazeSecret", 2.0, None, "cannot be read")]),
            "secrets: BrazeSecret 2 days (cannot be read)",
        ),
        (
            replace(WELL, schedules=[ScheduleStatus("gold", "rate(1 day)", False)]),
            "schedules: gold rate(1 day) (disabled)",
        ),
        (replace(WELL, breakers=["SessionM Connect"]), "spared everywhere because they fail: SessionM Connect"),
        (
            replace(WELL, unknown_triggers=2, oldest_unknown="2026-11-22T10:00:00+00:00"),
            "unknown: 2 triggers, 0 events, the oldest since 2026-11-22T10:00:00+00:00",
        ),
    ],
)
def test_a_screen_shows_what_is_found(found: Status, line: str) -> None:
    assert line in list(lines_of(found))


HEALTH, OPERATORS = "GET /health", "GET /tag-imports/none"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


def told(server: Scripted, health: tuple[int, str] | None, operator: tuple[int, str] | None) -> list[str]:
    """What a person has to see to when both APIs of this machine answer so."""
    server.answers = {HEALTH: [health], OPERATORS: [operator]}
    running = {"content_url": server.url, "intake_url": server.url, "callers": {"operator": "secret-key"}}
    return list(_needs(replace(WELL, apis=list(_apis(running))), 365))


def test_apis_that_answer_and_let_the_operator_in_need_nobody(server: Scripted) -> None:
    assert told(server, (200, "ok"), (404, "no such import")) == []
    assert server.routes() == [HEALTH, HEALTH, OPERATORS]
    assert ["Authorization" in each.headers for each in server.received] == [False, False, True]


@pytest.mark.parametrize("status", [401, 403])
def test_an_open_route_that_wants_a_credential_is_told(server: Scripted, status: int) -> None:
    needs = told(server, (status, "who are you?"), (404, "no such import"))

    assert len(needs) == 2
    assert needs[0] == (
        f"{server.url} answers {status} to GET /health, which takes no credential: something else listens there; "
        "start the bundle anew with make run"
    )


@pytest.mark.parametrize("status", [401, 403])
def test_an_operator_who_is_not_let_in_is_told_without_the_key(server: Scripted, status: int) -> None:
    (need,) = told(server, (200, "ok"), (status, "not you"))

    assert f"{server.url} answers {status} to GET /tag-imports/none by operator: its key is not the one" in need
    assert 'make caller NAME=operator ALLOWS="*"' in need
    assert "secret-key" not in need


@pytest.mark.parametrize(
    ("health", "operator", "words"),
    [
        (None, (404, ""), "does not answer: start the bundle anew with make run"),
        ((503, ""), (404, ""), "answers 503 to GET /health: see the log of health"),
        ((200, ""), (500, ""), "answers 500 to GET /tag-imports/none by operator: see the log of authorizer"),
    ],
)
def test_an_api_that_fails_is_told(
    server: Scripted, health: tuple[int, str] | None, operator: tuple[int, str], words: str
) -> None:
    needs = told(server, health, operator)

    assert needs
    assert all(words in need for need in needs)


def test_a_bundle_that_wrote_down_no_address_is_not_asked() -> None:
    assert list(_apis({"aws_url": "http://127.0.0.1:1"})) == []


def test_the_screen_shows_what_the_apis_answer() -> None:
    apis = [ApiStatus("http://127.0.0.1:1", "/health", "", 401), ApiStatus("http://h", "/x", "operator", None)]
    line = "APIs: http://127.0.0.1:1/health 401, http://h/x no answer (operator)"
    assert line in list(lines_of(replace(WELL, apis=apis)))
