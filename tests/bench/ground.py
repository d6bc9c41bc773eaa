"""What every area stands on: the code to measure, the functions as the template declares them, and AWS."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local import views
from infra.local.aws import Clients, Deployment, MotoServer, deploy, put_secrets
from infra.local.environment import Settings, worker_variables
from infra.local.template import Template
from tests.bench.artefact import Code, prepared
from tests.bench.emulator import Emulator
from tests.bench.figures import NotMeasured
from tests.bench.runtime import provide

# A function of which the emulator only needs to know that it is one; the added handlers run under its name.
STAND_IN = "HealthFunction"


@dataclass(frozen=True)
class Ground:
    """`functions` and `apis` are by logical id, `deployment` names their queues, tables and secrets in moto."""

    scratch: Path
    code: Code
    runtime: Path
    functions: Mapping[str, views.Function]
    apis: Mapping[str, views.Api]
    aws_url: str
    clients: Clients
    deployment: Deployment

    def http_functions(self) -> list[views.Function]:
        """Functions whose cold start somebody waits for: those behind a route, and the caller check."""
        waited_for = {route.function for api in self.apis.values() for route in api.routes}
        waited_for |= {check.function for api in self.apis.values() for check in api.authorizers.values()}
        return [self.functions[name] for name in sorted(waited_for)]

    def function(self, name: str) -> views.Function:
        """The function people call `name`, as in "tag-webhook". Raises NotMeasured when the template has none."""
        for function in self.functions.values():
            if function.name == name:
                return function
        raise NotMeasured(f"template.yaml has no function {name}")

    def emulator(
        self,
        function: views.Function,
        *,
        bytecode: bool = True,
        variables: Mapping[str, str] | None = None,
        quiet: bool = False,
    ) -> Emulator:
        """`function` in an emulator of its own; `variables` override the template's."""
        own = {**self.deployment.environments[function.logical_id], **(variables or {})}
        return self._emulator(function, function.handler, own, bytecode, quiet)

    def added_handler(
        self, module: str, variables: Mapping[str, str] | None = None, *, quiet: bool = False
    ) -> Emulator:
        """A handler of `tests/bench/handlers` in an emulator of its own."""
        return self._emulator(self.functions[STAND_IN], f"{module}.handle", variables or {}, True, quiet)

    def put_secret(self, logical_id: str, value: Mapping[str, Any]) -> None:
        put_secrets(self.clients, self.deployment, {logical_id: value})

    def _emulator(
        self, function: views.Function, handler: str, variables: Mapping[str, str], bytecode: bool, quiet: bool
    ) -> Emulator:
        folder = self.code.folder if bytecode else self.code.without_bytecode
        known = worker_variables(function, variables, Settings(folder, self.scratch, self.aws_url))
        if not bytecode:
            known["PYTHONDONTWRITEBYTECODE"] = "1"  # or the second round would find some
        log = self.scratch / f"{handler}-{folder.name}.log"
        return Emulator(folder, self.runtime, handler, known, log, quiet)


@contextmanager
def laid(scratch: Path) -> Iterator[Ground]:
    """The ground, with moto running until the end. `scratch` is an empty folder for the copies and logs."""
    logging.getLogger("botocore").setLevel(logging.WARNING)
    code = prepared(scratch)
    moto = MotoServer(scratch / "moto.log")
    try:
        template = Template.load()
        clients = Clients.at(moto.url)
        yield Ground(
            scratch=scratch,
            code=code,
            runtime=provide(scratch / "runtime"),
            functions=views.functions(template),
            apis=views.apis(template),
            aws_url=moto.url,
            clients=clients,
            deployment=deploy(template, clients),
        )
    finally:
        moto.stop()
