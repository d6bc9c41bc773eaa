"""The changelog and the version, which pyproject.toml says."""

from __future__ import annotations

import re
import subprocess
import tomllib
from datetime import date

from tests.unit.docs.material import APIS, ROOT, raw_description

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}

HEADINGS = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
RELEASES = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in HEADINGS[1:]]


def test_what_is_not_released_comes_first_and_then_the_version_of_the_project() -> None:
    assert HEADINGS[0] == "[Unreleased]"
    assert RELEASES[0] is not None
    assert RELEASES[0][1] == VERSION


def test_releases_stand_from_the_newest_to_the_oldest_with_their_days() -> None:
    found = [(release[1], date.fromisoformat(release[2])) for release in RELEASES if release]
    numbers = [tuple(map(int, version.split("."))) for version, _ in found]
    days = [day for _, day in found]

    assert len(found) == len(HEADINGS) - 1
    assert numbers == sorted(set(numbers), reverse=True)
    assert days == sorted(days, reverse=True)


def test_changes_are_sorted_by_kind_and_no_kind_is_empty() -> None:
    for section in re.split(r"^## .*$", CHANGELOG, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.*)$", section, re.MULTILINE)
        assert kinds
        assert set(kinds) <= KINDS
        assert len(kinds) == len(set(kinds))
        for changes in re.split(r"^### .*$", section, flags=re.MULTILINE)[1:]:
            assert re.match(r"\n\n- ", changes)


def test_both_api_descriptions_carry_the_version() -> None:
    assert {api: raw_description(api)["info"]["version"] for api in APIS} == dict.fromkeys(APIS, VERSION)


def test_code_does_not_repeat_the_version() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    code = [ROOT / name for name in listed if name.endswith((".py", ".yaml", ".toml")) and "/files/" not in name]
    elsewhere = re.compile(rf"^(version|__version__)\s*[:=]\s*[\"']?{re.escape(VERSION)}\b", re.MULTILINE)

    holding = {
        str(path.relative_to(ROOT)) for path in code if path.exists() and elsewhere.search(path.read_text("utf-8"))
    }

    assert holding == {"pyproject.toml"}
