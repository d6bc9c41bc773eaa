"""Typed views of the transformed template: what runs, what calls it and where things wait. Nothing is listed twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.emulated import kebab
from infra.local.template import Template, references


@dataclass(frozen=True)
class Function:
    """A Lambda function; `name` is how people say it (TagWebhookFunction: `tag-webhook`), `environment` unresolved."""

    logical_id: str
    name: str
    handler: str
    timeout_seconds: int
    memory_mb: int
    environment: Mapping[str, Any]
    retry_attempts: int = 2  # of an asynchronous invocation, Lambda's default
    on_failure_queue: str | None = None


@dataclass(frozen=True)
class Route:
    """One method and path template of an HTTP API; `authorizer` is None where anyone may call."""

    method: str
    path: str
    function: str
    authorizer: str | None

    @property
    def key(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Authorizer:
    """A Lambda authorizer, with identity sources such as ``$request.header.Authorization``."""

    name: str
    function: str
    identity_sources: tuple[str, ...]
    ttl_seconds: int


@dataclass(frozen=True)
class Api:
    """An HTTP API with its default stage. Rates are requests a second, None where unlimited."""

    logical_id: str
    name: str
    routes: tuple[Route, ...]
    authorizers: Mapping[str, Authorizer]
    rate_limit: float | None
    burst_limit: int | None
    access_log_format: str | None


@dataclass(frozen=True)
class QueueMapping:
    """An SQS event source mapping: messages of `queue` go to `function` in batches."""

    queue: str
    function: str
    batch_size: int
    window_seconds: int
    reports_item_failures: bool
    maximum_concurrency: int | None


@dataclass(frozen=True)
class Rule:
    """An EventBridge rule, with either a `pattern` or a `schedule`, and one target: a `function` or a `queue`."""

    logical_id: str
    function: str | None
    queue: str | None
    pattern: Mapping[str, Any] | None
    schedule: str | None
    input: str | None


@dataclass(frozen=True)
class Queue:
    """An SQS queue and where its messages go after `max_receive_count` receives."""

    logical_id: str
    visibility_timeout_seconds: int
    dead_letter_queue: str | None
    max_receive_count: int | None


def functions(template: Template) -> dict[str, Function]:
    """Every function, by logical id."""
    invoke_configs = {
        _the_function(template, resource["Properties"]["FunctionName"]): resource["Properties"]
        for resource in template.of_type("AWS::Lambda::EventInvokeConfig").values()
    }
    found = {}
    for logical_id, resource in template.of_type("AWS::Lambda::Function").items():
        properties = template.filled_in(resource["Properties"])
        config = template.filled_in(invoke_configs.get(logical_id, {}))
        destination = config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        found[logical_id] = Function(
            logical_id=logical_id,
            name=kebab(logical_id),
            handler=properties["Handler"],
            timeout_seconds=int(properties.get("Timeout", 3)),
            memory_mb=int(properties.get("MemorySize", 128)),
            environment=resource["Properties"].get("Environment", {}).get("Variables", {}),
            retry_attempts=int(config.get("MaximumRetryAttempts", 2)),
            on_failure_queue=_the_one(template, destination, "AWS::SQS::Queue") if destination else None,
        )
    return found


def apis(template: Template) -> dict[str, Api]:
    """Every HTTP API, by logical id, read from the OpenAPI document the transform wrote for it."""
    stages = {
        stage["Properties"]["ApiId"]["Ref"]: template.filled_in(stage["Properties"])
        for stage in template.of_type("AWS::ApiGatewayV2::Stage").values()
    }
    return {
        logical_id: _api(template, logical_id, resource["Properties"]["Body"], stages.get(logical_id, {}))
        for logical_id, resource in template.of_type("AWS::ApiGatewayV2::Api").items()
    }


def _api(template: Template, logical_id: str, body: Mapping[str, Any], stage: Mapping[str, Any]) -> Api:
    schemes = body.get("components", {}).get("securitySchemes", {})
    authorizers = {}
    for name, scheme in schemes.items():
        settings = template.filled_in(scheme["x-amazon-apigateway-authorizer"])
        authorizers[name] = Authorizer(
            name=name,
            function=_the_function(template, settings["authorizerUri"]),
            identity_sources=tuple(settings.get("identitySource", ())),
            ttl_seconds=int(settings.get("authorizerResultTtlInSeconds", 0)),
        )
    routes = []
    for path, methods in body["paths"].items():
        for method, operation in methods.items():
            wanted = [name for entry in operation.get("security", []) for name in entry if name in authorizers]
            routes.append(
                Route(
                    method="ANY" if method == "x-amazon-apigateway-any-method" else method.upper(),
                    path=path,
                    function=_the_function(template, operation["x-amazon-apigateway-integration"]["uri"]),
                    authorizer=wanted[0] if wanted else None,
                )
            )
    limits = stage.get("DefaultRouteSettings", {})
    return Api(
        logical_id=logical_id,
        name=kebab(logical_id),
        routes=tuple(sorted(routes, key=lambda route: route.key)),
        authorizers=authorizers,
        rate_limit=limits.get("ThrottlingRateLimit"),
        burst_limit=limits.get("ThrottlingBurstLimit"),
        access_log_format=stage.get("AccessLogSettings", {}).get("Format"),
    )


def queue_mappings(template: Template) -> list[QueueMapping]:
    """Every SQS event source mapping. Defaults are Lambda's: ten messages, no window, no limit on concurrency."""
    mappings = []
    for resource in template.of_type("AWS::Lambda::EventSourceMapping").values():
        properties = template.filled_in(resource["Properties"])
        mappings.append(
            QueueMapping(
                queue=_the_one(template, properties["EventSourceArn"], "AWS::SQS::Queue"),
                function=_the_function(template, properties["FunctionName"]),
                batch_size=int(properties.get("BatchSize", 10)),
                window_seconds=int(properties.get("MaximumBatchingWindowInSeconds", 0)),
                reports_item_failures="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", []),
                maximum_concurrency=properties.get("ScalingConfig", {}).get("MaximumConcurrency"),
            )
        )
    return mappings


