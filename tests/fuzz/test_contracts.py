"""Both APIs keep to their descriptions, whatever they are sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import requests
from openapi_schema_validator import OAS31Validator

from infra.local.bundle import BundleSettings, LocalBundle
from tests.fuzz.run import DESCRIPTIONS, PUT_OFF_PERCENT, Outcome, fuzz
from tests.unit.docs.material import Operation, operations

# For each operation and phase, beside a request for each bound and each type in the description.
EXAMPLES = 4

# Closed until a deployment opens it, and told nobody but Braze: test_contract.py has their other answers.
NEVER_ACCEPTED = {"POST /catalog/{operation+}", "POST /segment-exports/{import_id}/callback/{token}"}

# Answers of one operation whose links are followed.
FOLLOWED = 3


class Run(NamedTuple):
    api: str
    outcome: Outcome


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBundle]:
    settings = BundleSettings(
        state_dir=tmp_path_factory.mktemp("bundle"), latency_scale=0, max_environments=1, warm=False
    )
    with LocalBundle(settings) as running:
        yield running


@pytest.fixture(scope="module", params=DESCRIPTIONS)
def run(bundle: LocalBundle, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(request.param, fuzz(bundle, request.param, tmp_path_factory.mktemp("answers"), EXAMPLES))


def in_api(api: str) -> list[Operation]:
    return [each for each in operations() if each.api == api]


def test_no_answer_breaks_its_contract(run: Run) -> None:
    assert not run.outcome.failed, run.outcome.report
    assert run.outcome.put_off_percent <= PUT_OFF_PERCENT


def test_every_route_was_put_to_the_test_with_good_and_bad_requests(run: Run) -> None:
    takes_input = {each.route: "400" in each.details["responses"] for each in in_api(run.api)}

    statuses = run.outcome.statuses()
    assert set(statuses) == set(takes_input)
    assert {route for route in statuses if min(statuses[route]) >= 300} <= NEVER_ACCEPTED
    assert {route for route in statuses if takes_input[route] and 400 not in statuses[route]} <= NEVER_ACCEPTED


def test_every_link_of_an_answer_leads_to_what_it_names(bundle: LocalBundle, run: Run) -> None:
    """Schemathesis follows links too, but begins at no operation whose fields look like ids of others."""
    api = run.api
    base = bundle.content_url if api == "ContentApi" else bundle.intake_url
    followed: dict[str, int] = defaultdict(int)
    for answer in reversed(run.outcome.answers):
        for link in links(api, answer.operation, answer.status):
            (name, pointer), *_ = link["parameters"].items()
            value = answer.body[pointer.removeprefix("$response.body#/")]
            if value is None or followed[answer.operation] == FOLLOWED:
                continue
            followed[answer.operation] += 1
            (target,) = (each for each in in_api(api) if each.details["operationId"] == link["operationId"])
            found = requests.get(
                base + target.route.removeprefix("GET ").replace(f"{{{name}}}", value),
                headers={"Authorization": bundle.authorization("operator")},
                timeout=40,
            )
            assert found.status_code == 200, found.text
            OAS31Validator(target.response_schema(200)).validate(found.json())
            assert found.json()[name] == value

    assert set(followed) == {
        each.route
        for each in in_api(api)
        for status in each.details["responses"]
        if links(api, each.route, int(status))
    }


def links(api: str, route: str, status: int) -> list[Mapping[str, Any]]:
    """What an answer links, as the description has it."""
    (operation,) = (each for each in in_api(api) if each.route == route)
    return list(operation.details["responses"].get(str(status), {}).get("links", {}).values())
