"""Builds what is deployed: `python -m infra.build [--arch arm64|x86_64]`, called by `make build`.

1. `sam build`, with the pinned requirements as wheels for the target architecture.
2. What need not ship is removed.
3. Bytecode is compiled into the artefact. `sam build` ships none, and the usual bytecode, which compares time stamps
   with its source, never validates in a Lambda zip; `unchecked-hash` bytecode is used as it is. Import time falls
   2.3-3.0 times.
4. The artefact is verified: no boto3 (the runtime has it), native code for the right machine and the right Python.

The same input gives the same bytes, so deploying again without a change uploads nothing.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = ("arm64", "x86_64")

RUNTIME_VERSION = "3.13"
# importlib.util.MAGIC_NUMBER of that version. Bytecode with another number is ignored at import.
RUNTIME_MAGIC = "f30d0d0a"
SHOW_MAGIC = "import importlib.util; print(importlib.util.MAGIC_NUMBER.hex())"
# Where Lambda unpacks the artefact: what tracebacks show, and no path of the machine that built it.
RUNTIME_FOLDER = "/var/task"

ELF_MACHINES = {0xB7: "arm64", 0x3E: "x86_64"}

NO_BYTECODE = f"""\
No bytecode added: no Python {RUNTIME_VERSION} found here, and only that version's bytecode works in Lambda.
The artefact is complete and correct, but each cold start compiles what it imports: 2.3-3.0 times the import time.
To add it, install Python {RUNTIME_VERSION} (`.venv/bin/uv python install {RUNTIME_VERSION}` does) and build again."""


class BuildError(Exception):
    """The artefact could not be built, or is not fit to deploy. The message is for the person who ran the build."""


def python_candidates() -> Iterator[str]:
    """Yields interpreters worth trying, best first: this one, those on PATH, pyenv's, uv's."""
    yield sys.executable
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        yield from (str(Path(folder, name)) for name in (f"python{RUNTIME_VERSION}", "python3", "python"))
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    for versions, pattern in ((pyenv, f"{RUNTIME_VERSION}.*"), (uv, f"cpython-{RUNTIME_VERSION}.*")):
        for version in sorted(versions.glob(pattern), reverse=True):
            yield str(version / "bin" / f"python{RUNTIME_VERSION}")


def find_runtime_python(candidates: Iterable[str]) -> str | None:
    """Returns the first candidate that runs and writes the runtime's bytecode, or None.

    Each is run: a name proves nothing (`python3.13` may be a shim for a version that is not installed).
    """
    for candidate in dict.fromkeys(candidates):
        if not os.access(candidate, os.X_OK):
            continue
        try:
            answer = subprocess.run([candidate, "-c", SHOW_MAGIC], capture_output=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if answer.returncode == 0 and answer.stdout.decode(errors="replace").strip() == RUNTIME_MAGIC:
            return candidate
    return None


def compile_bytecode(folder: Path, python: str) -> int:
    """Compiles every module under `folder` with the interpreter `python`; returns the number of bytecode files.

    Raises BuildError when a module does not compile.
    """
    for stale in sorted(folder.rglob("__pycache__")):
        shutil.rmtree(stale)
    command = [python, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", RUNTIME_FOLDER, str(folder)]
    # A fixed hash seed makes the order of set constants, and so the bytes, the same each time.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    for changes_output in ("PYTHONOPTIMIZE", "PYTHONPYCACHEPREFIX"):
        environment.pop(changes_output, None)
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildError(f"compiling bytecode failed:\n{result.stdout}{result.stderr}")
    return sum(1 for _ in folder.rglob("*.pyc"))


def prune(folder: Path) -> None:
    """Removes what no function reads: installers' notes, command-line scripts, type stubs, tests of dependencies.

    METADATA and licences stay, for those who scan the artefact for known vulnerabilities and for those who wrote it.
    """
    for name in ("bin", "tests"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (".lock", "requirements.in"):
        (folder / name).unlink(missing_ok=True)
    for notes in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"):
        for file in folder.glob(f"*.dist-info/{notes}"):
            file.unlink()
    for file in [*folder.rglob("*.pyi"), *folder.rglob("py.typed")]:
        file.unlink()


def problems(folder: Path, architecture: str) -> list[str]:
    """Returns one sentence for each reason not to deploy `folder` to Lambda functions of `architecture`."""
    found = [
        f"{name} is in the artefact: the Lambda runtime provides it, and it costs 17 MB"
        for name in ("boto3", "botocore")
        if (folder / name).exists()
    ]
    for file in sorted(folder.rglob("*.so*")):
        header = file.read_bytes()[:20]
        machine = ELF_MACHINES.get(int.from_bytes(header[18:20], "little")) if header[:4] == b"\x7fELF" else None
        where = file.relative_to(folder)
        if machine != architecture:
            found.append(f"{where} is for {machine or 'another system'}, not for {architecture}")
        if ".cpython-" in file.name and f".cpython-{RUNTIME_VERSION.replace('.', '')}-" not in file.name:
            found.append(f"{where} is not for Python {RUNTIME_VERSION}")
    return found


def sizes(folder: Path) -> tuple[int, int]:
    """Returns (zipped, unzipped) bytes of `folder`: Lambda fetches the one at a cold start and limits the other."""
    unzipped = 0
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            unzipped += file.stat().st_size
            zipped.write(file, file.relative_to(folder))
    return archive.tell(), unzipped


def deployed_architecture() -> str | None:
    """Returns the architecture answered at the first `make deploy`, or None."""
    answers = ROOT / "samconfig.local.toml"
    if not answers.exists():
        return None
    overrides = tomllib.loads(answers.read_text()).get("default", {}).get("deploy", {}).get("parameters", {})
    answer = re.search(r"\bArchitecture\W+(\w+)", str(overrides.get("parameter_overrides", "")))
    return answer.group(1) if answer else None


def sam_build(template: Path, build_folder: Path, architecture: str) -> None:
    """Runs `sam build`. Raises BuildError, with what SAM said, when it fails."""
    commands = Path(sys.executable).parent
    environment = {
        "AWS_DEFAULT_REGION": "us-east-1",  # SAM wants one, nothing is called
        **os.environ,
        "PATH": f"{commands}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "SAM_CLI_TELEMETRY": "0",
        # Wheels only: building from source here would give this machine's native code.
        "UV_NO_BUILD": "1",
        "UV_REQUIRE_HASHES": "1",
        "UV_PYTHON": sys.executable,
        "UV_PYTHON_DOWNLOADS": "never",
    }
    command = [str(commands / "sam"), "build", "--beta-features", "--template-file", str(template)]
    command += ["--build-dir", str(build_folder), "--parameter-overrides", f"Architecture={architecture}"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildError(f"sam build failed:\n{result.stdout}{result.stderr}")


def built_functions(build_folder: Path) -> dict[Path, list[tuple[str, str]]]:
    """Returns, for each folder of the artefact, the (function, architecture) pairs that share it.

    Functions with the same code and settings are built once; SAM's own record of that is build.toml.
    """
    record = tomllib.loads((build_folder.parent / "build.toml").read_text())
    shared: dict[Path, list[tuple[str, str]]] = {}
    for definition in record.get("function_build_definitions", {}).values():
        names = definition["functions"]
        folders = (build_folder / f"{name}{suffix}" for name in names for suffix in ("-Shared", ""))
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is None:
            raise BuildError(f"sam build says it built {', '.join(names)}, but not into {build_folder}")
        shared[folder] = [(name, definition["architecture"]) for name in names]
    if not shared:
        raise BuildError("sam build built no function")
    return shared


def complete(build_folder: Path, architecture: str, candidates: Iterable[str]) -> None:
    """Takes what `sam build` left in `build_folder` to what is deployed, and prints what it is.

    `candidates` are the interpreters to look for the runtime's Python among. Raises BuildError when the result is not
    fit to deploy.
    """
    python = find_runtime_python(candidates)
    faults: list[str] = []
    for folder, owners in built_functions(build_folder).items():
        prune(folder)
        compiled = compile_bytecode(folder, python) if python else 0
        faults += problems(folder, architecture)
        faults += [
            f"{name} is declared for {its}, not for {architecture}" for name, its in owners if its != architecture
        ]
        zipped, unzipped = sizes(folder)
        print(
            f"{folder.name}: {zipped / 1e6:.2f} MB zipped, {unzipped / 1e6:.2f} MB unzipped, {architecture}, "
            f"{compiled} bytecode files, for {len(owners)} function{'s' if len(owners) > 1 else ''}"
        )
    if faults:
        raise BuildError("\n".join(["the artefact is not fit to deploy:", *faults]))
    if python is None:
        print(NO_BYTECODE)


def main() -> int:
    """Reads the command line, builds, returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.build", description="Build the artefact to deploy.")
    parser.add_argument("--arch", choices=ARCHITECTURES, help="default: the deployed one, or else arm64")
    parser.add_argument("--template", type=Path, default=ROOT / "template.yaml")
    parser.add_argument("--build-dir", type=Path, default=ROOT / ".aws-sam" / "build")
    options = parser.parse_args()
    architecture = options.arch or deployed_architecture() or "arm64"
    try:
        print(f"Building for {architecture}", flush=True)
        sam_build(options.template.resolve(), options.build_dir.resolve(), architecture)
        complete(options.build_dir.resolve(), architecture, python_candidates())
    except BuildError as error:
        print(f"Build failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
