"""`make caller`: keys are drawn and shown once, kept as digests, and nobody loses a caller by it."""

from __future__ import annotations

import io
import json
import os
import re
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from rich.console import Console

from authorizer.endpoint import build
from infra.commands.callers import routes_by_api, run, wanted_of
from infra.commands.callers_secret import CallersSecret, Changed, Version, changed, put
from infra.commands.stack import CannotRun
from infra.emulated import physical_name
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context
from tests.integration.support.faulty_aws import DROPPED, LOST, Answer, FaultyAws, refusal

NAME = physical_name("CallersSecret")
PLAIN_KEY, OTHER_KEY = "p" * 40, "q" * 40
CONTENT = {"NAME": "braze-content", "ALLOWS": "GET /wallet/*, POST /wallet"}
ROUTES = routes_by_api()


@pytest.fixture
def local(aws: Aws, tmp_path: Path) -> Path:
    """What a bundle on this machine has written down, and its callers secret without a value."""
    with suppress(aws.secretsmanager.exceptions.ResourceNotFoundException):  # of an earlier test
        aws.secretsmanager.delete_secret(SecretId=NAME, ForceDeleteWithoutRecovery=True)
    aws.secretsmanager.create_secret(Name=NAME)
    path = tmp_path / "bundle.json"
    urls = {"content_url": "http://127.0.0.1:1", "intake_url": "http://127.0.0.1:2"}
    path.write_text(json.dumps({"aws_url": aws.url, **urls}), encoding="utf-8")
    return path


def ran(local: Path, command: str = "put", **environment: str) -> tuple[int, str]:
    said = io.StringIO()
    code = run(command, environment, Console(file=said, width=220), local)
    return code, said.getvalue()


def key_in(said: str) -> str:
    found: set[str] = set(re.findall(r"(?:password +|Bearer )(\S+)", said))
    return found.pop()


def held(aws: Aws, stage: str = "AWSCURRENT") -> dict[str, Any]:
    text = aws.secretsmanager.get_secret_value(SecretId=NAME, VersionStage=stage)["SecretString"]
    callers: dict[str, Any] = json.loads(text)["callers"]
    return callers


def hold(aws: Aws, callers: Mapping[str, Any]) -> None:
    aws.secretsmanager.put_secret_value(SecretId=NAME, SecretString=json.dumps({"callers": callers}))


def who(aws: Aws, key: str, route: str = "POST /wallet", address: str = "203.0.113.10", name: str = "") -> str:
    """The caller that a key is taken for, by an authorizer that reads the secret now; empty for nobody."""
    header = "Basic " + b64encode(f"{name}:{key}".encode()).decode() if name else f"Bearer {key}"
    event = {
        "routeKey": route,
        "headers": {"authorization": header},
        "requestContext": {"http": {"sourceIp": address}},
    }
    return str(build(aws.settings(CALLERS_SECRET_ID=NAME))(event, Context())["context"]["caller"])


# --- making and rotating ----------------------------------------------------------------------------------------------


def test_the_first_caller_gets_a_key_that_works_and_is_kept_as_a_digest(aws: Aws, local: Path) -> None:
    code, said = ran(local, **CONTENT)

    key = key_in(said)
    assert code == 0
    assert len(key) >= 43, "256 bits in Base64"
    assert who(aws, key) == who(aws, key, name="braze-content") == "braze-content"
    assert who(aws, key, route="POST /tags") == ""
    assert key not in json.dumps(held(aws))
    assert "Settings > Connected Content" in said
    assert "http://127.0.0.1:1" in said
    assert "Authorization: Bearer" not in said, "no route of the Intake API is allowed"


def test_two_keys_are_never_alike(local: Path) -> None:
    keys = {key_in(ran(local, **CONTENT)[1]) for _ in range(4)}
    assert len(keys) == 4


