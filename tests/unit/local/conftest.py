"""Throwaway functions to run, and requests to send, for the tests of the bundle's local machinery."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.http_events import HttpRequest
from infra.local.runtime import Runtime, Settings
from infra.local.views import Function

MakeRuntime = Callable[..., Runtime]
MakeRequest = Callable[..., HttpRequest]


@pytest.fixture
def make_runtime(tmp_path: Path) -> Iterator[MakeRuntime]:
    """`make_runtime(code, timeout_seconds=..., variables=...)`: a runtime with one function, `function`."""
    started: list[Runtime] = []

    def make(
        code: str,
        *,
        handler: str = "code_under_test.handle",
        timeout_seconds: int = 10,
        variables: dict[str, str] | None = None,
        max_environments: int = 4,
    ) -> Runtime:
        (tmp_path / "code_under_test.py").write_text(textwrap.dedent(code), encoding="utf-8")
        function = Function("function", "function", handler, timeout_seconds, 128, {})
        settings = Settings(tmp_path, tmp_path / "logs", "http://127.0.0.1:9")
        runtime = Runtime({"function": function}, {"function": variables or {}}, settings, max_environments)
        started.append(runtime)
        return runtime

    yield make
    for runtime in started:
        runtime.stop()


@pytest.fixture
def make_request() -> MakeRequest:
    """`make_request(method, target, headers, body)`, all with defaults."""

    def make(
        method: str = "GET", target: str = "/", headers: dict[str, str] | None = None, body: bytes = b""
    ) -> HttpRequest:
        return HttpRequest(method, target, list((headers or {}).items()), body, received_at=1_767_225_600.25)

    return make
