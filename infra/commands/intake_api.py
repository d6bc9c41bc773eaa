"""The Intake API as a command reaches it: where it is, who calls, and what it answers.

INTAKE_API is its address, and the caller is in the file CALLER_FILE (caller.conf, as the README has you write it for
curl -K) or in CALLER, as name:key. Without INTAKE_API it is the bundle that `make run` keeps running on this machine.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from infra.commands.stack import CannotRun, local_bundle

_OPERATOR: Final = "operator"
_DEFAULT_CALLER_FILE: Final = "caller.conf"
_TIMEOUTS: Final = (10, 40)  # seconds to connect and to answer; API Gateway gives up after 30
_LOCAL_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})

# A line of a curl config file: user = "name:key", -u name:key, header = "Authorization: Bearer key".
_SETTING: Final = re.compile(
    r"\s*(?:--?)?(?P<name>user|u|header|H)(?:\s*[=:]\s*|\s+)(?P<value>\"(?:\\.|[^\"\\])*\"|\S.*?)\s*\Z"
)


class NoAnswer(Exception):
    """Nothing came back, or only that it should be asked again later: the text says what."""


class Refused(Exception):
    """The API understood and said no; the text says why, and what to do."""


class IntakeApi:
    """Calls with a caller's credential. Raises `NoAnswer` for what may be tried again, `Refused` for what may not."""

    def __init__(self, base_url: str, authorization: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._session = requests.Session()
        self._session.headers["Authorization"] = authorization

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._call("POST", path, body)

    def get(self, path: str) -> dict[str, Any]:
        return self._call("GET", path, None)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            reply = self._session.request(
                method, self.base_url + path, json=body, timeout=_TIMEOUTS, allow_redirects=False
            )
        except requests.RequestException as error:
            raise NoAnswer(f"{self.base_url} does not answer ({type(error).__name__})") from None
        if reply.status_code in (408, 429) or reply.status_code >= 500:
            raise NoAnswer(f"{self.base_url} answers {reply.status_code}: {_words(reply)}")
        if reply.status_code >= 300:
            raise Refused(f"{method} {path} is refused with {reply.status_code}: {_words(reply)}")
        try:
            answer: dict[str, Any] = reply.json()
        except ValueError:
            raise Refused(f"{self.base_url} is no Intake API: its answer is no JSON") from None
        return answer


def intake_of(environment: Mapping[str, str], bundle_path: Path | None = None) -> IntakeApi:
    """The API that the environment means. Raises `CannotRun` when it does not say, or not enough."""
    base_url = environment.get("INTAKE_API", "")
    if base_url:
        where = urlsplit(base_url)
        if where.scheme != "https" and where.hostname not in _LOCAL_HOSTS:
            raise CannotRun("INTAKE_API must begin with https://, for the caller's key goes there")
        return IntakeApi(base_url, authorization_of(environment))
    running = local_bundle(bundle_path) if bundle_path else local_bundle()
    if running is None:
        raise CannotRun(
            "where to? Set INTAKE_API to the output IntakeApiUrl of your stack and CALLER_FILE to a file like "
            "caller.conf (README, The first call), or start the bundle on this machine with: make run"
        )
    caller = environment.get("CALLER") or f"{_OPERATOR}:{running['callers'][_OPERATOR]}"
    return IntakeApi(running["intake_url"], _basic(caller))


def authorization_of(environment: Mapping[str, str]) -> str:
    """The Authorization header of CALLER, or of what is in CALLER_FILE. Raises `CannotRun`."""
    if caller := environment.get("CALLER"):
        return _basic(caller)
    path = Path(environment.get("CALLER_FILE") or _DEFAULT_CALLER_FILE)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise CannotRun(
            f'who calls? There is no file {path}: write the line user = "operator:KEY" into one, and name it with '
            "CALLER_FILE=..."
        ) from None
    for found in filter(None, map(_SETTING.match, lines)):
        value = found["value"]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        if found["name"] in ("user", "u"):
            return _basic(value)
        name, _, header = value.partition(":")
        if name.strip().lower() == "authorization":
            return header.strip()
    raise CannotRun(f'{path} names no caller: it needs a line user = "operator:KEY"')


def _basic(caller: str) -> str:
    if ":" not in caller:
        raise CannotRun("a caller is written name:key")
    return "Basic " + b64encode(caller.encode()).decode()


def _words(reply: requests.Response) -> str:
    """What is wrong and what to do, in the words of the answer, be it the function's or API Gateway's own."""
    try:
        body = reply.json()
    except ValueError:
        body = {}
    told = [str(body[name]) for name in ("field", "message", "hint") if isinstance(body, dict) and body.get(name)]
    if reply.status_code in (401, 403) and "hint" not in body:
        told.append("Is the caller in the callers secret, and allowed this route?")
    return ". ".join(told) or "no words"
