"""Credentials in the tree are found, examples are not, and a new one is told without showing it."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from infra.release import leaked

# Put together here, so that this file holds none.
AWS_KEY = "AKIA" + "Q3EGXRMZ7V2LK4TD"
PRIVATE_KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\n"
TOKEN = "ghp_" + "aB3dE5gH7jK9" * 3


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"key = '{AWS_KEY}'\n", "AWS Access Key"),
        (PRIVATE_KEY, "Private Key"),
        (f"export TOKEN={TOKEN}\n", "GitHub Token"),
        (f"url: https://user:{TOKEN}@example.com\n", "Basic Auth Credentials"),
        ("braze = '8f3d1c07-" + "b2e94a6d5f70c18e3b9a2d4f6e8c0b1a'\n", ""),
        ("braze = '" + "b2e94a6d5f70c18e3b9a2d4f6e8c0b1a'\n", "Hex High Entropy String"),
        ("a line of words about a key and a secret\n", ""),
    ],
)
def test_what_looks_like_a_credential_is_found(tmp_path: Path, text: str, kind: str) -> None:
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")

    kinds = [finding.kind for finding in leaked.findings(["file.yaml"], tmp_path)]

    assert (kind in kinds) if kind else not kinds


def test_a_new_one_is_told_by_its_place_alone_until_somebody_accepts_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=30)
    (tmp_path / "notes.md").write_text(f"first\n{AWS_KEY}\n", encoding="utf-8")
    examples = tmp_path / leaked.EXAMPLES.name
    examples.write_text("{}", encoding="utf-8")

    def run(*arguments: str) -> tuple[int, str]:
        told = io.StringIO()
        code = leaked.run(arguments, Console(file=told, width=200), tmp_path, examples)
        return code, told.getvalue()

    code, text = run()
    assert code == 1
    assert "notes.md:2 looks like a credential: AWS Access Key" in text
    assert AWS_KEY not in text
    assert run("accept")[0] == 0
    assert AWS_KEY not in examples.read_text(encoding="utf-8")
    (tmp_path / "notes.md").write_text(f"now\nfurther\ndown\n{AWS_KEY}\n", encoding="utf-8")
    assert run() == (0, "")


def test_what_is_ignored_and_what_is_a_list_of_digests_is_not_read() -> None:
    read = leaked.files_of()

    assert "functions/shared/secrets.py" in read
    assert "infra/requirements.txt" not in read
    assert not [path for path in read if path.startswith((".venv/", ".local/"))]
    assert {path for path, _ in leaked.known()} <= set(read)
