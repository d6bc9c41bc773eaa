"""`make redrive` and `make failures` on emulated AWS: nothing given up is lost, and nothing unsent is hidden."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from rich.console import Console

from bulk.jobs import Job, Jobs, JobState
from bulk.parcels import Label, Parcel, Row
from bulk.verdicts import Verdicts
from infra.commands import failures, redrive
from infra.commands.stack import CannotRun, Stack, stack_of
from infra.local import views
from infra.local.template import Template
from member_lists.failures import COLUMNS, cells_of_refused, failure_key
from member_lists.finish import csv_pieces
from shared.outcomes import Outcome, State
from tests.integration.support.aws import Aws
from tests.integration.support.faulty_aws import Answer, FaultyAws

LARGE = "x" * 100_000


@pytest.fixture
def stack(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """A stack, named in STACK, whose resources are this test's."""
    queues = {
        logical_id: {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": f"{aws.name}-{logical_id}"}}
        for logical_id in (
            *("TagQueue", "TagDeadLetterQueue", "UrgentTriggerQueue", "UrgentTriggerDeadLetterQueue"),
            "FailedEventsQueue",
        )
    }
    table = {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "TableName": f"{aws.name}-imports",
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in ("import_id", "item")],
            "KeySchema": [
                {"AttributeName": "import_id", "KeyType": "HASH"},
                {"AttributeName": "item", "KeyType": "RANGE"},
            ],
        },
    }
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{aws.name}-files"}}
    outputs = {"ImportBucketName": {"Value": "bucket"}}
    template = {"Resources": {**queues, "ImportsTable": table, "ImportBucket": bucket}, "Outputs": outputs}
    cloudformation = boto3.client("cloudformation", endpoint_url=aws.url)
    cloudformation.create_stack(StackName=aws.name, TemplateBody=json.dumps(template))
    monkeypatch.setenv("STACK", aws.name)
    yield aws
    cloudformation.delete_stack(StackName=aws.name)


def url(aws: Aws, logical_id: str) -> str:
    return f"{aws.url}/123456789012/{aws.name}-{logical_id}"


def put(aws: Aws, logical_id: str, *bodies: str) -> None:
    for body in bodies:
        aws.sqs.send_message(QueueUrl=url(aws, logical_id), MessageBody=body)


def waiting(aws: Aws, logical_id: str) -> list[str]:
    bodies: list[str] = []
    while messages := aws.sqs.receive_message(QueueUrl=url(aws, logical_id), MaxNumberOfMessages=10).get("Messages"):
        bodies += [message["Body"] for message in messages]
    return bodies


def run(aws: Aws, **environment: str) -> tuple[int, str]:
    text = io.StringIO()
    given = {"STACK": aws.name, "AWS_REGION": "us-east-1", **environment}
    code = redrive.run(given, Console(file=text, width=200), wait_seconds=0)
    return code, text.getvalue()


def test_dead_letters_go_back_to_their_queue_each_once(stack: Aws) -> None:
    bodies = [f"message {number}" for number in range(25)]
    put(stack, "TagDeadLetterQueue", *bodies)

    code, text = run(stack, QUEUE="tag")

    assert code == 0
    assert "25 messages are back in TagQueue" in text
    assert sorted(waiting(stack, "TagQueue")) == sorted(bodies)
    assert not waiting(stack, "TagDeadLetterQueue")


def test_messages_too_large_for_one_call_go_in_several(stack: Aws) -> None:
    put(stack, "TagDeadLetterQueue", *[f"{number}{LARGE}" for number in range(5)])

    assert run(stack, QUEUE="tag")[0] == 0
    assert len(waiting(stack, "TagQueue")) == 5


def test_a_dry_run_counts_and_moves_nothing(stack: Aws) -> None:
    put(stack, "TagDeadLetterQueue", "one", "two")

    code, text = run(stack, QUEUE="tag", DRY="yes")

    assert code == 0
    assert "about 2 messages" in text
    assert len(waiting(stack, "TagDeadLetterQueue")) == 2


def test_a_message_is_deleted_only_once_it_was_sent(stack: Aws, faulty_aws: FaultyAws) -> None:
    put(stack, "TagDeadLetterQueue", "one", "two")
    faulty_aws.refuse("SendMessageBatch")

    code, text = run(stack, QUEUE="tag")

    assert code == 2
    assert "What was not moved stays where it is" in text
    assert "DeleteMessageBatch" not in faulty_aws.calls


