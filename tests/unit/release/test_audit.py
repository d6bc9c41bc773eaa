"""The audit of packages, against a register of vulnerabilities on this machine."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from infra.release.audit import REQUIREMENTS, audit, pins_of
from tests.unit.tooling.scripted import Scripted, scripted

PINNED = """\
jinja2==2.4.1 \\
    --hash=sha256:00
    # via something
uvloop[dev]==0.21.0 ; sys_platform != 'win32' \\
    --hash=sha256:00
"""
ADVICE = {
    "id": "PYSEC-1",
    "summary": "templates run code",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.4.2"}]}],
        }
    ],
}


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(PINNED, encoding="utf-8")
    return path


def asked(register: Scripted) -> list[str]:
    (request,) = [each for each in register.received if each.route == "POST /v1/querybatch"]
    return [f"{each['package']['name']} {each['version']}" for each in json.loads(request.body)["queries"]]


def test_a_vulnerable_package_is_named_with_what_mends_it(requirements: Path) -> None:
    with scripted() as register:
        known = {"vulns": [{"id": "PYSEC-1", "modified": "2026-01-01T00:00:00Z"}]}
        register.answers = {
            "POST /v1/querybatch": [(200, {"results": [known, {}]})],
            "GET /v1/vulns/PYSEC-1": [(200, ADVICE)],
        }
        status, lines = audit([requirements], register.url + "/")

    assert asked(register) == ["jinja2 2.4.1", "uvloop 0.21.0"]
    assert status == 1
    assert lines == ["jinja2 2.4.1: PYSEC-1, templates run code (mended in 2.4.2: make requirements UPGRADE=1)"]


def test_nothing_known_is_said_with_how_many_were_looked_up(requirements: Path) -> None:
    with scripted() as register:
        register.answers = {"POST /v1/querybatch": [(200, {"results": [{}, {}]})]}

        assert audit([requirements], register.url + "/") == (0, ["no known vulnerability in 2 packages"])


@pytest.mark.parametrize("status", [503, 404])
def test_a_register_that_gives_no_answer_fails_nothing_and_is_said_in_one_line(requirements: Path, status: int) -> None:
    with scripted() as register:
        register.answers = {"POST /v1/querybatch": [(status, {})]}
        skipped, lines = audit([requirements], register.url + "/")

    assert skipped == 0
    (line,) = lines
    assert line.startswith("audit of packages skipped")
    assert "127.0.0.1" not in line


def test_the_same_without_a_network(requirements: Path) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        status, lines = audit([requirements], f"http://127.0.0.1:{nobody_listens.getsockname()[1]}/")

    assert (status, len(lines)) == (0, 1)
    assert "skipped" in lines[0]


def test_the_pins_of_both_requirement_files_are_understood() -> None:
    for file in REQUIREMENTS:
        text = file.read_text(encoding="utf-8")
        packages = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]

        assert len(pins_of(text)) == len(packages) > 3
