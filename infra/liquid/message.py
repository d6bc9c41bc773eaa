"""One field of a message, from template to text, as Braze sends it: aborted, sent, or asked for again.

With :retry a call that failed for a passing reason makes Braze ask again, up to five times, each time rendering the
whole message anew; after the fifth the message is aborted. What the template itself aborts is not retried. A preview
and an in-app message are not retried either. Source: Braze's pages on Connected Content retries and on aborting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.liquid.engine import Engine, Unrenderable
from infra.liquid.fetching import Fetched, Fetcher, NoCredential
from infra.liquid.tags import Aborted, State

RETRIES = 5


@dataclass(frozen=True, slots=True)
class Message:
    """What became of a field. `abort` is empty when it is sent, else Braze's kind of abort; `reason` says more.

    `calls` are those of all `attempts`.
    """

    text: str
    abort: str = ""
    reason: str = ""
    attempts: int = 1
    calls: list[Fetched] = field(default_factory=list)


def render(
    source: str,
    variables: Mapping[str, Any],
    fetcher: Fetcher,
    *,
    preview: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
    first_wait_seconds: float = 1.0,
) -> Message:
    """Renders a field until it is sent or aborted. `first_wait_seconds` doubles with every retry."""
    engine = Engine(now)
    calls: list[Fetched] = []
    for attempt in range(1, RETRIES + 2):
        state = State(fetcher, seed=attempt)
        try:
            text = engine.render(source, variables, state)
        except Aborted as aborted:
            return Message("", "liquid_abort_message", str(aborted), attempt, calls + state.fetched)
        except NoCredential as error:
            return Message("", "missing_credential", f"there is no credential {error}", attempt, calls + state.fetched)
        except Unrenderable as error:
            return Message("", "template_parse_error", str(error), attempt, calls + state.fetched)
        calls += state.fetched
        if not _wants_retry(state):
            return Message(text, attempts=attempt, calls=calls)
        if preview:
            return Message("", "retry_in_preview", "a call failed and would be retried", attempt, calls)
        if attempt <= RETRIES:
            sleep(first_wait_seconds * 2 ** (attempt - 1))
    return Message("", "exhausted_cc_retries", f"{RETRIES} retries failed", RETRIES + 1, calls)


def _wants_retry(state: State) -> bool:
    return any(fetched.call.retry and fetched.may_pass for fetched in state.fetched)
