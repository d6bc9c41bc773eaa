"""Triggers whose outcome is unknown, and an operator's word on them.

    make triggers                  lists them: Braze may or may not have sent these messages
    make resend TRIGGER=trg-...    sends one again, after all; of several recipients those that are unknown
    make resend DROP=trg-...       takes one off the list: it stays unknown, and nobody is asked again

A trigger that is sent again stays on the list until it has an outcome, so that nothing is lost when this command is
interrupted. Sending it again twice sends it once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from infra.stack import CannotRun, stack_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

_INDEX: Final = "unresolved"


@dataclass(frozen=True)
class Unresolved:
    """One send on the list; `state` is `queued` when it was sent again and has no outcome yet."""

    id: str
    state: str
    reason: str
    entered_at: datetime


@dataclass(frozen=True)
class Triggers:
    """The ledger of a stack and the queue of its triggers. Every method raises `CannotRun` when AWS refuses."""

    dynamodb: DynamoDBClient
    table: str
    sqs: SQSClient
    queue_url: str

    def unresolved(self) -> Iterator[Unresolved]:
        """Oldest first."""
        start: dict[str, Any] = {}
        while True:
            page = self._asked(
                lambda start=start: self.dynamodb.query(
                    TableName=self.table,
                    IndexName=_INDEX,
                    KeyConditionExpression="unresolved = :yes",
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

    def of(self, trigger_id: str) -> list[Unresolved]:
        """What of this trigger is on the list: itself, or some of its recipients. Raises `CannotRun` for nothing."""
        found = [each for each in self.unresolved() if each.id == trigger_id or each.id.startswith(f"{trigger_id}.")]
        if not found:
            raise CannotRun(f"{trigger_id} is not on the list of make triggers")
        return found

    def resend(self, entry_id: str) -> bool:
        """Puts it back into the queue; False when it has got an outcome meanwhile."""
        old = self._changed(
            entry_id,
            "SET #state = :queued REMOVE reason, detail",
            "#state IN (:unknown, :queued)",
            {":queued": "queued"},
        )
        if old is None:
            return False
        payload = old["payload"]["S"]
        self._asked(lambda: self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=payload))
        return True

    def drop(self, entry_id: str) -> bool:
        """Takes it off the list; False when it is under way again or has got an outcome."""
        words = "an operator let it be: Braze may or may not have sent this message"
        update = "SET detail = :words REMOVE payload, unresolved"
        return self._changed(entry_id, update, "#state = :unknown", {":words": words}) is not None

    def _changed(self, entry_id: str, update: str, condition: str, values: Mapping[str, str]) -> dict[str, Any] | None:
        """The entry as it was before, or None when the condition or its place on the list is gone."""

        def change() -> dict[str, Any] | None:
            try:
                return dict(
                    self.dynamodb.update_item(
                        TableName=self.table,
                        Key={"id": {"S": entry_id}},
                        UpdateExpression=update,
                        ConditionExpression=f"attribute_exists(unresolved) AND {condition}",
                        ExpressionAttributeNames={"#state": "state"},
                        ExpressionAttributeValues={
                            f"{name}": {"S": value} for name, value in {":unknown": "unknown", **values}.items()
                        },
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
            raise CannotRun(f"AWS refuses: {error}") from None


def triggers_of(environment: Mapping[str, str]) -> Triggers:
    """Those of the stack the environment means."""
    stack = stack_of(environment)
    return Triggers(
        stack.client("dynamodb"),
        stack.physical_id("LedgerTable"),
        stack.client("sqs"),
        stack.physical_id("TriggerQueue"),
    )


def run(command: str, environment: Mapping[str, str], console: Console) -> int:
    """Does what is asked for and returns the exit code."""
    try:
        if command == "resend":
            return _resend(environment, console)
        triggers = triggers_of(environment)
        listed = 0
        for each in triggers.unresolved():
            listed += 1
            again = " (sent again, no outcome yet)" if each.state != "unknown" else ""
            console.print(f"{each.entered_at:%Y-%m-%d %H:%M} {each.id} {each.reason}{again}", soft_wrap=True)
        console.print(f"{listed} triggers are unknown: Braze may or may not have sent them")
        return 0
    except CannotRun as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2


def _resend(environment: Mapping[str, str], console: Console) -> int:
    again, drop = environment.get("TRIGGER", ""), environment.get("DROP", "")
    if bool(again) == bool(drop):
        raise CannotRun("which trigger? As in: make resend TRIGGER=trg-..., or make resend DROP=trg-...")
    triggers = triggers_of(environment)
    done = 0
    for each in triggers.of(again or drop):
        changed = triggers.resend(each.id) if again else triggers.drop(each.id)
        done += changed
        if not changed:
            console.print(f"{each.id} was left alone: it is under way, or has an outcome", soft_wrap=True)
    console.print(f"{done} messages are {'back in the queue' if again else 'off the list'}")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], os.environ, Console()))
