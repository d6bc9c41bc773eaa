"""The running bundle answers as its API descriptions say, and every command in the pages works."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import requests
from openapi_schema_validator import OAS31Validator

from infra.local.bundle import LocalBundle
from infra.local.settings import CAMPAIGN_ID, SEGMENT_ID
from infra.local.simulators import ErrorInside200, Fault, Garbage, ResetAfterEffect, Slow, Status, Throttle
from tests.unit.docs.material import Block, Operation, blocks, operation_for, operations

JSON = {"Content-Type": "application/json"}
SEND = "/campaigns/trigger/send"
SEND_BODY = {"campaign_id": CAMPAIGN_ID, "recipients": [{"external_user_id": "LC-100001"}]}
TRIGGER_BODY = {"braze_campaign_id": CAMPAIGN_ID, "customer identifier": "LC-100001"}
OFFERS = "/offers/api/2.0/offers/get_user_offers"

AUTHORIZED = [each for each in operations() if "security" not in each.details]
# Braze's callback is answered to whoever knows its token, and to nobody else with more than a 404.
WITH_BODY = [each for each in AUTHORIZED if each.body_schema]

# These show what an earlier call was answered; other tests make that call.
OF_AN_EARLIER_CALL = {"GET /triggers/{trigger_id}", "GET /events/{event_id}", "GET /wallet-prefetches/{prefetch_id}"}

# Any operation of SessionM's. What it says of these two is not published, so the simulator refuses them as unknown.
OPERATIONS = {each.route for each in WITH_BODY if "{operation+}" in each.route}
UNKNOWN_TO_THE_SIMULATOR = {"POST /offers/{operation+}", "POST /transactions/{operation+}"}
CLOSED = "POST /catalog/{operation+}"

# Where fields of any name are welcome.
OPEN_BODIES = {"POST /triggers", "POST /events", *OPERATIONS}

# Where nothing is required: a file may say it all, and the vendor has the last word on its own requests.
EMPTY_IS_BRAZES_TO_REFUSE = {"POST /users/track", "POST /users/export/ids"}
NOTHING_IS_REQUIRED = {"POST /tag-imports", *EMPTY_IS_BRAZES_TO_REFUSE, *OPERATIONS}

BODY_LIMITS = {"1 MiB": 1_048_576, "4 MB": 4_000_000}


def call(
    bundle: LocalBundle,
    method: str,
    path: str,
    *,
    body: Any = None,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    caller: str | None = "operator",
    api: str | None = None,
) -> requests.Response:
    """One request to the API that has the route; `caller` None sends no credential."""
    operation, _ = operation_for(method, path.partition("?")[0])
    base = bundle.content_url if (api or operation.api) == "ContentApi" else bundle.intake_url
    sent = {**JSON, **(headers or {})}
    if caller is not None:
        sent.setdefault("Authorization", bundle.authorization(caller))
    return requests.request(method, base + path, json=body, data=data, headers=sent, timeout=40)


def as_documented(answer: requests.Response, operation: Operation, status: int) -> Any:
    """Checks status, type and schema of an answer; returns its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    OAS31Validator(operation.response_schema(status)).validate(body)
    if "Retry-After" in answer.headers:
        assert "Retry-After" in operation.details["responses"][str(status)]["headers"]
    return body


def checked(answer: requests.Response, method: str, path: str, status: int) -> Any:
    return as_documented(answer, operation_for(method, path.partition("?")[0])[0], status)


def concrete_path(operation: Operation) -> str:
    """The operation's path and query, filled in with its own examples."""
    path = operation.route.split(" ")[1]
    query = []
    for name, parameter in operation.parameters.items():
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", parameter["example"])
        elif "example" in parameter:
            query.append(f"{name}={parameter['example']}")
    return f"{path}?{'&'.join(query)}" if query else path


def body_limit(operation: Operation) -> int:
    """The largest body, in bytes, as the description of the 413 has it."""
    (limit,) = re.findall(r"A body above (\d \w+), ", operation.details["responses"]["413"]["description"])
    return BODY_LIMITS[limit]


# --- what works -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        pytest.param(each, body, id=f"{each} {name}")
        for each in WITH_BODY
        for name, body in each.body_examples.items()
        if each.route != CLOSED
    ],
)
def test_example_bodies_are_answered_as_documented(bundle: LocalBundle, operation: Operation, body: Any) -> None:
    key = sha256(f"{operation} {body}".encode()).hexdigest()

    answer = call(bundle, "POST", concrete_path(operation), body=body, headers={"Idempotency-Key": key})

    assert answer.ok, answer.text
    found = as_documented(answer, operation, answer.status_code)
    if operation.route in UNKNOWN_TO_THE_SIMULATOR:
        assert (found["status"], found["errors"]["code"]) == ("error", "not_found")
    elif operation.api == "ContentApi":
        assert found.get("ok", found.get("status")) in (True, "ok")


