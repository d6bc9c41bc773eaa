"""Each fault against each function, as docs/faults.md has it: every cell of its table is run here.

The page is where the table is kept. A function of template.yaml that is not in it fails a test, and so does a store or
a vendor that a function is given and no fault is listed for.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.simulators import BrazeSimulator, SessionmSimulator
from tests.faults.support.dying import CALLS, dies_at
from tests.faults.support.injection import TARGETS
from tests.faults.support.page import introductions, table
from tests.faults.support.running import (
    ENDED,
    cell_of,
    ended_cell,
    faults_of,
    functions,
    introduction,
    made,
    queues_of,
    stores_allowed,
    template,
    vendors_allowed,
)
from tests.faults.support.scenario import Ground, Scenario
from tests.faults.support.scenarios import SCENARIOS
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import DROPPED, FaultyAws
from tests.integration.support.sockets import closed_port

TABLE = table()
CELLS = [(scenario, fault) for scenario in SCENARIOS for fault in faults_of(scenario) if fault != ENDED]

# Permissions that a function does not use itself: who is given an address it signed calls S3 by them, and Lambda puts a
# run that failed into a queue.
NOT_USED = {
    "TagImportSubmitFunction": {"S3"},
    "TagImportStatusFunction": {"S3"},
    "SegmentRefreshFunction": {"SQS"},
}


@pytest.fixture
def ground(aws: Aws, sessionm: SessionmSimulator, braze: BrazeSimulator) -> Ground:
    return Ground(aws, sessionm, braze)


@pytest.mark.thorough
@pytest.mark.parametrize(("scenario", "fault"), CELLS, ids=[f"{scenario.name()}: {fault}" for scenario, fault in CELLS])
def test_the_cell_is_true(
    ground: Ground,
    faulty_aws: FaultyAws,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    scenario: type[Scenario],
    fault: str,
) -> None:
    cell = cell_of(made(scenario, ground), fault, faulty_aws, tmp_path, lambda: capsys.readouterr().out)

    assert cell.line(fault) == TABLE[scenario.name()][fault].line(fault)


@pytest.mark.thorough
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name())
def test_a_function_that_is_killed_loses_nothing_wherever_it_was(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, braze: BrazeSimulator, scenario: type[Scenario]
) -> None:
    ends: set[str] = set()
    for number in CALLS:
        run = made(scenario, Ground(Aws.fresh(aws.url), sessionm, braze))
        died = dies_at(number, run, faulty_aws)
        if not died and ends:
            break
        run.later()
        run.run(run.built())
        ends.add(run.outcome())
        sessionm.forget()
        sessionm.add_member("member-1", "loyal-1", available_points=120, total_points=450)
        braze.forget()
        if not died:  # it makes no call at all
            break
    else:
        raise AssertionError("it never came to its end")

    assert ended_cell(run, ends).line(ENDED) == TABLE[scenario.name()][ENDED].line(ENDED)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name())
def test_what_a_function_is_said_not_to_meet_it_does_not_ask(
    ground: Ground, faulty_aws: FaultyAws, scenario: type[Scenario]
) -> None:
    run = made(scenario, ground)
    nowhere = f"http://127.0.0.1:{closed_port()}"
    vendors = {"braze": "BRAZE", "sessionm": "SESSIONM"}
    for name in run.environment(run.vendor_url()):
        for vendor, prefix in vendors.items():
            if name.startswith(prefix) and name.endswith("_URL") and vendor != scenario.vendor:
                run.changed[name] = nowhere
    for store, target in TARGETS.items():
        if store not in scenario.stores:
            faulty_aws.fail(target, lambda _: DROPPED)

    run.run(run.built())

    assert faulty_aws.failed == []
    assert run.outcome() == "done"


@pytest.mark.parametrize("function", functions())
def test_every_function_is_met_with_every_fault_it_can_meet(function: str) -> None:
    scenarios = [scenario for scenario in SCENARIOS if scenario.function == function]
    stores = {store for scenario in scenarios for store in scenario.stores}

    assert scenarios, "say in tests/faults/support/scenarios.py what it is for, and write its section of docs/faults.md"
    assert stores == stores_allowed(function) - NOT_USED.get(function, set())
    assert {scenario.vendor for scenario in scenarios} - {""} == vendors_allowed(function)
    assert bool(queues_of(function)) == any("a message is poisoned" in faults_of(scenario) for scenario in scenarios)


def test_the_table_has_a_cell_for_each_fault_and_no_other() -> None:
    assert {name: set(cells) for name, cells in TABLE.items()} == {
        scenario.name(): set(faults_of(scenario)) for scenario in SCENARIOS
    }


def test_nothing_is_lost_or_done_twice_and_whatever_fails_for_others_alarms() -> None:
    for name, cells in TABLE.items():
        for fault, cell in cells.items():
            assert cell.end in {"done", "unknown", "done or unknown"} or (name, cell.end) in ASKED_AGAIN, (name, fault)
            if cell.sees.startswith("5") or "stays" in cell.sees or cell.end == "unknown":
                assert cell.alarms or cell.sees.startswith("409"), (name, fault)


# Who sends Braze's own request twice means it: nothing is recognised there.
ASKED_AGAIN = {("TriggerPassthroughFunction, a broadcast", "twice")}


def test_every_queue_gives_up_after_forty_receives_to_one_that_is_watched() -> None:
    resources = template()["Resources"]
    for function in functions():
        for queue in queues_of(function):
            assert resources[queue]["Properties"]["RedrivePolicy"]["maxReceiveCount"] == 40


def test_the_page_says_what_each_function_does_not_meet() -> None:
    assert introductions() == {scenario.name(): introduction(scenario) for scenario in SCENARIOS}
