"""The code to measure: a copy of the built artefact, which is built first when it is missing or stale."""

from __future__ import annotations

import importlib.util
import platform
import py_compile
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from infra import build
from tests.bench.figures import NotMeasured

BUILD_FOLDER = build.ROOT / ".aws-sam" / "build"
FUNCTIONS = build.ROOT / "functions"
HANDLERS = Path(__file__).with_name("handlers")

_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_UNCHECKED_HASH = 0b01  # PEP 552, the flags word of a bytecode file


@dataclass(frozen=True)
class Code:
    """Folders that stand in for /var/task, with the handlers of `tests/bench/handlers` added.

    `without_bytecode` is the same code without its bytecode. `remark` is empty when `folder` is what gets deployed, and
    else says what it is.
    """

    folder: Path
    without_bytecode: Path
    remark: str


def architecture() -> str:
    """This machine's, in Lambda's words. Raises NotMeasured for one that Lambda has not."""
    machine = platform.machine().lower()
    if machine not in _ARCHITECTURES:
        raise NotMeasured(f"Lambda has no {machine} processors")
    return _ARCHITECTURES[machine]


def prepared(scratch: Path) -> Code:
    """The code to measure, copied under `scratch`; builds the artefact when that is missing or stale."""
    folder, plain = scratch / "task", scratch / "task-without-bytecode"
    remark = ""
    if runs_the_artefact():
        shutil.copytree(_built(), folder)
    else:
        # The artefact's native code is for 3.13 alone, so the same versions from the environment take its place.
        version = platform.python_version()
        remark = f"Python {version} and no artefact: needs Python {build.RUNTIME_VERSION}"
        print(
            f"No Python {build.RUNTIME_VERSION} in the environment: measuring the source on Python {version} instead."
        )
        shutil.copytree(FUNCTIONS, folder, ignore=_without_bytecode)
    for handler in HANDLERS.glob("*.py"):
        shutil.copy(handler, folder)
        if not remark:
            copied = str(folder / handler.name)
            py_compile.compile(copied, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    shutil.copytree(folder, plain, ignore=_without_bytecode)
    return Code(folder, plain, remark)


def runs_the_artefact() -> bool:
    """Whether this Python is Lambda's: another can neither load the artefact's native code nor use its bytecode."""
    return importlib.util.MAGIC_NUMBER.hex() == build.RUNTIME_MAGIC


def is_current(folder: Path, source: Path) -> bool:
    """Whether `folder` was built from what `source` holds now, each module with the bytecode of exactly that text."""
    modules = {path.relative_to(source) for path in source.rglob("*.py")}
    ours = {path.relative_to(source).parts[0] for path in source.iterdir() if path.is_dir()}
    built = {path.relative_to(folder) for name in ours for path in (folder / name).rglob("*.py")}
    if not built <= modules or not _same(source / "requirements.txt", folder / "requirements.txt"):
        return False
    return all(_same(source / path, folder / path) and _has_bytecode(folder / path) for path in modules)


def _built() -> Path:
    wanted = architecture()
    folder = _current_build(wanted)
    if folder is None:
        print("The artefact is missing or stale: building it", flush=True)
        command = [sys.executable, "-m", "infra.build", "--arch", wanted]
        result = subprocess.run(command, cwd=build.ROOT, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise NotMeasured(f"the artefact could not be built:\n{result.stdout}{result.stderr}")
        folder = _current_build(wanted)
    if folder is None:
        raise NotMeasured("the artefact just built is not that of functions/, which may have changed meanwhile")
    return folder


def _current_build(wanted: str) -> Path | None:
    try:
        folders = build.built_functions(BUILD_FOLDER)
    except (OSError, build.BuildError):
        return None
    if len(folders) != 1:
        raise NotMeasured("the functions no longer share one artefact, which this bench relies on")
    ((folder, owners),) = folders.items()
    fits = all(architecture == wanted for _, architecture in owners)
    return folder if fits and is_current(folder, FUNCTIONS) else None


def _same(left: Path, right: Path) -> bool:
    return left.is_file() and right.is_file() and left.read_bytes() == right.read_bytes()


def _has_bytecode(module: Path) -> bool:
    """Whether the runtime's unchecked-hash bytecode of this very text lies beside the module."""
    bytecode = module.parent / "__pycache__" / f"{module.stem}.cpython-{build.RUNTIME_VERSION.replace('.', '')}.pyc"
    if not bytecode.is_file():
        return False
    header = bytecode.read_bytes()[:16]
    flags = int.from_bytes(header[4:8], "little")
    return flags == _UNCHECKED_HASH and header[8:] == importlib.util.source_hash(module.read_bytes())


def _without_bytecode(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]
