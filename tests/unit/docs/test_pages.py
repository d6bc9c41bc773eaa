"""The pages tell the truth: what they show to paste is accepted, what they name exists, and no setting is missing."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from authorizer.callers import Caller, Callers
from bulk.jobs import JobState, Options
from bulk.rows import TagFields
from clients.braze import BrazeCredentials
from clients.sessionm import SessionmCredentials
from infra.liquid.lint import lint
from infra.local.simulators.faults import KINDS, ThrottleForm
from member_lists.csv_rows import CsvRows
from member_lists.failures import COLUMNS, cells_of_refused
from member_lists.formats import layout_of
from shared import validation
from shared.outcomes import State
from tests.unit.docs.material import (
    DOCS,
    PAGES,
    ROOT,
    Block,
    Operation,
    blocks,
    environment_variables,
    metrics,
    observability,
    operation_for,
    table_rows,
    template,
)
from tests.unit.docs.test_openapi import SHAPES, shape_of
from trigger_relay import fields
from trigger_relay.reading import Reader
from trigger_relay.track_rules import PACKAGED, Rule
from trigger_relay.vendor_paths import Group
from wallet_proxy.wallet import OFFER_FIELDS

# The packaged rules for events.
RULES: Mapping[str, Any] = json.loads(PACKAGED.read_text(encoding="utf-8"))

# What Braze puts in the place of the Liquid in a snippet.
RENDERED = {
    "${user_id}": "95a7c8a3-e174-456c-92b5-064eacdbd998",
    "${language}": "ko",
    "yesterday": "2026-11-21",
    "product | url_param_escape": "latte",
}

# Options of the connected_content tag. Source: Braze's page on making an API call.
CONNECTED_CONTENT_OPTIONS = {
    "method",
    "headers",
    "body",
    "content_type",
    "save",
    "basic_auth",
    "auth_credentials",
    "retry",
    "cache_max_age",
    "no_cache",
    "rerender",
}


class Snippet:
    """A Liquid block with one connected_content tag: the request it makes, and the keys it reads from the answer."""

    def __init__(self, block: Block) -> None:
        captured = re.search(r"{% capture (\w+) %}(.*?){% endcapture %}", block.text, re.DOTALL)
        (tag,) = re.findall(r"{% connected_content\s+(.*?)\s*%}\n", block.text, re.DOTALL)
        url, _, rest = tag.partition("\n")
        self.url = urlsplit(_rendered(url))
        self.options = dict(re.findall(r"(?:^|\s):(\w+)(?: +([^\n]*\S))?", rest))
        self.operation, self.path_values = operation_for(self.options.get("method", "get").upper(), self.url.path)
        if captured:
            assert self.options["body"] == "{{" + captured[1] + "}}"
        self.body = _rendered(captured[2]).encode() if captured else None
        self.query = dict(parse_qsl(self.url.query, keep_blank_values=True))
        self.liquid = block.text.replace(tag, "")

    def keys_read(self) -> Iterator[tuple[str, ...]]:
        for path in re.findall(rf"\b{self.options['save']}((?:\.\w+|\[\d+\])+)", self.liquid):
            yield tuple(re.findall(r"\w+", path))


def _rendered(liquid: str) -> str:
    return re.sub(r"\{\{((?:[^{}]|\$\{[^}]*\})+)\}\}", lambda found: RENDERED[found[1]], liquid)


liquid_blocks = pytest.mark.parametrize("block", blocks("liquid"), ids=str)
json_blocks = pytest.mark.parametrize("block", blocks("json"), ids=str)
csv_blocks = pytest.mark.parametrize("block", blocks("csv"), ids=str)


# --- Liquid -----------------------------------------------------------------------------------------------------------


@liquid_blocks
def test_snippet_uses_options_braze_has_and_the_stored_credential(block: Block) -> None:
    snippet = Snippet(block)

    assert snippet.options.keys() <= CONNECTED_CONTENT_OPTIONS
    assert snippet.options["basic_auth"] == "bundle"
    assert snippet.url.scheme == "https"
    assert snippet.url.netloc == "CONTENT_HOST"
    if snippet.body is not None:
        headers = json.loads(snippet.options.get("headers", "{}"))
        assert "application/json" in (snippet.options.get("content_type"), headers.get("Content-Type"))


@liquid_blocks
def test_snippet_sends_what_the_function_accepts(block: Block) -> None:
    snippet = Snippet(block)
    operation = snippet.operation
    # Any object, where SessionM decides what is in it.
    shape: Any = shape_of(operation) if operation.route in SHAPES else dict

    if snippet.body is None:
        validation.convert({**snippet.query, **snippet.path_values}, shape, strict=False)
    else:
        assert not snippet.query
        validation.decode(snippet.body, shape)


@liquid_blocks
def test_snippet_reads_keys_the_answer_has(block: Block) -> None:
    snippet = Snippet(block)
    keys = list(snippet.keys_read())

    assert keys, "a snippet that shows nothing"
    for path in keys:
        schema: Any = snippet.operation.response_schema(200)
        for name in path if path != ("__http_status_code__",) else ():
            schema = schema["items"] if name.isdigit() else schema["properties"][name]
    assert set(re.findall(r"\boffer\.(\w+)", snippet.liquid)) <= set(OFFER_FIELDS)


@liquid_blocks
def test_snippet_has_no_mistake_that_the_linter_knows(block: Block) -> None:
    codes = {finding.code for finding in lint(block.text)}

    assert codes <= {"host_placeholder", "member_in_url"}


@liquid_blocks
def test_snippet_is_one_of_the_files_to_copy(block: Block) -> None:
    files = {path.read_text(encoding="utf-8"): path.name for path in (DOCS / "snippets").glob("*.liquid")}

    assert block.text in files, "write the same in docs/snippets, where it is rendered against the running bundle"


@liquid_blocks
def test_snippet_with_retry_asks_for_a_status_to_retry_and_aborts_only_on_an_answer(block: Block) -> None:
    snippet = Snippet(block)
    sent = json.loads(snippet.body) if snippet.body else snippet.query

    assert ("retry" in snippet.options) == (sent.get("on_error") == "retry")
    if "retry" in snippet.options:
        assert "__http_status_code__" not in snippet.liquid


def test_there_are_snippets() -> None:
    assert {block.page.name for block in blocks("liquid")} == {"wallet.md", "segment-size.md"}


# --- JSON and CSV -----------------------------------------------------------------------------------------------------


@json_blocks
def test_json_is_what_its_reader_accepts(block: Block) -> None:
    body = block.text.encode()
    readers: Mapping[str, type[msgspec.Struct]] = {
        "callers": Callers,
        "core_api_key": SessionmCredentials,
        "rest_api_key": BrazeCredentials,
        "tags": TagFields,
    }
    value = json.loads(body)
    found = [shape for name, shape in readers.items() if name in value]

    if "customer identifier" in value:
        Reader().read(fields.parse(body))
    elif set(value) <= RULES.keys():
        msgspec.convert(value, dict[str, Rule])
    elif not found:
        assert value.keys() == set(fields.CAMPAIGN_NAMES[:1]) | set(fields.CANVAS_NAMES[:1]), "whose JSON is this?"
    for shape in found:
        validation.decode(body, shape)
        if shape in (SessionmCredentials, BrazeCredentials):
            assert value.keys() == set(shape.__struct_fields__)


def rows_of(text: str) -> tuple[int, list[list[str]]]:
    """How many rows of a CSV are accepted, and what a failure file says of the others."""
    content = text.encode()
    layout = layout_of(content, True, Options())
    accepted: list[str] = []
    refused: list[list[str]] = []
    rows = CsvRows(
        layout,
        Options(),
        lambda _, member_id, __: accepted.append(member_id),
        lambda *refusal: refused.append(cells_of_refused(*refusal)),
    )
    rows.take(content[layout.header_bytes :], layout.header_lines + 1, True, False)
    return len(accepted), refused


@csv_blocks
def test_csv_is_read_without_refusals_and_a_failure_file_is_what_its_lines_give(block: Block) -> None:
    header, *rest = csv.reader(io.StringIO(block.text))

    accepted, refused = rows_of(block.text)

    if header == list(COLUMNS):
        assert (accepted, refused) == (0, rest)
    else:
        assert (accepted, refused) == (len(rest), [])


def test_caller_of_each_kind_may_use_routes_that_exist() -> None:
    (example,) = [block for block in blocks("json") if '"callers"' in block.text]
    callers = msgspec.json.decode(example.text, type=Callers).callers

    for name, caller in callers.items():
        for pattern in caller.allows:
            routes = [route for route in SHAPES if caller.may_use(route)]
            assert routes or pattern.startswith(("POST /triggers", "GET /triggers")), f"{name}: {pattern}"


# --- commands and names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Any) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)

    functions = {path.stem for path in (ROOT / "infra" / "events").glob("*.json")}
    assert {name for name in named if not name.startswith("invoke-")} <= targets
    assert {name.removeprefix("invoke-") for name in named if name.startswith("invoke-")} <= functions


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Any) -> None:
    text = page.read_text(encoding="utf-8")

    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", text)):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_resources_outputs_and_files_that_are_named_exist(page: Any) -> None:
    text = page.read_text(encoding="utf-8")
    names = {*template()["Resources"], *template()["Outputs"], *template()["Parameters"]}
    names |= {*observability()["Resources"], *metrics()}

    kinds = "Function|Queue|Table|Logs|SecretArn|Url|BucketName|Ids|Days|Seconds|Milliseconds|Limit|Workers|Concurrency"
    written = set(re.findall(rf"\b(?:[A-Z][a-z]+)+(?:{kinds})\b", text))
    assert written - names <= {"DeadLetterQueue"}
    for path in re.findall(r"`((?:functions|infra|tests|docs)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


def _curl_calls() -> Iterator[Any]:
    for block in blocks("sh"):
        for call in re.findall(r"curl (?:\\\n|[^\n|])+", block.text):
            yield pytest.param(call, id=f"{block} {len(call)}")


@pytest.mark.parametrize("call", list(_curl_calls()))
def test_curl_calls_a_route_that_exists_with_a_body_it_accepts(call: str) -> None:
    (url,) = re.findall(r'"\$(?:CONTENT_API|INTAKE_API|SESSIONM|BRAZE)([^"]*)"', call)
    body = re.search(r"-d '([^']*)'", call)
    if "_control/" in url:
        return
    operation, _ = operation_for("POST" if body else "GET", urlsplit(url).path)
    assert ("CONTENT_API" in call) == (operation.api == "ContentApi")
    assert ("-K caller.conf" in call) == ("security" not in operation.details)
    if body and operation.route == "POST /triggers":
        Reader().read(fields.parse(body[1].encode()))
    elif body and operation.route == "POST /events":
        Reader().read_event(fields.parse(body[1].encode()))
    elif body:
        validation.decode(body[1].encode(), SHAPES[operation.route])


# --- settings ---------------------------------------------------------------------------------------------------------


def test_every_parameter_is_documented_with_its_default() -> None:
    documented = {
        cells[0]: cells[1].strip("`").replace("(none)", "")
        for cells in table_rows(DOCS / "configuration.md")
        if cells[0] in template()["Parameters"]
    }

    assert documented == {name: str(parameter["Default"]) for name, parameter in template()["Parameters"].items()}


def test_bounds_in_the_table_are_those_of_the_parameters() -> None:
    described = {cells[0]: cells[-1] for cells in table_rows(DOCS / "configuration.md")}

    for name, parameter in template()["Parameters"].items():
        if "MinValue" in parameter:
            assert f"{parameter['MinValue']} to {parameter['MaxValue']}" in described[name], name


def test_every_field_of_every_secret_is_documented() -> None:
    documented = {cells[0].strip("`") for cells in table_rows(DOCS / "configuration.md")}
    shapes = (SessionmCredentials, BrazeCredentials, Callers, Caller)

    assert {name for shape in shapes for name in shape.__struct_fields__} <= documented


def test_every_environment_variable_is_documented_and_no_other() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")

    assert set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text)) == environment_variables()


def test_every_rule_for_events_is_listed_with_its_custom_event() -> None:
    listed = {cells[0].strip("`"): cells[1].strip("`") for cells in table_rows(DOCS / "trigger-relay.md")}

    assert {name: listed.get(name) for name in RULES} == {name: rule["event"] for name, rule in RULES.items()}


def test_every_group_of_brazes_paths_is_listed() -> None:
    cells = [row for row in table_rows(DOCS / "trigger-relay.md") if len(row) == 3]
    default = template()["Parameters"]["BrazePathGroups"]["Default"].split(",")

    listed = {row[0].strip("`"): row[2] for row in cells if row[2] in ("yes", "no")}

    assert listed == {group: "yes" if group in default else "no" for group in get_args(Group)}


def test_every_state_is_explained() -> None:
    explained = {cells[0].strip("`") for cells in table_rows(DOCS / "architecture.md")}

    assert set(State) <= explained


def test_every_state_of_an_import_is_explained() -> None:
    explained = " ".join(cells[0] for cells in table_rows(DOCS / "tag-import.md"))

    assert {state for state in JobState if f"`{state}`" in explained} == set(JobState)


def test_every_name_a_trigger_may_be_addressed_by_is_listed_in_its_order() -> None:
    rows = [re.findall(r"`(\w+)`", cells[1]) for cells in table_rows(DOCS / "trigger-relay.md") if len(cells) > 1]

    for names in (
        fields.CAMPAIGN_NAMES,
        fields.CANVAS_NAMES,
        fields.BROADCAST_NAMES,
        fields.URGENT_NAMES,
        fields.MEMBER_NAMES,
        fields.ALIAS_NAMES,
        fields.BRAZE_ID_NAMES,
        fields.EMAIL_NAMES,
        fields.RECIPIENTS_NAMES,
    ):
        assert list(names) in rows


def test_every_fault_is_listed_with_its_fields() -> None:
    rows = {cells[0].strip("`"): cells for cells in table_rows(DOCS / "local.md")}

    for kind, fault in KINDS.items():
        assert re.findall(r"`(\w+)`", rows[kind][1]) == [field.name for field in dataclasses.fields(fault)]
        assert rows[kind][2] == ("yes" if fault.applies_effect else "no")
    assert all(f"`{form}`" in rows["throttle"][3] for form in get_args(ThrottleForm))


def test_options_of_the_wallet_are_listed_with_their_defaults() -> None:
    operation: Operation = operation_for("POST", "/wallet")[0]
    assert operation.body_schema is not None
    listed = {cells[0].strip("`"): cells[1].strip("`") for cells in table_rows(DOCS / "wallet.md")}
    options = operation.body_schema["properties"]

    assert listed["limit"] == str(options["limit"]["default"])
    assert listed["on_error"] == options["on_error"]["default"]
    assert {"culture", "fields"} <= listed.keys()