def test_what_a_webhook_or_a_template_needs_is_a_header(local: Path) -> None:
    _, said = ran(local, NAME="braze-webhook", ALLOWS="POST /priv/*,POST /tags")

    assert re.search(r"^  Authorization: Bearer \S{43,}$", said, re.MULTILINE)
    assert "http://127.0.0.1:2" in said
    assert "Connected Content," not in said


def test_a_caller_of_both_apis_is_told_both(local: Path) -> None:
    _, said = ran(local, NAME="operator", ALLOWS="*")
    assert "password   " in said
    assert "Authorization: Bearer " in said


def test_a_new_key_leaves_the_former_ones_working_for_their_rotation_and_routes_as_they_were(
    aws: Aws, local: Path
) -> None:
    keys = [key_in(ran(local, **CONTENT)[1])]
    keys += [key_in(ran(local, NAME="braze-content")[1]) for _ in range(2)]

    assert [who(aws, key) for key in keys] == ["braze-content"] * 3
    assert held(aws)["braze-content"]["allows"] == ["GET /wallet/*", "POST /wallet"]
    late = build(aws.settings(CALLERS_SECRET_ID=NAME, CALLER_ROTATION_SECONDS="0"), lambda: 4_000_000_000.0)
    passed = []
    for key in keys:
        event = {"routeKey": "POST /wallet", "headers": {"authorization": f"Bearer {key}"}}
        passed.append(late(event, Context())["isAuthorized"])
    assert passed == [False, False, True]


def test_after_a_leak_the_former_keys_end_at_once(aws: Aws, local: Path) -> None:
    leaked = key_in(ran(local, **CONTENT)[1])
    code, said = ran(local, NAME="braze-content", NOW="yes")

    assert (code, who(aws, leaked), who(aws, key_in(said))) == (0, "", "braze-content")
    assert "former key works on" not in said


def test_another_callers_rotation_goes_on_though_a_third_is_made(aws: Aws, local: Path) -> None:
    ran(local, **CONTENT)
    first = key_in(ran(local, NAME="sessionm", ALLOWS="POST /triggers")[1])
    second = key_in(ran(local, NAME="sessionm")[1])
    for number in range(3):
        ran(local, NAME=f"later-{number}", ALLOWS="POST /tags")

    assert [who(aws, key, "POST /triggers") for key in (first, second)] == ["sessionm"] * 2


def test_a_rotation_that_was_begun_by_hand_goes_on_too(aws: Aws, local: Path) -> None:
    hold(aws, {"sessionm": {"key": PLAIN_KEY, "allows": ["POST /triggers"]}})
    hold(aws, {"sessionm": {"key": OTHER_KEY, "allows": ["POST /triggers"]}})
    ran(local, **CONTENT)
    ran(local, NAME="later", ALLOWS="POST /tags")

    assert [who(aws, key, "POST /triggers") for key in (PLAIN_KEY, OTHER_KEY)] == ["sessionm"] * 2


def test_callers_written_by_hand_stay_as_they_are(aws: Aws, local: Path) -> None:
    by_hand = {"key": PLAIN_KEY, "allows": ["POST /tags"], "sources": ["203.0.113.0/24"]}
    hold(aws, {"sessionm": by_hand})
    ran(local, **CONTENT)

    assert held(aws)["sessionm"] == by_hand
    assert who(aws, PLAIN_KEY, "POST /tags") == "sessionm"


def test_a_plain_key_that_is_replaced_is_kept_as_a_digest_while_it_lasts(aws: Aws, local: Path) -> None:
    hold(aws, {"braze-content": {"key": PLAIN_KEY, "allows": ["POST /wallet"]}})
    ran(local, NAME="braze-content")

    assert PLAIN_KEY not in json.dumps(held(aws))
    assert who(aws, PLAIN_KEY) == "braze-content"


