"""AWS on one machine: moto's server in a process of its own, and the template's storage deployed to it.

What is deployed is the transformed template itself, cut down to queues, tables and bucket and given to moto's
CloudFormation, so that key schemas and redrive policies are the template's. Physical names are ``local-`` and the
logical id, for event files and logs to be readable. What becomes of what moto's CloudFormation lacks:

    AWS::SecretsManager::Secret   made through the API and passed to the stack as a parameter of the same name
    bucket -> EventBridge         switched on through the API; the rules that match are made the same way, each with a
                                  queue as target, from which `infra.local.events` invokes the function
    AWS::ApiGatewayV2::Api        known by its name, for what refers to its address
    the group of schedules        made through the API
    queue, bucket and TTL policy  left out: moto would not enforce them

Every environment variable of every function is an output of the stack: moto's CloudFormation resolves the intrinsics.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from infra.emulated import REGION, STACK_NAME, physical_name
from infra.local import views
from infra.local.template import Template

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": "local"}
_SERVER: Final = Path(__file__).with_name("moto_server.py")
EMPTY_QUEUES: Final = "/local/empty-queues"  # as in that file, which is not imported: it loads all of moto
# What is deployed, and the property that names it.
_STORAGE: Final = {
    "AWS::SQS::Queue": "QueueName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::S3::Bucket": "BucketName",
}


class MotoServer:
    """moto in a process of its own. `host` is the address to bind, `port` 0 picks a free one.

    With `postpone_scale` below 1 a message whose visibility is changed comes back that much sooner.
    """

    def __init__(self, log_path: Path, host: str = "127.0.0.1", port: int = 0, postpone_scale: float = 1.0) -> None:
        self._log: IO[bytes] = log_path.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SERVER), host, str(port), str(postpone_scale)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the parent, which stops things in order
            env={key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
        )
        self._port = 0

    @property
    def url(self) -> str:
        """The endpoint as seen from this machine; waits for the server to listen. Raises RuntimeError if it cannot."""
        if not self._port:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"moto did not start, see {self._log.name}")
            self._port = int(line)
        return f"http://127.0.0.1:{self._port}"

    def empty_queues(self) -> None:
        """Every queue is empty afterwards, of messages that a worker has in hand as well."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request("POST", EMPTY_QUEUES)
            if (status := connection.getresponse().status) != 204:
                raise RuntimeError(f"moto did not empty the queues: {status}")
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop the server; whatever it held is gone."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()


@dataclass(frozen=True)
class Clients:
    """boto3 clients for moto; boto3 clients may be shared by threads."""

    sqs: SQSClient
    dynamodb: DynamoDBClient
    s3: S3Client
    secretsmanager: SecretsManagerClient
    cloudformation: Any
    events: Any
    scheduler: Any

    @classmethod
    def at(cls, endpoint_url: str, connections: int = 64) -> Clients:
        """Clients of the AWS at `endpoint_url`, each with at most `connections` connections."""
        import boto3
        from botocore.config import Config

        session = boto3.Session("local", "local", "local", region_name=REGION)
        config = Config(max_pool_connections=connections, retries={"max_attempts": 0}, read_timeout=70)

        def client(service: Any) -> Any:
            return session.client(service, endpoint_url=endpoint_url, config=config)

        return cls(
            sqs=client("sqs"),
            dynamodb=client("dynamodb"),
            s3=client("s3"),
            secretsmanager=client("secretsmanager"),
            cloudformation=client("cloudformation"),
            events=client("events"),
            scheduler=client("scheduler"),
        )


@dataclass(frozen=True)
class Deployment:
    """Where everything ended up. Keys are logical ids; environments hold plain text, by function and variable name."""

    queue_urls: Mapping[str, str]
    queue_arns: Mapping[str, str]
    buckets: Mapping[str, str]
    secret_arns: Mapping[str, str]
    environments: Mapping[str, Mapping[str, str]]


def deploy(template: Template, clients: Clients, queue_overrides: Mapping[str, Any] | None = None) -> Deployment:
    """Make the template's storage in moto.

    `queue_overrides`, such as ``{"VisibilityTimeout": 2, "maxReceiveCount": 3}``, replace those of every queue that has
    a redrive policy, for tests that wait for a message to come back or to be given up.
    """
    secret_ids = list(template.of_type("AWS::SecretsManager::Secret"))
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda name: clients.secretsmanager.create_secret(Name=physical_name(name)), secret_ids)
        secret_arns = {name: secret["ARN"] for name, secret in zip(secret_ids, made, strict=True)}
    for name in template.of_type("AWS::Scheduler::ScheduleGroup"):
        clients.scheduler.create_schedule_group(Name=physical_name(name))
    api_ids = {name: name.lower() for name in template.of_type("AWS::ApiGatewayV2::Api")}
    outputs = _create_stack(template, clients, {**secret_arns, **api_ids}, queue_overrides or {})
    queues = {name: outputs["queue", name] for name in template.of_type("AWS::SQS::Queue")}
    return Deployment(
        queue_urls=queues,
        queue_arns={name: outputs["queue arn", name] for name in queues},
        buckets={name: outputs["bucket", name] for name in template.of_type("AWS::S3::Bucket")},
        secret_arns=secret_arns,
        environments={
            name: {variable: outputs[name, variable] for variable in function.environment}
            for name, function in views.functions(template).items()
        },
    )


