"""Waits WAIT_SECONDS, then answers with ANSWER_BYTES bytes: all beyond the wait is the emulator itself."""

from __future__ import annotations

import os
import time
from typing import Any

WAIT_SECONDS = float(os.environ["WAIT_SECONDS"])
ANSWER = {"statusCode": 200, "headers": {}, "body": "x" * int(os.environ["ANSWER_BYTES"])}


def handle(_event: Any, context: Any) -> dict[str, Any]:
    time.sleep(WAIT_SECONDS)
    return ANSWER