def test_routes_and_sources_change_without_a_new_key(aws: Aws, local: Path) -> None:
    key = key_in(ran(local, **CONTENT)[1])
    code, said = ran(
        local, NAME="braze-content", ALLOWS="POST /wallet", SOURCES="braze-us-01,203.0.113.0/24", KEEP="yes"
    )

    assert (code, "keeps its key" in said) == (0, True)
    assert held(aws)["braze-content"]["sources"] == ["braze-us-01", "203.0.113.0/24"]
    assert who(aws, key, address="23.21.118.191") == who(aws, key, address="203.0.113.1") == "braze-content"
    assert who(aws, key, address="198.51.100.1") == ""
    assert who(aws, key, "GET /wallet/{user_id}", address="203.0.113.1") == ""

    ran(local, NAME="braze-content", SOURCES="anywhere", KEEP="yes")
    assert who(aws, key, address="198.51.100.1") == "braze-content"


def test_a_removed_caller_is_gone_and_the_others_are_not(aws: Aws, local: Path) -> None:
    key = key_in(ran(local, **CONTENT)[1])
    kept = key_in(ran(local, NAME="sessionm", ALLOWS="POST /triggers")[1])
    code, _ = ran(local, NAME="braze-content", REMOVE="yes")

    assert (code, who(aws, key), who(aws, kept, "POST /triggers")) == (0, "", "sessionm")


def test_a_key_can_go_into_a_file_that_is_its_owners_alone_and_nowhere_else(
    aws: Aws, local: Path, tmp_path: Path
) -> None:
    path = tmp_path / "caller.conf"
    path.write_text("from before", encoding="utf-8")
    code, said = ran(local, NAME="operator", ALLOWS="*", FILE=str(path))

    user, key = path.read_text(encoding="utf-8").strip().removeprefix('user = "').removesuffix('"').split(":")
    assert (code, user, who(aws, key, name="operator")) == (0, "operator", "operator")
    assert path.stat().st_mode & 0o777 == 0o600
    assert key not in said
    assert [each.name for each in tmp_path.glob("caller.conf*")] == ["caller.conf"]


def test_a_file_that_cannot_be_written_changes_nothing(aws: Aws, local: Path, tmp_path: Path) -> None:
    ran(local, **CONTENT)
    before = held(aws)

    code, said = ran(local, NAME="braze-content", FILE=str(tmp_path / "none" / "caller.conf"))

    assert (code, held(aws)) == (2, before)
    assert "caller.conf cannot be written: No such file or directory; no key was changed" in said


