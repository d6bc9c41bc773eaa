"""Every kind of fault, as a client meets it, and the rules that aim them."""

from __future__ import annotations

import time

import pytest
import requests

from infra.local.simulators import (
    BrazeSimulator,
    EndlessBody,
    ErrorInside200,
    Fault,
    FaultRule,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetAfterEffect,
    ResetMidBody,
    SessionmSimulator,
    Slow,
    SlowBody,
    Status,
    SteppedClock,
    Throttle,
    WrongShape,
)
from infra.local.simulators.faults import KINDS, FaultBook

TAGS = "POST /priv/*/tags"


def tag(simulator: SessionmSimulator, *, timeout: float = 5.0, stream: bool = False) -> requests.Response:
    return requests.post(
        f"{simulator.url}/priv/v1/apps/{simulator.core_api_key}/users/u1/tags",
        json={"tags": ["vip"]},
        headers={"Authorization": simulator.core_authorization},
        timeout=timeout,
        stream=stream,
        allow_redirects=False,
    )


def count(simulator: SessionmSimulator) -> int:
    found = simulator.tags_of("u1").get("vip")
    return found.count or 0 if found else 0


# --- the effect happens, the answer is disturbed --------------------------------------------------------------------


def test_slow_answers_right_but_late(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, Slow(0.15))
    began = time.monotonic()
    assert tag(sessionm).json() == {"status": "ok"}
    assert time.monotonic() - began >= 0.15
    assert count(sessionm) == 1


def test_slow_sends_no_header_before_its_time(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, Slow(5))
    with pytest.raises(requests.ReadTimeout):
        tag(sessionm, timeout=0.1, stream=True)


def test_slow_body_sends_headers_at_once_and_never_trips_a_read_timeout(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, SlowBody(0.4))
    began = time.monotonic()
    with tag(sessionm, timeout=0.2, stream=True) as answer:
        headers_after = time.monotonic() - began
        assert answer.json() == {"status": "ok"}
    assert headers_after < 0.2
    assert time.monotonic() - began >= 0.35


def test_endless_body_outgrows_any_limit(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, EndlessBody())
    size = 0
    with tag(sessionm, stream=True) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_content(65_536):
            size += len(chunk)
            if size > 300_000:
                break
    assert size > 300_000
    assert count(sessionm) == 1


def test_a_reader_who_leaves_an_endless_body_is_no_error_of_the_simulator(
    sessionm: SessionmSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    sessionm.faults.add(TAGS, EndlessBody(), times=1)
    with tag(sessionm, stream=True):
        pass
    time.sleep(0.3)  # in which it would write several times more

    assert tag(sessionm).ok
    assert caplog.records == []


def test_reset_after_effect_leaves_the_effect_and_no_answer(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, ResetAfterEffect())
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        tag(sessionm)
    assert count(sessionm) == 1
    assert sessionm.requests()[0].status is None


def test_hang_after_accept_leaves_the_effect_and_silence(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, HangAfterAccept(30))
    with pytest.raises(requests.ReadTimeout):
        tag(sessionm, timeout=0.1)
    assert count(sessionm) == 1


def test_hang_after_accept_drops_the_connection_in_the_end(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, HangAfterAccept(0.05))
    with pytest.raises(requests.ConnectionError):
        tag(sessionm)


def test_reset_mid_body_cuts_a_started_answer(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, ResetMidBody())
    with tag(sessionm, stream=True) as answer:
        assert answer.status_code == 200
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            _ = answer.content
    assert count(sessionm) == 1


# --- no effect, a false answer or none ------------------------------------------------------------------------------


def test_reset_leaves_nothing(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, Reset())
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        tag(sessionm)
    assert count(sessionm) == 0


@pytest.mark.parametrize("code", [302, 401, 404, 500, 503])
def test_status_answers_that_status_in_the_vendors_error_shape(sessionm: SessionmSimulator, code: int) -> None:
    sessionm.faults.add(TAGS, Status(code))
    answer = tag(sessionm)
    assert answer.status_code == code
    assert answer.json()["status"] == "error"
    assert count(sessionm) == 0
    assert ("Location" in answer.headers) == (code == 302)


def test_status_takes_a_body_and_headers(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, Status(503, body={"down": True}, headers={"Retry-After": "7"}))
    answer = tag(sessionm)
    assert (answer.json(), answer.headers["Retry-After"]) == ({"down": True}, "7")


def test_throttle_tells_the_wait_in_the_form_asked_for(sessionm: SessionmSimulator, clock: SteppedClock) -> None:
    expected = {
        "retry-after": {"Retry-After": "3"},
        "x-ratelimit-retry-after": {"X-Ratelimit-Retry-After": "3"},
        "reset-epoch": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(clock.now) + 3)},
        "reset-delta": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3"},
    }
    told = ("Retry-After", "X-Ratelimit-Retry-After", "X-RateLimit-Remaining", "X-RateLimit-Reset")
    for form, headers in expected.items():
        sessionm.faults.add(TAGS, Throttle(3, form=form), times=1)  # type: ignore[arg-type]
        answer = tag(sessionm)
        assert answer.status_code == 429
        assert {name: answer.headers[name] for name in told if name in answer.headers} == headers
    assert count(sessionm) == 0


