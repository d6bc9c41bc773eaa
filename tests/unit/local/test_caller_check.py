"""The Lambda authorizer of an API: when it is asked, and what its answers mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.local.caller_check import CallerCheck
from infra.local.environment import FunctionError
from infra.local.http_events import HttpRequest
from infra.local.routes import Match
from infra.local.views import Authorizer, Route

AUTHORIZER = Authorizer("Callers", "auth", ("$request.header.Authorization", "$context.routeKey"), 300)
WALLET = Match(Route("POST", "/wallet", "wallet", "Callers"), {})
TAGS = Match(Route("POST", "/tags", "tags", "Callers"), {})


class Asked:
    """Stands in for the authorizer function: counts how often it is asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.events: list[Any] = []

    def __call__(self, function: str, event: Any) -> Any:
        assert function == "auth"
        self.events.append(event)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def request_by(key: str) -> HttpRequest:
    return HttpRequest("POST", "/wallet", [("authorization", key)] if key else [])


def test_a_caller_let_through_brings_the_authorizers_context() -> None:
    decision = CallerCheck(AUTHORIZER, Asked({"isAuthorized": True, "context": {"caller": "braze"}})).decide(
        request_by("k"), "Api", WALLET
    )
    assert (decision.status, decision.context) == (200, {"caller": "braze"})


def test_without_a_credential_nobody_is_asked() -> None:
    asked = Asked({"isAuthorized": True})
    assert CallerCheck(AUTHORIZER, asked).decide(request_by(""), "Api", WALLET).status == 401
    assert asked.events == []


@pytest.mark.parametrize("verdict", [True, False])
def test_a_decision_is_remembered_for_the_credential_and_the_route_only(verdict: bool) -> None:
    asked = Asked({"isAuthorized": verdict})
    now = [0.0]
    check = CallerCheck(AUTHORIZER, asked, clock=lambda: now[0])
    for key, match in (("a", WALLET), ("a", WALLET), ("a", TAGS), ("b", WALLET), ("b", WALLET)):
        assert check.decide(request_by(key), "Api", match).status == (200 if verdict else 403)
    assert [event["identitySource"] for event in asked.events] == [
        ["a", "POST /wallet"],
        ["a", "POST /tags"],
        ["b", "POST /wallet"],
    ]
    now[0] = 300.0
    check.decide(request_by("a"), "Api", WALLET)
    assert len(asked.events) == 4


def test_a_decision_on_one_address_does_not_speak_for_another() -> None:
    sources = (*AUTHORIZER.identity_sources, "$context.identity.sourceIp")
    asked = Asked({"isAuthorized": True})
    check = CallerCheck(Authorizer("Callers", "auth", sources, 300), asked)
    for address in ("203.0.113.1", "203.0.113.2", "203.0.113.1"):
        check.decide(HttpRequest("POST", "/wallet", [("authorization", "k")], source_ip=address), "Api", WALLET)
    assert [event["identitySource"][-1] for event in asked.events] == ["203.0.113.1", "203.0.113.2"]


def test_the_memory_can_be_switched_off_and_emptied() -> None:
    asked = Asked({"isAuthorized": True})
    forgetful = CallerCheck(AUTHORIZER, asked, ttl_seconds=0)
    for _ in range(2):
        forgetful.decide(request_by("a"), "Api", WALLET)
    assert len(asked.events) == 2
    remembering = CallerCheck(AUTHORIZER, asked)
    for _ in range(2):
        remembering.decide(request_by("a"), "Api", WALLET)
        remembering.forget()
    assert len(asked.events) == 4


@pytest.mark.parametrize("answer", [FunctionError("ValueError", "no"), None, {}, {"isAuthorized": "yes"}, "true"])
def test_an_authorizer_that_fails_lets_nobody_pass_and_is_asked_again(answer: Any) -> None:
    asked = Asked(answer)
    check = CallerCheck(AUTHORIZER, asked)
    assert check.decide(request_by("a"), "Api", WALLET).status == 500
    asked.answer = {"isAuthorized": True}
    assert check.decide(request_by("a"), "Api", WALLET).status == 200


def test_identity_may_come_from_the_query_and_nothing_unknown() -> None:
    asked = Asked({"isAuthorized": True})
    by_query = CallerCheck(Authorizer("A", "auth", ("$request.querystring.key",), 0), asked)
    assert by_query.decide(HttpRequest("GET", "/x?key=a", []), "Api", WALLET).status == 200
    assert by_query.decide(HttpRequest("GET", "/x", []), "Api", WALLET).status == 401
    unknown: Callable[[], Any] = lambda: CallerCheck(  # noqa: E731
        Authorizer("A", "auth", ("$stageVariables.x",), 0), asked
    ).decide(request_by("a"), "Api", WALLET)
    with pytest.raises(ValueError, match="stageVariables"):
        unknown()
