"""What the template allows each function, in the names that the local bundle gives to things."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from infra.emulated import ACCOUNT_ID, REGION, physical_name
from infra.local import views
from infra.local.aws import Deployment
from infra.local.template import Template, references


def permissions(template: Template, deployment: Deployment) -> dict[str, set[tuple[str, str]]]:
    """Actions and patterns of the resources they are allowed on, by the name of the function."""
    functions = views.functions(template)
    roles = {next(references(template.resources[name]["Properties"]["Role"])): name for name in functions}
    found: dict[str, set[tuple[str, str]]] = {function.name: set() for function in functions.values()}
    for role, statement in _statements(template):
        if role in roles:
            pairs = found[functions[roles[role]].name]
            for action in _listed(statement["Action"]):
                pairs.update((action, _arn(each, template, deployment)) for each in _listed(statement["Resource"]))
    return found


def _statements(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """By role; those under a condition that is not met here are left out."""
    documents = [
        (name, policy["PolicyDocument"])
        for name, role in template.of_type("AWS::IAM::Role").items()
        for policy in role["Properties"].get("Policies", [])
    ]
    documents += [
        (next(references(policy["Properties"]["RoleName"])), policy["Properties"]["PolicyDocument"])
        for policy in template.of_type("AWS::IAM::RolePolicy").values()
    ]
    for role, document in documents:
        for statement in document["Statement"]:
            if "Fn::If" not in statement:
                yield role, statement
            else:
                # Both conditions say that a parameter is given, which neither is.
                assert statement["Fn::If"][0] in ("OwnKey", "BrazeHasABucket")


def _arn(value: Any, template: Template, deployment: Deployment) -> str:
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return deployment.secret_arns[value["Ref"]]
    if "Fn::GetAtt" in value:
        logical_id, attribute = value["Fn::GetAtt"]
        assert attribute == "Arn"
        return _arn_of(logical_id, template, deployment)
    text = value["Fn::Sub"].replace("${AWS::Partition}", "aws").replace("${AWS::Region}", REGION)
    text = text.replace("${AWS::AccountId}", ACCOUNT_ID)
    return re.sub(r"\$\{(\w+)\.Arn\}", lambda found: _arn_of(found[1], template, deployment), text)


def _arn_of(logical_id: str, template: Template, deployment: Deployment) -> str:
    kind = template.resources[logical_id]["Type"]
    if kind == "AWS::SQS::Queue":
        return deployment.queue_arns[logical_id]
    if kind == "AWS::S3::Bucket":
        return f"arn:aws:s3:::{deployment.buckets[logical_id]}"
    if kind == "AWS::DynamoDB::Table":
        return f"arn:aws:dynamodb:{REGION}:{ACCOUNT_ID}:table/{physical_name(logical_id)}"
    return f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{logical_id}:*"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