def refusing(*codes: str | None) -> Callable[[bytes], Answer]:
    """Answers a batch: entry by entry refused with that code, or taken where it is None. Others are left out."""

    def answer(body: bytes) -> Answer:
        taken, refused = [], []
        for entry, code in zip(json.loads(body)["Entries"], codes, strict=False):
            if code is None:
                taken.append({"Id": entry["Id"], "MessageId": "1", "MD5OfMessageBody": ""})
            else:
                refused.append({"Id": entry["Id"], "SenderFault": False, "Code": code, "Message": "about loyal-1"})
        return 200, {}, json.dumps({"Successful": taken, "Failed": refused}).encode()

    return answer


def test_of_a_batch_taken_in_part_only_that_part_is_deleted_and_the_rest_is_told(
    stack: Aws, faulty_aws: FaultyAws
) -> None:
    put(stack, "TagDeadLetterQueue", "loyal-1", "loyal-1", "loyal-1", "loyal-1")
    deleted: list[Any] = []

    def remember(body: bytes) -> None:
        deleted.extend(json.loads(body)["Entries"])

    faulty_aws.answer("SendMessageBatch", refusing(None, "InternalError", "InternalError"))
    faulty_aws.answer("DeleteMessageBatch", remember)

    code, text = run(stack, QUEUE="tag")

    assert (code, len(deleted)) == (1, 1)
    assert "1 messages are back in TagQueue" in text
    assert "3 stay in TagDeadLetterQueue, because SQS did not take them: 2 InternalError, 1 no reason given" in text
    assert "loyal-1" not in text


def test_messages_that_were_sent_but_not_deleted_are_told_to_be_in_both_queues(
    stack: Aws, faulty_aws: FaultyAws
) -> None:
    put(stack, "TagDeadLetterQueue", "one", "two")
    faulty_aws.answer("DeleteMessageBatch", refusing(None, "ReceiptHandleIsInvalid"))

    code, text = run(stack, QUEUE="tag")

    assert code == 1
    assert "2 messages are back in TagQueue" in text
    assert "1 are in TagQueue and still in TagDeadLetterQueue, because SQS did not delete them: 1 Receipt" in text
    assert len(waiting(stack, "TagQueue")) == 2


def test_a_run_that_may_not_delete_stops_before_it_doubles_more(stack: Aws, faulty_aws: FaultyAws) -> None:
    put(stack, "TagDeadLetterQueue", *(str(number) for number in range(12)))
    faulty_aws.refuse("DeleteMessageBatch")

    code, text = run(stack, QUEUE="tag")

    assert code == 2
    assert "10 messages that were sent may be in both queues" in text
    assert len(waiting(stack, "TagQueue")) == 10


def test_a_message_that_is_refused_and_later_moved_did_not_stay(stack: Aws, faulty_aws: FaultyAws) -> None:
    one, two = ({"MessageId": each, "ReceiptHandle": each, "Body": each} for each in ("one", "two"))
    received = [[one, two], [two], []]  # as in a run that lasts until what was refused can be received again
    sent = [refusing(None, "InternalError"), refusing(None)]
    faulty_aws.answer("ReceiveMessage", lambda _: (200, {}, json.dumps({"Messages": received.pop(0)}).encode()))
    faulty_aws.answer("SendMessageBatch", lambda body: sent.pop(0)(body))
    faulty_aws.answer("DeleteMessageBatch", refusing(None))

    code, text = run(stack, QUEUE="tag")

    assert (code, "2 messages are back in TagQueue" in text, "stay" in text) == (0, True, False)


def test_a_queue_that_takes_nothing_ends_the_run_and_what_was_moved_before_is_told(
    stack: Aws, faulty_aws: FaultyAws
) -> None:
    put(stack, "TagDeadLetterQueue", *(str(number) for number in range(12)))
    answers: list[Callable[[bytes], Answer | None]] = [lambda _: None, refusing("InternalError", "InternalError")]
    faulty_aws.answer("SendMessageBatch", lambda body: answers.pop(0)(body))

    code, text = run(stack, QUEUE="tag")

    assert code == 2
    assert "10 messages are back in TagQueue" in text
    assert "the queue takes no message: 2 InternalError; what was not moved stays where it is" in text


@pytest.mark.parametrize("operation", ["ReceiveMessage", "GetQueueAttributes"])
def test_a_refusal_of_sqs_is_told(stack: Aws, faulty_aws: FaultyAws, operation: str) -> None:
    faulty_aws.refuse(operation)

    code, text = run(stack, QUEUE="tag")

    assert code == 2
    assert "SQS refuses" in text


