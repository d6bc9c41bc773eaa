"""The questions of a first deployment, and the file that keeps the answers."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console
from samcli.cli.types import CfnParameterOverridesType

from infra.build import deployed_architecture
from infra.commands.stack import CannotRun
from infra.release import answers as kept
from infra.release.answers import Answers, Questions, fault_of
from infra.release.deploy import DEFAULTS
from tests.unit.docs.material import template


class Operator:
    """Answers by what a prompt begins with, in order; Enter for all the rest."""

    def __init__(self, **typed: list[str]) -> None:
        self._typed = typed
        self.asked: list[str] = []

    def __call__(self, prompt: str) -> str:
        name = prompt.strip().split(" ")[0]
        self.asked.append(name)
        waiting = self._typed.get(name, [])
        return waiting.pop(0) if waiting else ""


def asked(operator: Operator, answers: Answers) -> tuple[Answers, str]:
    console = Console(file=io.StringIO(), width=200)
    found = Questions(template(), operator, console).go_through(answers)
    assert isinstance(console.file, io.StringIO)
    return found, console.file.getvalue()


FIRST = Answers("sessionm-braze-bundle", "eu-west-1")


def test_enter_alone_takes_every_default_and_says_which_vendor_has_no_address_yet() -> None:
    operator = Operator()

    answers, shown = asked(operator, FIRST)

    assert answers == FIRST
    vendors = ["SessionmCoreUrl", "SessionmConnectUrl", "BrazeRestUrl"]
    assert operator.asked[:5] == ["Name", "AWS", *vendors]
    assert not {"Architecture", "Release"} & set(operator.asked)
    assert "core.set-me.invalid is nobody's address" in shown
    assert "rest.iad-01.braze.com is nobody's" not in shown


def test_an_answer_out_of_bounds_is_asked_for_again_with_the_reason() -> None:
    operator = Operator(
        AWS=["Ireland", "eu-central-1"],
        SessionmCoreUrl=["http://plain.example.com", "https://api-acme.ent-sessionm.com"],
    )

    answers, shown = asked(operator, FIRST)

    assert answers.region == "eu-central-1"
    assert answers.parameters == {"SessionmCoreUrl": "https://api-acme.ent-sessionm.com"}
    assert operator.asked.count("SessionmCoreUrl") == 2
    assert "'http://plain.example.com' does not have the form" in shown
    assert "A region is written as in eu-west-1." in shown


def test_a_group_is_gone_through_on_wish_and_what_was_answered_before_is_the_new_default() -> None:
    groups = len(template()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"])
    yes_to_all = [["y"]] * groups
    operator = Operator(
        TagRatePerSecond=["0", "250"], **{str(count): list(yes) for count, yes in enumerate(yes_to_all)}
    )

    def ask(prompt: str) -> str:
        return "y" if "Look at them?" in prompt else operator(prompt)

    console = Console(file=io.StringIO(), width=200)
    before = Answers("mine", "eu-west-1", {"WalletFreshSeconds": "90"})
    answers = Questions(template(), ask, console).go_through(before)

    assert answers.parameters == {"WalletFreshSeconds": "90", "TagRatePerSecond": "250"}
    assert set(template()["Parameters"]) - set(operator.asked) == {"Architecture", "Release"}


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("TagRatePerSecond", "100", ""),
        ("TagRatePerSecond", "many", "It must be a number."),
        ("TagRatePerSecond", "10001", "It must be from 1 to 10000."),
        ("LogLevel", "TRACE", "It must be one of DEBUG, INFO, WARNING, ERROR."),
        ("TriggerCustomerIdentifier", "alias:" + "x" * 300, "It must not be longer than 261 characters."),
        ("SegmentIds", "abc,d-e_f", ""),
        ("SegmentIds", "abc,d e", "'d e' does not have the form that is asked for."),
        ("SegmentRefreshSchedule", "cron(0 6 * * ? *)", ""),
    ],
)
def test_an_answer_is_judged_as_cloudformation_would(name: str, value: str, fault: str) -> None:
    assert fault_of(template()["Parameters"][name], value) == fault


def test_every_default_is_within_its_own_bounds() -> None:
    assert {
        name: fault_of(declared, str(declared["Default"])) for name, declared in template()["Parameters"].items()
    } == (dict.fromkeys(template()["Parameters"], ""))


PARAMETERS: Mapping[str, str] = {
    "SegmentRefreshSchedule": "cron(0 6 * * ? *)",
    "TriggerFields": 'say "when" \\ now=customer_identifier',
    "SegmentIds": "",
    "ConnectOperations": "/offers/*,/incentives/*",
}


def test_answers_are_kept_beside_the_defaults_and_read_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "samconfig.local.toml"
    answers = Answers("mine", "eu-west-1", dict(PARAMETERS))

    assert kept.read(path, DEFAULTS) == (Answers("sessionm-braze-bundle"), False)
    kept.write(answers, path, DEFAULTS)

    assert kept.read(path, DEFAULTS) == (answers, True)
    assert "resolve_s3 = true" in path.read_text(encoding="utf-8")
    assert "git ignores" in path.read_text(encoding="utf-8")


def test_sam_reads_parameters_as_they_are_written() -> None:
    words = kept.words_of(PARAMETERS)

    assert CfnParameterOverridesType().convert(tuple(words), None, None) == PARAMETERS
    assert CfnParameterOverridesType().convert(" ".join(words), None, None) == PARAMETERS


def test_what_sams_own_questions_have_kept_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "samconfig.local.toml"
    path.write_text(
        'version = 0.1\n[default.global.parameters]\nstack_name = "theirs"\n[default.deploy.parameters]\n'
        'region = "us-west-2"\nparameter_overrides = "Architecture=\\"x86_64\\" TagRatePerSecond=\\"7\\""\n',
        encoding="utf-8",
    )

    answers, known = kept.read(path, DEFAULTS)

    assert (answers.stack_name, answers.region, known) == ("theirs", "us-west-2", True)
    assert answers.parameters == {"Architecture": "x86_64", "TagRatePerSecond": "7"}


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "samconfig.local.toml"
    path.write_text("stack_name =", encoding="utf-8")

    with pytest.raises(CannotRun, match=r"samconfig\.local\.toml cannot be read"):
        kept.read(path, DEFAULTS)


def test_the_build_finds_the_architecture_in_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.build.ROOT", tmp_path)
    kept.write(Answers("mine", "eu-west-1", {"Architecture": "x86_64"}), tmp_path / "samconfig.local.toml", DEFAULTS)

    assert deployed_architecture() == "x86_64"