@pytest.mark.parametrize(
    ("name", "words"), [("folder", "Is a directory"), ("folder/", "Is a directory"), ("pipe", "it is no file")]
)
def test_a_key_is_not_changed_for_a_name_that_can_hold_no_file(
    aws: Aws, local: Path, tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    key = key_in(ran(local, **CONTENT)[1])
    before = held(aws)

    code, said = ran(local, NAME="braze-content", NOW="yes", FILE=f"{tmp_path}/{name}")

    assert (code, held(aws), who(aws, key)) == (2, before, "braze-content")
    assert f"{name} cannot be written: {words}; no key was changed" in said
    assert not list((tmp_path / "folder").iterdir())


def test_a_key_whose_file_fails_after_all_is_shown_rather_than_lost(
    aws: Aws, local: Path, tmp_path: Path, faulty_aws: FaultyAws
) -> None:
    """A folder takes the file's name between our reserving it and our writing."""
    leaked = key_in(ran(local, **CONTENT)[1])
    local.write_text(json.dumps({"aws_url": faulty_aws.url}), encoding="utf-8")
    path = tmp_path / "caller.conf"
    faulty_aws.answer("PutSecretValue", lambda _: path.mkdir())

    code, said = ran(local, NAME="braze-content", NOW="yes", FILE=str(path))

    assert code == 2, "a script that waits for the file must not go on"
    assert "caller.conf cannot be written: Is a directory. The key is in force, and shown here instead" in said
    assert (who(aws, leaked), who(aws, key_in(said))) == ("", "braze-content")
    assert [each.name for each in tmp_path.glob("caller.conf*")] == ["caller.conf"]


def test_a_deployed_stack_is_asked_where_its_secret_and_its_apis_are(aws: Aws, tmp_path: Path) -> None:
    nowhere = tmp_path / "no-bundle-runs.json"
    aws.put_secret("deployed", {"callers": {"by-hand": {"key": PLAIN_KEY, "allows": ["POST /tags"]}}})
    outputs = {
        "CallersSecretArn": f"{aws.name}-deployed",
        "ContentApiUrl": "https://content.example.com",
        "IntakeApiUrl": "https://intake.example.com",
    }
    cloudformation = boto3.client("cloudformation", endpoint_url=aws.url)
    for name, told in ((aws.name, outputs), (f"{aws.name}-old", {})):
        body = {
            "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
            "Outputs": {key: {"Value": value} for key, value in told.items()},
        }
        cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(body))

    code, said = ran(nowhere, NAME="operator", ALLOWS="*", STACK=aws.name, AWS_REGION="us-east-1")
    assert code == 0
    assert "https://content.example.com" in said
    assert "https://intake.example.com" in said
    text = aws.secretsmanager.get_secret_value(SecretId=f"{aws.name}-deployed")["SecretString"]
    assert set(json.loads(text)["callers"]) == {"by-hand", "operator"}

    code, said = ran(nowhere, NAME="operator", ALLOWS="*", STACK=f"{aws.name}-old", AWS_REGION="us-east-1")
    assert (code, f"CallersSecret of the stack {aws.name}-old in us-east-1 cannot be found" in said) == (2, True)


# --- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_shows_who_may_call_what_from_where_and_no_key(aws: Aws, local: Path) -> None:
    hold(aws, {"by-hand": {"key": PLAIN_KEY, "allows": ["POST /tags"]}})
    key = key_in(ran(local, **CONTENT, SOURCES="braze-us-01")[1])
    ran(local, NAME="braze-content")
    code, said = ran(local, "list")

    assert code == 0
    for shown in ("braze-content", "GET /wallet/*", "braze-us-01", "by-hand", "anywhere", "plain", "replaced 20"):
        assert shown in said
    for digest in re.findall("[0-9a-f]{64}", json.dumps(held(aws))):
        assert digest not in said
    assert key not in said
    assert PLAIN_KEY not in said


def test_without_any_caller_the_list_is_empty(local: Path) -> None:
    assert ran(local, "list")[0] == 0


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "which one"),
        ({"NAME": "two words", "ALLOWS": "*"}, "letters, digits"),
        ({"NAME": "n", "ALLOWS": "POST /tag"}, "no route is POST /tag. Routes are "),
        ({"NAME": "n", "ALLOWS": "POST /tags, GET /walet/*"}, "no route is GET /walet/*"),
        ({"NAME": "n", "ALLOWS": "GET /health"}, "no route is GET /health"),  # which asks for no caller
        ({"NAME": "n", "ALLOWS": "POST /tags", "SOURCES": "braze-mars-01"}, "one of braze-au-01, "),
        ({"NAME": "n", "ALLOWS": "POST /tags", "SOURCES": "203.0.113.1/24"}, "nor one of"),
        ({"NAME": "n"}, "no caller n"),
        ({"NAME": "n", "ALLOWS": "POST /tags", "KEEP": "yes"}, "no caller n"),
        ({"NAME": "braze-content", "KEEP": "yes", "NOW": "yes"}, "Leave one of them out"),
        ({"NAME": "n", "REMOVE": "yes"}, "no caller n"),
        ({"NAME": "braze-content", "REMOVE": "yes"}, "the last caller"),
        ({"NAME": "braze-content", "REMOVE": "yes", "ALLOWS": "POST /tags"}, "NAME alone"),
        ({"NAME": "braze-content", "ALLOWS": ",".join(["POST /tags"] + ["*" * n for n in range(1, 102)])}, "no route"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    aws: Aws, local: Path, environment: dict[str, str], words: str
) -> None:
    before = {"braze-content": {"key": PLAIN_KEY, "allows": ["POST /wallet"]}}
    hold(aws, before)

    code, said = ran(local, **environment)

    assert (code, held(aws)) == (2, before)
    assert words in said


