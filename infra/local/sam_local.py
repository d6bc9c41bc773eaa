"""The functions in containers of the Lambda base image, by `sam local`, with everything around them on this machine.

`sam local` cannot resolve the template's references, and a container has another idea of 127.0.0.1. So it is given a
derived template, written under ``.local/``: environment values as text taken from the running bundle, this machine
reached as ``host.docker.internal``, code from ``.aws-sam/build``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from infra.emulated import REGION, kebab
from infra.local.aws import CREDENTIALS
from infra.local.relay import relayed
from infra.local.settings import ROOT, STATE_DIR
from infra.local.views import Function
from infra.template import TEMPLATE_PATH, parse

IMAGE: Final = "public.ecr.aws/lambda/python:3.13-x86_64"
BUILD: Final = ROOT / ".aws-sam" / "build" / "template.yaml"
HOST: Final = "host.docker.internal"
_OPTIONS: Final = ("--skip-pull-image", "--add-host", f"{HOST}:host-gateway")
_START_SECONDS: Final = 120.0

NO_DOCKER: Final = f"""\
Docker is not running here, and sam local needs it: it runs functions in the image {IMAGE}.
Start Docker and try again, or run one function without it, in a plain process of this Python:

    .venv/bin/python -m infra.local invoke NAME --in-process"""
NO_IMAGE: Final = (
    f"The image {IMAGE} is not here and could not be pulled. Pull it where there is a network: docker pull {IMAGE}"
)
NO_BUILD: Final = "There is no x86_64 artefact to run; make one with: make build ARCH=x86_64"


class CannotRun(Exception):
    """Something sam local needs is missing; the text says what and how to get it."""


def require() -> None:
    """Raises CannotRun unless Docker runs, the image is here and an x86_64 artefact is built."""
    if shutil.which("docker") is None or _docker("info").returncode:
        raise CannotRun(NO_DOCKER)
    if _docker("image", "inspect", IMAGE).returncode and _docker("pull", IMAGE).returncode:
        raise CannotRun(NO_IMAGE)
    if not BUILD.exists() or not _built_for_x86(BUILD):
        raise CannotRun(NO_BUILD)


def derived_template(environments: Mapping[str, Mapping[str, str]], aws_url: str, api: str | None = None) -> Path:
    """Write the template `sam local` understands and return its path.

    `environments` are the functions' variables by name (``tag-webhook``); `api` is the one API to keep, by logical id,
    for `sam local start-api` serves all it finds on one port; None keeps none.
    """
    document = parse(TEMPLATE_PATH)
    built = parse(BUILD)["Resources"]
    resources = {}
    for logical_id, resource in document["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            variables = {**environments[kebab(logical_id)], "AWS_ENDPOINT_URL": aws_url}
            kept = {key: properties[key] for key in ("Handler", "MemorySize", "Timeout") if key in properties}
            events = {
                name: event
                for name, event in properties.get("Events", {}).items()
                if event["Type"] == "HttpApi" and event["Properties"]["ApiId"] == {"Ref": api}
            }
            code = (BUILD.parent / built[logical_id]["Properties"]["CodeUri"]).resolve()
            own = {
                "CodeUri": str(code),
                "Environment": {"Variables": {name: reachable(value) for name, value in variables.items()}},
                "Events": events,
            }
            resources[logical_id] = {"Type": resource["Type"], "Properties": {**kept, **own}}
        elif logical_id == api:
            resources[logical_id] = {"Type": resource["Type"], "Properties": {"Auth": adapted(properties["Auth"])}}
    settings = {key: document["Globals"]["Function"][key] for key in ("Runtime", "MemorySize", "Timeout")}
    derived = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": document["Transform"],
        "Parameters": document["Parameters"],
        "Globals": {"Function": {**settings, "Architectures": ["x86_64"]}},
        "Resources": resources,
    }
    path = STATE_DIR / f"sam-{kebab(api) if api else 'functions'}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(derived, indent=2, default=str), encoding="utf-8")
    return path


def adapted(auth: Mapping[str, Any]) -> Any:
    """An API's `Auth` in terms that `sam local` has; it remembers no decision, and knows no identity by address."""
    own = unaliased(auth)
    for authorizer in own["Authorizers"].values():
        authorizer["Identity"]["Context"] = [
            source for source in authorizer["Identity"]["Context"] if source != "identity.sourceIp"
        ]
    return own


