"""What the local bundle reads out of template.yaml."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local import views
from infra.local.template import Template, references, transform


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.load(overrides={"AuthorizerCacheSeconds": "0", "SegmentIds": "a,b"})


def small(**resources: Any) -> Template:
    document = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Parameters": {
            "Batch": {"Type": "Number", "Default": 3},
            "Names": {"Type": "CommaDelimitedList", "Default": "x,y"},
        },
        "Globals": {"Function": {"Runtime": "python3.13", "CodeUri": "functions/"}},
        "Resources": {
            "WorkFunction": {
                "Type": "AWS::Serverless::Function",
                "Properties": {"Handler": "work.handle", **resources.pop("work", {})},
            },
            **resources,
        },
    }
    return Template(transform(document))


def test_every_function_has_a_handler_and_the_name_people_use(template: Template) -> None:
    functions = views.functions(template)
    assert functions["TagWebhookFunction"].name == "tag-webhook"
    assert functions["TagWebhookFunction"].handler == "tag_import.webhook.handle"
    assert all(function.timeout_seconds > 0 and function.memory_mb >= 128 for function in functions.values())
    assert functions["HealthFunction"].environment["POWERTOOLS_SERVICE_NAME"] == "health"


OPEN = {"/health", "/segment-exports/{import_id}/callback/{token}"}  # the latter's token is its credential


def test_every_route_of_both_apis_leads_to_a_function_and_only_two_are_open_to_anybody(template: Template) -> None:
    apis = views.apis(template)
    assert sorted(api.name for api in apis.values()) == ["content", "intake"]
    for api in apis.values():
        for route in api.routes:
            assert (route.authorizer is None) == (route.path in OPEN)
        (authorizer,) = api.authorizers.values()
        assert authorizer.identity_sources == (
            "$request.header.Authorization",
            "$context.routeKey",
            "$context.identity.sourceIp",
        )
        assert authorizer.ttl_seconds == 0
        assert api.rate_limit == 2000
        assert api.burst_limit == 4000
        assert "$context.requestId" in (api.access_log_format or "")


def test_each_work_queue_has_a_consumer_and_a_dead_letter_queue(template: Template) -> None:
    queues = views.queues(template)
    for mapping in views.queue_mappings(template):
        assert mapping.reports_item_failures
        assert mapping.maximum_concurrency is not None
        assert mapping.maximum_concurrency >= 2
        assert queues[mapping.queue].dead_letter_queue in queues
        assert queues[mapping.queue].max_receive_count == 40


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"Fn::Equals": [{"Ref": "Batch"}, "3"]}, True),
        ({"Fn::Not": [{"Fn::Equals": [{"Ref": "Batch"}, "3"]}]}, False),
        ({"Fn::And": [{"Condition": "Same"}, {"Fn::Equals": ["a", "b"]}]}, False),
        ({"Fn::Or": [{"Condition": "Same"}, {"Fn::Equals": ["a", "b"]}]}, True),
    ],
)
def test_a_choice_is_made_by_the_parameters(condition: dict[str, Any], holds: bool) -> None:
    template = small()
    template.conditions |= {"Same": {"Fn::Equals": ["a", "a"]}, "Asked": condition}

    chosen = template.filled_in({"Size": {"Fn::If": ["Asked", {"Ref": "Batch"}, 10]}})

    assert chosen == {"Size": 3 if holds else 10}


@pytest.mark.parametrize(
    ("window", "ordinary"), [({}, (1000, 1)), ({"TriggerWindowSeconds": "0"}, (10, 0))], ids=["as it is", "no window"]
)
def test_triggers_wait_for_company_as_configured_and_urgent_ones_never(
    window: dict[str, str], ordinary: tuple[int, int]
) -> None:
    template = Template.load(overrides=window)

    found = {each.queue: (each.batch_size, each.window_seconds) for each in views.queue_mappings(template)}

    assert (found["TriggerQueue"], found["UrgentTriggerQueue"]) == (ordinary, (10, 0))
    environment = views.functions(template)["TriggerDeliveryFunction"].environment
    assert str(template.filled_in(environment["TRIGGER_BATCH_SIZE"])) == str(ordinary[0])


def test_rules_are_a_bucket_pattern_and_a_schedule(template: Template) -> None:
    rules = {rule.function: rule for rule in views.rules(template)}
    assert rules["SegmentRefreshFunction"].schedule == "rate(1 hour)"
    assert views.functions(template)["SegmentRefreshFunction"].on_failure_queue == "FailedEventsQueue"
    dropped = rules[None]
    assert dropped.queue == "ImportQueue"
    assert dropped.pattern is not None
    assert dropped.pattern["detail"]["object"]["key"] == [{"prefix": "imports/"}]


def test_a_mapping_takes_its_numbers_from_parameters_and_lambdas_defaults() -> None:
    queue_event = {"Type": "SQS", "Properties": {"Queue": {"Fn::GetAtt": ["Q", "Arn"]}, "BatchSize": {"Ref": "Batch"}}}
    template = small(Q={"Type": "AWS::SQS::Queue"}, work={"Events": {"Queue": queue_event}})
    (mapping,) = views.queue_mappings(template)
    assert (mapping.queue, mapping.function, mapping.batch_size) == ("Q", "WorkFunction", 3)
    assert (mapping.window_seconds, mapping.reports_item_failures, mapping.maximum_concurrency) == (0, False, None)
    assert views.queues(template)["Q"].visibility_timeout_seconds == 30


def test_a_schedule_keeps_its_own_input() -> None:
    event = {"Type": "Schedule", "Properties": {"Schedule": "cron(0 6 * * ? *)", "Input": '{"full": true}'}}
    (rule,) = views.rules(small(work={"Events": {"Daily": event}}))
    assert (rule.schedule, rule.input) == ("cron(0 6 * * ? *)", '{"full": true}')


def test_parameters_are_filled_in_with_their_type() -> None:
    template = small()
    value = {"a": {"Ref": "Batch"}, "b": [{"Ref": "Names"}], "c": {"Ref": "Elsewhere"}}
    assert template.filled_in(value) == {"a": 3, "b": [["x", "y"]], "c": {"Ref": "Elsewhere"}}


def test_an_override_of_no_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match="no parameter Nope"):
        Template({"Resources": {}}, {"Nope": "1"})


def test_references_are_found_in_every_spelling() -> None:
    value = [{"Ref": "A"}, {"Fn::GetAtt": "B.Arn"}, {"Fn::GetAtt": ["C", "Arn"]}, {"Fn::Sub": "x/${D.Arn}/${E}"}]
    assert list(references(value)) == ["A", "B", "C", "D", "E"]
    assert list(references({"Fn::Sub": ["${a}", {"a": {"Ref": "F"}}]})) == ["F"]
