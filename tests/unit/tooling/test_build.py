"""The build step after `sam build`: bytecode that Lambda will use, and an artefact that fits Lambda."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra import build

ELF_X86_64 = b"\x7fELF" + bytes(14) + (0x3E).to_bytes(2, "little") + bytes(40)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    folder = tmp_path / "artefact"
    package = folder / "greeting"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "hello.py").write_text('def hello() -> str:\n    return "from bytecode"\n')
    return folder


def bytecode_of(source: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(source), optimization=""))


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


def test_modules_are_imported_from_bytecode_whatever_their_source_says(artefact: Path) -> None:
    build.compile_bytecode(artefact, sys.executable)
    (artefact / "greeting" / "hello.py").write_text("this is not Python, so it cannot have been compiled")

    assert run(artefact, "from greeting.hello import hello; print(hello())").stdout == "from bytecode\n"


def test_bytecode_is_marked_as_never_to_be_compared_with_its_source(artefact: Path) -> None:
    assert build.compile_bytecode(artefact, sys.executable) == 2

    header = bytecode_of(artefact / "greeting" / "hello.py").read_bytes()[:8]
    assert header[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(header[4:8], "little") == 0b01, "flags: hash-based (bit 0), not checked (bit 1)"


def test_bytecode_names_the_folder_of_the_runtime_and_not_of_this_machine(artefact: Path) -> None:
    build.compile_bytecode(artefact, sys.executable)

    # Python rewrites the path in what it loads, so it is the file that tells.
    content = bytecode_of(artefact / "greeting" / "hello.py").read_bytes()
    assert b"/var/task/greeting/hello.py" in content
    assert str(artefact).encode() not in content


def test_bytecode_of_an_earlier_build_does_not_survive(artefact: Path) -> None:
    removed = artefact / "greeting" / "removed.py"
    removed.write_text("")
    build.compile_bytecode(artefact, sys.executable)
    removed.unlink()

    build.compile_bytecode(artefact, sys.executable)

    assert not bytecode_of(removed).exists()


def test_a_module_that_does_not_compile_fails_the_build(artefact: Path) -> None:
    (artefact / "greeting" / "broken.py").write_text("def (")

    with pytest.raises(build.BuildError, match=r"broken\.py"):
        build.compile_bytecode(artefact, sys.executable)


@pytest.fixture
def fake_python(tmp_path: Path) -> Path:
    """A command that answers with the bytecode number of the Lambda runtime."""
    command = tmp_path / "fake-python"
    command.write_text(f"#!/bin/sh\necho {build.RUNTIME_MAGIC}\n")
    command.chmod(0o755)
    return command


def test_the_first_python_that_writes_the_runtimes_bytecode_is_chosen(tmp_path: Path, fake_python: Path) -> None:
    broken = tmp_path / "python3.13"
    broken.write_text("#!/bin/sh\necho 'version not installed' >&2\nexit 127\n")
    broken.chmod(0o755)
    other = tmp_path / "python3.12"
    other.write_text("#!/bin/sh\necho cb0d0d0a\n")
    other.chmod(0o755)
    absent = tmp_path / "absent"

    assert build.find_runtime_python(map(str, (absent, broken, other, fake_python))) == str(fake_python)
    assert build.find_runtime_python(map(str, (absent, broken, other))) is None


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="compares with the running Python, which is not 3.13")
def test_the_bytecode_number_is_that_of_the_runtimes_python() -> None:
    assert importlib.util.MAGIC_NUMBER.hex() == build.RUNTIME_MAGIC


@pytest.fixture
def built(artefact: Path) -> Path:
    """A build folder as `sam build` leaves it, of one x86_64 function."""
    folder = artefact.parent / ".aws-sam" / "build"
    folder.mkdir(parents=True)
    artefact.rename(folder / "Greeter")
    (folder.parent / "build.toml").write_text(
        '[function_build_definitions.1]\narchitecture = "x86_64"\nfunctions = ["Greeter"]\n'
    )
    return folder


def test_a_build_without_the_runtimes_python_says_so_and_what_it_costs(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build.complete(built, "x86_64", candidates=[])

    said = capsys.readouterr().out
    assert "No bytecode added: no Python 3.13 found" in said
    assert "2.3-3.0 times the import time" in said
    assert not list(built.rglob("*.pyc"))


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("boto3/__init__.py", b"", "boto3 is in the artefact"),
        ("native.cpython-313-aarch64-linux-gnu.so", ELF_X86_64, "is for x86_64, not for arm64"),
        ("native.cpython-311-x86_64-linux-gnu.so", ELF_X86_64, "is not for Python 3.13"),
        ("native.cpython-313-darwin.so", b"\xcf\xfa\xed\xfe", "is for another system"),
    ],
)
def test_what_lambda_cannot_run_is_refused(artefact: Path, file: str, content: bytes, sentence: str) -> None:
    (artefact / file).parent.mkdir(exist_ok=True)
    (artefact / file).write_bytes(content)

    assert sentence in " ".join(build.problems(artefact, "arm64"))


def test_a_function_declared_for_another_architecture_is_refused(built: Path) -> None:
    with pytest.raises(build.BuildError, match="Greeter is declared for x86_64, not for arm64"):
        build.complete(built, "arm64", candidates=[])


def test_pruning_keeps_code_metadata_and_licences(artefact: Path) -> None:
    kept = ["greeting/hello.py", "thing-1.dist-info/METADATA", "thing-1.dist-info/licenses/LICENSE", "requirements.txt"]
    removed = ["bin/thing", "requirements.in", "greeting/hello.pyi", "thing-1.dist-info/RECORD", ".lock"]
    for name in kept + removed:
        (artefact / name).parent.mkdir(parents=True, exist_ok=True)
        (artefact / name).touch()

    build.prune(artefact)

    assert all((artefact / name).exists() for name in kept)
    assert not any((artefact / name).exists() for name in removed)
    assert not os.path.exists(artefact / "bin")
