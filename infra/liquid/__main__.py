"""`python -m infra.liquid render | lint`: what `make render` and `make lint-liquid` run; both read their arguments
from environment variables, as make passes them.

    make render TEMPLATE=docs/snippets/wallet.liquid MEMBER=95a7c8a3-e174-456c-92b5-064eacdbd998 PROFILE=profile.json
    make lint-liquid FILE=docs/snippets/wallet.liquid

A template is rendered against the bundle that `make run` keeps up, or one started for it. PROFILE is a JSON file of
variables: {"user": {"first_name": "Ana"}, "custom_attribute": {...}, "api_trigger_properties": {...}}.
"""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.commands.stack import CannotRun
from infra.commands.wishes import said_yes
from infra.liquid.fetching import Fetched, Fetcher
from infra.liquid.lint import lint
from infra.liquid.message import Message, render
from infra.liquid.webhook import Webhook, is_webhook, render_webhook, webhook_of
from infra.local.bundle import LocalBundle
from infra.local.settings import STATE_DIR, BundleSettings, caller_key

CREDENTIAL = "bundle"

# The first of the local bundle's members.
MEMBER = "95a7c8a3-e174-456c-92b5-064eacdbd998"
CALLER = "braze-connected-content"


class _Unreadable(Exception):
    """A file cannot be used; the text says which, and why."""


def main(arguments: list[str]) -> int:
    """Runs one command and returns its exit code: 1 for a message that is not sent or a template with errors."""
    if arguments == ["render"]:
        return _render(os.environ)
    if arguments == ["lint"]:
        return _lint(os.environ)
    print(__doc__)
    return 2


def fetcher_for(content_url: str, **options: Any) -> Fetcher:
    """Braze's side of a local bundle: the snippets' host and credential lead to it."""
    hosts = {"CONTENT_HOST": content_url, urlsplit(content_url).hostname or "": content_url}
    return Fetcher(hosts, {CREDENTIAL: (CALLER, caller_key(CALLER))}, **options)


