"""Credentials in the tree: what looks like one and is not known to be an example, in every file that git has.

    python -m infra.release.leaked            names file, line and kind of each; exits with 1 when there is one
    python -m infra.release.leaked accept     takes all there are for examples, after somebody has looked

Known examples are in infra/release/examples_of_keys.json, by file and as digests, so a line may move. Found by
detect-secrets, which knows the keys of many services and finds others by their entropy. Nothing is verified by a call.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from detect_secrets.core.scan import scan_file
from detect_secrets.settings import transient_settings
from rich.console import Console

from infra.commands.stack import ROOT

EXAMPLES: Final = ROOT / "infra" / "release" / "examples_of_keys.json"

# Not the one that goes by names such as `key = ...`, for half of this tree is about keys; nor those of other services.
_SETTINGS: Final[dict[str, Any]] = {
    "plugins_used": [
        {"name": name}
        for name in (
            "AWSKeyDetector",
            "BasicAuthDetector",
            "GitHubTokenDetector",
            "GitLabTokenDetector",
            "JwtTokenDetector",
            "NpmDetector",
            "PrivateKeyDetector",
            "PypiTokenDetector",
            "SlackDetector",
        )
    ]
    + [{"name": "Base64HighEntropyString", "limit": 4.5}, {"name": "HexHighEntropyString", "limit": 3.0}],
    "filters_used": [
        {"path": "detect_secrets.filters.heuristic.is_sequential_string"},
        {"path": "detect_secrets.filters.heuristic.is_potential_uuid"},
        {"path": "detect_secrets.filters.heuristic.is_templated_secret"},
    ],
}

# Digests of packages, and words of languages: tens of thousands of strings, no key among them.
_NOT_READ: Final = ("requirements.txt", "locales.json", "examples_of_keys.json")


@dataclass(frozen=True, order=True)
class Finding:
    """Something that looks like a credential; `digest` is its SHA-1, as detect-secrets has it."""

    path: str
    line: int
    kind: str
    digest: str

    @property
    def known_as(self) -> tuple[str, str]:
        return self.path, self.digest


def findings(paths: Sequence[str], root: Path = ROOT) -> list[Finding]:
    """All in these files, given from `root`; binary ones hold none."""
    halves = [(paths[start::2], root) for start in range(2)]
    with ProcessPoolExecutor(2) as pool:
        return sorted(finding for found in pool.map(_found_in, halves) for finding in found)


def _found_in(part: tuple[Sequence[str], Path]) -> list[Finding]:
    paths, root = part
    with transient_settings(_SETTINGS):
        return [
            Finding(path, secret.line_number, secret.type, secret.secret_hash)
            for path in paths
            for secret in scan_file(str(root / path))
        ]


def files_of(root: Path = ROOT) -> list[str]:
    """What git has of the tree, and what is new in it and not ignored."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=60).stdout.decode()
    return sorted(
        path for path in set(listed.split("\0")) if path and not path.endswith(_NOT_READ) and (root / path).is_file()
    )


def known(path: Path = EXAMPLES) -> set[tuple[str, str]]:
    """Files and digests that somebody has looked at."""
    return set(_pairs(json.loads(path.read_text(encoding="utf-8"))))


def _pairs(listed: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for path, digests in listed.items():
        yield from ((path, digest) for digest in digests)


def accept(found: Sequence[Finding], path: Path = EXAMPLES) -> None:
    """Writes these down as known."""
    listed: dict[str, list[str]] = {}
    for finding in found:
        digests = listed.setdefault(finding.path, [])
        if finding.digest not in digests:
            digests.append(finding.digest)
    path.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def run(arguments: Sequence[str], console: Console, root: Path = ROOT, examples: Path = EXAMPLES) -> int:
    """Does what is asked for and returns the exit code."""
    found = findings(files_of(root), root)
    if list(arguments) == ["accept"]:
        accept(found, examples)
        console.print(f"{len(found)} are written down as examples", markup=False)
        return 0
    accepted = known(examples)
    new = [finding for finding in found if finding.known_as not in accepted]
    for each in new:
        console.print(f"{each.path}:{each.line} looks like a credential: {each.kind}", markup=False, soft_wrap=True)
    if new:
        console.print(
            "Take it out, and replace it where it is valid. An example: python -m infra.release.leaked accept",
            soft_wrap=True,
        )
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], Console()))
