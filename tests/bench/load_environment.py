"""The Lambda runtime emulator in the place of the local bundle's own environments."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from infra.local.environment import Environment, FunctionError, Settings, worker_variables
from infra.local.views import Function
from tests.bench.emulator import Emulator


class EmulatedEnvironment(Environment):
    """An environment of `function` whose process is the emulator's; its code is in `folder`."""

    def __init__(
        self, function: Function, variables: Mapping[str, str], settings: Settings, folder: Path, runtime: Path
    ) -> None:
        self.function = function
        self.init_ms = None
        known = worker_variables(function, variables, Settings(folder, settings.log_dir, settings.endpoint_url))
        known["AWS_LAMBDA_FUNCTION_TIMEOUT"] = str(function.timeout_seconds)
        self.name = f"{function.name}-{uuid.uuid4().hex[:8]}"
        self._emulator = Emulator(
            folder,
            runtime,
            function.handler,
            known,
            settings.log_dir / f"{self.name}.log",
            quiet=True,
            answer_seconds=function.timeout_seconds + 30,  # the emulator ends it in time itself
        ).__enter__()

    @property
    def alive(self) -> bool:
        return self._emulator.alive

    def memory_bytes(self) -> int:
        """What the function's process has in memory; 0 before its first invocation and after its end."""
        try:
            return self._emulator.memory_bytes()
        except FileNotFoundError:
            return 0

    def invoke(self, event: Any) -> Any:
        try:
            answer = self._emulator.invoke(json.dumps(event).encode())
        except (HTTPException, OSError) as error:
            self._emulator.stop()
            raise FunctionError("Runtime.ExitError", f"the emulator broke off: {type(error).__name__}") from None
        try:
            result = json.loads(answer)
        except ValueError:  # it says in plain words that time is up
            raise FunctionError("Sandbox.Timedout", answer.decode("utf-8", "replace")[:200]) from None
        if isinstance(result, dict) and "errorType" in result:
            raise FunctionError(result["errorType"], result.get("errorMessage", ""))
        return result

    def wait_until_ready(self) -> None:
        """The emulator listens already; it imports the code with the first invocation."""

    def kill(self) -> None:
        self._emulator.stop()

    def ask_to_stop(self) -> None:
        self._emulator.stop()

    def end(self, _seconds: float) -> None:
        self._emulator.stop()

    def close(self) -> None:
        self._emulator.stop()


class Emulated:
    """Starts such environments for a bundle (`BundleSettings.start`), and knows them all.

    `folder` has the code, `runtime` what the Lambda runtime brings along.
    """

    def __init__(self, folder: Path, runtime: Path) -> None:
        self._folder, self._runtime = folder, runtime
        self._started: list[EmulatedEnvironment] = []
        self._lock = threading.Lock()

    def __call__(self, function: Function, variables: Mapping[str, str], settings: Settings) -> EmulatedEnvironment:
        environment = EmulatedEnvironment(function, variables, settings, self._folder, self._runtime)
        with self._lock:
            self._started.append(environment)
        return environment

    def memory_bytes(self) -> dict[str, int]:
        """What each environment that is up has in memory, by its name."""
        with self._lock:
            started = list(self._started)
        return {each.name: taken for each in started if (taken := each.memory_bytes())}
