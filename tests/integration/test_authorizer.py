"""The caller check over a real secret: who passes, and that nobody does when the secret cannot be trusted."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from hashlib import sha256
from threading import Event
from typing import Any, cast

import pytest

from authorizer.endpoint import build
from authorizer.roster import MAX_AGE_SECONDS, MAX_STALE_SECONDS, PAUSE_SECONDS, Roster
from authorizer.sources import ADDRESSES_PATH, networks_of, published
from shared.errors import ConfigurationError, StoreUnavailable
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked
from tests.integration.support.faulty_aws import FaultyAws

KEY, OLD_KEY, OTHER_KEY = "k" * 40, "o" * 40, "x" * 40
ROUTE = "POST /tags"
DENIED = {"isAuthorized": False, "context": {"caller": ""}}
MARKED = "marked-as-a-secret"


def allowed(name: str) -> dict[str, Any]:
    return {"isAuthorized": True, "context": {"caller": name}}


def basic(name: str, key: str) -> str:
    return "Basic " + b64encode(f"{name}:{key}".encode()).decode()


def ask(
    handle: Invoked,
    authorization: str | None,
    route: str = ROUTE,
    header: str = "authorization",
    address: str = "203.0.113.10",
) -> dict[str, Any]:
    headers = {} if authorization is None else {header: authorization}
    context = {"http": {"sourceIp": address}}
    return handle({"routeKey": route, "headers": headers, "requestContext": context}, Context())


def counted(name: str, printed: str) -> int:
    """How often a metric was counted in what was logged."""
    lines = [json.loads(line) for line in printed.splitlines() if "_aws" in line]
    return int(sum(sum(line[name]) if isinstance(line[name], list) else line[name] for line in lines if name in line))


def secret(*names: str, key: str = KEY, allows: tuple[str, ...] = (ROUTE,)) -> dict[str, Any]:
    return {"callers": {name: {"key": key, "allows": list(allows)} for name in names}}


@pytest.fixture
def handle(aws: Aws) -> Invoked:
    aws.put_secret(
        "callers",
        {
            "callers": {
                "braze": {"key": KEY, "allows": [ROUTE, "GET /wallet/*"]},
                "sessionm": {"key": OTHER_KEY, "allows": ["POST /triggers"]},
            }
        },
    )
    return build(aws.settings())


@pytest.mark.parametrize("header", ["authorization", "Authorization", "AUTHORIZATION"])
def test_basic_and_bearer_pass_whatever_the_case_of_the_header(handle: Invoked, header: str) -> None:
    assert ask(handle, basic("braze", KEY), header=header) == allowed("braze")
    assert ask(handle, f"Bearer {KEY}", header=header) == allowed("braze")


@pytest.mark.parametrize(
    "authorization",
    [
        *(None, "", "Basic", f"Digest {KEY}", f"Bearer {KEY[:-1]}", f"Bearer {KEY}x", "Bearer " + "k" * 5_000),
        *(basic("braze", OTHER_KEY), basic("nobody", KEY), basic("braze", KEY)[:-4], "Bearer ключ"),
        *(f"Bearer {KEY},Bearer {KEY}", f"{basic('braze', KEY)},{basic('braze', KEY)}"),  # as API Gateway joins two
        *(f"Bearer {KEY.upper()}", basic("Braze", KEY), basic("braze", ""), "Basic " + KEY, "Basic YnJhemU="),
        *(f"Bearer {KEY}\x00", f"Bearer \u202e{KEY}", "\ud800", "Basic \ud800", "Bearer \ud800" + KEY),
    ],
)
def test_any_other_credential_is_denied(handle: Invoked, authorization: str | None) -> None:
    assert ask(handle, authorization) == DENIED


def test_a_header_under_two_spellings_of_its_name_is_denied_whichever_is_right(handle: Invoked) -> None:
    for first, second in ((KEY, OTHER_KEY), (OTHER_KEY, KEY), (KEY, KEY)):
        headers = {"Authorization": f"Bearer {first}", "authorization": f"Bearer {second}"}
        assert handle({"routeKey": ROUTE, "headers": headers}, Context()) == DENIED


def test_a_request_without_headers_is_denied(handle: Invoked) -> None:
    assert handle({"routeKey": ROUTE}, Context()) == DENIED


@pytest.mark.parametrize(
    ("key", "route", "answer"),
    [
        (KEY, ROUTE, allowed("braze")),
        (KEY, "GET /wallet/{user_id}", allowed("braze")),
        (KEY, "POST /triggers", DENIED),
        (OTHER_KEY, "POST /triggers", allowed("sessionm")),
        (OTHER_KEY, ROUTE, DENIED),
        (KEY, "", DENIED),
    ],
)
def test_a_caller_passes_on_its_own_routes_only(handle: Invoked, key: str, route: str, answer: dict[str, Any]) -> None:
    assert ask(handle, f"Bearer {key}", route) == answer


def test_both_keys_pass_during_a_rotation(aws: Aws) -> None:
    aws.put_secret("callers", secret("braze", key=OLD_KEY))
    aws.put_secret("callers", secret("braze", key=KEY))
    handle = build(aws.settings(CALLER_ROTATION_SECONDS="600"))

    assert ask(handle, basic("braze", KEY)) == allowed("braze")
    assert ask(handle, basic("braze", OLD_KEY)) == allowed("braze")


def test_the_previous_key_is_out_once_the_rotation_is_over(aws: Aws) -> None:
    aws.put_secret("callers", secret("braze", key=OLD_KEY))
    aws.put_secret("callers", secret("braze", key=KEY))
    handle = build(aws.settings(CALLER_ROTATION_SECONDS="600"), clock=lambda: time.time() + 602)

    assert ask(handle, basic("braze", OLD_KEY)) == DENIED
    assert ask(handle, basic("braze", KEY)) == allowed("braze")


def test_a_caller_removed_in_a_rotation_is_out_at_once(aws: Aws) -> None:
    aws.put_secret("callers", secret("braze", "gone", key=OLD_KEY))
    aws.put_secret("callers", secret("braze", key=KEY))
    handle = build(aws.settings())

    assert ask(handle, basic("gone", OLD_KEY)) == DENIED


def test_a_route_taken_from_a_caller_is_closed_to_its_previous_key_too(aws: Aws) -> None:
    aws.put_secret("callers", secret("braze", key=OLD_KEY, allows=("*",)))
    aws.put_secret("callers", secret("braze", key=KEY, allows=("GET /wallet/*",)))
    handle = build(aws.settings())

    assert ask(handle, basic("braze", OLD_KEY)) == DENIED


def test_the_first_version_has_no_previous_one_and_that_is_no_fault(aws: Aws) -> None:
    aws.put_secret("callers", secret("braze"))
    handle = build(aws.settings())

    assert ask(handle, basic("braze", KEY)) == allowed("braze")
    assert ask(handle, basic("braze", OLD_KEY)) == DENIED


@pytest.mark.parametrize(
    "value",
    [
        None,
        MARKED,
        "{}",
        f'{{"callers": ["{MARKED}"]}}',
        '{"callers": {}}',
        f'{{"callers": {{"braze": "{MARKED}"}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}"}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}", "allows": ["*"]}}}}}}',  # too short
        f'{{"callers": {{"braze": {{"key": "{MARKED} {KEY}", "allows": ["*"]}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED * 30}", "allows": ["*"]}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}{KEY}", "allows": []}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}{KEY}", "allows": "*"}}}}}}',
        f'{{"callers": {{"br aze": {{"key": "{MARKED}{KEY}", "allows": ["*"]}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}{KEY}", "allows": ["*"], "admin": true}}}}}}',
        f'{{"callers": {{"braze": {{"key": "{MARKED}{KEY}", "allows": ["*"]}}}}, "extra": 1}}',
    ],
)
def test_a_secret_that_is_missing_or_malformed_lets_nobody_in_and_is_never_quoted(
    aws: Aws, value: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if value is not None:
        aws.put_secret("callers", value)
    handle = build(aws.settings())

    with pytest.raises(ConfigurationError) as error:
        ask(handle, f"Bearer {MARKED}{KEY}")
    printed = capsys.readouterr().out
    assert MARKED not in str(error.value)
    assert MARKED not in printed
    assert counted("CallersUnreadable", printed) == 1


def test_a_secret_without_a_value_lets_nobody_in(aws: Aws) -> None:
    aws.leave_empty("callers")
    with pytest.raises(ConfigurationError, match="has no value; put one in"):
        ask(build(aws.settings()), f"Bearer {KEY}")


def test_a_secret_out_of_reach_lets_nobody_in(
    aws: Aws, faulty_aws: FaultyAws, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.put_secret("callers", secret("braze"))
    faulty_aws.refuse("GetSecretValue")
    handle = build(aws.settings())

    with pytest.raises(StoreUnavailable, match=r"^Secrets Manager: AccessDeniedException$"):
        ask(handle, basic("braze", KEY))
    assert counted("CallersUnreadable", capsys.readouterr().out) == 1


def test_a_secret_that_hangs_lets_nobody_in_and_is_not_waited_for_by_every_request(
    aws: Aws, faulty_aws: FaultyAws, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.put_secret("callers", secret("braze"))
    faulty_aws.hang("GetSecretValue", 30)
    handle = build(aws.settings())
    started = time.monotonic()

    for _ in range(20):
        with pytest.raises(StoreUnavailable):
            ask(handle, basic("braze", KEY))

    # Two tries of half a second and the pause between them; on a busy machine still half of API Gateway's ten seconds.
    assert time.monotonic() - started < 5
    assert counted("CallersUnreadable", capsys.readouterr().out) == 20
    assert len(faulty_aws.calls) <= 2


def test_callers_pass_again_some_seconds_after_the_secret_is_back(aws: Aws, faulty_aws: FaultyAws) -> None:
    now = time.time()
    aws.put_secret("callers", secret("braze"))
    faulty_aws.refuse("GetSecretValue")
    handle = build(aws.settings(), lambda: now)
    with pytest.raises(StoreUnavailable):
        ask(handle, basic("braze", KEY))
    faulty_aws.heal()

    with pytest.raises(StoreUnavailable):
        ask(handle, basic("braze", KEY))
    now += PAUSE_SECONDS
    assert ask(handle, basic("braze", KEY)) == allowed("braze")


def test_callers_pass_for_five_minutes_while_the_secret_is_out_of_reach_and_no_longer(
    aws: Aws, faulty_aws: FaultyAws
) -> None:
    now = time.time()
    aws.put_secret("callers", secret("braze"))
    handle = build(aws.settings(), lambda: now)
    assert ask(handle, basic("braze", KEY)) == allowed("braze")
    faulty_aws.refuse("GetSecretValue")

    now += MAX_STALE_SECONDS
    assert ask(handle, basic("braze", KEY)) == allowed("braze")
    now += 11
    with pytest.raises(StoreUnavailable):
        ask(handle, basic("braze", KEY))


def test_a_removed_caller_is_out_within_a_minute(aws: Aws) -> None:
    now = time.time()
    aws.put_secret("callers", secret("braze", "gone"))
    handle = build(aws.settings(), lambda: now)
    assert ask(handle, basic("gone", KEY)) == allowed("gone")

    aws.put_secret("callers", secret("braze"))
    now += MAX_AGE_SECONDS
    assert ask(handle, basic("gone", KEY)) == DENIED


def test_a_previous_version_out_of_reach_is_not_taken_for_none(aws: Aws, faulty_aws: FaultyAws) -> None:
    aws.put_secret("callers", secret("braze", key=OLD_KEY))
    aws.put_secret("callers", secret("braze", key=KEY))
    faulty_aws.refuse_after("GetSecretValue", 1)
    handle = build(aws.settings())

    with pytest.raises(StoreUnavailable):
        ask(handle, basic("braze", OLD_KEY))


def test_a_secret_is_read_once_for_many_requests(aws: Aws, faulty_aws: FaultyAws) -> None:
    aws.put_secret("callers", secret("braze", key=OLD_KEY))
    aws.put_secret("callers", secret("braze", key=KEY))
    handle = build(aws.settings())

    for _ in range(5):
        assert ask(handle, basic("braze", KEY)) == allowed("braze")
    assert faulty_aws.calls == ["GetSecretValue"] * 2  # the current version and the previous one


def test_a_denial_is_logged_without_what_was_presented(handle: Invoked, capsys: pytest.CaptureFixture[str]) -> None:
    ask(handle, f"Bearer {MARKED}")
    ask(handle, basic(MARKED, MARKED))
    ask(handle, basic("braze", KEY), "POST /triggers")

    logged = capsys.readouterr().out
    assert logged.count('"message":"denied"') == 3
    assert '"caller":"braze"' in logged
    assert MARKED not in logged
    assert KEY not in logged
    assert "CallersDenied" in logged


def test_a_key_passes_right_after_the_rotation_that_retired_it(aws: Aws) -> None:
    now = time.time()
    aws.put_secret("callers", secret("braze", key="1" * 40))
    handle = build(aws.settings(), lambda: now)
    assert ask(handle, f"Bearer {'1' * 40}") == allowed("braze")  # reads also that there is none before it

    for old, new in (("1", "2"), ("2", "3")):
        aws.put_secret("callers", secret("braze", key=new * 40))
        now += 301
        assert ask(handle, f"Bearer {new * 40}") == allowed("braze")
        assert ask(handle, f"Bearer {old * 40}") == allowed("braze")


def test_a_store_that_never_answers_is_given_up_whatever_its_client_waits_for() -> None:
    answered = Event()

    class Hung:
        def get_secret_value(self, **_: str) -> None:
            answered.wait(60)

    roster = Roster(cast("Any", Hung()), "callers", 600, answer_seconds=0.05)
    try:
        with pytest.raises(StoreUnavailable, match=r"no answer in 0\.05 s"):
            roster.lists()
        with pytest.raises(StoreUnavailable, match="a moment ago"):
            roster.lists()
    finally:
        answered.set()


# --- digests, former keys, sources ------------------------------------------------------------------------------------


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def test_a_secret_of_digests_opens_the_door_to_keys_and_not_to_digests(aws: Aws) -> None:
    aws.put_secret("callers", {"callers": {"braze": {"key_sha256": digest(KEY), "allows": [ROUTE]}}})
    handle = build(aws.settings())

    assert ask(handle, basic("braze", KEY)) == allowed("braze")
    assert ask(handle, f"Bearer {KEY}") == allowed("braze")
    assert ask(handle, f"Bearer {digest(KEY)}") == DENIED


def test_a_former_key_in_the_list_outlives_another_callers_rotation_and_ends_on_its_day(aws: Aws) -> None:
    now = time.time()
    former = [{"key_sha256": digest(OLD_KEY), "replaced_at": now}]
    braze = {"key_sha256": digest(KEY), "allows": [ROUTE], "former": former}
    aws.put_secret("callers", {"callers": {"braze": braze}})
    aws.put_secret("callers", {"callers": {"braze": braze, **secret("sessionm", key=OTHER_KEY)["callers"]}})
    handle = build(aws.settings(CALLER_ROTATION_SECONDS="600"), lambda: now)

    assert ask(handle, basic("braze", OLD_KEY)) == allowed("braze")
    now += 599
    assert ask(handle, basic("braze", OLD_KEY)) == allowed("braze")
    now += 2
    assert ask(handle, basic("braze", OLD_KEY)) == DENIED
    assert ask(handle, basic("braze", KEY)) == allowed("braze")


BRAZE_US_01 = "23.21.118.191"


@pytest.mark.parametrize(
    ("sources", "address", "answer"),
    [
        (["braze-us-01"], BRAZE_US_01, allowed("braze")),
        (["braze-eu-01"], BRAZE_US_01, DENIED),
        (["braze-eu-01", "braze-us-01"], BRAZE_US_01, allowed("braze")),
        (["203.0.113.0/24"], "203.0.113.255", allowed("braze")),
        (["203.0.113.0/24"], "203.0.114.0", DENIED),
        (["203.0.113.7"], "203.0.113.7", allowed("braze")),
        (["203.0.113.7"], "203.0.113.8", DENIED),
        (["203.0.113.7"], "::ffff:203.0.113.7", allowed("braze")),
        (["203.0.113.7"], "2001:db8::7", DENIED),
        (["2001:db8::/32"], "2001:db8::7", allowed("braze")),
        (["0.0.0.0/0"], "", DENIED),
        (["0.0.0.0/0"], "203.0.113.7, 203.0.113.8", DENIED),
    ],
)
def test_a_caller_with_sources_passes_from_there_alone(
    aws: Aws, sources: list[str], address: str, answer: dict[str, Any]
) -> None:
    callers = secret("braze")["callers"]
    callers["braze"]["sources"] = sources
    aws.put_secret("callers", {"callers": {**callers, **secret("sessionm", key=OTHER_KEY)["callers"]}})
    handle = build(aws.settings())

    assert ask(handle, basic("braze", KEY), address=address) == answer
    assert ask(handle, basic("sessionm", OTHER_KEY), address=address) == allowed("sessionm"), "who has no sources"


def test_a_right_key_from_elsewhere_is_counted_apart_for_it_may_be_a_stolen_one(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    callers = secret("braze")
    callers["callers"]["braze"]["sources"] = ["braze-us-01"]
    aws.put_secret("callers", callers)
    handle = build(aws.settings())

    ask(handle, basic("braze", KEY))
    ask(handle, basic("braze", OLD_KEY))

    printed = capsys.readouterr().out
    assert (counted("CallersElsewhere", printed), counted("CallersDenied", printed)) == (1, 2)
    assert '"reason":"source"' in printed


def test_a_source_that_means_nothing_shuts_its_caller_out_loudly_and_no_other(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    callers = secret("braze")["callers"]
    callers["braze"]["sources"] = ["braze-mars-01"]
    aws.put_secret("callers", {"callers": {**callers, **secret("sessionm", key=OTHER_KEY)["callers"]}})
    handle = build(aws.settings())

    with pytest.raises(ConfigurationError, match="source braze-mars-01 is neither a network nor a name"):
        ask(handle, basic("braze", KEY))
    assert ask(handle, basic("sessionm", OTHER_KEY)) == allowed("sessionm")
    assert counted("CallersUnreadable", capsys.readouterr().out) == 1


def test_every_published_list_is_of_addresses_and_every_name_stands_once() -> None:
    names = [name for each in json.loads(ADDRESSES_PATH.read_bytes())["lists"] for name in each["names"]]

    assert len(names) == len(set(names)) == len(published())
    assert all(networks_of(name) and all(not net.is_private for net in networks_of(name)) for name in names)
