"""Triggers and events whose outcome is unknown, and an operator's word on them.

    make triggers                  lists them: Braze may or may not have sent these messages, or stored these events
    make triggers TRIGGER=trg-...  what one of them was to say, and to whom, for a look into Braze
    make resend TRIGGER=trg-...    sends one again, after all; of several recipients those that are unknown
    make resend DROP=trg-...       takes one off the list: it stays unknown, and nobody is asked again

An event goes by its id as well, evt-...; one beside a trigger by the id it is listed with, trg-...t1, so that a message
that is sent again takes no event along.

What is sent again stays on the list until it has an outcome, so that nothing is lost when this command is interrupted.
Sending it again twice sends it once.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from infra.commands.stack import CannotRun, refusal, stack_of
from shared.ledger_items import KEEP_SECONDS, UNRESOLVED, whole_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

# Of an event alone, and of one beside a trigger.
_EVENT: Final = re.compile(r"evt-|.*\.t[0-9]+\Z")


@dataclass(frozen=True)
class Unresolved:
    """One send on the list; `state` is `queued` when it was sent again and has no outcome yet."""

    id: str
    state: str
    reason: str
    entered_at: datetime

    @property
    def is_event(self) -> bool:
        return _EVENT.match(self.id) is not None


@dataclass(frozen=True)
class Triggers:
    """The ledger of a stack, the queue of its triggers and that of its events.

    Every method raises `CannotRun` when AWS refuses.
    """

    dynamodb: DynamoDBClient
    table: str
    sqs: SQSClient
    queue_url: str
    event_queue_url: str

    def unresolved(self) -> Iterator[Unresolved]:
        """Oldest first."""
        start: dict[str, Any] = {}
        while True:
            page = self._asked(
                lambda start=start: self.dynamodb.query(
                    TableName=self.table,
                    IndexName=UNRESOLVED,
                    KeyConditionExpression=f"{UNRESOLVED} = :yes",
                    ExpressionAttributeValues={":yes": {"S": "yes"}},
                    **start,
                )
            )
            for item in page["Items"]:
                yield Unresolved(
                    item["id"]["S"],
                    item["state"]["S"],
                    item.get("reason", {"S": ""})["S"],
                    datetime.fromtimestamp(float(item["entered_at"]["N"]), UTC),
                )
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def payload(self, each: Unresolved) -> dict[str, Any]:
        """What was to be sent, as the message of its queue; empty when it is off the list by now."""
        found = self._asked(lambda: self.dynamodb.get_item(TableName=self.table, Key={"id": {"S": each.id}}))
        text = found.get("Item", {}).get("payload", {"S": "{}"})["S"]
        payload: dict[str, Any] = json.loads(text)
        return payload

    def resend(self, each: Unresolved) -> bool:
        """Puts it back into its queue; False when it has got an outcome meanwhile."""
        old = self._changed(
            each.id,
            "SET #state = :queued REMOVE reason, detail",
            "#state IN (:unknown, :queued)",
            {":queued": {"S": "queued"}},
        )
        if old is None:
            return False
        payload = old["payload"]["S"]
        queue_url = self.event_queue_url if each.is_event else self.queue_url
        self._asked(lambda: self.sqs.send_message(QueueUrl=queue_url, MessageBody=payload))
        return True

    def drop(self, each: Unresolved) -> bool:
        """Takes it off the list; False when it is under way again or has got an outcome."""
        words = "an operator let it be: Braze may or may not have it"
        update = f"SET detail = :words, expires_at = :expiry REMOVE payload, {UNRESOLVED}"
        values = {":words": {"S": words}, ":expiry": _expiry()}
        return self._changed(each.id, update, "#state = :unknown", values) is not None

    def let_expire(self, whole: str) -> None:
        """For one of several recipients none of whom is unknown any longer: it was kept as long as somebody was."""

        def change() -> None:
            with suppress(self.dynamodb.exceptions.ConditionalCheckFailedException):
                self.dynamodb.update_item(
                    TableName=self.table,
                    Key={"id": {"S": whole}},
                    UpdateExpression="SET expires_at = :expiry",
                    ConditionExpression="attribute_exists(parts)",
                    ExpressionAttributeValues={":expiry": _expiry()},
                )

        self._asked(change)

    def _changed(self, entry_id: str, update: str, condition: str, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """The entry as it was before, or None when the condition or its place on the list is gone."""

        def change() -> dict[str, Any] | None:
            try:
                return dict(
                    self.dynamodb.update_item(
                        TableName=self.table,
                        Key={"id": {"S": entry_id}},
                        UpdateExpression=update,
                        ConditionExpression=f"attribute_exists({UNRESOLVED}) AND {condition}",
                        ExpressionAttributeNames={"#state": "state"},
                        ExpressionAttributeValues={":unknown": {"S": "unknown"}, **values},
                        ReturnValues="ALL_OLD",
                    )["Attributes"]
                )
            except self.dynamodb.exceptions.ConditionalCheckFailedException:
                return None

        found: dict[str, Any] | None = self._asked(change)
        return found

    @staticmethod
    def _asked(call: Any) -> Any:
        try:
            return call()
        except (BotoCoreError, ClientError) as error:
            raise CannotRun(refusal(error)) from None


def triggers_of(environment: Mapping[str, str]) -> Triggers:
    """Those of the stack the environment means."""
    stack = stack_of(environment)
    return Triggers(
        stack.client("dynamodb"),
        stack.physical_id("LedgerTable"),
        stack.client("sqs"),
        stack.physical_id("TriggerQueue"),
        stack.physical_id("TrackQueue"),
    )


def meant(name: str, listed: Sequence[Unresolved]) -> list[Unresolved]:
    """What of this trigger or event is on the list: itself, or some of its recipients. Raises `CannotRun` for nothing.

    The events beside a trigger are not meant with it.
    """
    is_event = _EVENT.match(name) is not None
    found = [
        each for each in listed if each.id == name or (each.id.startswith(f"{name}.") and each.is_event is is_event)
    ]
    if not found:
        raise CannotRun(f"{name} is not on the list of make triggers")
    return found


def run(command: str, environment: Mapping[str, str], console: Console) -> int:
    """Does what is asked for and returns the exit code."""
    try:
        if command == "resend":
            return _resend(environment, console)
        triggers = triggers_of(environment)
        listed = list(triggers.unresolved())
        if name := environment.get("TRIGGER", ""):
            for each in meant(name, listed):
                _show(each, triggers.payload(each), console)
            return 0
        for each in listed:
            kind = " (event)" if each.is_event else ""
            again = " (sent again, no outcome yet)" if each.state != "unknown" else ""
            console.print(f"{each.entered_at:%Y-%m-%d %H:%M} {each.id} {each.reason}{kind}{again}", soft_wrap=True)
        events = sum(each.is_event for each in listed)
        console.print(
            f"{len(listed) - events} triggers and {events} events are unknown: Braze may or may not have them"
        )
        return 0
    except CannotRun as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2


def _resend(environment: Mapping[str, str], console: Console) -> int:
    again, drop = environment.get("TRIGGER", ""), environment.get("DROP", "")
    if bool(again) == bool(drop):
        raise CannotRun("which trigger? As in: make resend TRIGGER=trg-..., or make resend DROP=trg-...")
    triggers = triggers_of(environment)
    listed = list(triggers.unresolved())
    done = []
    for each in meant(again or drop, listed):
        if triggers.resend(each) if again else triggers.drop(each):
            done.append(each)
        else:
            console.print(f"{each.id} was left alone: it is under way, or has an outcome", soft_wrap=True)
    waiting = {whole_of(each.id) for each in listed if each.state == "unknown" and each not in done}
    for whole in {whole_of(each.id) for each in done} - waiting:
        triggers.let_expire(whole)
    console.print(f"{len(done)} messages are {'back in the queue' if again else 'off the list'}")
    return 0 if done else 1


def _show(each: Unresolved, payload: Mapping[str, Any], console: Console) -> None:
    console.print(f"{each.id} {each.reason}", markup=False, soft_wrap=True)
    if "kind" in payload:
        console.print(f"  {payload['kind']} {payload['target_id']}", markup=False, soft_wrap=True)
        facts = [("to", recipient["address"]) for recipient in payload["recipients"]] or [("to", "its whole segment")]
        facts.append(("with", payload.get("properties", {})))
    else:
        facts = [(name, payload[name]) for name in ("event", "attributes") if name in payload]
    for name, value in facts:
        text = json.dumps(value, ensure_ascii=False)
        console.print(f"  {name} {text}", markup=False, highlight=False, soft_wrap=True)


def _expiry() -> Any:
    return {"N": str(int(time.time()) + KEEP_SECONDS)}


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], os.environ, Console()))