def variables_for(member: str, language: str = "en", profile: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What Braze knows about a recipient; `profile` adds to it and replaces."""
    known: dict[str, Any] = {
        "user": {"user_id": member, "language": language, "first_name": "Ana", "most_recent_locale": language},
        "custom_attribute": {},
        "campaign": {"name": "Example", "api_id": "local-campaign", "dispatch_id": "local-dispatch"},
    }
    for name, values in (profile or {}).items():
        known[name] = {**known.get(name, {}), **values}
    return known


def _render(given: Mapping[str, str]) -> int:
    name = given.get("TEMPLATE", "")
    if not name:
        print(f"Which template? As in: make render TEMPLATE=docs/snippets/wallet.liquid MEMBER={MEMBER}")
        return 2
    try:
        preview = said_yes(given, "PREVIEW")
        source = _text(Path(name))
        webhook = _webhook(name, source)
        profile = _profile(given.get("PROFILE", ""))
        running = _running(Path(given.get("BUNDLE") or STATE_DIR / "bundle.json"))
    except (CannotRun, _Unreadable) as error:
        print(error)
        return 2
    with _bundle(running) as content_url:
        variables = variables_for(given.get("MEMBER") or MEMBER, given.get("LANGUAGE", "en"), profile)
        fetcher = fetcher_for(content_url)

        def rendered(text: str) -> Message:
            return render(text, variables, fetcher, preview=preview, first_wait_seconds=0.2)

        if webhook is None:
            return _told(rendered(source))
        result = render_webhook(webhook, rendered)
    if isinstance(result, Message):
        return _told(result)
    print(_printable(_as_text(result)))
    return 0


@contextmanager
def _bundle(running: str) -> Iterator[str]:
    """The Content API's address, of the bundle that is running or else of one started here."""
    if running:
        yield running
        return
    print("Starting the bundle; with `make run` in another window this is quicker.", file=sys.stderr)
    with LocalBundle(BundleSettings(state_dir=STATE_DIR / "render")) as bundle:
        yield bundle.content_url


def _running(described: Path) -> str:
    """The Content API's address of the running bundle so described; empty when none runs. Raises `_Unreadable`."""
    if not described.exists():
        return ""
    try:
        running = json.loads(_text(described))
        process_id, content_url = running["process_id"], running["content_url"]
        if not isinstance(process_id, int) or process_id < 1 or not urlsplit(content_url).hostname:
            raise ValueError
        os.kill(process_id, 0)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise _Unreadable(
            f"{described} does not describe a running bundle: start `make run` anew, or delete the file"
        ) from None
    except OSError:
        return ""  # it left its description behind
    return str(content_url)


def _told(message: Message) -> int:
    for fetched in message.calls:
        print(_printable(_call_line(fetched)), file=sys.stderr)
    if message.abort:
        reason = f" ({_printable(message.reason)})" if message.reason else ""
        print(f"Not sent: {message.abort}{reason}", file=sys.stderr)
        return 1
    print(_printable(message.text.strip()))
    return 0


def _printable(text: str) -> str:
    """The text with a question mark for each half of a character, as JSON's `\\ud83d` alone is."""
    return text.encode(errors="replace").decode()


def _call_line(fetched: Fetched) -> str:
    """A call and what came of it, with the reason where the answer is that there is none."""
    outcome = fetched.failure or f"status {fetched.status}"
    content = fetched.content
    if fetched.refusal:
        outcome += f" {fetched.refusal}"
    elif isinstance(content, dict) and content.get("ok") is False:
        outcome += f" without data ({content.get('reason')})"
    elif outcome.endswith("is not on this machine"):
        outcome += " (put CONTENT_HOST in its place)"
    took = "from Braze's cache" if fetched.from_cache else f"{fetched.seconds * 1000:.0f} ms"
    return f"{fetched.call.method} {fetched.call.url}: {outcome}, {took}"


def _as_text(webhook: Webhook) -> str:
    head = [f"{webhook.method} {webhook.url}", *(f"{name}: {value}" for name, value in webhook.headers.items())]
    return "\n".join([*head, "", webhook.body])


def _text(path: Path) -> str:
    """What a file says. Raises `_Unreadable`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _Unreadable(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeError:
        raise _Unreadable(f"{path} cannot be read: save it as UTF-8 text") from None


def _webhook(name: str, source: str) -> Webhook | None:
    """The template as a webhook, if it is one. Raises `_Unreadable`."""
    try:
        return webhook_of(source) if is_webhook(source) else None
    except ValueError as error:
        raise _Unreadable(f"{name} cannot be read as a webhook: {error}") from None


def _profile(name: str) -> dict[str, dict[str, Any]]:
    """What PROFILE says of the member. Raises `_Unreadable`."""
    if not name:
        return {}
    try:
        profile = json.loads(_text(Path(name)))
    except ValueError as error:
        raise _Unreadable(f"{name} is not JSON: {error}") from None
    except RecursionError:
        raise _Unreadable(f"{name} is nested too deep to be read") from None
    if not isinstance(profile, dict) or not all(isinstance(values, dict) for values in profile.values()):
        raise _Unreadable(f'{name} is to hold objects by name, as in {{"custom_attribute": {{"tier": "Gold"}}}}')
    return profile


def _lint(given: Mapping[str, str]) -> int:
    named = given.get("FILE", "").strip()
    # One name may have spaces in it; several are separated by them.
    patterns = [named] if Path(named).exists() or glob.glob(named) else named.split()
    if not named:
        print("Which file? As in: make lint-liquid FILE=docs/snippets/wallet.liquid")
        return 2
    paths = [Path(name) for pattern in patterns for name in sorted(glob.glob(pattern)) or [pattern]]
    try:
        sources = [_text(path) for path in paths]
    except _Unreadable as error:
        print(error)
        return 2
    failed = False
    for path, source in zip(paths, sources, strict=True):
        findings = lint(source)
        failed |= any(finding.level == "error" for finding in findings)
        for finding in findings:
            print(f"{path}:{finding.line}: {finding.level} {finding.code}: {finding.message}. {finding.hint}")
        if not findings:
            print(f"{path}: nothing found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