def test_a_secret_that_is_broken_is_not_overwritten(aws: Aws, local: Path) -> None:
    text = json.dumps({"callers": {"sessionm": {"key": "short", "allows": ["*"]}}})
    aws.secretsmanager.put_secret_value(SecretId=NAME, SecretString=text)

    code, said = ran(local, **CONTENT)

    assert (code, "Mend it by hand" in said, "short" not in said) == (2, True, True)
    assert held(aws) == json.loads(text)["callers"]


def test_a_broken_version_before_is_no_hindrance(aws: Aws, local: Path) -> None:
    aws.secretsmanager.put_secret_value(SecretId=NAME, SecretString="{}")
    hold(aws, {"sessionm": {"key": PLAIN_KEY, "allows": ["*"]}})

    assert ran(local, **CONTENT)[0] == 0
    assert set(held(aws)) == {"braze-content", "sessionm"}


def test_too_many_routes_are_no_callers_secret(aws: Aws, local: Path) -> None:
    ran(local, **CONTENT)
    secret = CallersSecret(aws.secretsmanager, NAME)
    wanted = wanted_of({"NAME": "n", "ALLOWS": "*"}, ROUTES)

    wanted.allows[:] = ["*"] * 101  # type: ignore[index]
    with pytest.raises(CannotRun, match="no callers secret"):
        put(secret, wanted, "k" * 43)


# --- two at once ------------------------------------------------------------------------------------------------------


def test_a_change_that_was_overtaken_is_made_again_on_what_is_there_by_then(
    aws: Aws, local: Path, faulty_aws: FaultyAws
) -> None:
    """Somebody else's change comes between our reading and our writing."""
    ran(local, **CONTENT)
    local.write_text(json.dumps({"aws_url": faulty_aws.url}), encoding="utf-8")
    theirs = iter([held(aws) | {"theirs": {"key": PLAIN_KEY, "allows": ["POST /tags"]}}])

    def overtake(_: bytes) -> None:
        for callers in theirs:
            hold(aws, callers)

    faulty_aws.answer("PutSecretValue", overtake)
    code, said = ran(local, NAME="ours", ALLOWS="POST /tags")

    assert code == 0
    assert set(held(aws)) == {"braze-content", "theirs", "ours"}
    assert who(aws, key_in(said), "POST /tags") == "ours"
    stages = [
        stage
        for version in aws.secretsmanager.list_secret_version_ids(SecretId=NAME, IncludeDeprecated=True)["Versions"]
        for stage in version.get("VersionStages", [])
    ]
    assert sorted(stages) == ["AWSCURRENT", "AWSPREVIOUS"], "no label is left behind"


def test_whoever_is_overtaken_again_and_again_gives_up_and_changes_nothing(
    aws: Aws, local: Path, faulty_aws: FaultyAws
) -> None:
    ran(local, **CONTENT)
    local.write_text(json.dumps({"aws_url": faulty_aws.url}), encoding="utf-8")
    faulty_aws.answer("PutSecretValue", lambda _: hold(aws, held(aws)))

    code, said = ran(local, NAME="ours", ALLOWS="POST /tags")

    assert (code, "keeps changing" in said) == (2, True)
    assert set(held(aws)) == {"braze-content"}


def test_the_first_two_callers_made_at_once_both_get_in(aws: Aws, local: Path) -> None:
    secret = CallersSecret(aws.secretsmanager, NAME)
    nobody = secret.current()
    ran(local, **CONTENT)

    assert nobody is None
    with pytest.raises(Changed):
        secret.replace({"ours": {"key": PLAIN_KEY, "allows": ["*"]}}, nobody)
    assert set(held(aws)) == {"braze-content"}