@pytest.mark.parametrize(
    "operation",
    [each for each in operations() if not each.body_schema and each.route not in OF_AN_EARLIER_CALL],
    ids=str,
)
def test_example_parameters_are_answered_as_documented(bundle: LocalBundle, operation: Operation) -> None:
    base = bundle.content_url if operation.api == "ContentApi" else bundle.intake_url
    headers = {} if "security" in operation.details else {"Authorization": bundle.authorization("operator")}

    answer = requests.get(base + concrete_path(operation), headers=headers, timeout=10)

    found = as_documented(answer, operation, 200)
    assert found.get("ok", found.get("message") == "success") is True


def test_a_trigger_can_be_followed_until_it_is_sent(bundle: LocalBundle) -> None:
    body = {**TRIGGER_BODY, "event id": "contract-1"}
    trigger = checked(call(bundle, "POST", "/triggers", body=body), "POST", "/triggers", 202)
    path = f"/triggers/{trigger['trigger_id']}"

    def state() -> Any:
        return checked(call(bundle, "GET", path), "GET", path, 200)

    bundle.wait_until(lambda: state()["state"] == "sent", what="the trigger to be sent")
    assert state()["dispatch_id"]
    assert checked(call(bundle, "POST", "/triggers", body=body), "POST", "/triggers", 202)["repeated"] is True


def test_an_event_can_be_followed_until_it_is_tracked(bundle: LocalBundle) -> None:
    body = {"event name": "points_awarded", "customer identifier": "LC-100001", "event id": "contract-2"}
    event = checked(call(bundle, "POST", "/events", body=body), "POST", "/events", 202)
    path = f"/events/{event['event_id']}"

    def state() -> Any:
        return checked(call(bundle, "GET", path), "GET", path, 200)

    bundle.wait_until(lambda: state()["state"] == "sent", what="the event to be tracked")
    assert checked(call(bundle, "POST", "/events", body=body), "POST", "/events", 202)["repeated"] is True


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", AUTHORIZED, ids=str)
def test_who_shows_no_credential_or_a_wrong_one_is_turned_away(bundle: LocalBundle, operation: Operation) -> None:
    method, path = operation.route.split(" ")[0], concrete_path(operation)

    as_documented(call(bundle, method, path, caller=None), operation, 401)
    as_documented(call(bundle, method, path, headers={"Authorization": "Bearer nobody"}), operation, 403)


@pytest.mark.parametrize("operation", AUTHORIZED, ids=str)
def test_the_key_alone_is_a_credential(bundle: LocalBundle, operation: Operation) -> None:
    method, path = operation.route.split(" ")[0], concrete_path(operation)

    answer = call(bundle, method, path, headers={"Authorization": f"Bearer {bundle.callers['operator']}"})

    assert answer.status_code not in (401, 403)


def test_a_caller_has_only_its_own_routes(bundle: LocalBundle) -> None:
    checked(call(bundle, "POST", "/wallet", body={}, caller="braze-webhook"), "POST", "/wallet", 403)


@contextmanager
def secret(bundle: LocalBundle, name: str, value: Mapping[str, Any], function: str) -> Iterator[None]:
    """A secret of another value, for as long as this lasts; `function` starts anew, for it remembers secrets."""
    ids = bundle.deployment.secret_arns
    former = bundle.clients.secretsmanager.get_secret_value(SecretId=ids[name])["SecretString"]
    bundle.put_secret(name, value)
    bundle.kill(function)
    bundle.forget_callers()
    try:
        yield
    finally:
        bundle.clients.secretsmanager.put_secret_value(SecretId=ids[name], SecretString=former)
        bundle.kill(function)
        bundle.forget_callers()


def test_a_callers_secret_out_of_shape_is_a_500(bundle: LocalBundle) -> None:
    with secret(bundle, "CallersSecret", {"callers": {}}, "authorizer"):
        checked(call(bundle, "POST", "/tags", body={}), "POST", "/tags", 500)


def test_a_vendor_secret_out_of_shape_is_a_500_that_names_no_value(bundle: LocalBundle) -> None:
    with secret(bundle, "BrazeSecret", {"key": "wrong-field"}, "trigger-passthrough"):
        body = checked(call(bundle, "POST", SEND, body=SEND_BODY), "POST", SEND, 500)
    assert body["code"] == "misconfigured"
    assert "wrong-field" not in str(body)


