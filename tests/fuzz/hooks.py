"""What schemathesis is told beside the descriptions: which refusals of well-formed requests are right.

Loaded by schemathesis, as schemathesis.toml says. Notes every answer in a file, for `tests.fuzz.run` to read.
"""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import Any, Final

import schemathesis
from schemathesis.core.failures import Failure, ServerError
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import RejectedPositiveData

# The file, a line of JSON an answer: the operation, as in "POST /tags", the status, and the body if all went well.
ANSWERS_VARIABLE: Final = "FUZZ_ANSWERS"

# Rules that no schema tells: refused fields by operation, each name a pattern. Whatever else is refused is a failure.
WALLET_RULES: Final = {"fields": "names of offer fields alone"}
TAG_RULES: Final = {
    "ttl": "needed, unless it counts",
    "counter": "no ttl beside it",
    "idempotency-key": "counters need it",
}
IMPORT_RULES: Final = {"encoding": "one that Python knows", "counter": "no ttl beside it", "ttl": "ten years at most"}
# No two names that become one, no name without a letter, one target of the two, and somebody it is for.
EVENT_RULES: Final = {".*": "see above"}
RULES: Final[dict[str, dict[str, str]]] = {
    "GET /wallet/{user_id}": WALLET_RULES,
    "POST /wallet": WALLET_RULES,
    "POST /priv/v1/apps/{app_key}/users/{user_id}/tags": TAG_RULES,
    "POST /priv/v1/apps/{app_key}/external/users/{external_id}/tags": TAG_RULES,
    "POST /tags": {
        "idempotency-key": "counters need it",
        "rows": "nothing beside them",
        r"(rows\[\d+\]\.)?(tags|ttl|counter|user_id|external_id)": "each row whole",
    },
    "POST /tag-imports": IMPORT_RULES,
    "POST /segment-exports": IMPORT_RULES,
    "POST /wallet-prefetches": {
        "segment_id": "or user_ids",
        "fresh_for": "PrefetchMostFreshSeconds at most",
        "skip|take|include_pending_extended_data": "SessionM's dialect alone has them",
    },
    "POST /triggers": EVENT_RULES,
    "POST /events": EVENT_RULES,
    "GET /segments/data_series": {"length": "or starting_at", "(starting|ending)_at": "a day that exists"},
    "POST /campaigns/trigger/send": {"recipients": "somebody", "broadcast": "with nobody named"},
    "POST /canvas/trigger/send": {"recipients": "somebody", "broadcast": "with nobody named"},
    "POST /messages/send": {"external_user_ids": "somebody", "broadcast": "with nobody named"},
}

_writing = threading.Lock()


@schemathesis.hook
def after_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], response: Response) -> None:
    body = response.json() if response.status_code < 300 else None
    line = json.dumps([case.operation.label, response.status_code, body])
    with _writing, Path(os.environ[ANSWERS_VARIABLE]).open("a", encoding="utf-8") as answers:
        answers.write(line + "\n")


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: schemathesis.Case[Any], response: Response
) -> bool:
    """Whether it is one."""
    match failure, response.status_code:
        case RejectedPositiveData(), 400:
            return not is_by_a_rule(case.operation.label, response.json())
        case ServerError(), 503:
            return not is_put_off(response)
    return True


def is_by_a_rule(operation: str, refusal: dict[str, Any]) -> bool:
    """Whether a well-formed request was refused for a rule of ours, or by Braze in its own words."""
    if "code" not in refusal:
        return True
    return any(re.fullmatch(rule, refusal["field"]) for rule in RULES.get(operation, {}))


def is_put_off(response: Response) -> bool:
    """Whether a function says that it did nothing and when to come again.

    A read does with `on_error=retry` and too little time, a write while the emulated AWS is late. How many there may be
    is for `tests.fuzz.run` to say.
    """
    body: Any = response.json()
    return "retry-after" in response.headers and body.get("ok") is False