def test_throttle_brings_the_only_limit_headers_at_braze_too(braze: BrazeSimulator) -> None:
    braze.faults.add("GET /segments/list", Throttle(3, form="x-ratelimit-retry-after"))
    answer = requests.get(f"{braze.url}/segments/list", headers={"Authorization": braze.authorization}, timeout=5)
    assert answer.headers["X-Ratelimit-Retry-After"] == "3"
    assert "X-RateLimit-Reset" not in answer.headers


def test_garbage_is_a_200_that_is_no_json(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, Garbage())
    answer = tag(sessionm)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


def test_garbage_can_claim_to_be_json(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, Garbage(content_type="application/json"))
    assert tag(sessionm).headers["Content-Type"] == "application/json"


def test_error_inside_200_is_a_failure_only_the_body_tells(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, ErrorInside200("not_available"))
    answer = tag(sessionm)
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["errors"]["code"]) == ("error", "not_available")
    assert count(sessionm) == 0


def test_wrong_shape_is_good_json_of_the_wrong_kind(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, WrongShape(), times=1)
    sessionm.faults.add(TAGS, WrongShape("types"), times=1)
    assert isinstance(tag(sessionm).json(), list)
    assert tag(sessionm).json()["status"] == 7


# --- rules ----------------------------------------------------------------------------------------------------------


def test_a_rule_hits_as_often_as_told_and_then_disappears(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, Status(500), times=2)
    assert [tag(sessionm).status_code for _ in range(3)] == [500, 500, 200]
    assert sessionm.faults.rules() == []


def test_a_rule_hits_only_its_method_and_path(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("GET *", Status(500))
    sessionm.faults.add("POST /offers/*", Status(500))
    assert tag(sessionm).status_code == 200


def test_the_first_rule_that_matches_decides(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add(TAGS, Status(500), times=1)
    sessionm.faults.add("*  *", Status(404))
    sessionm.faults.add(TAGS, Status(503))
    assert [tag(sessionm).status_code for _ in range(2)] == [500, 503]


def test_a_rule_may_be_for_bodies_that_hold_a_text_alone() -> None:
    book = FaultBook()
    book.add("POST *", Status(400), times=1, holding="member-3")

    drawn = [book.draw("POST /x", body) for body in (b"", b"member-2", b'["member-3"]', b"member-3")]
    assert drawn == [None, None, Status(400), None]


def test_a_share_hits_about_so_many_and_the_same_ones_for_the_same_seed() -> None:
    def hits(seed: int) -> list[bool]:
        book = FaultBook(seed)
        book.add("* *", Status(500), share=0.3)
        return [book.draw("GET /x") is not None for _ in range(1000)]

    assert 250 < sum(hits(1)) < 350
    assert hits(1) == hits(1)
    assert hits(1) != hits(2)


def test_every_kind_survives_the_way_through_json() -> None:
    made: list[Fault] = [
        Slow(1.5),
        SlowBody(2),
        EndlessBody(),
        Status(503, {"a": 1}, {"Retry-After": "1"}),
        Throttle(3, "reset-epoch"),
        Reset(),
        ResetAfterEffect(),
        HangAfterAccept(9),
        ResetMidBody(),
        Garbage("text/plain"),
        ErrorInside200("validation"),
        WrongShape("types"),
    ]
    assert {type(fault) for fault in made} == set(KINDS.values())
    for fault in made:
        rule = FaultRule("POST /x*", fault, times=2, share=0.5, holding="member-3")
        assert FaultRule.from_json(rule.to_json()) == rule


@pytest.mark.parametrize(
    "broken",
    [
        "slow",
        {"kind": "slow", "seconds": 1},
        {"route": "POST", "kind": "slow", "seconds": 1},
        {"route": "POST /x", "kind": "unknown"},
        {"route": "POST /x", "kind": "slow"},
        {"route": "POST /x", "kind": "slow", "seconds": "1"},
        {"route": "POST /x", "kind": "slow", "seconds": -1},
        {"route": "POST /x", "kind": "slow", "seconds": 1, "minutes": 1},
        {"route": "POST /x", "kind": "status", "code": 42},
        {"route": "POST /x", "kind": "status", "code": 500, "headers": {"a": 1}},
        {"route": "POST /x", "kind": "throttle", "retry_after_seconds": 1, "form": "smoke"},
        {"route": "POST /x", "kind": "wrong_shape", "form": "round"},
        {"route": "POST /x", "kind": "reset", "times": 0},
        {"route": "POST /x", "kind": "reset", "times": True},
        {"route": "POST /x", "kind": "reset", "share": 1.1},
        {"route": "POST /x", "kind": "reset", "share": None},
        {"route": "POST /x", "kind": "reset", "holding": None},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(broken: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        FaultRule.from_json(broken)
