"""The stack as CloudFormation sees it: template.yaml after the SAM transform, with the parameters' values filled in.

The transform is AWS's own (`samtranslator`, the library behind ``Transform: AWS::Serverless-2016-10-31``), so whatever
SAM generates (routes, permissions, event source mappings, rules) is there without being written down a second time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.emulated import REGION
from infra.template import TEMPLATE_PATH, parse


class _NoManagedPolicies:
    """Looks up AWS managed policies for the transform; roles play no part on one machine."""

    def load(self) -> dict[str, str]:
        return {}


class Template:
    """A transformed template together with the value of each of its parameters.

    `resources` maps logical ids to CloudFormation resources, intrinsic functions unresolved, `conditions` likewise;
    `parameters` are the template's declarations; `values` their values as text, defaults overridden by what the caller
    passed.
    """

    def __init__(self, document: Mapping[str, Any], overrides: Mapping[str, str] | None = None) -> None:
        """Raises ValueError for an override that names no parameter."""
        self.parameters: dict[str, Any] = dict(document.get("Parameters", {}))
        self.conditions: dict[str, Any] = dict(document.get("Conditions", {}))
        self.resources: dict[str, Any] = dict(document["Resources"])
        unknown = sorted(set(overrides or {}) - set(self.parameters))
        if unknown:
            raise ValueError(f"the template has no parameter {', '.join(unknown)}")
        defaults = {name: str(declared.get("Default", "")) for name, declared in self.parameters.items()}
        self.values: dict[str, str] = {**defaults, **(overrides or {})}

    @classmethod
    def load(cls, path: Path = TEMPLATE_PATH, overrides: Mapping[str, str] | None = None) -> Template:
        """Read and transform the template at `path`."""
        return cls(transform(parse(path)), overrides)

    def of_type(self, *types: str) -> dict[str, Any]:
        """Resources of the given CloudFormation types, by logical id, in the order of their ids."""
        return {name: self.resources[name] for name in sorted(self.resources) if self.resources[name]["Type"] in types}

    def filled_in(self, value: Any) -> Any:
        """`value` with every ``Ref`` to a parameter replaced by a number, a list or text, as the parameter is typed.

        Of an ``Fn::If`` that side is left which the parameters choose.
        """
        if isinstance(value, Mapping):
            if set(value) == {"Ref"} and value["Ref"] in self.parameters:
                return self._typed(value["Ref"])
            if set(value) == {"Fn::If"}:
                name, then, otherwise = value["Fn::If"]
                return self.filled_in(then if self._holds(self.conditions[name]) else otherwise)
            return {key: self.filled_in(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled_in(item) for item in value]
        return value

    def _holds(self, condition: Mapping[str, Any]) -> bool:
        ((function, of),) = condition.items()
        if function == "Condition":
            return self._holds(self.conditions[of])
        if function == "Fn::Equals":
            one, other = (str(self.filled_in(each)) for each in of)
            return one == other
        found = [self._holds(each) for each in of]
        return {"Fn::Not": not found[0], "Fn::And": all(found), "Fn::Or": any(found)}[function]

    def _typed(self, parameter: str) -> Any:
        text, kind = self.values[parameter], self.parameters[parameter]["Type"]
        if kind == "Number":
            return float(text) if "." in text else int(text)
        if kind == "CommaDelimitedList":
            return text.split(",")
        return text


def transform(document: dict[str, Any]) -> dict[str, Any]:
    """What the SAM transform makes of `document`, the code of every function taken as built and uploaded."""
    from samtranslator.translator.transform import transform as sam_transform

    artefact = {"CodeUri": "s3://local/artefact"}
    document.setdefault("Globals", {}).setdefault("Function", {}).update(artefact)
    for resource in document["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function" and "CodeUri" in resource.get("Properties", {}):
            resource["Properties"].update(artefact)
    os.environ.setdefault("AWS_DEFAULT_REGION", REGION)  # the transform asks a boto3 session for a region
    logging.getLogger("samtranslator").setLevel(logging.ERROR)  # it warns of switches that only AWS itself has
    transformed: dict[str, Any] = sam_transform(document, {}, _NoManagedPolicies())
    return transformed


def references(value: Any) -> Iterator[str]:
    """Every name `value` refers to, by ``Ref``, ``Fn::GetAtt`` or ``${Name.Attribute}`` inside ``Fn::Sub``."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "Ref":
                yield item
            elif key == "Fn::GetAtt":
                yield item[0] if isinstance(item, list) else item.split(".")[0]
            elif key == "Fn::Sub" and isinstance(item, str):
                yield from (part.split("}")[0].split(".")[0] for part in item.split("${")[1:])
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
