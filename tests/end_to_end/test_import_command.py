"""`make import` against the running bundle, from the file to the rows that came to nothing."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from infra.commands import tag_import
from infra.local.bundle import LocalBundle


def run(bundle: LocalBundle, **given: str) -> tuple[int, str]:
    text = io.StringIO()
    environment: Mapping[str, str] = {
        "INTAKE_API": bundle.intake_url,
        "CALLER": f"operator:{bundle.callers['operator']}",
        **given,
    }
    code = tag_import.run(environment, Console(file=text, width=200), sleep=lambda _: time.sleep(0.1))
    return code, text.getvalue()


@pytest.fixture
def members(bundle: LocalBundle) -> list[str]:
    ids = [f"commanded-{number:03d}" for number in range(300)]
    for user_id in ids:
        bundle.sessionm.add_member(user_id)
    return ids


def test_a_list_of_ids_becomes_tags_and_what_does_not_comes_back(
    bundle: LocalBundle, members: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "members.csv"
    path.write_text("\n".join([*members, "nobody", "not an id"]) + "\n", encoding="utf-8")

    code, text = run(bundle, FILE=str(path), TAG="commanded,twice", TTL="30d")

    assert code == 1
    assert "300" in text
    assert all(bundle.sessionm.tags_of(member).keys() == {"commanded", "twice"} for member in members)
    [failures] = tmp_path.glob("members.csv-*.failures.csv")
    with failures.open(encoding="utf-8-sig", newline="") as file:
        assert [(row["line"], row["code"]) for row in csv.DictReader(file)] == [
            ("301", "user_not_found"),
            ("302", "invalid_field"),
        ]


def test_a_refused_option_is_told_before_anything_is_uploaded(bundle: LocalBundle, tmp_path: Path) -> None:
    path = tmp_path / "members.csv"
    path.write_text("one\n", encoding="utf-8")

    code, text = run(bundle, FILE=str(path), TAG="gold", TTL="soon")

    assert code == 2
    assert "ttl" in text
    assert "30d" in text
