"""`make costs`: what a million operations cost, computed from costs.toml and the template.

costs.toml has prices and quantities, the template the memory of functions. docs/costs.md holds the same tables;
WRITE=yes writes them there, and a test holds both together.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.commands.stack import ROOT, CannotRun
from infra.commands.wishes import said_yes
from infra.template import TEMPLATE_PATH, parse

FIGURES: Final = Path(__file__).with_name("costs.toml")
PAGE: Final = ROOT / "docs" / "costs.md"


@dataclass(frozen=True)
class Cost:
    """USD for a million operations, by service."""

    name: str
    api: float
    compute: float
    dynamodb: float
    sqs: float
    traffic: float
    logs: float

    @property
    def total(self) -> float:
        return self.api + self.compute + self.dynamodb + self.sqs + self.traffic + self.logs


def figures(path: Path = FIGURES) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def memory_gb(template: Mapping[str, Any], function: str) -> float:
    """What a function is given, in the GB that Lambda bills. Raises KeyError when there is no such function."""
    own = template["Resources"][function]["Properties"].get("MemorySize")
    return float(own or template["Globals"]["Function"]["MemorySize"]) / 1024


def cost_of(operation: Mapping[str, Any], prices: Mapping[str, float], template: Mapping[str, Any]) -> Cost:
    """A million of one operation. Raises KeyError when it names a function that the template has not."""
    milliseconds = operation["milliseconds"]
    gb_seconds = sum(memory_gb(template, function) * spent / 1000 for function, spent in milliseconds.items())
    invocations = operation.get("lambda_requests", len(milliseconds))

    def priced(quantity: str) -> float:
        return float(operation.get(quantity, 0) * prices[f"million_{quantity}"])

    return Cost(
        name=operation["name"],
        api=priced("api_requests"),
        compute=gb_seconds * prices["million_lambda_gb_seconds"] + invocations * prices["million_lambda_requests"],
        dynamodb=priced("dynamodb_read_units") + priced("dynamodb_write_units"),
        sqs=priced("sqs_requests"),
        # A million kB are a GB.
        traffic=operation["internet_kb"] * prices["internet_gb"],
        logs=operation["log_kb"] * prices["log_gb"] + priced("traces"),
    )


def operations_table(known: Mapping[str, Any], template: Mapping[str, Any]) -> list[str]:
    rows = [["a million of", "API", "Lambda", "DynamoDB", "SQS", "traffic", "logs, traces", "**USD**"]]
    for operation in known["operations"]:
        cost = cost_of(operation, known["prices"], template)
        parts = (cost.api, cost.compute, cost.dynamodb, cost.sqs, cost.traffic, cost.logs)
        rows.append([cost.name, *(f"{part:.2f}" for part in parts), f"**{cost.total:.2f}**"])
    return _table(rows)


def quantities_table(known: Mapping[str, Any]) -> list[str]:
    rows = [["operation", "billed time", "reads", "writes", "SQS requests", "out, kB", "from"]]
    for operation in known["operations"]:
        spent = ", ".join(f"{name} {each:g} ms" for name, each in operation["milliseconds"].items())
        rest = ("dynamodb_read_units", "dynamodb_write_units", "sqs_requests", "internet_kb")
        rows.append([operation["name"], spent, *(f"{operation.get(name, 0):g}" for name in rest), operation["note"]])
    return _table(rows)


def prices_table(known: Mapping[str, Any]) -> list[str]:
    return _table([["price", "USD"], *([f"`{name}`", f"{price:g}"] for name, price in known["prices"].items())])


def tables(known: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, list[str]]:
    """Each table of docs/costs.md by its name, as lines of Markdown."""
    return {
        "operations": operations_table(known, template),
        "quantities": quantities_table(known),
        "prices": prices_table(known),
    }


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return [head, "|" + "---|" * len(rows[0]), *rest]


def written(page: str, found: Mapping[str, Sequence[str]]) -> str:
    """The page with each table in the place of the one between its marks. Raises ValueError when marks are missing."""
    for name, lines in found.items():
        marks = f"<!-- {name} -->\n\n", f"\n\n<!-- end of {name} -->"
        before, start, rest = page.partition(marks[0])
        _, end, after = rest.partition(marks[1])
        if not start or not end:
            raise ValueError(f"the page has no place for the table of {name}")
        page = before + start + "\n".join(lines) + end + after
    return page


def main(environment: Mapping[str, str]) -> int:
    try:
        writes = said_yes(environment, "WRITE")
    except CannotRun as error:
        print(error)
        return 2
    known = figures()
    found = tables(known, parse(TEMPLATE_PATH))
    print(f"list prices of {known['basis']['day']}, {known['basis']['region']}, USD; from {FIGURES.relative_to(ROOT)}")
    for lines in found.values():
        print("\n" + "\n".join(lines))
    if writes:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
