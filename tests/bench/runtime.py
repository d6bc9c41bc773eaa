"""What the Lambda runtime brings along: boto3, the runtime client and what those two need, and nothing else."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

PROVIDED = ("boto3", "awslambdaric")

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def provide(folder: Path) -> Path:
    """Makes `folder` and links those packages of the environment into it; returns it.

    The environment as a whole would not do. botocore imports pyOpenSSL and awscrt wherever it finds them, the SAM CLI
    and moto bring both, and they would add a third to the floor that everything is compared with.
    """
    folder.mkdir()
    for found in _with_requirements(PROVIDED):
        for top_level in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            (folder / top_level).symlink_to(Path(str(found.locate_file(top_level))))
    return folder


def _with_requirements(names: tuple[str, ...]) -> list[Distribution]:
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name.lower() in found:
            continue
        try:
            found[name.lower()] = distribution(name)
        except PackageNotFoundError:
            continue  # required on another system or Python
        required = [text for text in found[name.lower()].requires or () if "extra ==" not in text]
        waiting += [match.group() for text in required if (match := _NAME.match(text))]
    return list(found.values())
