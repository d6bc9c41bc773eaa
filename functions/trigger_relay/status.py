"""GET /triggers/{trigger_id}: what became of a trigger."""

from __future__ import annotations

import os
import re
from typing import Any

from shared import aws
from shared.config import Settings
from shared.errors import NotFound
from shared.http import Answer, Handler, Request, http_handler
from shared.ledger import Ledger
from shared.outcomes import Outcome, seen_from_outside
from trigger_relay.standing import Standing, standing_of

_TRIGGER_ID = re.compile(r"trg-[0-9a-f]{32}\Z")


def build(settings: Settings) -> Handler:
    ledger = Ledger(aws.dynamodb_for_requests(), settings.text("LEDGER_TABLE"))

    def status(request: Request) -> Answer:
        trigger_id = request.path["trigger_id"]
        entry = ledger.find(trigger_id) if _TRIGGER_ID.match(trigger_id) else None
        if entry is None:
            raise NotFound(
                "no such trigger",
                field="trigger_id",
                hint="Ids are kept for 30 days; see the answer of POST /triggers.",
            )
        standing = standing_of(trigger_id, entry, ledger)
        return Answer(
            200,
            {
                "ok": True,
                "trigger_id": trigger_id,
                "state": standing.state.value,
                **_facts(standing.outcome),
                "recipients": _recipients(standing),
                "correlation_id": entry.correlation_id or None,
            },
        )

    return http_handler({"GET /triggers/{trigger_id}": status})


def _facts(outcome: Outcome) -> dict[str, Any]:
    return {
        "dispatch_id": outcome.dispatch_id or None,
        "notice": outcome.notice or None,
        "reason": outcome.reason or None,
        "detail": outcome.detail or None,
    }


def _recipients(standing: Standing) -> dict[str, Any] | None:
    """Of several recipients, how many are in each state, and each in the order of the request; never who they are."""
    if not standing.recipients:
        return None
    return {
        "count": len(standing.recipients),
        **standing.counts(),
        "each": [
            {"state": seen_from_outside(outcome.state).value, **_facts(outcome)} for outcome in standing.recipients
        ],
    }


handle = build(Settings(os.environ))
