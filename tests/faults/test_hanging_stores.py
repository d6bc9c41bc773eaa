"""Stores that take a call and never answer: a request has its answer before the function's time is up."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from infra.local.simulators import BrazeSimulator, SessionmSimulator
from tests.faults.support.injection import TARGETS
from tests.faults.support.running import functions, made, template
from tests.faults.support.scenario import Asked, Ground
from tests.faults.support.scenarios import SCENARIOS, Authorizer
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import DROPPED, Answer, FaultyAws

# Longer than any function behind an API may run, but for the one that waits for Braze.
HANGING_SECONDS = 12


def hang(_: str) -> Answer:
    time.sleep(HANGING_SECONDS)
    return DROPPED


def timeout_of(function: str) -> float:
    usual: float = template()["Globals"]["Function"]["Timeout"]
    return float(functions()[function].get("Timeout", usual))


def test_a_request_is_answered_before_the_functions_time_is_up_though_every_store_hangs(
    aws: Aws, faulty_aws: FaultyAws, sessionm: SessionmSimulator, braze: BrazeSimulator
) -> None:
    scenarios = [scenario for scenario in SCENARIOS if issubclass(scenario, Asked | Authorizer)]
    runs = [made(scenario, Ground(Aws.fresh(aws.url), sessionm, braze)) for scenario in scenarios]
    handles = [run.built(hurried=True) for run in runs]
    for target in TARGETS.values():
        faulty_aws.fail(target, hang)

    def seconds(position: int) -> float:
        started = time.monotonic()
        runs[position].run(handles[position])
        return time.monotonic() - started

    with ThreadPoolExecutor(len(runs)) as threads:  # they wait, side by side
        took = dict(zip([run.name() for run in runs], threads.map(seconds, range(len(runs))), strict=True))

    late = {run.name(): took[run.name()] for run in runs if took[run.name()] >= timeout_of(run.function)}
    assert late == {}
