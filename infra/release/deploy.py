"""`make deploy`: look whether it can be done, ask, build, deploy, and say what is left to do.

Questions come first and the build second, so nobody waits for a build to be told that credentials are missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from rich.console import Console

from infra.build import BuildError, built_functions
from infra.commands.stack import PATIENCE, ROOT, CannotRun, Stack, words_of
from infra.commands.wishes import said_no, said_yes
from infra.release import answers as kept
from infra.release.answers import Answers, Ask, Questions
from infra.template import TEMPLATE_PATH, parse

ANSWERS: Final = ROOT / "samconfig.local.toml"
DEFAULTS: Final = ROOT / "samconfig.toml"
BUILD: Final = ROOT / ".aws-sam" / "build"

NO_CREDENTIALS: Final = (
    "there are no AWS credentials. Sign in with `aws sso login` or `aws configure`, and name the profile in "
    "AWS_PROFILE if it is not the default one"
)
NO_REGION: Final = "in which region? Set AWS_REGION, as in AWS_REGION=eu-west-1"

# What is to be put into each secret, and how; the shapes are in docs/configuration.md.
_CALLERS: Final = "CallersSecretArn"
_SECRETS: Final[Mapping[str, tuple[str, str]]] = {
    "SessionmSecretArn": ("the SessionM credentials", "sessionm.json"),
    "BrazeSecretArn": ("the Braze REST API key", "braze.json"),
}

Run = Callable[[Sequence[str]], int]


def account_of(session: boto3.Session, endpoint_url: str | None = None) -> str:
    """Whose account the credentials open. Raises `CannotRun` when there are none, or none that AWS takes."""
    try:
        region = session.region_name or "us-east-1"
        client = session.client("sts", region_name=region, endpoint_url=endpoint_url, config=PATIENCE)
        return str(client.get_caller_identity()["Account"])
    except NoCredentialsError:
        raise CannotRun(NO_CREDENTIALS) from None
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "no reason given")
        raise CannotRun(f"AWS refuses your credentials ({code}). Sign in again, or name another AWS_PROFILE") from None
    except BotoCoreError as error:
        raise CannotRun(f"your AWS credentials cannot be used: {words_of(error)}") from None


def prepare(
    environment: Mapping[str, str], ask: Ask | None, console: Console, path: Path = ANSWERS, defaults: Path = DEFAULTS
) -> Answers:
    """The first half: credentials, region, questions. The answers are in `path` then. `ask` is None without a terminal.

    Raises `CannotRun`.
    """
    asks_again = said_yes(environment, "ASK")
    said_no(environment, "CONFIRM")  # which is for the second half, after the build: mistyped, it is refused now
    answers, known = kept.read(path, defaults)
    session = _session()
    account = account_of(session)
    console.print(f"AWS account {account}", markup=False, highlight=False)
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or answers.region
    answers = replace(answers, region=region or session.region_name or "")
    if known and not asks_again:
        if not answers.region:
            raise CannotRun(NO_REGION)
        return answers
    if ask is None:
        raise CannotRun(f"this is a first deployment, and there is nobody to ask: put your answers into {path.name}")
    answers = Questions(parse(TEMPLATE_PATH), ask, console).go_through(answers)
    kept.write(answers, path, defaults)
    return answers


def deploy(
    environment: Mapping[str, str],
    run: Run,
    console: Console,
    path: Path = ANSWERS,
    defaults: Path = DEFAULTS,
    build: Path = BUILD,
) -> int:
    """The second half: `sam deploy` of what is built, with the answers. Returns its exit code. Raises `CannotRun`."""
    unconfirmed = said_no(environment, "CONFIRM")
    architecture = architecture_of(build)
    answers, _ = kept.read(path, defaults)
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or answers.region
    if not region:
        raise CannotRun(NO_REGION)
    answers = Answers(answers.stack_name, region, {**answers.parameters, "Architecture": architecture})
    kept.write(answers, path, defaults)
    release = release_of(build, answers.parameters)
    console.print(f"stack {answers.stack_name} in {region}, release {release}", markup=False, highlight=False)
    overrides = {**answers.parameters, "Release": release}
    command = [str(Path(sys.executable).with_name("sam")), "deploy"]
    command += ["--config-file", str(path), "--template-file", str(build / "template.yaml")]
    command += ["--stack-name", answers.stack_name, "--region", region]
    # In case the answers are older than what the stack needs now.
    command += ["--capabilities", *_deploy_defaults(defaults)["capabilities"].split()]
    if unconfirmed:
        command.append("--no-confirm-changeset")
    command += ["--parameter-overrides", *kept.words_of(overrides)]
    return run(command)


def _deploy_defaults(defaults: Path) -> Mapping[str, str]:
    found: Mapping[str, str] = tomllib.loads(defaults.read_text(encoding="utf-8"))["default"]["deploy"]["parameters"]
    return found


def architecture_of(build: Path) -> str:
    """What the artefact was built for. Raises `CannotRun` when there is none."""
    try:
        owners = [owner for owners in built_functions(build).values() for owner in owners]
    except (OSError, BuildError):
        raise CannotRun("there is no artefact to deploy: make it with `make build`") from None
    (architecture,) = {architecture for _, architecture in owners}
    return architecture


def release_of(build: Path, parameters: Mapping[str, str]) -> str:
    """The same for the same code and parameters, another for any other."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    for file in sorted(each for each in build.rglob("*") if each.is_file()):
        digest.update(f"\0{file.relative_to(build)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def next_steps(stack: Stack) -> list[str]:
    """What is left to do once a stack is deployed, one line each. Raises `CannotRun`."""
    outputs = stack.outputs()
    lines = [f"{name}: {outputs[name]}" for name in ("ContentApiUrl", "IntakeApiUrl", "ImportBucketName")]
    empty = [name for name in (_CALLERS, *_SECRETS) if _is_empty(stack, outputs[name])]
    for name in empty:
        if name == _CALLERS:
            lines += [
                "",
                "CallersSecret is empty, so nobody may call. README, Deploy, shows who usually may; the first:",
            ]
            lines.append('    make caller NAME=operator ALLOWS="*" FILE=caller.conf')
            continue
        what, file = _SECRETS[name]
        lines += [
            "",
            f"{name.removesuffix('Arn')} is empty. It takes {what}, as docs/configuration.md shows. Then:",
            f"    aws secretsmanager put-secret-value --region {stack.session.region_name} "
            f"--secret-id {outputs[name]} --secret-string file://{file}",
        ]
    lines += ["", "To see that it answers:", f"    curl -sS --fail-with-body {outputs['ContentApiUrl']}/health"]
    return lines


def _is_empty(stack: Stack, secret_id: str) -> bool:
    try:
        found = stack.client("secretsmanager").describe_secret(SecretId=secret_id)
    except (BotoCoreError, ClientError):
        return True  # who may deploy need not be allowed to look; then the command is better shown than left out
    return not found.get("VersionIdsToStages")


def _session() -> boto3.Session:
    try:
        return boto3.Session()
    except BotoCoreError as error:
        raise CannotRun(f"your AWS profile cannot be used: {error}") from None


def stack_named(answers: Answers) -> Stack:
    """The stack of the answers, with the credentials of the environment."""
    session = boto3.Session(region_name=answers.region)
    return Stack(answers.stack_name, f"the stack {answers.stack_name} in {answers.region}", session)


def main(step: str, environment: Mapping[str, str], console: Console) -> int:
    """`step` is "prepare" or "deploy"; returns the exit code."""
    try:
        if step == "prepare":
            prepare(environment, _input if sys.stdin.isatty() else None, console)
            return 0
        status = deploy(environment, lambda command: subprocess.run(command, check=False, cwd=ROOT).returncode, console)
        if status == 0:
            answers, _ = kept.read(ANSWERS, DEFAULTS)
            for line in next_steps(stack_named(answers)):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        return status
    except CannotRun as error:
        console.print(f"Cannot deploy: {error}.", markup=False, soft_wrap=True)
        return 2
    except (KeyboardInterrupt, EOFError):
        console.print("\nNothing was deployed.")
        return 130


def _input(prompt: str) -> str:
    return input(prompt)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], os.environ, Console()))