# --- what is wrong with the request -----------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_bodies_that_are_wrong_are_refused_as_documented(bundle: LocalBundle, operation: Operation) -> None:
    path = concrete_path(operation)

    def code(data: bytes, status: int, **headers: str) -> str:
        answer = call(
            bundle, "POST", path, data=data, headers={name.replace("_", "-"): headers[name] for name in headers}
        )
        return str(as_documented(answer, operation, status)["code"])

    assert code(b"{", 400) == "invalid_json"
    assert code(b"[]", 400) == "not_an_object"
    if operation.route not in NOTHING_IS_REQUIRED:
        assert code(b"{}", 400) == ("no_recipients" if operation.route == "POST /events" else "missing_field")
    assert code(b"{}", 415, Content_Type="text/plain") == "unsupported_media_type"
    largest = b"{}".ljust(body_limit(operation))
    assert call(bundle, "POST", path, data=largest).status_code != 413
    assert code(largest + b" ", 413) == "too_large"
    if operation.route not in OPEN_BODIES:
        example = next(iter(operation.body_examples.values()))
        assert code(json.dumps({**example, "tpyo": 1}).encode(), 400) == "unknown_field"


@pytest.mark.parametrize("path", [route.removeprefix("POST ") for route in sorted(EMPTY_IS_BRAZES_TO_REFUSE)])
def test_an_empty_body_is_refused_in_brazes_words_where_nothing_is_required(bundle: LocalBundle, path: str) -> None:
    refused = checked(call(bundle, "POST", path, body={}), "POST", path, 400)

    assert refused["message"]
    assert "code" not in refused


def test_an_operation_that_is_not_open_is_refused_and_sessionm_not_asked(bundle: LocalBundle) -> None:
    (operation,) = [each for each in WITH_BODY if each.route == CLOSED]
    (body,) = operation.body_examples.values()

    refused = as_documented(call(bundle, "POST", concrete_path(operation), body=body), operation, 403)

    assert refused["code"] == "operation_not_open"
    assert bundle.sessionm.requests() == []


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
def test_a_body_no_function_can_take_is_refused_by_the_gateway(bundle: LocalBundle, operation: Operation) -> None:
    answer = call(bundle, "POST", concrete_path(operation), data=b" " * 7_000_000)

    assert as_documented(answer, operation, 413) == {"message": "Request Entity Too Large"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/wallet/someone?limit=0", "invalid_field"),
        ("/wallet/someone?limt=3", "unknown_field"),
        ("/wallet/not%20a%20member", "invalid_field"),
        ("/wallet/someone?fields=nmae", "invalid_field"),
        (f"/segments/{SEGMENT_ID}/size?min=few", "invalid_field"),
        (f"/segments/data_series?segment_id={SEGMENT_ID}", "missing_field"),
        (f"/segments/data_series?segment_id={SEGMENT_ID}&length=1001", "invalid_field"),
    ],
)
def test_parameters_that_are_wrong_are_refused_as_documented(bundle: LocalBundle, path: str, code: str) -> None:
    assert checked(call(bundle, "GET", path), "GET", path, 400)["code"] == code


@pytest.mark.parametrize(
    "operation", [each for each in AUTHORIZED if "404" in each.details["responses"] and "{" in each.route], ids=str
)
def test_a_path_without_its_id_is_no_route(bundle: LocalBundle, operation: Operation) -> None:
    method, path = operation.route.split(" ")
    base = bundle.content_url if operation.api == "ContentApi" else bundle.intake_url
    empty = "".join("/" if part.startswith("{") else f"/{part}" for part in path.strip("/").split("/"))

    answer = requests.request(method, base + empty, timeout=10)

    assert as_documented(answer, operation, 404) == {"message": "Not Found"}


def test_a_trigger_nobody_made_is_not_found(bundle: LocalBundle) -> None:
    assert checked(call(bundle, "GET", "/triggers/trg-x"), "GET", "/triggers/trg-x", 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("path", "body"),
    [(SEND, {"campaign_id": CAMPAIGN_ID, "broadcast": True}), ("/triggers", {**TRIGGER_BODY, "broadcast flag": True})],
)
def test_a_broadcast_that_is_not_allowed_is_refused(bundle: LocalBundle, path: str, body: Any) -> None:
    assert checked(call(bundle, "POST", path, body=body), "POST", path, 403)["code"] == "broadcast_not_allowed"


# --- what is wrong behind us ------------------------------------------------------------------------------------------

SESSIONM_FAULTS = [
    (Slow(3.0), ["deadline_exceeded"]),
    (ResetAfterEffect(), ["upstream_no_answer"]),
    (Status(500), ["upstream_unavailable"]),
    (Throttle(1.0), ["upstream_throttled", "circuit_open"]),  # told to wait, it waits
    (Status(401), ["upstream_unauthorized"]),
    (Garbage(), ["upstream_garbled"]),
]