def test_failed_events_are_listed_without_their_content_and_stay(stack: Aws) -> None:
    dropped = {"detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {"key": "imports/a.csv"}}}
    put(
        stack,
        "FailedEventsQueue",
        json.dumps(dropped),
        json.dumps({"segment_export": {"segment_id": "segment-1", "tags": ["gold"]}}),
        json.dumps({"requestPayload": {"detail-type": "Scheduled Event"}, "responsePayload": {}}),
        "no JSON",
    )
    stack.sqs.send_message(
        QueueUrl=url(stack, "FailedEventsQueue"),
        MessageBody=json.dumps(dropped),
        MessageAttributes={"ERROR_CODE": {"DataType": "String", "StringValue": "NO_PERMISSIONS"}},
    )

    code, text = run(stack, QUEUE="failed-events")

    assert code == 0
    for line in (
        "file imports/a.csv: drop it again (no reason given)",
        "file imports/a.csv: drop it again (NO_PERMISSIONS)",
        "export of segment segment-1: start it with POST /segment-exports",
        "Scheduled Event: see the log of its function",
        "something else",
        "5 failed events",
    ):
        assert line in text
    attributes = stack.sqs.get_queue_attributes(
        QueueUrl=url(stack, "FailedEventsQueue"), AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )["Attributes"]
    assert attributes["ApproximateNumberOfMessagesNotVisible"] == "5"


def test_every_queue_has_dead_letters_of_its_own_which_go_back_to_it() -> None:
    pairs = {
        name: queue.dead_letter_queue
        for name, queue in views.queues(Template.load()).items()
        if queue.dead_letter_queue is not None
    }

    assert dict(redrive.QUEUES.values()) == pairs
    assert len(set(pairs.values())) == len(pairs)


def test_urgent_dead_letters_go_back_to_where_nothing_waits_behind_a_burst(stack: Aws) -> None:
    put(stack, "UrgentTriggerDeadLetterQueue", "pressing")

    code, text = run(stack, QUEUE="urgent-trigger")

    assert (code, "1 messages are back in UrgentTriggerQueue" in text) == (0, True)
    assert waiting(stack, "UrgentTriggerQueue") == ["pressing"]


@pytest.mark.parametrize("queue", ["", "tags"])
def test_a_queue_that_is_none_is_told_from_those_there_are(stack: Aws, queue: str) -> None:
    code, text = run(stack, QUEUE=queue)

    assert code == 2
    assert "tag, bulk-tag, prefetch, import, trigger, urgent-trigger, track, failed-events" in text


# --- which stack ------------------------------------------------------------------------------------------------------


def test_a_resource_or_stack_that_is_not_there_is_told(stack: Aws) -> None:
    there = stack_of({"STACK": stack.name, "AWS_REGION": "us-east-1"})

    assert there.outputs() == {"ImportBucketName": "bucket"}
    with pytest.raises(CannotRun, match="TriggerQueue of the stack"):
        there.physical_id("TriggerQueue")
    with pytest.raises(CannotRun, match="nothing-of-this-name"):
        Stack("nothing-of-this-name", "nothing-of-this-name", there.session).outputs()


def test_the_bundle_on_this_machine_is_meant_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    path.write_text('{"aws_url": "http://127.0.0.1:9"}', encoding="utf-8")

    assert stack_of({}, path).endpoint_url == "http://127.0.0.1:9"
    assert stack_of({"STACK": "mine", "AWS_REGION": "eu-west-1"}, path).place == "the stack mine in eu-west-1"
    assert stack_of({"AWS_REGION": "eu-west-1"}, tmp_path / "nothing").endpoint_url is None


# --- failures ---------------------------------------------------------------------------------------------------------


def test_rows_that_were_not_sent_are_fetched_as_a_failure_file(
    stack: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parcel = Parcel("webhook-2026-11-22", "a-0", [Label("external_id", ("gold",))], [Row(0, "loyal-1", 0)])
    verdicts = Verdicts(stack.dynamodb, f"{stack.name}-imports", 30)
    (settling,) = verdicts.open([parcel])
    settling.settle(0, Outcome(State.UNKNOWN, "upstream_no_answer"))
    verdicts.record([settling])
    text = io.StringIO()

    code = failures.run(
        {"STACK": stack.name, "AWS_REGION": "us-east-1", "IMPORT": "webhook-2026-11-22"}, Console(file=text)
    )

    with Path("webhook-2026-11-22.failures.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [
            list(COLUMNS),
            ["", "loyal-1", "gold", "", "true", "0", "unknown", "upstream_no_answer", "", ""],
        ]
    assert code == 0
    assert "not in it: what was refused as it came in" in text.getvalue()


def one_row_refused_by_sessionm(stack: Aws, import_id: str) -> None:
    parcel = Parcel(import_id, "p-0", [Label("user_id", ("gold",))], [Row(3, "member-1", 0)])
    verdicts = Verdicts(stack.dynamodb, f"{stack.name}-imports", 30)
    (settling,) = verdicts.open([parcel])
    settling.settle(0, Outcome(State.FAILED, "user_not_found"))
    verdicts.record([settling])


def fetched(stack: Aws, import_id: str) -> tuple[int, str]:
    text = io.StringIO()
    code = failures.run(
        {"STACK": stack.name, "AWS_REGION": "us-east-1", "IMPORT": import_id}, Console(file=text, width=300)
    )
    return code, text.getvalue()


def test_of_an_import_that_has_ended_rows_refused_by_its_reading_are_listed_too(
    stack: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one_row_refused_by_sessionm(stack, "csv-0123")
    refused = [cells_of_refused(line, {"text": "x" * 200_000}, State.FAILED, "bad", "no") for line in (2, 4, 5)]
    content = b"".join([codecs.BOM_UTF8, *csv_pieces([COLUMNS, *refused])])
    stack.s3.put_object(Bucket=f"{stack.name}-files", Key=failure_key("csv-0123"), Body=content)
    job = Job(
        import_id="csv-0123",
        state=JobState.FINISHED,
        created_at=1.0,
        finished_at=2.0,
        failure_file=failure_key("csv-0123"),
    )
    Jobs(boto3.client("dynamodb"), f"{stack.name}-imports", 30).save(job)

    code, text = fetched(stack, "csv-0123")

    assert (code, "3 rows that did not become tags" in text, "not in it" in text) == (0, True, False)
    assert [each.name for each in tmp_path.iterdir()] == ["csv-0123.failures.csv"]
    assert Path("csv-0123.failures.csv").read_bytes() == content


def test_a_failure_file_that_is_gone_is_told_and_not_made_up(
    stack: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one_row_refused_by_sessionm(stack, "csv-0123")
    job = Job(import_id="csv-0123", state=JobState.FAILED, created_at=1.0, failure_file="failures/csv-0123/gone.csv")
    Jobs(boto3.client("dynamodb"), f"{stack.name}-imports", 30).save(job)

    code, text = fetched(stack, "csv-0123")

    assert (code, "AWS refuses" in text, "NoSuchKey" in text) == (2, True, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("state", [JobState.READING, JobState.DELIVERING, JobState.FAILED])
def test_of_an_import_that_has_not_ended_it_is_said_what_is_not_listed_yet(
    stack: Aws, state: JobState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one_row_refused_by_sessionm(stack, "csv-0123")
    job = Job(import_id="csv-0123", state=state, created_at=1.0)
    Jobs(boto3.client("dynamodb"), f"{stack.name}-imports", 30).save(job)

    code, text = fetched(stack, "csv-0123")

    assert (code, "1 rows that did not become tags" in text) == (0, True)
    assert "not in it: rows that were refused or skipped as the file was read, which are listed once" in text
    assert f"({state.value} now)" in text


@pytest.mark.parametrize("import_id", ["csv-0123", "webhook-2026-11-23", "wehbook-2026-11-22"])
def test_an_import_that_there_is_not_is_said_to_be_none_and_no_file_is_left(
    stack: Aws, import_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = io.StringIO()

    code = failures.run(
        {"STACK": stack.name, "AWS_REGION": "us-east-1", "IMPORT": import_id}, Console(file=text, width=300)
    )

    assert code == 2
    assert f"there is no import {import_id} there" in text.getvalue()
    assert not list(tmp_path.iterdir())


def test_an_import_all_of_whose_rows_were_refused_before_sending_is_one(
    stack: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job(import_id="csv-0123", state=JobState.FINISHED, created_at=1.0)
    Jobs(boto3.client("dynamodb"), f"{stack.name}-imports", 30).save(job)
    text = io.StringIO()

    code = failures.run({"STACK": stack.name, "AWS_REGION": "us-east-1", "IMPORT": "csv-0123"}, Console(file=text))

    assert (code, "0 rows that did not become tags" in text.getvalue()) == (0, True)


@pytest.mark.parametrize("import_id", ["", "../elsewhere"])
def test_an_import_that_is_none_is_not_asked_for(import_id: str) -> None:
    text = io.StringIO()

    assert failures.run({"IMPORT": import_id}, Console(file=text)) == 2
    assert "which import?" in text.getvalue()
