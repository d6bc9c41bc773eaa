"""What a deployment is asked: the template's parameters, group by group, and the file that keeps the answers.

The file is SAM's own (samconfig.local.toml), so `sam` itself can be called with it as well.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tomlkit
from rich.console import Console

from infra.commands.stack import CannotRun

# Asked one by one; all others have a default that fits, and are asked for by group.
_ALWAYS_ASKED: Final = "Vendors"
# What the build and `make deploy` know better than who is asked.
_NEVER_ASKED: Final = frozenset({"Architecture", "Release"})
_NOBODYS_ADDRESS: Final = ".invalid"

Ask = Callable[[str], str]


@dataclass
class Answers:
    """`parameters` are those that differ from the template's default, or were given once."""

    stack_name: str
    region: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


def read(path: Path, fallback: Path) -> tuple[Answers, bool]:
    """The answers in `path`, and whether there are any; else what `fallback` (samconfig.toml) begins with.

    Raises `CannotRun` when the file cannot be read.
    """
    document = _document(path if path.exists() else fallback)
    kept = {**_table(document, "global"), **_table(document, "deploy")}
    overrides = kept.get("parameter_overrides", "")
    words = shlex.split(overrides) if isinstance(overrides, str) else [str(each) for each in overrides]
    parameters = dict(word.split("=", 1) for word in words if "=" in word)
    answers = Answers(str(kept.get("stack_name", "")), str(kept.get("region", "")), parameters)
    return answers, path.exists() and bool(parameters)


def write(answers: Answers, path: Path, fallback: Path) -> None:
    """Keeps the answers beside whatever else the file holds."""
    document = _document(path if path.exists() else fallback)
    table = document["default"]["deploy"]["parameters"]
    table["stack_name"] = answers.stack_name
    table["region"] = answers.region
    table["parameter_overrides"] = " ".join(words_of(answers.parameters))
    path.write_text(tomlkit.dumps(document), encoding="utf-8")


def words_of(parameters: Mapping[str, str]) -> list[str]:
    """Parameters as SAM writes and reads them, in the file and on the command line."""
    escaped = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in parameters.items()}
    return [f'{name}="{value}"' for name, value in escaped.items()]


class Questions:
    """Goes through `template` (as parsed) with whoever answers. `ask` shows a prompt and returns what was typed."""

    def __init__(self, template: Mapping[str, Any], ask: Ask, console: Console) -> None:
        self._declared: Mapping[str, Any] = template["Parameters"]
        self._groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        self._ask = ask
        self._console = console

    def go_through(self, answers: Answers) -> Answers:
        """The answers after all questions; Enter keeps what is there."""
        self._say(
            "Enter keeps what stands in brackets. The answers go into samconfig.local.toml; no secret is asked for."
        )
        name = self._one("Name of the stack", answers.stack_name, _fault_of_stack_name)
        region = self._one("AWS region, as in eu-west-1", answers.region, _fault_of_region)
        given = dict(answers.parameters)
        for group in self._groups:
            names = [name for name in group["Parameters"] if name not in _NEVER_ASKED]
            label = group["Label"]["default"]
            self._say(f"\n{label}")
            if label != _ALWAYS_ASKED:
                changed = sum(name in given for name in names)
                told = (
                    f"{len(names)} parameters, {changed} of them changed before"
                    if changed
                    else f"{len(names)} parameters"
                )
                if not _is_yes(self._ask(f"  {told}. Look at them? [y/N] ")):
                    continue
            for parameter in names:
                self._parameter(parameter, given)
        return Answers(name, region, given)

    def _parameter(self, name: str, given: dict[str, str]) -> None:
        declared = self._declared[name]
        default = str(declared.get("Default", ""))
        self._say(f"  {declared.get('Description', '')}")
        answer = self._one(f"  {name}", given.get(name, default), lambda value: fault_of(declared, value))
        if answer != default or name in given:
            given[name] = answer
        if answer.endswith(_NOBODYS_ADDRESS):
            self._say(f"  {answer} is nobody's address: what needs this vendor fails until you deploy with another.")

    def _one(self, prompt: str, present: str, fault: Callable[[str], str]) -> str:
        while True:
            answer = self._ask(f"{prompt} [{present}]: ").strip() or present
            why = fault(answer)
            if not why:
                return answer
            self._say(f"  {why}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def fault_of(declared: Mapping[str, Any], value: str) -> str:
    """Why CloudFormation would refuse the value of a parameter so declared; empty when it would not."""
    allowed = declared.get("AllowedValues")
    if allowed and value not in [str(each) for each in allowed]:
        return f"It must be one of {', '.join(str(each) for each in allowed)}."
    if declared["Type"] == "Number":
        if not re.fullmatch(r"-?\d+(\.\d+)?", value):
            return "It must be a number."
        if not declared.get("MinValue", float("-inf")) <= float(value) <= declared.get("MaxValue", float("inf")):
            return f"It must be from {declared['MinValue']} to {declared['MaxValue']}."
    if len(value) > declared.get("MaxLength", len(value)):
        return f"It must not be longer than {declared['MaxLength']} characters."
    if pattern := declared.get("AllowedPattern"):
        items = value.split(",") if declared["Type"] == "CommaDelimitedList" else [value]
        wrong = [item for item in items if not re.fullmatch(pattern, item.strip())]
        if wrong:
            return f"{wrong[0]!r} does not have the form that is asked for."
    return ""


def _fault_of_stack_name(value: str) -> str:
    return "" if re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,127}", value) else "Letters, digits and hyphens, a letter first."


def _fault_of_region(value: str) -> str:
    return "" if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", value) else "A region is written as in eu-west-1."


def _is_yes(answer: str) -> bool:
    return answer.strip().lower() in ("y", "yes")


def _document(path: Path) -> Any:
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CannotRun(f"{path.name} cannot be read: {error}") from None


def _table(document: Any, command: str) -> Mapping[str, Any]:
    found = document.get("default", {}).get(command, {}).get("parameters", {})
    return found if isinstance(found, Mapping) else {}