@pytest.mark.parametrize(("fault", "reasons"), SESSIONM_FAULTS, ids=str)
def test_a_wallet_that_cannot_be_had_is_data_or_a_503(bundle: LocalBundle, fault: Fault, reasons: list[str]) -> None:
    user_id = bundle.members[0].user_id
    path = f"/wallet/{user_id}?on_error=retry"
    bundle.sessionm.faults.add("POST /offers/*", fault)

    as_data = call(bundle, "POST", "/wallet", body={"user_id": user_id})
    assert checked(as_data, "POST", "/wallet", 200)["reason"] in reasons
    to_retry = call(bundle, "GET", path)
    assert checked(to_retry, "GET", path, 503)["reason"] in reasons
    assert int(to_retry.headers["Retry-After"]) > 0


@pytest.mark.parametrize("on_error", ["data", "retry"])
def test_what_sessionm_refuses_is_data_for_asking_again_would_not_help(bundle: LocalBundle, on_error: str) -> None:
    bundle.sessionm.faults.add("POST /offers/*", ErrorInside200("argument_error"))
    answer = call(bundle, "POST", "/wallet", body={"user_id": bundle.members[0].user_id, "on_error": on_error})

    assert checked(answer, "POST", "/wallet", 200)["reason"] == "argument_error"


@pytest.mark.parametrize("on_error", ["data", "retry"])
def test_a_member_sessionm_does_not_know_is_data(bundle: LocalBundle, on_error: str) -> None:
    answer = call(bundle, "POST", "/wallet", body={"user_id": "nobody", "on_error": on_error})

    assert checked(answer, "POST", "/wallet", 200)["reason"] == "user_not_found"


@pytest.mark.parametrize("fault", [Slow(3.0), Status(500), Garbage()], ids=str)
def test_sessionms_own_dialect_fails_in_its_own_shape(bundle: LocalBundle, fault: Fault) -> None:
    bundle.sessionm.faults.add("POST /offers/*", fault)

    found = checked(call(bundle, "POST", OFFERS, body={"user_id": bundle.members[0].user_id}), "POST", OFFERS, 200)

    assert found["status"] == "error"
    assert found["payload"]["user_offers"] == []


@pytest.mark.parametrize("fault", [Slow(3.0), Status(500), Throttle(1.0), Garbage()], ids=str)
def test_a_size_that_cannot_be_had_is_data_or_a_503(bundle: LocalBundle, fault: Fault) -> None:
    bundle.braze.faults.add("GET /segments/*", fault)
    path = f"/segments/never-asked-before-{type(fault).__name__}/size"

    assert checked(call(bundle, "GET", path), "GET", path, 200)["ok"] is False
    assert checked(call(bundle, "GET", f"{path}?on_error=retry"), "GET", path, 503)["ok"] is False
    series = f"/segments/data_series?segment_id=never-asked-{type(fault).__name__}&length=3"
    assert checked(call(bundle, "GET", series), "GET", series, 200)["data"] == []


def test_a_segment_braze_does_not_know_is_data(bundle: LocalBundle) -> None:
    path = "/segments/no-such-segment/size?on_error=retry"

    assert checked(call(bundle, "GET", path), "GET", path, 200)["reason"] == "segment_not_found"


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Status(401), 502, "upstream_unauthorized"),
        (Garbage(), 409, "upstream_no_answer"),
        (ResetAfterEffect(), 409, "upstream_no_answer"),
        (Status(500), 500, None),
        (Throttle(3.0), 429, None),
        (Status(403), 502, "upstream_unauthorized"),
    ],
    ids=str,
)
def test_a_send_that_braze_does_not_take_is_answered_as_documented(
    bundle: LocalBundle, fault: Fault, status: int, code: str | None
) -> None:
    bundle.braze.faults.add(f"POST {SEND}", fault)

    assert checked(call(bundle, "POST", SEND, body=SEND_BODY), "POST", SEND, status).get("code") == code


def test_brazes_own_refusal_is_passed_on(bundle: LocalBundle) -> None:
    body = {**SEND_BODY, "campaign_id": "no-such-campaign"}

    assert "message" in checked(call(bundle, "POST", SEND, body=body), "POST", SEND, 400)


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [each for each in blocks("sh") if "curl " in each.text], ids=str)
def test_every_call_in_the_pages_works_as_it_is_printed(bundle: LocalBundle, block: Block, tmp_path: Path) -> None:
    call(bundle, "GET", f"/wallet/{bundle.members[0].user_id}")  # cached, as for a reader who has tried other things
    (tmp_path / "caller.conf").write_text(f'user = "operator:{bundle.callers["operator"]}"\n')
    where = {
        "CONTENT_API": bundle.content_url,
        "INTAKE_API": bundle.intake_url,
        "SESSIONM": bundle.sessionm_url,
        "BRAZE": bundle.braze_url,
    }

    ran = subprocess.run(
        ["sh", "-euc", block.text],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **where},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr + ran.stdout
    if '"kind":"slow"' in block.text:
        assert '"ok":false' in ran.stdout
        assert '"reason":"deadline_exceeded"' in ran.stdout
    else:
        assert '"ok":false' not in ran.stdout
