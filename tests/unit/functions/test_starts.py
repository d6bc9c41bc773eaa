"""What a function that somebody waits for leaves out of its start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from infra.local import views
from infra.local.template import Template

FUNCTIONS = Path(__file__).parents[3] / "functions"

# Says of each module whether botocore's model of a service is read while it is imported.
PROGRAM = """
import importlib, sys

opened = []
sys.addaudithook(lambda event, facts: opened.append(str(facts[0])) if event == "open" else None)
for module in sys.argv[1:]:
    opened.clear()
    importlib.import_module(module)
    print(module, any("service-2.json" in path for path in opened))
"""


def readers(modules: set[str]) -> set[str]:
    """Those of `modules` that read such a model."""
    environment = {**os.environ, "PYTHONPATH": str(FUNCTIONS), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", PROGRAM, *sorted(modules)]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
    found = dict(zip(said[::2], said[1::2], strict=True))
    assert found.keys() == modules
    return {module for module, reads in found.items() if reads == "True"}


def test_no_function_behind_an_api_reads_a_model_of_boto3s_when_it_starts() -> None:
    template = Template.load()
    functions, apis = views.functions(template), views.apis(template).values()
    names = {route.function for api in apis for route in api.routes}
    names |= {check.function for api in apis for check in api.authorizers.values()}
    waited_for = {functions[name].handler.rpartition(".")[0] for name in names}
    workers = {function.handler.rpartition(".")[0] for function in functions.values()} - waited_for

    assert len(waited_for) > 10
    assert readers(waited_for) == set()
    assert readers(workers)  # or the program finds nothing out
