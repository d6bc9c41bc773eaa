"""The stack as CloudFormation sees it: encrypted wherever something is kept, and nobody allowed more than by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from infra.local.template import Template, references


@cache
def template() -> Template:
    return Template.load()


def resources(*types: str) -> list[tuple[str, dict[str, Any]]]:
    return [(name, resource.get("Properties", {})) for name, resource in template().of_type(*types).items()]


OWN_KEY = {"Ref": "EncryptionKeyArn"}


def either_way(value: Any) -> tuple[Any, Any]:
    """A value with a KMS key of the stack's own, and without one."""
    return _with(value, own_key=True), _with(value, own_key=False)


def _with(value: Any, own_key: bool) -> Any:
    if isinstance(value, dict):
        if "Fn::If" in value and value["Fn::If"][0] == "OwnKey":
            return _with(value["Fn::If"][1 if own_key else 2], own_key)
        items = {key: _with(item, own_key) for key, item in value.items()}
        return {key: item for key, item in items.items() if item != {"Ref": "AWS::NoValue"}}
    if isinstance(value, list):
        listed_items = [_with(item, own_key) for item in value]
        return [item for item in listed_items if item != {"Ref": "AWS::NoValue"}]
    return value


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "queue"), resources("AWS::SQS::Queue"))
def test_every_queue_is_encrypted(name: str, queue: dict[str, Any]) -> None:
    own, without = either_way(queue)

    assert (own.get("KmsMasterKeyId"), own.get("SqsManagedSseEnabled")) == (OWN_KEY, None), name
    assert (without.get("KmsMasterKeyId"), without.get("SqsManagedSseEnabled")) == (None, True), name


@pytest.mark.parametrize(("name", "table"), resources("AWS::DynamoDB::Table"))
def test_every_table_is_encrypted(name: str, table: dict[str, Any]) -> None:
    own, without = either_way(table["SSESpecification"])

    assert own == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": OWN_KEY}, name
    assert without == {"SSEEnabled": True}, name


@pytest.mark.parametrize(("name", "bucket"), resources("AWS::S3::Bucket"))
def test_every_bucket_is_encrypted_and_open_to_nobody(name: str, bucket: dict[str, Any]) -> None:
    own, without = (
        rules["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]
        for rules in either_way(bucket["BucketEncryption"])
    )

    assert own == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": OWN_KEY}, name
    assert without == {"SSEAlgorithm": "AES256"}, name
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4


@pytest.mark.parametrize(("name", "kept"), resources("AWS::SecretsManager::Secret", "AWS::Logs::LogGroup"))
def test_secrets_and_logs_take_the_stacks_own_key(name: str, kept: dict[str, Any]) -> None:
    own, without = either_way(kept)

    assert own["KmsKeyId"] == OWN_KEY, name
    assert "KmsKeyId" not in without, "AWS encrypts both with a key of its own"


def test_there_is_no_store_of_another_kind() -> None:
    stores = {"RDS", "ElastiCache", "EFS", "OpenSearchService", "Kinesis", "SNS", "SSM", "Timestream", "MSK"}
    services = {resource["Type"].split("::")[1] for resource in template().resources.values()}

    assert services & stores == set()


# --- TLS --------------------------------------------------------------------------------------------------------------


def over_tls_only(statement: dict[str, Any], service: str) -> bool:
    wanted = ("Deny", "*", f"{service}:*", {"Bool": {"aws:SecureTransport": "false"}})
    return tuple(statement.get(name) for name in ("Effect", "Principal", "Action", "Condition")) == wanted


def test_every_queue_has_one_policy_and_refuses_what_comes_without_tls() -> None:
    policies = [policy for _, policy in resources("AWS::SQS::QueuePolicy")]
    covered = [name for policy in policies for name in references(policy["Queues"])]

    assert sorted(covered) == sorted(name for name, _ in resources("AWS::SQS::Queue"))
    for policy in policies:
        assert any(over_tls_only(each, "sqs") for each in policy["PolicyDocument"]["Statement"])


def test_every_bucket_refuses_what_comes_without_tls() -> None:
    policies = {next(references(each["Bucket"])): each for _, each in resources("AWS::S3::BucketPolicy")}

    assert policies.keys() == {name for name, _ in resources("AWS::S3::Bucket")}
    for bucket, policy in policies.items():
        [statement] = policy["PolicyDocument"]["Statement"]
        assert over_tls_only(statement, "s3")
        assert statement["Resource"] == [{"Fn::GetAtt": [bucket, "Arn"]}, {"Fn::Sub": f"${{{bucket}.Arn}}/*"}]


# --- who may what -----------------------------------------------------------------------------------------------------

# Where AWS offers no resource to name.
WITHOUT_RESOURCES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}

# Policies of AWS's own, which hold wildcards, and change with what the service needs: none in the hands of our code.
MANAGED_BY_AWS = {"CodeDeployServiceRole": ["AWSCodeDeployRoleForLambda"]}


def allowing() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement that allows something, by where it stands."""
    for name, role in resources("AWS::IAM::Role"):
        for policy in role.get("Policies", []):
            yield from ((name, each) for each in _with(policy["PolicyDocument"]["Statement"], own_key=True))
    for name, policy in resources("AWS::IAM::RolePolicy", "AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy"):
        yield from ((name, each) for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Allow")


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize(("name", "statement"), list(allowing()))
def test_no_statement_allows_by_a_wildcard(name: str, statement: dict[str, Any]) -> None:
    if "Fn::If" in statement:
        _, statement = statement["Fn::If"]  # or nothing
    actions = set(listed(statement["Action"]))
    assert not [each for each in actions if "*" in each], name
    assert "NotAction" not in statement
    assert statement.get("Principal") != "*"
    for resource in listed(statement["Resource"]):
        if resource == "*":
            assert actions <= WITHOUT_RESOURCES, name
        elif isinstance(resource, dict) and "*" in str(resource):
            # Objects have no names beforehand: those of one bucket, and of a folder of it where it is our own.
            assert all(action.startswith("s3:") for action in actions), name
            assert resource["Fn::Sub"].endswith("/*")
            assert resource["Fn::Sub"].count("*") == 1
            assert "BrazeExportBucket" in resource["Fn::Sub"] or resource["Fn::Sub"].count("/") > 1


def test_no_function_shares_a_role_or_has_one_of_awss_policies() -> None:
    roles = [next(references(function["Role"])) for _, function in resources("AWS::Lambda::Function")]

    assert len(roles) == len(set(roles))
    managed = {
        name: role["ManagedPolicyArns"] for name, role in resources("AWS::IAM::Role") if role.get("ManagedPolicyArns")
    }
    named = {name: [str(arn).rpartition("/")[2].rstrip("'}") for arn in arns] for name, arns in managed.items()}
    assert named == MANAGED_BY_AWS


def test_each_function_may_write_to_its_own_log_group_alone() -> None:
    groups = {
        name: next(references(group["LogGroupName"]))
        for name, group in resources("AWS::Logs::LogGroup")
        if "LogGroupName" in group
    }
    may_write = {
        next(references(policy["RoleName"])): next(references(policy["PolicyDocument"]["Statement"][0]["Resource"]))
        for _, policy in resources("AWS::IAM::RolePolicy")
    }

    assert {f"{function}Role": group for group, function in groups.items()} == may_write
    assert len(groups) == len(resources("AWS::Lambda::Function"))
