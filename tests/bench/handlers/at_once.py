"""Answers at once, with as many bytes as ANSWER_BYTES says: what is left is the time of the emulator itself."""

from __future__ import annotations

import os
from typing import Any

ANSWER = {"statusCode": 200, "headers": {}, "body": "x" * int(os.environ["ANSWER_BYTES"])}


def handle(_event: Any, context: Any) -> dict[str, Any]:
    return ANSWER
