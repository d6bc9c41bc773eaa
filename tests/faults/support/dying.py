"""A function in a process of its own, which is killed when it is about to make its n-th call of AWS.

Time-out and lack of memory end a process in the same way: Lambda kills it, wherever it is. Processes are forked from
one that has imported everything, so that each costs milliseconds.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from functools import cache
from multiprocessing import forkserver
from threading import Event, Lock
from typing import Any, cast

from shared.config import Settings
from tests.faults.support.scenario import Scenario
from tests.faults.support.scenarios import SCENARIOS
from tests.integration.support.events import Context
from tests.integration.support.faulty_aws import DROPPED, Answer, FaultyAws

_FORKS = multiprocessing.get_context("forkserver")

# A machine that is busy takes its time to start the first process.
_LONGEST_SECONDS = 60


# Every call of those that make few, and ever fewer of those that make many.
CALLS = (*range(1, 10), 11, 14, 18, 23, 29)


def dies_at(call: int, run: Scenario, between: FaultyAws) -> bool:
    """Runs a scenario until it is about to make this call, counted from 1, and kills it; False when it made fewer."""
    _have_it_imported()
    lock, started, made = Lock(), Event(), 0

    def kill_at_last() -> Answer | None:
        nonlocal made
        with lock:
            made += 1
            if made == call:
                started.wait(_LONGEST_SECONDS)  # until then there is nothing to kill: its call may be the faster one
                process.kill()
            return DROPPED if made >= call else None

    target = (run.module, run.has_clock, run.environment(run.vendor_url()), run.event(), between.url)
    process = _FORKS.Process(target=live, args=target)
    between.first = kill_at_last
    try:
        process.start()
        started.set()
        process.join(_LONGEST_SECONDS)
        assert process.exitcode is not None, "it neither ended nor called"
        reached = made >= call
        assert process.exitcode == (-9 if reached else 0)
        return reached
    finally:
        between.first = lambda: None
        if process.pid is not None:
            process.kill()


@cache
def _have_it_imported() -> None:
    """Starts the process that all others are forked from. It is told by its environment where modules are."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        _FORKS.set_forkserver_preload([__name__, *sorted({scenario.module for scenario in SCENARIOS})])
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def live(module: str, has_clock: bool, environment: Mapping[str, str], event: Any, endpoint_url: str) -> None:
    """What the process does: one invocation."""
    os.environ["AWS_ENDPOINT_URL"] = endpoint_url
    defined = importlib.import_module(module)
    if not hasattr(defined, "build"):
        handle = defined.handle
    elif has_clock:
        handle = defined.build(Settings(environment), time.time)
    else:
        handle = defined.build(Settings(environment))
    handle(event, cast("Any", Context(900_000)))