def put_secrets(clients: Clients, deployment: Deployment, secrets: Mapping[str, Mapping[str, Any]]) -> None:
    """Give secrets, by logical id, their values, which are stored as JSON."""
    for name, value in secrets.items():
        clients.secretsmanager.put_secret_value(SecretId=deployment.secret_arns[name], SecretString=json.dumps(value))


def make_rules(template: Template, clients: Clients, deployment: Deployment) -> dict[str, str]:
    """Make the rules that match events, each with a queue of its own as target. Returns the queues' URLs, by rule."""
    for name in deployment.buckets:
        notifications = template.resources[name].get("Properties", {}).get("NotificationConfiguration", {})
        if "EventBridgeConfiguration" in notifications:
            clients.s3.put_bucket_notification_configuration(
                Bucket=deployment.buckets[name], NotificationConfiguration={"EventBridgeConfiguration": {}}
            )
    queue_urls = {}
    for rule in views.rules(template):
        if rule.pattern is None:
            continue
        queue_url = clients.sqs.create_queue(QueueName=physical_name(rule.logical_id))["QueueUrl"]
        attributes = clients.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]
        pattern = json.dumps(_with_names(rule.pattern, deployment.buckets))
        clients.events.put_rule(Name=rule.logical_id, EventPattern=pattern, State="ENABLED")
        clients.events.put_targets(Rule=rule.logical_id, Targets=[{"Id": "queue", "Arn": attributes["QueueArn"]}])
        queue_urls[rule.logical_id] = queue_url
    return queue_urls


def _create_stack(
    template: Template, clients: Clients, made_already: Mapping[str, str], queue_overrides: Mapping[str, Any]
) -> dict[tuple[str, str], str]:
    resources = template.of_type(*_STORAGE)
    wanted: dict[tuple[str, str], Any] = {}
    for name, resource in resources.items():
        properties = {**resource.get("Properties", {}), _STORAGE[resource["Type"]]: physical_name(name)}
        if resource["Type"] == "AWS::SQS::Queue":
            properties = _overridden(properties, queue_overrides)
        resources[name] = {**resource, "Properties": properties}
        if resource["Type"] == "AWS::SQS::Queue":
            wanted["queue", name] = {"Ref": name}
            wanted["queue arn", name] = {"Fn::GetAtt": [name, "Arn"]}
        if resource["Type"] == "AWS::S3::Bucket":
            wanted["bucket", name] = {"Ref": name}
    for name, function in views.functions(template).items():
        wanted.update({(name, variable): value for variable, value in function.environment.items()})
    parameters = {
        name: {"Type": declared["Type"]} for name, declared in template.parameters.items()
    }  # patterns such as ^https:// are for deployments; the simulators speak plain HTTP
    values = {**template.values, **made_already}
    body = {
        "Parameters": {**parameters, **{name: {"Type": "String"} for name in made_already}},
        "Resources": resources,
        "Conditions": template.conditions,
        "Outputs": {f"Output{index}": {"Value": value} for index, value in enumerate(wanted.values())},
    }
    clients.cloudformation.create_stack(
        StackName=STACK_NAME,
        TemplateBody=json.dumps(body),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
    )
    stack = clients.cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    if stack["StackStatus"] != "CREATE_COMPLETE":
        raise RuntimeError(f"moto's CloudFormation says {stack['StackStatus']}")
    outputs = {output["OutputKey"]: str(output["OutputValue"]) for output in stack["Outputs"]}
    return {key: outputs[f"Output{index}"] for index, key in enumerate(wanted)}


def _overridden(properties: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    if "RedrivePolicy" not in properties:
        return dict(properties)
    own = {name: value for name, value in overrides.items() if name != "maxReceiveCount"}
    redrive = {key: overrides.get(key, value) for key, value in properties["RedrivePolicy"].items()}
    return {**properties, **own, "RedrivePolicy": redrive}


def _with_names(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"Ref"}:
            return names[value["Ref"]]
        return {key: _with_names(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_names(item, names) for item in value]
    return value
