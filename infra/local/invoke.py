"""One function, once, with an event from a file, against the bundle that is running on this machine.

In a container as Lambda would run it (``sam local invoke``, which needs Docker), or in a plain process of this Python.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from infra.commands import stack
from infra.local import views
from infra.local.bundle import STATE_FILE
from infra.local.environment import FunctionError
from infra.local.runtime import Runtime, Settings
from infra.local.sam_local import CannotRun
from infra.local.sam_local import invoke as invoke_in_container
from infra.local.settings import ROOT, STATE_DIR
from infra.local.template import Template

EVENTS: Final = ROOT / "infra" / "events"


class CannotInvoke(Exception):
    """The text says why, and what to do."""


def invoke(name: str, event_path: Path | None = None, in_process: bool = False) -> int:
    """Print what the function answers; the exit code is 0 for an answer, 1 for a function error, 2 if it cannot run."""
    try:
        functions = {function.name: function for function in views.functions(Template.load()).values()}
        if name not in functions:
            raise CannotInvoke(f"there is no function {name}; there are {', '.join(sorted(functions))}")
        event = _read(event_path or EVENTS / f"{name}.json")
        running = _running_bundle()
        if not in_process:
            return invoke_in_container(functions[name], event, running)
    except (CannotInvoke, CannotRun) as error:
        print(error, file=sys.stderr)
        return 2
    return _in_process(functions[name], event, running)


def _in_process(function: views.Function, event: Any, running: dict[str, Any]) -> int:
    settings = Settings(ROOT / "functions", STATE_DIR / "logs", running["aws_url"])
    runtime = Runtime({function.name: function}, {function.name: running["environments"][function.name]}, settings)
    log = settings.log_dir / f"{function.name}.log"
    already_there = log.stat().st_size if log.exists() else 0
    try:
        answer, code = runtime.invoke(function.name, event), 0
    except FunctionError as error:
        answer, code = error.payload(), 1
    finally:
        runtime.stop()
    with log.open("rb") as lines:
        lines.seek(already_there)
        sys.stderr.write(lines.read().decode("utf-8", "replace"))
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    return code


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise CannotInvoke(f"no event file {path}") from None
    except ValueError as error:
        raise CannotInvoke(f"{path} is not JSON: {error}") from None


def _running_bundle(path: Path = STATE_DIR / STATE_FILE) -> dict[str, Any]:
    try:
        running = stack.local_bundle(path)
    except stack.CannotRun as error:
        raise CannotInvoke(str(error)) from None
    if running is None:
        raise CannotInvoke("the bundle is not running on this machine; start it with: make run")
    return running
