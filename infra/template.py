"""template.yaml as it is written, for what reads the parameters, resources and outputs that it declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

TEMPLATE_PATH: Final = Path(__file__).resolve().parents[1] / "template.yaml"


def parse(path: Path) -> dict[str, Any]:
    """The template file as a document, short intrinsics such as ``!Ref`` in their long form."""
    from samtranslator.yaml_helper import yaml_parse  # half a second of imports, only for who needs it

    document = yaml_parse(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no template")
    return document
