"""GET /triggers/{trigger_id}: what became of a trigger."""

from __future__ import annotations

import os
import re

from shared import aws
from shared.config import Settings
from shared.errors import NotFound
from shared.http import Answer, Handler, Request, http_handler
from shared.ledger import Ledger
from shared.outcomes import seen_from_outside

_TRIGGER_ID = re.compile(r"trg-[0-9a-f]{32}\Z")


def build(settings: Settings) -> Handler:
    ledger = Ledger(aws.dynamodb(), settings.text("LEDGER_TABLE"))

    def status(request: Request) -> Answer:
        trigger_id = request.path["trigger_id"]
        outcome = ledger.find(trigger_id) if _TRIGGER_ID.match(trigger_id) else None
        if outcome is None:
            raise NotFound(
                "no such trigger",
                field="trigger_id",
                hint="Ids are kept for 30 days; see the answer of POST /triggers.",
            )
        return Answer(
            200,
            {
                "ok": True,
                "trigger_id": trigger_id,
                "state": seen_from_outside(outcome.state).value,
                "dispatch_id": outcome.dispatch_id or None,
                "notice": outcome.notice or None,
                "reason": outcome.reason or None,
                "detail": outcome.detail or None,
            },
        )

    return http_handler({"GET /triggers/{trigger_id}": status})


handle = build(Settings(os.environ))
