"""The snippets we give away, rendered by Braze's rules against the running bundle."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.liquid.__main__ import fetcher_for, variables_for
from infra.liquid.message import Message, render
from infra.liquid.webhook import Webhook, is_webhook, render_webhook, webhook_of
from infra.local.bundle import LocalBundle
from infra.local.simulators import Slow, Status

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "snippets").glob("*.liquid")}
MESSAGES = sorted(name for name, source in SNIPPETS.items() if not is_webhook(source))
RETRIED = ["segment-size-retry", "wallet-retry"]

# A segment, an event and a product in the snippets are those of the local workspace; each test takes others, so that
# it does not find an answer in the bundle's cache.
NAMES = {
    "6f1c2d0e-0b5a-4a0e-9a52-1d1a54d3c003": "segment-{}-a",
    "6f1c2d0e-0b5a-4a0e-9a52-1d1a54d3c004": "segment-{}-b",
    "joined_club": "event-{}",
    "'latte'": "'product-{}'",
}


@pytest.fixture
def sent(bundle: LocalBundle, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Renders a snippet for a member of its own; when it is done, SessionM is asked again although it had failed."""
    number = abs(hash(request.node.name)) % 10**8
    for letter in "ab":
        bundle.braze.add_segment(f"segment-{number}-{letter}", size=20_000)
    bundle.braze.add_event(f"event-{number}", per_day=24_000)
    bundle.braze.add_product(f"product-{number}", per_day=24_000)
    bundle.sessionm.add_member(f"member-{number}", f"loyal-{number}", available_points=777, total_points=900)

    def rendered(name: str, language: str = "en", **options: Any) -> Message:
        source = SNIPPETS[name]
        for former, other in NAMES.items():
            source = source.replace(former, other.format(number))
        known = variables_for(f"member-{number}", language)
        return render(source, known, fetcher_for(bundle.content_url), **{"sleep": lambda _seconds: None, **options})

    yield rendered
    for simulator in (bundle.sessionm, bundle.braze):
        simulator.faults.clear()
    bundle.wait_until(lambda: not rendered("wallet").abort, timeout_seconds=35, what="SessionM to be asked again")


@pytest.mark.parametrize("name", MESSAGES)
def test_a_snippet_becomes_a_message(sent: Any, name: str) -> None:
    message = sent(name)

    assert (message.abort, message.reason) == ("", "")
    assert [(fetched.status, fetched.failure) for fetched in message.calls] == [(200, "")]
    assert any(character.isdigit() for character in message.text)
    if name.startswith("wallet"):
        assert ("900" if name == "wallet-balances" else "777") in message.text


@pytest.mark.parametrize("name", [name for name in MESSAGES if name not in RETRIED])
def test_a_snippet_never_prints_a_sentence_without_its_number(bundle: LocalBundle, sent: Any, name: str) -> None:
    for simulator in (bundle.sessionm, bundle.braze):
        simulator.faults.add("* *", Status(500))

    message = sent(name)

    assert message.abort == "liquid_abort_message" or message.text.strip() == ""
    assert message.calls[0].status == 200


@pytest.mark.parametrize("name", RETRIED)
def test_a_snippet_with_retry_waits_until_the_vendor_is_back(bundle: LocalBundle, sent: Any, name: str) -> None:
    vendor = bundle.sessionm if name.startswith("wallet") else bundle.braze
    vendor.faults.add("* *", Status(500))

    def mended(_seconds: float) -> None:
        vendor.faults.clear()
        time.sleep(0.7)  # for so long a failure counts for everybody who asks

    message = sent(name, sleep=mended)
    assert (message.abort, message.attempts) == ("", 2)


@pytest.mark.parametrize("name", RETRIED)
def test_a_snippet_with_retry_is_given_up_after_brazes_last(bundle: LocalBundle, sent: Any, name: str) -> None:
    vendor = bundle.sessionm if name.startswith("wallet") else bundle.braze
    vendor.faults.add("* *", Status(500))
    given_up = sent(name)
    assert (given_up.abort, given_up.attempts) == ("exhausted_cc_retries", 6)
    assert {fetched.status for fetched in given_up.calls} == {503}

    assert sent(name, preview=True).abort == "retry_in_preview"


@pytest.mark.parametrize("name", MESSAGES)
def test_a_hanging_vendor_makes_no_message_late(bundle: LocalBundle, sent: Any, name: str) -> None:
    for simulator in (bundle.sessionm, bundle.braze):
        simulator.faults.add("* *", Slow(4))

    message = sent(name, preview=True)

    assert message.abort or message.text.strip() == ""
    assert all(fetched.status in (200, 503) and fetched.seconds < 2 for fetched in message.calls)


@pytest.mark.parametrize(("language", "words"), [("ko", "포인트 777점"), ("de", "777 Punkte"), ("fr", "777 points")])
def test_a_message_can_speak_several_languages(sent: Any, language: str, words: str) -> None:
    assert words in sent("wallet-languages", language).text


def test_a_segment_below_the_threshold_aborts_the_message(bundle: LocalBundle) -> None:
    for least, reason in (("1000", ""), ("10000000", "segment too small or size not known")):
        source = SNIPPETS["segment-size"].replace("min=1000", f"min={least}")

        assert render(source, variables_for("nobody"), fetcher_for(bundle.content_url)).reason == reason


def test_the_webhook_campaign_tags_its_member_once_however_often_braze_sends_it(bundle: LocalBundle) -> None:
    member = bundle.members[0]
    source = SNIPPETS["webhook-tags"].replace("WEBHOOK_KEY", bundle.callers["braze-webhook"])
    known = variables_for(member.user_id)
    webhook = render_webhook(webhook_of(source), lambda text: render(text, known, fetcher_for(bundle.content_url)))
    assert isinstance(webhook, Webhook)

    url = webhook.url.replace("https://INTAKE_HOST", bundle.intake_url)
    answers = [
        requests.request(webhook.method, url, headers=webhook.headers, data=webhook.body.encode(), timeout=10)
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    bundle.wait_until(lambda: "gold" in bundle.sessionm.tags_of(member.user_id), what="the tag")


def test_a_marketer_can_render_a_template_against_the_running_bundle(bundle: LocalBundle, tmp_path: Path) -> None:
    """`make render`, with the bundle's own description of itself in place of that of `make run`."""
    template, profile = tmp_path / "message.liquid", tmp_path / "profile.json"
    template.write_text("Hello {{${first_name}}}, {{custom_attribute.${tier}}}.\n" + SNIPPETS["wallet-by-url"])
    profile.write_text('{"user": {"first_name": "Bo"}, "custom_attribute": {"tier": "gold"}}')
    described = bundle.settings.state_dir / "bundle.json"
    environment = {
        **os.environ,
        "TEMPLATE": str(template),
        "PROFILE": str(profile),
        "MEMBER": bundle.members[0].user_id,
        "BUNDLE": str(described),
        "PYTHONPATH": f"{ROOT / 'functions'}{os.pathsep}{ROOT}",
    }

    done = subprocess.run(
        [sys.executable, "-m", "infra.liquid", "render"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert "Hello Bo, gold." in done.stdout
    assert f"{bundle.members[0].available_points} points" in done.stdout
    assert "status 200" in done.stderr
