"""The API descriptions tell the truth: about the routes, the bodies and the errors."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from bulk.rows import MemberFields, TagFields, label_of, member_of
from member_lists.callback import Told
from segment_size.options import EventOptions, ProductOptions, SeriesOptions, SizeOptions, SizesOptions
from shared import errors, validation
from shared.errors import DeadlineExceeded, RequestError, UpstreamError
from tag_import.submit import ExportFields, ImportFields, export_job, file_job
from tag_import.webhook import ShortBody
from tests.unit.docs.material import (
    APIS,
    DOCS,
    ROOT,
    Operation,
    description,
    operations,
    raw_description,
    template_routes,
)
from trigger_relay import fields
from trigger_relay.reading import Reader
from trigger_relay.track import event_name_in
from trigger_relay.vendor_paths import ENDPOINTS
from wallet_prefetch.submit import PrefetchFields, prefetch_of
from wallet_proxy.endpoint import UserOffersBody, WalletOptions
from wallet_proxy.wallet import OFFER_FIELDS

# In failure files and in the status of an import, which docs/tag-import.md describes.
CSV_CODES = {"invalid_csv", "not_utf8", "unreadable_file", "file_gone"}

# Codes that no answer carries: roots of the tree, and classes that are always raised with a code of their own.
NEVER_SENT = {"error", "invalid_request", "upstream_error", "not_allowed", "in_progress", "upstream_refused"}


# Braze's callback, whose credential is in its path.
CALLBACK = "POST /segment-exports/{import_id}/callback/{token}"

# The Struct that reads a route's body, or its path and query.
SHAPES: Mapping[str, type[msgspec.Struct]] = {
    "GET /wallet/{user_id}": WalletOptions,
    "POST /wallet": WalletOptions,
    "POST /offers/api/2.0/offers/get_user_offers": UserOffersBody,
    "GET /segments/{segment_id}/size": SizeOptions,
    "GET /segments/sizes": SizesOptions,
    "GET /events/{event}/count": EventOptions,
    "GET /products/{product}/sold": ProductOptions,
    "POST /priv/v1/apps/{app_key}/users/{user_id}/tags": TagFields,
    "POST /priv/v1/apps/{app_key}/external/users/{external_id}/tags": TagFields,
    "POST /tags": ShortBody,
    "POST /tag-imports": ImportFields,
    "POST /segment-exports": ExportFields,
    "POST /wallet-prefetches": PrefetchFields,
    CALLBACK: Told,
    **{route: endpoint.shape for route, endpoint in ENDPOINTS.items()},
}
# Both APIs have this one: from our cache for Connected Content, and from Braze itself.
CACHED = ("ContentApi", "GET /segments/data_series")
WITHOUT_SHAPE = {
    *(
        "GET /health",
        "GET /wallet-prefetches/{prefetch_id}",
        "GET /tag-imports/{import_id}",
        "GET /triggers/{trigger_id}",
        "POST /triggers",
    ),
    *("GET /events/{event_id}", "POST /events"),
    *("POST /offers/{operation+}", "POST /incentives/{operation+}"),
    *("POST /catalog/{operation+}", "POST /transactions/{operation+}"),
}


def shape_of(operation: Operation) -> type[msgspec.Struct]:
    return SeriesOptions if (operation.api, operation.route) == CACHED else SHAPES[operation.route]


def with_struct(method: str) -> list[Operation]:
    """Operations of a method whose input a Struct describes."""
    return [each for each in operations() if each.route.startswith(method) and each.route not in WITHOUT_SHAPE]


def bounds(schema: Any) -> Any:
    """A schema down to what it accepts: no words, one spelling for "or null" and for the end of a pattern."""
    if isinstance(schema, list):
        return [bounds(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if {"type": "null"} in schema.get("anyOf", []):
        others = [each for each in schema["anyOf"] if each != {"type": "null"}]
        if len(others) > 1:
            return {"one of": bounds(others), "or": "null"}
        (other,) = others
        schema = {**schema, **other, "type": [other.get("type", "string"), "null"]}
    kept: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties":
            kept[name] = {each: bounds(rule) for each, rule in value.items()}
        elif name == "pattern":
            kept[name] = value.replace(r"\Z", "$")
        elif name == "enum":
            kept[name] = [each for each in value if each is not None]
        elif name not in ("description", "title", "examples", "anyOf") and value not in (None, []):
            kept[name] = bounds(value)
    return kept | ({"type": "string"} if "enum" in kept else {})


def schema_of(shape: type[msgspec.Struct]) -> Any:
    (schema,), components = msgspec.json.schema_components([shape], ref_template="{name}")

    def inlined(part: Any) -> Any:
        if isinstance(part, dict) and "$ref" in part:
            return inlined(components[part["$ref"]])
        if isinstance(part, dict):
            return {name: inlined(value) for name, value in part.items()}
        return [inlined(item) for item in part] if isinstance(part, list) else part

    return bounds(inlined(schema))


# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
def test_description_is_valid_openapi(api: str) -> None:
    validate(raw_description(api))


@pytest.mark.parametrize("api", APIS)
def test_description_has_the_version_of_the_project(api: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert description(api)["info"]["version"] == project["version"]


@pytest.mark.parametrize("api", APIS)
def test_routes_are_those_of_the_template(api: str) -> None:
    assert {each.route for each in operations() if each.api == api} == template_routes(api)


@pytest.mark.parametrize("api", APIS)
def test_only_health_and_the_callback_need_no_credential(api: str) -> None:
    assert description(api)["security"] == [{"basic": []}, {"bearer": []}]
    opened = {each.route for each in operations() if each.api == api and "security" in each.details}
    assert opened - {CALLBACK} == {"GET /health"}


# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", with_struct("POST"), ids=str)
def test_body_schema_accepts_what_the_function_accepts(operation: Operation) -> None:
    assert bounds(operation.body_schema) == schema_of(shape_of(operation))


@pytest.mark.parametrize("operation", with_struct("GET"), ids=str)
def test_parameters_accept_what_the_function_accepts(operation: Operation) -> None:
    schema = schema_of(shape_of(operation))
    # A query has no null; a list of types with it stands for leaving the parameter out.
    wanted = {
        name: {**each, "type": each["type"][0] if isinstance(each["type"], list) else each["type"]}
        for name, each in schema["properties"].items()
    }

    assert {name: bounds(each["schema"]) for name, each in operation.parameters.items()} == wanted
    assert {name for name, each in operation.parameters.items() if each.get("required")} == set(
        schema.get("required", [])
    )


@pytest.mark.parametrize("operation", with_struct("GET"), ids=str)
def test_parameter_examples_are_accepted(operation: Operation) -> None:
    examples = {name: str(each["example"]) for name, each in operation.parameters.items() if "example" in each}

    validation.convert(examples, shape_of(operation), strict=False)


@pytest.mark.parametrize(
    ("operation", "value"),
    [
        pytest.param(each, value, id=f"{each} {name}")
        for each in operations()
        for name, value in each.body_examples.items()
    ],
)
def test_body_examples_are_accepted_by_the_function(operation: Operation, value: Any) -> None:
    body = msgspec.json.encode(value)
    if operation.route == "POST /triggers":
        Reader().read(fields.parse(body))
        return
    if operation.route == "POST /events":
        assert event_name_in(Reader().read_event(fields.parse(body)).properties)
        return
    if "{operation+}" in operation.route:
        assert isinstance(value, dict)
        return
    read = validation.decode(body, shape_of(operation))
    if operation.route in ENDPOINTS:
        check = ENDPOINTS[operation.route].check
        assert check is None or not check(read, frozenset())
        return
    match read:
        case TagFields():
            label_of(read, "user_id")
        case ShortBody():
            for row in value.get("rows", [value]):
                fields_of_row = validation.convert(row, MemberFields)
                label_of(fields_of_row, member_of(fields_of_row).kind)
        case ImportFields():
            file_job(read, "csv-1", "bucket", 0)
        case ExportFields():
            export_job(read, "segment-1", 0)
        case PrefetchFields():
            prefetch_of(read, "en-US", 86_400)
        case _:
            assert isinstance(read, WalletOptions | UserOffersBody | Told)


@pytest.mark.parametrize("operation", [each for each in operations() if each.body_schema], ids=str)
def test_body_examples_match_their_schema(operation: Operation) -> None:
    assert operation.body_examples, "a body without an example"
    for value in operation.body_examples.values():
        OAS31Validator(operation.body_schema).validate(value)


def test_a_trigger_may_be_addressed_by_the_names_the_function_knows_and_no_others() -> None:
    known = [
        *fields.CAMPAIGN_NAMES,
        *fields.CANVAS_NAMES,
        *fields.BROADCAST_NAMES,
        *fields.URGENT_NAMES,
        *fields.MEMBER_NAMES,
        *fields.MEMBER_KIND_NAMES,
        *fields.ALIAS_NAMES,
        *fields.ALIAS_NAME_NAMES,
        *fields.ALIAS_LABEL_NAMES,
        *fields.BRAZE_ID_NAMES,
        *fields.EMAIL_NAMES,
        *fields.PRIORITIZATION_NAMES,
        *fields.RECIPIENTS_NAMES,
        *fields.EVENT_NAMES,
    ]

    assert list(raw_description("IntakeApi")["components"]["schemas"]["Trigger"]["properties"]) == known


# --- what is answered -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", operations(), ids=str)
def test_answer_examples_match_their_schema(operation: Operation) -> None:
    for status, response in operation.details["responses"].items():
        content = response["content"]["application/json"]
        for example in content.get("examples", {}).values():
            OAS31Validator(operation.response_schema(int(status))).validate(example["value"])


@pytest.mark.parametrize("operation", operations(), ids=str)
def test_every_answer_of_the_gateway_is_documented(operation: Operation) -> None:
    documented = set(operation.details["responses"])

    assert {"429", "500", "503"} <= documented
    assert ({"401", "403"} <= documented) == ("security" not in operation.details)
    if operation.route != "GET /health":
        assert ("413" in documented) == operation.route.startswith("POST")
        assert "404" in documented or "{" not in operation.route


def test_offer_fields_are_those_the_wallet_has() -> None:
    offer = raw_description("ContentApi")["components"]["schemas"]["Offer"]

    assert list(offer["properties"]) == list(OFFER_FIELDS)


# --- error codes ------------------------------------------------------------------------------------------------------


def codes_in(schema: Any) -> set[str]:
    """Every value a schema lists for a property called `code`."""
    if isinstance(schema, list):
        return set().union(*map(codes_in, schema))
    if not isinstance(schema, dict):
        return set()
    listed = set(schema.get("properties", {}).get("code", {}).get("enum", []))
    return listed.union(*(codes_in(value) for value in schema.values()))


def documented_codes() -> set[tuple[int, str]]:
    return {
        (int(status), code)
        for operation in operations()
        for status in operation.details["responses"]
        for code in codes_in(operation.response_schema(int(status)))
    }


def documented_reasons() -> set[str]:
    """Values listed as examples of `reason`, and of `code` and `message` where these hold one."""

    def listed(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            for name, value in part.get("properties", {}).items() if "properties" in part else ():
                if name in ("reason", "code", "message") and isinstance(value, dict):
                    yield from value.get("examples", [])
            for value in part.values():
                yield from listed(value)

    found = {reason for api in APIS for reason in listed(raw_description(api))}
    return found - {"success", "status_400"}


def trees() -> Iterator[ast.AST]:
    for path in sorted((ROOT / "functions").rglob("*.py")):
        yield ast.parse(path.read_text(encoding="utf-8"))


def refusals_in_the_code() -> set[tuple[int, str]]:
    """Status and code of every refusal that functions/ raises: the class's own code, or one given by keyword."""
    classes = {
        name: each
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, RequestError) and each is not RequestError
    }
    found = set()
    for call in (node for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id in classes:
            raised = classes[call.func.id]
            given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
            if not given:
                found.add((raised.status, raised.code))
            for value in given:
                found |= {(raised.status, text) for text in strings_in(value)}
    # validation.invalid() decides between these, and gives its choice as a variable.
    return found | {(400, "missing_field"), (400, "unknown_field"), (400, "invalid_field")}


def strings_in(node: ast.AST) -> set[str]:
    """The strings an expression may amount to, the test of a conditional aside."""
    if isinstance(node, ast.IfExp):
        return strings_in(node.body) | strings_in(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def test_refusals_are_documented_with_their_status_and_nothing_else_is() -> None:
    tree = [each for each in vars(errors).values() if isinstance(each, type)]
    upstream = {each.code for each in tree if issubclass(each, UpstreamError | DeadlineExceeded)}
    documented = {(status, code) for status, code in documented_codes() if status < 500 and code not in upstream}

    assert documented == {(status, code) for status, code in refusals_in_the_code() if code not in CSV_CODES}


def test_every_code_of_the_error_tree_is_documented() -> None:
    tree = {each.code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "code")}

    assert tree - NEVER_SENT <= {code for _, code in documented_codes()} | documented_reasons()


def test_every_documented_code_and_reason_exists_in_the_code() -> None:
    written = {
        node.value
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert {code for _, code in documented_codes()} | documented_reasons() <= written


def test_codes_of_failure_files_are_on_the_page_about_them() -> None:
    page = (DOCS / "tag-import.md").read_text(encoding="utf-8")

    of_exports = {
        node.value
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"export_(?!id$)[a-z_]+", node.value)
    }
    wanted = CSV_CODES | of_exports
    assert {code for code in wanted if re.search(rf"`{code}`", page)} == wanted
