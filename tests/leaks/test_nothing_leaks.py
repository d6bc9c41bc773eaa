"""Secrets and members' data are nowhere but where they must be, and no function is allowed more than it does.

One bundle is driven through everything once (`tests.leaks.drive`). The tests look at what came out: a mark in a place
that is on no list here fails, and so does a list that names what does not come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pytest

from infra.emulated import physical_name
from infra.local import views
from infra.local.bundle import BundleSettings, LocalBundle
from infra.local.settings import CAMPAIGN_ID, ROOT
from infra.local.template import Template
from tests.leaks.drive import WRITE, Drive, Evidence
from tests.leaks.permissions import permissions
from tests.leaks.watched_aws import AwsCall, WatchedAws
from tests.unit.docs.material import operations


@dataclass(frozen=True)
class Driven:
    evidence: Evidence
    calls: list[AwsCall]
    allowed: dict[str, set[tuple[str, str]]]  # actions and patterns of resources, by function


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Driven:
    folder = tmp_path_factory.mktemp("leaks")
    watched: list[WatchedAws] = []

    def between(url: str) -> str:
        watched.append(WatchedAws(url).__enter__())
        return watched[0].url

    settings = BundleSettings(
        state_dir=folder,
        latency_scale=0,
        queue_overrides={"VisibilityTimeout": 3, "maxReceiveCount": 3},
        postpone_scale=0.02,
        aws_between=between,
        parameters={
            "BroadcastAllowedIds": CAMPAIGN_ID,
            "TagReadBackSample": "3",
            "ConnectOperations": f"/incentives/api/1.0/user_points/all_balances,{WRITE}",
        },
    )
    with LocalBundle(settings) as bundle:
        evidence = Drive(bundle, watched[0], folder / "commands").run()
        found = Driven(evidence, watched[0].seen, permissions(Template.load(), bundle.deployment))
    watched[0].__exit__(None, None, None)
    return found


# --- what is logged and answered --------------------------------------------------------------------------------------


# The one thing of a request that is logged: which campaign or Canvas a call to Braze was for.
_CAMPAIGN = re.compile(r'"target_id":"[A-Za-z0-9_-]{1,64}"')


def test_nothing_marked_is_in_a_log_a_metric_or_an_access_log(driven: Driven) -> None:
    logs = driven.evidence.logs
    leaks = {
        (name, what, line[:300])
        for name, text in logs.items()
        for line in text.splitlines()
        for what in driven.evidence.marks.found_in(_CAMPAIGN.sub("", line))
    }

    assert not leaks
    silent = {name for name, text in logs.items() if "CloudWatchMetrics" not in text and "-access" not in name}
    assert silent <= {"moto.log", "authorizer.log"}, "what is not there cannot be looked at"


def test_our_error_answers_hold_nothing_that_was_sent_but_the_name_of_an_unknown_field(driven: Driven) -> None:
    leaks = set()
    refused = 0
    for answer in driven.evidence.answers:
        body = _json(answer.text)
        if answer.status < 400 or not isinstance(body, dict) or body.get("ok") is not False:
            continue
        refused += 1
        if body["code"] == "unknown_field":
            body["field"] = ""
        for place in (answer.headers, json.dumps(body)):
            leaks |= {(answer.route, answer.sent, what, place) for what in driven.evidence.marks.found_in(place)}

    assert not leaks
    assert refused > 200


def test_no_answer_holds_a_secret_and_no_header_anything_marked(driven: Driven) -> None:
    marks = driven.evidence.marks
    leaks = {
        (answer.route, answer.sent, what)
        for answer in driven.evidence.answers
        for what in (*_secrets_in(marks.found_in(answer.text)), *marks.found_in(answer.headers))
    }

    assert not leaks


# Every other route answers without repeating whom or what it was asked about.
_ANSWERS_WITH_DATA = {
    # reads, which are asked for it
    "GET /wallet/{user_id}",
    "POST /wallet",
    "POST /offers/api/2.0/offers/get_user_offers",
    "POST /incentives/{operation+}",
    "POST /users/export/ids",
    "POST /offers/{operation+}",  # SessionM's own answer to a write
    # what was asked about is said again, as an id of a segment, a product, an event; no member
    "GET /segments/{segment_id}/size",
    "GET /segments/sizes",
    "GET /events/{event}/count",
    "GET /products/{product}/sold",
    "GET /templates/email/info",
    # the upload address ends in the file's own name
    "POST /tag-imports",
}


def test_only_reads_answer_with_data(driven: Driven) -> None:
    with_data = {
        answer.route
        for answer in driven.evidence.answers
        if answer.status < 400 and driven.evidence.marks.found_in(answer.text)
    }

    assert with_data == _ANSWERS_WITH_DATA


def test_every_route_was_asked_and_every_function_met_what_it_should(driven: Driven) -> None:
    answered = {answer.route for answer in driven.evidence.answers if answer.status < 300}
    refused = {answer.route for answer in driven.evidence.answers if 400 <= answer.status < 500}
    all_routes = {operation.route for operation in operations()}

    # Those of an id that nobody has; and an operation that is not open, or not known to the simulator.
    assert all_routes - answered <= {
        "GET /triggers/{trigger_id}",
        "GET /events/{event_id}",
        "GET /wallet-prefetches/{prefetch_id}",
        "POST /catalog/{operation+}",
        "POST /transactions/{operation+}",
        "POST /segment-exports/{import_id}/callback/{token}",
    }
    assert all_routes - refused == {"GET /health"}


# --- commands ---------------------------------------------------------------------------------------------------------

# Modules that targets of the Makefile run, and that are about no member: they build, measure, or talk to the person who
# typed in what they print.
_ABOUT_NOBODY = {"infra.local", "infra.build", "infra.npm", "infra.liquid", "infra.release"}


def test_no_command_prints_anything_marked(driven: Driven) -> None:
    run = {*re.findall(r"-m (infra\.(?:commands\.)?\w+)", (ROOT / "Makefile").read_text(encoding="utf-8"))}

    assert run - _ABOUT_NOBODY == driven.evidence.commands.keys()
    printed = driven.evidence.commands
    assert not {(name, what) for name, text in printed.items() for what in driven.evidence.marks.found_in(text)}
    assert all(printed.values())


# --- what is kept -----------------------------------------------------------------------------------------------------

# What may be written where, by function, operation and resource: fields by the beginning of their path, and whose words
# may be in them. In a path [] is an element, (json) the inside of a text, <name> the name of a field.
_KEPT: Mapping[tuple[str, str, str], Mapping[str, set[str]]] = {
    # tags on their way
    ("tag-webhook", "sqs:SendMessageBatch", "local-tag-queue"): {
        ".Entries[].MessageBody(json).rows[]": {"member", "request"},
        ".Entries[].MessageBody(json).labels[]": {"request"},
        ".Entries[].MessageBody(json).once": {"request"},  # the key of a counter
    },
    ("tag-import", "sqs:SendMessageBatch", "local-bulk-tag-queue"): {
        ".Entries[].MessageBody(json).rows[]": {"member", "data"},  # a cell in the column of ids is an id
        ".Entries[].MessageBody(json).labels[]": {"request"},
    },
    # files: what is uploaded, its own rows that came to nothing, and where it lies
    ("tag-import-submit", "s3:PutObject", "local-import-bucket/imports"): {".body": {"member", "data"}},
    ("tag-import", "s3:PutObject", "local-import-bucket/failures"): {".body": {"member", "data", "request"}},
    ("tag-import", "s3:GetObject", "local-import-bucket/imports"): {".key": {"data"}},
    # imports: which segment, file and tags
    ("tag-import-submit", "dynamodb:PutItem", "table/local-imports-table"): {
        ".Item.job.S(json).options.tags[]": {"request"},
        ".Item.job.S(json).export.segment_id": {"request"},
        ".Item.job.S(json).source.key": {"request"},
    },
    ("tag-import", "dynamodb:PutItem", "table/local-imports-table"): {
        ".Item.job.S(json).options.tags[]": {"request"},
        ".Item.job.S(json).export.segment_id": {"request"},
        ".Item.job.S(json).source.key": {"data"},
        ".Item.job.S(json).reason": {"member", "data"},  # why Braze refused an export, in its own words
    },
    ("tag-import", "s3:PutObject", "local-import-bucket/exports"): {".body": {"member"}},
    ("segment-export-callback", "dynamodb:PutItem", "table/local-imports-table"): {
        ".Item.job.S(json).options.tags[]": {"request"},
    },
    # rows that came to nothing, and one of each tag to read back
    ("tag-delivery", "dynamodb:TransactWriteItems", "table/local-imports-table"): {
        ".TransactItems[].Update.ExpressionAttributeValues.:example.S(json)[]": {"member", "request"},
    },
    # messages and events on their way
    ("trigger-intake", "sqs:SendMessageBatch", "local-trigger-queue"): {
        ".Entries[].MessageBody(json).recipients[].address.": {"member", "request"},
        ".Entries[].MessageBody(json).recipients[].properties.": {"data", "request"},
        ".Entries[].MessageBody(json).properties.": {"data", "request"},
        ".Entries[].MessageBody(json).target_id": {"request"},
    },
    ("trigger-intake", "sqs:SendMessageBatch", "local-urgent-trigger-queue"): {
        ".Entries[].MessageBody(json).recipients[].address.": {"member"},
        ".Entries[].MessageBody(json).properties.": {"data"},
    },
    ("trigger-intake", "sqs:SendMessageBatch", "local-track-queue"): {
        ".Entries[].MessageBody(json).event.": {"member", "data"},
        ".Entries[].MessageBody(json).attributes.": {"member", "data"},
    },
    ("event-intake", "sqs:SendMessageBatch", "local-track-queue"): {
        ".Entries[].MessageBody(json).event.": {"member", "data", "request"},
        ".Entries[].MessageBody(json).attributes.": {"member", "data", "request"},
    },
    # what is unknown, to be sent again, and Braze's words on what it refused
    ("trigger-delivery", "dynamodb:TransactWriteItems", "table/local-ledger-table"): {
        ".TransactItems[].Update.ExpressionAttributeValues.:payload.S(json).recipients[].address.": {"member"},
        ".TransactItems[].Update.ExpressionAttributeValues.:payload.S(json).properties.": {"data"},
        ".TransactItems[].Update.ExpressionAttributeValues.:detail.S": {"member", "data"},
    },
    ("track-delivery", "dynamodb:TransactWriteItems", "table/local-ledger-table"): {
        ".TransactItems[].Update.ExpressionAttributeValues.:payload.S(json).event.": {"member", "data"},
        ".TransactItems[].Update.ExpressionAttributeValues.:payload.S(json).attributes.": {"member"},
        ".TransactItems[].Update.ExpressionAttributeValues.:detail.S": {"member", "data"},
    },
    # wallets, for as long as they are cached; sizes and counts, which are about nobody
    ("wallet", "dynamodb:UpdateItem", "table/local-cache-table"): {
        ".ExpressionAttributeValues.:value.S": {"member", "data"},
    },
    ("wallet", "dynamodb:UpdateItem", "table/local-ledger-table"): {
        ".ExpressionAttributeValues.:detail.S(json)": {"member"},  # SessionM's answer to a write, for its repeat
    },
    # wallets before a send: whose, and which are there
    ("wallet-prefetch", "dynamodb:PutItem", "table/local-imports-table"): {".Item.job.S(json).export.": {"request"}},
    ("wallet-prefetch", "s3:PutObject", "local-import-bucket/exports"): {".body": {"member", "request"}},
    ("tag-import", "sqs:SendMessageBatch", "local-prefetch-queue"): {
        ".Entries[].MessageBody(json).rows[]": {"member", "request"},
    },
    ("wallet-prefetch-delivery", "dynamodb:TransactWriteItems", "table/local-imports-table"): {
        ".TransactItems[].Update.ExpressionAttributeValues.:example.S(json)[]": {"member"},
    },
    ("wallet-prefetch-delivery", "dynamodb:UpdateItem", "table/local-cache-table"): {
        ".ExpressionAttributeValues.:value.S": {"member", "data"},
    },
    ("segment-size", "dynamodb:UpdateItem", "table/local-cache-table"): {".Key.id.S": {"request"}},
    ("segment-size", "dynamodb:GetItem", "table/local-cache-table"): {".Key.id.S": {"request"}},
}


def test_what_is_written_to_a_store_holds_data_in_the_fields_for_it_alone(driven: Driven) -> None:
    found: dict[tuple[str, str, str], dict[str, set[str]]] = {}
    for call in driven.calls:
        for path, text in _texts(call.written):
            for what in driven.evidence.marks.found_in(text):
                place = (call.function, call.operation, call.resource)
                found.setdefault(place, {}).setdefault(path, set()).add(what.partition(":")[0])
    leaks = [
        f"{' '.join(place)} {path}: {', '.join(sorted(kinds))}"
        for place, fields in found.items()
        for path, kinds in fields.items()
        if not kinds <= _allowed_in(_KEPT.get(place, {}), path)
    ]
    unused = [
        f"{' '.join(place)} {path}"
        for place, fields in _KEPT.items()
        for path in fields
        if not any(each.startswith(path) for each in found.get(place, {}))
    ]

    assert not sorted(leaks)
    assert not unused


def _allowed_in(fields: Mapping[str, set[str]], path: str) -> set[str]:
    return {kind for beginning, kinds in fields.items() if path.startswith(beginning) for kind in kinds}


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a JSON value by its path; one that is JSON itself is looked into."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{path}.<name>", name
            yield from _texts(
                item, f"{path}.{name}" if name.isascii() and not _OF_A_REQUEST.search(name) else f"{path}.*"
            )
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, f"{path}[]")
    elif isinstance(value, str):
        inside = _json(value) if value[:1] in ("{", "[") else None
        if inside is None:
            yield path, value
        else:
            yield from _texts(inside, f"{path}(json)")


def test_dead_letters_hold_what_was_sent_and_no_attribute_that_names_anybody(driven: Driven) -> None:
    letters = driven.evidence.dead_letters
    told = {
        json.dumps({name: item for name, item in letter.items() if name != "Body"}, default=str) for letter in letters
    }

    assert len({letter["queue"] for letter in letters}) > 3
    assert not {what for text in told for what in driven.evidence.marks.found_in(text)}
    assert not {what for letter in letters for what in _secrets_in(driven.evidence.marks.found_in(letter["Body"]))}


# --- what vendors are told --------------------------------------------------------------------------------------------


def test_no_vendor_learns_a_key_that_is_not_its_own(driven: Driven) -> None:
    own = {
        "braze": {"secret: Braze key"},
        "sessionm": {"secret: core_api_key", "secret: core_api_secret", "secret: connect_authorization"},
    }
    own["braze"].add("secret: token of a callback")  # it is Braze that calls back
    shown: dict[str, set[str]] = {}
    for vendor, requests in driven.evidence.asked.items():
        for request in requests:
            told = f"{request.path} {request.query} {dict(request.headers)} {request.body.decode('utf-8', 'replace')}"
            shown.setdefault(vendor, set()).update(_secrets_in(driven.evidence.marks.found_in(told)))

    assert shown == own


def test_no_query_or_header_of_a_vendors_request_holds_data(driven: Driven) -> None:
    leaks = {
        (vendor, f"{request.method} {request.path}", what)
        for vendor, requests in driven.evidence.asked.items()
        for request in requests
        for what in driven.evidence.marks.found_in(f"{request.query} {dict(request.headers)}")
        # A query is what the caller asked Braze to read: by a parameter of Braze's, or a segment's id.
        if not what.startswith(("secret", "request: GET ")) and not what.endswith("segment_id")
    }

    assert not leaks


# --- permissions ------------------------------------------------------------------------------------------------------

# By Lambda, X-Ray and CloudWatch Logs in the function's name, not by its code.
_NOT_BY_CODE = {
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
}

# What is allowed and does not come to pass in such a drive, with why it is needed.
_RARE: Mapping[tuple[str, str, str], str] = {
    ("segment-refresh", "sqs:SendMessage", "local-failed-events-queue"): "by Lambda, of a run that failed for good",
    ("tag-delivery", "sqs:SendMessage", "local-tag-queue"): "rows not reached in a worker's time are put back",
    ("tag-delivery", "sqs:SendMessage", "local-bulk-tag-queue"): "the same",
    ("wallet-prefetch-delivery", "sqs:SendMessage", "local-prefetch-queue"): "the same",
    ("tag-import", "sqs:SendMessage", "local-import-queue"): "an import has not come to its end in a worker's time",
    ("tag-import", "s3:AbortMultipartUpload", "local-import-bucket/exports/*"): "a file above 8 MiB fails halfway",
    ("tag-import", "s3:AbortMultipartUpload", "local-import-bucket/failures/*"): "the same",
    ("tag-import", "s3:GetObjectVersion", "local-import-bucket/imports/*"): "the emulated bucket tells no version",
    ("wallet", "dynamodb:BatchGetItem", "local-cache-table"): "which places of calls are taken, once one's own is",
}


def test_every_call_that_a_function_makes_is_allowed(driven: Driven) -> None:
    refused = {
        (call.function, permission, resource)
        for call in driven.calls
        for permission, resource in call.permissions
        if not any(
            permission == action and fnmatchcase(resource, pattern) for action, pattern in driven.allowed[call.function]
        )
    }

    assert not refused


def test_everything_that_a_function_is_allowed_is_done(driven: Driven) -> None:
    done: dict[str, set[tuple[str, str]]] = {}
    for call in driven.calls:
        done.setdefault(call.function, set()).update(call.permissions)
    idle = {
        (function, action, _short(pattern))
        for function, pairs in driven.allowed.items()
        for action, pattern in pairs
        if action not in _NOT_BY_CODE
        and not any(action == seen and fnmatchcase(resource, pattern) for seen, resource in done.get(function, ()))
    }

    assert idle <= set(_RARE)
    granted = {
        (function, action, _short(pattern)) for function, pairs in driven.allowed.items() for action, pattern in pairs
    }
    assert set(_RARE) <= granted


def test_pollers_take_from_the_queues_of_their_function_alone(driven: Driven) -> None:
    template = Template.load()
    names = {logical_id: function.name for logical_id, function in views.functions(template).items()}
    mapped = {(names[each.function], physical_name(each.queue)) for each in views.queue_mappings(template)}
    allowed = {
        (function, pattern.rpartition(":")[2])
        for function, pairs in driven.allowed.items()
        for action, pattern in pairs
        if action == "sqs:ReceiveMessage"
    }

    assert allowed == mapped


# --- details ----------------------------------------------------------------------------------------------------------

_OF_A_REQUEST = re.compile("qzmark", re.IGNORECASE)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _short(arn: str) -> str:
    return arn.rpartition(":")[2].removeprefix("table/")


def _secrets_in(found: set[str]) -> set[str]:
    return {what for what in found if what.startswith("secret")}