def unaliased(value: Any) -> Any:
    """`value` with functions named by themselves instead of by their alias, of which `sam local` knows nothing."""
    if isinstance(value, Mapping):
        function, dot, attribute = str(value.get("Ref", "")).partition(".")
        if dot and attribute == "Alias":
            return {"Fn::GetAtt": [function, "Arn"]}
        return {key: unaliased(item) for key, item in value.items()}
    return value


def reachable(value: str) -> str:
    """An address of this machine as a container reaches it."""
    return value.replace("127.0.0.1", HOST)


def invoke(function: Function, event: Any, running: Mapping[str, Any]) -> int:
    """``sam local invoke`` of one function against the running bundle; returns its exit code. Raises CannotRun."""
    require()
    template = derived_template(running["environments"], running["aws_url"])
    command = [_sam(), "local", "invoke", function.logical_id, "--template", str(template), "--event", "-", *_OPTIONS]
    with reachable_from_containers(running):
        done = subprocess.run(command, input=json.dumps(event), text=True, env=_environment(), check=False, cwd=ROOT)
    return done.returncode


@contextmanager
def reachable_from_containers(running: Mapping[str, Any]) -> Iterator[None]:
    """Let containers reach the vendors and the AWS of a bundle, described as in `LocalBundle.description`."""
    ports = [urlsplit(running[name]).port or 80 for name in ("aws_url", "sessionm_url", "braze_url")]
    with relayed(_bridge_address(), ports):
        yield


@contextmanager
def start_api(api: str, environments: Mapping[str, Mapping[str, str]], aws_url: str, log_path: Path) -> Iterator[str]:
    """``sam local start-api`` for one API, by logical id; its base URL once every function has a warm container."""
    template = derived_template(environments, aws_url, api)
    port = _free_port()
    command = [_sam(), "local", "start-api", "--template", str(template), "--port", str(port), *_OPTIONS]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--warm-containers", "EAGER"], stdout=log, stderr=log, env=_environment(), cwd=ROOT
        )
        try:
            _wait_until_listening(process, port, log_path)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _remove_containers(log_path)


def _remove_containers(log_path: Path) -> None:
    """sam local leaves some of its warm containers behind when it is stopped; its log names them all."""
    ids = re.findall(r"SAM_CONTAINER_ID: ([0-9a-f]{12,})", log_path.read_text(encoding="utf-8", errors="replace"))
    if ids:
        _docker("rm", "--force", *ids)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log_path: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise CannotRun(f"sam local start-api did not start, see {log_path}")


def _sam() -> str:
    beside = Path(sys.executable).with_name("sam")
    found = str(beside) if beside.exists() else shutil.which("sam")
    if found is None:
        raise CannotRun("sam is not installed in this environment")
    return found


def _docker(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", *arguments], capture_output=True, check=False)


def _bridge_address() -> str:
    """This machine's address on Docker's default bridge; not every engine tells, but it is the subnet's first."""
    configs = json.loads(_docker("network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}").stdout or "null")
    for config in configs or []:
        if ":" not in config["Subnet"]:
            return str(config.get("Gateway") or next(ip_network(config["Subnet"]).hosts()))
    return "127.0.0.1"


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, **CREDENTIALS, "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION, "SAM_CLI_TELEMETRY": "0"}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _built_for_x86(template: Path) -> bool:
    """Whether the artefact's native code is for x86_64: the machine number of the first shared library found."""
    for library in template.parent.rglob("*.so"):
        with library.open("rb") as binary:
            return int.from_bytes(binary.read(20)[18:20], "little") == 0x3E
    return True
