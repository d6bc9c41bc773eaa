"""Whether a pinned package is known to be vulnerable; part of `make check`.

`uv audit` asks the public register of vulnerabilities. It knows projects with a lock file and no requirement files, so
the pins are put into such a lock in a temporary folder. Nothing is installed and nothing resolved.

Where the register cannot be reached, one line says so, and nothing fails: a check must not depend on a network.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from infra.commands.stack import ROOT

REQUIREMENTS: Final = (ROOT / "functions" / "requirements.txt", ROOT / "infra" / "requirements.txt")

# A vulnerability that does not concern us, by its id, and why it does not.
ACCEPTED: Final[Mapping[str, str]] = {}

# Of one request, and of all; the register answers for two hundred packages in a second.
_REQUEST_SECONDS: Final = 5
_LONGEST_SECONDS: Final = 30

_FOUND: Final = 1  # the exit status of `uv audit` when there is something
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pins_of(text: str) -> set[tuple[str, str]]:
    """Name and version of each package of a requirement file."""
    return set(_PIN.findall(text))


def lock_of(pins: Sequence[tuple[str, str]]) -> str:
    """A lock file of a project that depends on these packages and nothing else."""
    blocks = [
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "." }}' for name, version in pins
    ]
    needs = ", ".join(
        f'{{ name = "{name}", version = "{version}", source = {{ registry = "." }} }}' for name, version in pins
    )
    own = f'[[package]]\nname = "audited"\nversion = "0"\nsource = {{ virtual = "." }}\ndependencies = [{needs}]'
    return "\n\n".join(['version = 1\nrevision = 3\nrequires-python = ">=3.11"', own, *blocks]) + "\n"


def project_of(pins: Sequence[tuple[str, str]]) -> str:
    needs = ", ".join(f'"{name}=={version}"' for name, version in pins)
    return f'[project]\nname = "audited"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = [{needs}]\n'


def audit(files: Sequence[Path], service_url: str | None = None) -> tuple[int, list[str]]:
    """The exit status, 1 when something is vulnerable, and what to print."""
    pins = sorted(set[tuple[str, str]]().union(*(pins_of(file.read_text(encoding="utf-8")) for file in files)))
    answer = _ask(pins, service_url)
    if answer is None:
        return 0, ["audit of packages skipped: the register of vulnerabilities cannot be reached from here"]
    found = answer["vulnerabilities"]
    if not found:
        return 0, [f"no known vulnerability in {len(pins)} packages"]
    return 1, [_described(each) for each in found]


def _ask(pins: Sequence[tuple[str, str]], service_url: str | None) -> Any | None:
    """What `uv audit` answers; None when it got no answer itself."""
    command = [str(Path(sys.executable).with_name("uv")), "audit", "--frozen", "--output-format", "json"]
    command += ["--preview-features", "audit-command,json-output", "--no-config", "--quiet"]
    command += [word for known in ACCEPTED for word in ("--ignore", known)]
    command += ["--service-url", service_url] if service_url else []
    environment = {**os.environ, "UV_HTTP_TIMEOUT": str(_REQUEST_SECONDS), "UV_HTTP_RETRIES": "0"}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(project_of(pins), encoding="utf-8")
        Path(folder, "uv.lock").write_text(lock_of(pins), encoding="utf-8")
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, timeout=_LONGEST_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    return json.loads(done.stdout) if done.returncode in (0, _FOUND) else None


def _described(found: Mapping[str, Any]) -> str:
    package = found["dependency"]
    mended = ", ".join(found["fix_versions"])
    advice = f"mended in {mended}: make requirements UPGRADE=1" if mended else "not mended yet"
    return (
        f"{package['name']} {package['version']}: {found['display_id']}, {found['summary'] or 'no summary'} ({advice})"
    )


if __name__ == "__main__":
    status, lines = audit(REQUIREMENTS)
    print("\n".join(lines))
    sys.exit(status)
