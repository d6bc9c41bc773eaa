"""`make deploy` around `sam deploy`: what is refused beforehand, what SAM is told, what is left to do afterwards."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import boto3
import pytest
from rich.console import Console
from samcli.cli.types import CfnParameterOverridesType

from infra.commands.stack import CannotRun, Stack
from infra.release import answers as kept
from infra.release import deploy
from infra.release.answers import Answers
from tests.integration.support.aws import Aws

ANSWERED = Answers("mine", "eu-west-1", {"TagRatePerSecond": "250", "SegmentRefreshSchedule": "cron(0 6 * * ? *)"})


@pytest.fixture
def answers_file(tmp_path: Path) -> Path:
    path = tmp_path / "samconfig.local.toml"
    kept.write(ANSWERED, path, deploy.DEFAULTS)
    return path


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """An artefact as `sam build` leaves it."""
    folder = tmp_path / "aws-sam" / "build"
    (folder / "WalletFunction").mkdir(parents=True)
    (folder / "WalletFunction" / "endpoint.py").write_text("handle = None\n", encoding="utf-8")
    (folder / "template.yaml").write_text("Resources: {}\n", encoding="utf-8")
    (folder.parent / "build.toml").write_text(
        '[function_build_definitions.one]\narchitecture = "x86_64"\nfunctions = ["WalletFunction"]\n', encoding="utf-8"
    )
    return folder


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def shown(where: Console) -> str:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue()


class Sam:
    """Stands where `sam` is run, which would need an AWS account."""

    def __init__(self, status: int = 0) -> None:
        self.command: Sequence[str] = ()
        self._status = status

    def __call__(self, command: Sequence[str]) -> int:
        self.command = command
        return self._status

    def option(self, name: str) -> str:
        return self.command[self.command.index(name) + 1]

    def parameters(self) -> dict[str, str]:
        """The parameters as SAM itself reads them."""
        words = tuple(self.command[self.command.index("--parameter-overrides") + 1 :])
        found: dict[str, str] = CfnParameterOverridesType().convert(words, None, None)
        return found


# --- before -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials anywhere that boto3 looks."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("nobody")
def test_without_credentials_nothing_is_asked_and_the_way_to_get_them_is_said(tmp_path: Path) -> None:
    def ask(prompt: str) -> str:
        raise AssertionError(prompt)

    with pytest.raises(CannotRun, match=r"no AWS credentials.*aws sso login"):
        deploy.prepare({}, ask, console(), tmp_path / "none.toml")


@pytest.mark.usefixtures("nobody")
def test_the_command_says_so_in_one_line_and_fails() -> None:
    where = console()

    assert deploy.main("prepare", {}, where) == 2
    assert shown(where).startswith("Cannot deploy: there are no AWS credentials.")
    assert shown(where).count("\n") == 1


def test_a_profile_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere-to-be-found")

    with pytest.raises(CannotRun, match="nowhere-to-be-found"):
        deploy.prepare({}, None, console(), tmp_path / "none.toml")


@pytest.mark.usefixtures("aws")
def test_a_first_deployment_needs_somebody_to_ask(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"nobody to ask: put your answers into none\.toml"):
        deploy.prepare({"AWS_REGION": "eu-west-1"}, None, console(), tmp_path / "none.toml")


@pytest.mark.usefixtures("aws")
def test_answers_are_asked_for_once_and_again_on_wish(tmp_path: Path) -> None:
    path = tmp_path / "samconfig.local.toml"
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return "https://api-acme.ent-sessionm.com" if "SessionmCoreUrl" in prompt else ""

    where = console()
    first = deploy.prepare({"AWS_REGION": "eu-west-1"}, ask, where, path)
    asked = len(prompts)
    second = deploy.prepare({}, ask, where, path)

    assert first == second
    assert first.region == "eu-west-1"
    assert first.parameters == {"SessionmCoreUrl": "https://api-acme.ent-sessionm.com"}
    assert len(prompts) == asked
    assert "AWS account 123456789012" in shown(where)

    deploy.prepare({"ASK": "yes"}, ask, where, path)
    assert len(prompts) == 2 * asked


def test_without_an_artefact_it_says_how_to_make_one(answers_file: Path, tmp_path: Path) -> None:
    sam = Sam()

    with pytest.raises(CannotRun, match="no artefact to deploy: make it with `make build`"):
        deploy.deploy({}, sam, console(), answers_file, build=tmp_path / "nothing" / "build")
    assert not sam.command


def test_without_a_region_nothing_is_deployed(tmp_path: Path, build: Path) -> None:
    path = tmp_path / "samconfig.local.toml"
    kept.write(Answers("mine", "", {"TagRatePerSecond": "1"}), path, deploy.DEFAULTS)

    with pytest.raises(CannotRun, match="in which region"):
        deploy.deploy({}, Sam(), console(), path, build=build)


# --- what SAM is told -------------------------------------------------------------------------------------------------


def test_sam_gets_every_answer_the_architecture_that_was_built_and_a_release(answers_file: Path, build: Path) -> None:
    sam = Sam()

    assert deploy.deploy({}, sam, console(), answers_file, build=build) == 0

    assert sam.option("--stack-name") == "mine"
    assert sam.option("--region") == "eu-west-1"
    assert sam.option("--config-file") == str(answers_file)
    assert sam.option("--template-file") == str(build / "template.yaml")
    capabilities = sam.command.index("--capabilities")
    assert sam.command[capabilities + 1 : capabilities + 3] == ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    assert "--no-confirm-changeset" not in sam.command
    parameters = sam.parameters()
    release = parameters.pop("Release")
    assert parameters == {**ANSWERED.parameters, "Architecture": "x86_64"}
    assert release.isalnum()
    assert len(release) >= 10
    assert kept.read(answers_file, deploy.DEFAULTS)[0].parameters["Architecture"] == "x86_64"


def test_a_pipeline_is_not_asked_and_sees_that_sam_failed(answers_file: Path, build: Path) -> None:
    sam = Sam(status=1)

    assert deploy.deploy({"CONFIRM": "no"}, sam, console(), answers_file, build=build) == 1
    assert "--no-confirm-changeset" in sam.command


def test_a_release_is_named_by_code_and_parameters_alone(build: Path, tmp_path: Path) -> None:
    first = deploy.release_of(build, ANSWERED.parameters)
    moved = tmp_path / "elsewhere"
    shutil.copytree(build, moved)

    assert deploy.release_of(moved, dict(reversed(ANSWERED.parameters.items()))) == first
    assert deploy.release_of(build, {**ANSWERED.parameters, "TagRatePerSecond": "251"}) != first
    (build / "WalletFunction" / "endpoint.py").write_text("handle = 1\n", encoding="utf-8")
    assert deploy.release_of(build, ANSWERED.parameters) != first


# --- afterwards -------------------------------------------------------------------------------------------------------


def deployed(aws: Aws, *filled: str) -> Stack:
    outputs = {"ContentApiUrl": "https://content", "IntakeApiUrl": "https://intake", "ImportBucketName": "bucket"}
    for name in ("Callers", "Sessionm", "Braze"):
        value = {"SecretString": "{}"} if name in filled else {}
        outputs[f"{name}SecretArn"] = aws.secretsmanager.create_secret(Name=f"{aws.name}-{name}", **value)["ARN"]  # type: ignore[arg-type]
    template = {
        "Resources": {"Q": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": f"{aws.name}-q"}}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    session = boto3.Session(region_name="us-east-1")
    session.client("cloudformation").create_stack(StackName=aws.name, TemplateBody=json.dumps(template))
    return Stack(aws.name, "the stack", session)


def test_each_empty_secret_is_named_with_the_command_that_fills_it_and_no_other(aws: Aws) -> None:
    text = "\n".join(deploy.next_steps(deployed(aws, "Braze")))

    assert "ContentApiUrl: https://content" in text
    assert "CallersSecret is empty, so nobody may call" in text
    assert "make caller NAME=operator" in text
    assert "SessionmSecret is empty. It takes the SessionM credentials" in text
    assert "BrazeSecret" not in text
    (line,) = [line for line in text.splitlines() if "file://sessionm.json" in line]
    assert f"{aws.name}-Sessionm" in line
    assert "--region us-east-1" in line
    assert "curl -sS --fail-with-body https://content/health" in text


def test_once_all_are_filled_only_the_first_call_is_left(aws: Aws) -> None:
    text = "\n".join(deploy.next_steps(deployed(aws, "Braze", "Callers", "Sessionm")))

    assert "empty" not in text
    assert "make caller" not in text
    assert "/health" in text
