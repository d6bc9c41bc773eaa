"""What the tests of the documentation read: both API descriptions, the template, the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.template import parse

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
APIS = {"ContentApi": "content-api.yaml", "IntakeApi": "intake-api.yaml"}

METHODS = ("get", "post", "put", "patch", "delete")


@cache
def template() -> Mapping[str, Any]:
    """template.yaml as written, short intrinsics in their long form."""
    return parse(ROOT / "template.yaml")


@cache
def observability() -> Mapping[str, Any]:
    """infra/observability.yaml likewise."""
    return parse(ROOT / "infra" / "observability.yaml")


@cache
def metrics() -> Mapping[str, tuple[str, str]]:
    """Unit and origin of each metric that docs/metrics.md lists."""
    rows = [row for row in table_rows(DOCS / "metrics.md") if row[0] != "Metric"]
    names = [row[0] for row in rows]
    assert len(names) == len(set(names))
    return {name: (unit, origin) for name, unit, origin, _ in rows}


def template_routes(api: str) -> set[str]:
    """The routes of one HTTP API, as in "POST /tags"."""
    events = [
        event["Properties"]
        for resource in template()["Resources"].values()
        for event in resource.get("Properties", {}).get("Events", {}).values()
        if event["Type"] == "HttpApi"
    ]
    return {f"{event['Method']} {event['Path']}" for event in events if event["ApiId"] == {"Ref": api}}


def environment_variables() -> set[str]:
    """The names of every environment variable of every function."""
    blocks = [template()["Globals"]["Function"]] + [
        resource["Properties"]
        for resource in template()["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    ]
    return {name for block in blocks for name in block.get("Environment", {}).get("Variables", {})}


# --- API descriptions -------------------------------------------------------------------------------------------------


@cache
def raw_description(api: str) -> Any:
    return yaml.safe_load((DOCS / APIS[api]).read_text(encoding="utf-8"))


@cache
def description(api: str) -> Any:
    """The API description with every reference replaced by what it refers to."""
    document = raw_description(api)
    return _resolved(document, document)


def _resolved(part: Any, document: Any) -> Any:
    if isinstance(part, dict):
        if "$ref" in part:
            found = document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            return _resolved(found, document)
        return {key: _resolved(value, document) for key, value in part.items()}
    if isinstance(part, list):
        return [_resolved(item, document) for item in part]
    return part


@dataclass(frozen=True)
class Operation:
    """One route of one API: `route` as in "POST /tags", `details` its operation object, references resolved."""

    api: str
    route: str
    details: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.api} {self.route}"

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Path and query parameters by name."""
        return {each["name"]: each for each in self.details.get("parameters", []) if each["in"] != "header"}

    @property
    def body_schema(self) -> Mapping[str, Any] | None:
        body = self.details.get("requestBody")
        return body["content"]["application/json"]["schema"] if body else None

    @property
    def body_examples(self) -> Mapping[str, Any]:
        body = self.details.get("requestBody")
        examples = body["content"]["application/json"]["examples"] if body else {}
        return {name: example["value"] for name, example in examples.items()}

    def response_schema(self, status: int) -> Mapping[str, Any]:
        """The schema of an answer; raises KeyError for a status that is not documented."""
        schema: Mapping[str, Any] = self.details["responses"][str(status)]["content"]["application/json"]["schema"]
        return schema


@cache
def operations() -> tuple[Operation, ...]:
    return tuple(
        Operation(api, f"{method.upper()} {path}", details)
        for api in APIS
        for path, item in description(api)["paths"].items()
        for method, details in item.items()
        if method in METHODS
    )


def operation_for(method: str, path: str) -> tuple[Operation, Mapping[str, str]]:
    """The operation a concrete path belongs to, and its path values; raises LookupError when no route matches."""
    for each in operations():
        its_method, its_path = each.route.split(" ")
        parts = re.sub(r"\{(\w+)\+\}", r"(?P<\1>.+)", its_path)
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", parts), path)
        if its_method == method and found:
            return each, found.groupdict()
    raise LookupError(f"no route for {method} {path}")


# --- pages ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `language` is the word after the fence."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str) -> list[Block]:
    """Every fenced block of every page in one language."""
    return [block for page in PAGES for block in _blocks(page) if block.language == language]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])


def table_rows(page: Path) -> list[list[str]]:
    """The cells of every table row of a page, headings among them."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