def rules(template: Template) -> list[Rule]:
    """Every EventBridge rule; patterns keep references to resources, such as the bucket."""
    found = []
    for logical_id, resource in template.of_type("AWS::Events::Rule").items():
        properties = template.filled_in(resource["Properties"])
        (target,) = properties["Targets"]
        named = {template.resources[name]["Type"] for name in references(target["Arn"])}
        invokes = bool(named & {"AWS::Lambda::Function", "AWS::Lambda::Alias"})
        found.append(
            Rule(
                logical_id=logical_id,
                function=_the_function(template, target["Arn"]) if invokes else None,
                queue=None if invokes else _the_one(template, target["Arn"], "AWS::SQS::Queue"),
                pattern=properties.get("EventPattern"),
                schedule=properties.get("ScheduleExpression"),
                input=target.get("Input"),
            )
        )
    return found


def queues(template: Template) -> dict[str, Queue]:
    """Every queue, by logical id."""
    found = {}
    for logical_id, resource in template.of_type("AWS::SQS::Queue").items():
        properties = template.filled_in(resource.get("Properties", {}))
        redrive = properties.get("RedrivePolicy", {})
        target = redrive.get("deadLetterTargetArn")
        found[logical_id] = Queue(
            logical_id=logical_id,
            visibility_timeout_seconds=int(properties.get("VisibilityTimeout", 30)),
            dead_letter_queue=_the_one(template, target, "AWS::SQS::Queue") if target else None,
            max_receive_count=redrive.get("maxReceiveCount"),
        )
    return found


def _the_function(template: Template, value: Any) -> str:
    """The function that is meant, by itself or by its alias; on one machine there is one version of each."""
    aliases = template.of_type("AWS::Lambda::Alias")
    named = [aliases[name]["Properties"]["FunctionName"] for name in references(value) if name in aliases]
    return _the_one(template, named or value, "AWS::Lambda::Function")


def _the_one(template: Template, value: Any, resource_type: str) -> str:
    names = {name for name in references(value) if template.resources.get(name, {}).get("Type") == resource_type}
    if len(names) != 1:
        raise ValueError(f"expected one {resource_type} in {value!r}, found {sorted(names)}")
    return names.pop()
