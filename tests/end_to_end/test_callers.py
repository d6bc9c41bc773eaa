"""Callers of the running bundle, made and taken away by `make caller`."""

from __future__ import annotations

import io
import re

from rich.console import Console

from infra.commands.callers import run
from infra.local.bundle import STATE_FILE, LocalBundle
from tests.end_to_end.support import Caller


def make_caller(bundle: LocalBundle, **environment: str) -> str:
    """What the command says. The caller check then starts anew, or it would go by the former secret for a minute."""
    said = io.StringIO()
    assert run("put", environment, Console(file=said, width=200), bundle.settings.state_dir / STATE_FILE) == 0
    bundle.kill("authorizer")
    bundle.forget_callers()
    return said.getvalue()


def test_a_new_caller_gets_in_with_the_key_it_was_shown_from_its_sources_on_its_routes_until_it_is_removed(
    bundle: LocalBundle,
) -> None:
    said = make_caller(bundle, NAME="e2e", ALLOWS="POST /wallet, POST /tags", SOURCES="203.0.113.0/24")
    (key,) = set(re.findall(r"Bearer (\S+)", said))
    assert bundle.content_url in said
    assert bundle.intake_url in said

    def status(path: str = "/wallet", url: str = bundle.content_url, authorization: str = f"Bearer {key}") -> int:
        return Caller(url, authorization).post(path, {"user_id": bundle.members[0].user_id}).status_code

    assert status() == 403, "this machine is none of its sources"

    make_caller(bundle, NAME="e2e", SOURCES="anywhere", KEEP="yes")
    assert status() == 200
    assert status("/triggers", bundle.intake_url) == 403
    assert status(authorization=bundle.authorization("braze-connected-content")) == 200, "who was there before"

    make_caller(bundle, NAME="e2e", REMOVE="yes")
    assert status() == 403