def test_a_refusal_by_aws_is_told_and_changes_nothing(aws: Aws, local: Path, faulty_aws: FaultyAws) -> None:
    ran(local, **CONTENT)
    before = held(aws)
    local.write_text(json.dumps({"aws_url": faulty_aws.url}), encoding="utf-8")
    for operation in ("GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"):
        faulty_aws.heal()
        faulty_aws.answer(operation, lambda _: refusal("AccessDeniedException"))
        code, said = ran(local, NAME="ours", ALLOWS="POST /tags")
        assert (code, "AccessDenied" in said, held(aws)) == (2, True, before)


def test_a_change_whose_answer_is_lost_is_looked_for_and_its_key_shown(
    aws: Aws, local: Path, faulty_aws: FaultyAws
) -> None:
    ran(local, **CONTENT)
    local.write_text(json.dumps({"aws_url": faulty_aws.url}), encoding="utf-8")
    faulty_aws.answer("UpdateSecretVersionStage", lambda _: LOST)

    code, said = ran(local, NAME="braze-content", NOW="yes")

    assert (code, who(aws, key_in(said))) == (0, "braze-content")


def test_a_key_that_may_be_in_force_is_shown_and_said_to_be_unsure(
    aws: Aws, local: Path, tmp_path: Path, faulty_aws: FaultyAws
) -> None:
    """AWS changes the secret, and is silent from then on."""
    ran(local, **CONTENT)
    local.write_text(json.dumps({"aws_url": faulty_aws.url}), encoding="utf-8")
    path = tmp_path / "caller.conf"
    path.write_text("the former one", encoding="utf-8")

    def fall_silent(_: bytes) -> Answer:
        faulty_aws.answer("GetSecretValue", lambda _: DROPPED)
        return LOST

    faulty_aws.answer("UpdateSecretVersionStage", fall_silent)
    code, said = ran(local, NAME="braze-content", NOW="yes", FILE=str(path))

    faulty_aws.heal()
    assert (code, who(aws, key_in(said))) == (2, "braze-content")
    assert "whether the callers secret has changed is not known. Should the former key" in said
    assert path.read_text(encoding="utf-8") == "the former one"

    faulty_aws.answer("UpdateSecretVersionStage", fall_silent)
    code, said = ran(local, NAME="braze-content", SOURCES="braze-us-01", KEEP="yes")
    assert (code, "is not known" in said, "password" in said) == (2, True, False)


# --- the change itself ------------------------------------------------------------------------------------------------

WEEK = 604_800.0


def test_former_keys_that_cannot_work_any_more_are_forgotten_and_ten_are_kept() -> None:
    now = 2_000_000.0
    former = [{"key_sha256": f"{n:064x}", "replaced_at": now - n * WEEK / 12} for n in range(14, 0, -1)]
    caller = {"key_sha256": "f" * 64, "allows": ["*"], "former": former}

    callers = changed(Version({"n": caller}, "v", now, now), {}, wanted_of({"NAME": "n"}, ROUTES), "k" * 43)

    kept = callers["n"]["former"]
    assert kept[-1] == {"key_sha256": "f" * 64, "replaced_at": now}
    assert [each["replaced_at"] for each in kept[:-1]] == [each["replaced_at"] for each in former[-9:]]


def test_a_rotation_by_hand_that_has_ended_is_not_brought_back() -> None:
    now = 2_000_000.0
    current = Version({"n": {"key": OTHER_KEY, "allows": ["*"]}}, "v", now - WEEK - 1, now)
    wanted = wanted_of({"NAME": "m", "ALLOWS": "*"}, ROUTES)

    assert "former" not in changed(current, {"n": {"key": PLAIN_KEY, "allows": ["*"]}}, wanted, "k" * 43)["n"]
