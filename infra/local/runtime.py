"""Lambda on one machine: per function, a pool of execution environments that grow with demand and are reused.

As in Lambda, an environment takes one invocation at a time, the most recently used one is taken first, an invocation
that finds none starts another (a cold start), one that exceeded the time-out or died is replaced. Unlike Lambda,
environments keep running between invocations, and an invocation beyond the pool's size waits instead of being
throttled.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from infra.local.environment import Environment, FunctionError, Settings
from infra.local.views import Function

_log = logging.getLogger(__name__)

__all__ = ["MAX_ENVIRONMENTS", "FunctionError", "Runtime", "Settings", "Start"]

MAX_ENVIRONMENTS: Final = 8  # a function; a laptop has no thousand processors


# Starts an environment of a function, which has variables of its own.
Start = Callable[[Function, Mapping[str, str], Settings], Environment]


class _Pool:
    """The environments of one function; `start` makes another."""

    def __init__(self, start: Callable[[], Environment], size: int) -> None:
        self._start, self._size = start, size
        self._changed = threading.Condition()
        self._idle: deque[Environment] = deque()
        self._busy: set[Environment] = set()
        self._starting = 0
        self._stopped = threading.Event()
        self.cold_starts = 0
        self.invoked = False  # since it was killed

    def invoke(self, event: Any) -> Any:
        self.invoked = True
        environment = self._take()
        try:
            return environment.invoke(event)
        finally:
            self._give_back(environment)

    def warm(self) -> None:
        environment = self._take()
        try:
            environment.wait_until_ready()
        finally:
            self._give_back(environment)

    def kill(self) -> int:
        with self._changed:
            environments = [*self._idle, *self._busy]
            self.invoked = False
        for environment in environments:
            environment.kill()
        return len(environments)

    def ask_to_stop(self) -> list[Environment]:
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()
            environments = [*self._idle, *self._busy]
        for environment in environments:
            environment.ask_to_stop()
        return environments

    def close(self) -> None:
        with self._changed:  # a busy one is closed by whoever waits for its answer
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> Environment:
        with self._changed:
            while True:
                if self._stopped.is_set():
                    raise FunctionError("Runtime.Stopped", "the local bundle is stopping")
                while self._idle:
                    environment = self._idle.pop()
                    if environment.alive:
                        self._busy.add(environment)
                        return environment
                    environment.close()
                if len(self._busy) + self._starting < self._size:
                    break
                self._changed.wait()
            self._starting += 1
        try:
            environment = self._start()
        finally:
            with self._changed:
                self._starting -= 1
        with self._changed:
            self.cold_starts += 1
            if not self._stopped.is_set():
                self._busy.add(environment)
                return environment
        environment.close()
        raise FunctionError("Runtime.Stopped", "the local bundle is stopping")

    def _give_back(self, environment: Environment) -> None:
        with self._changed:
            self._busy.discard(environment)
            if environment.alive and not self._stopped.is_set():
                self._idle.append(environment)
            else:
                environment.close()
            self._changed.notify()


class Runtime:
    """Invokes functions, by logical id. Safe to use from many threads."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        variables: Mapping[str, Mapping[str, str]],
        settings: Settings,
        max_environments: int = MAX_ENVIRONMENTS,
        start: Start = Environment,
    ) -> None:
        settings.log_dir.mkdir(parents=True, exist_ok=True)
        self._pools = {
            name: _Pool(partial(start, function, variables.get(name, {}), settings), max_environments)
            for name, function in functions.items()
        }

    def invoke(self, function: str, event: Any) -> Any:
        """What `function` answers to `event`, both JSON values. Raises FunctionError."""
        return self._pools[function].invoke(event)

    def warm(self, functions: Sequence[str] | None = None) -> None:
        """See to an environment of each function (default: of all) and wait until they have imported their code.

        One that cannot is left for its first invocation to report.
        """
        names = list(self._pools if functions is None else functions)
        with ThreadPoolExecutor(max(1, len(names))) as threads:
            try:
                for outcome in [threads.submit(self._pools[name].warm) for name in names]:
                    if isinstance(outcome.exception(), FunctionError):
                        _log.warning("%s", outcome.exception())
                    else:
                        outcome.result()
            except BaseException:  # Ctrl-C does not wait for imports
                self.stop()
                raise

    def kill(self, function: str) -> int:
        """Kill every environment of `function`, busy or not, as a lost host would. Returns how many there were."""
        return self._pools[function].kill()

    def invoked(self, function: str) -> bool:
        """Whether `function` was invoked since it was last killed, and may remember something."""
        return self._pools[function].invoked

    def cold_starts(self, function: str) -> int:
        """How many environments `function` has had."""
        return self._pools[function].cold_starts

    def stop(self, seconds: float = 1.0) -> None:
        """End every environment; one still there after `seconds` is killed. Invocations under way fail."""
        environments = [environment for pool in self._pools.values() for environment in pool.ask_to_stop()]
        deadline = time.monotonic() + seconds
        for environment in environments:
            environment.end(max(0.0, deadline - time.monotonic()))
        for pool in self._pools.values():
            pool.close()
