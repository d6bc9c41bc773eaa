"""The front's sockets: what only shows over real HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.local import front as front_module
from infra.local.front import Front
from infra.local.views import Api, Route


@contextmanager
def serving(invoke: Callable[[str, Any], Any], tmp_path: Path) -> Iterator[str]:
    api = Api("Api", "content", (Route("ANY", "/a/{name}", "f", None),), {}, None, None, "$context.status")
    front = Front({"Api": api}, invoke, tmp_path)
    front.start()
    try:
        yield front.urls["content"]
    finally:
        front.stop()


def echo(_function: str, event: Any) -> Any:
    return {"statusCode": 200, "headers": {"x-name": "n"}, "body": event["rawPath"] + "?" + event["rawQueryString"]}


def test_a_request_passes_through_unnormalised_and_is_logged(tmp_path: Path) -> None:
    with serving(echo, tmp_path) as url, socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as raw:
        raw.sendall(b"GET /a/%2e%2E%2Fb%25?x=%2f&y HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"x-name: n\r\n" in answer
    assert b"apigw-requestid: " in answer
    assert answer.endswith(b"/a/../b%?x=%2f&y")
    assert (tmp_path / "content-access.log").read_text(encoding="utf-8") == "200\n"


def test_an_encoded_line_end_in_a_path_reaches_the_function(tmp_path: Path) -> None:
    with serving(echo, tmp_path) as url:
        answer = requests.get(f"{url}/a/b%0Ac", timeout=10)
    assert (answer.status_code, answer.text) == (200, "/a/b\nc?")


def test_a_body_above_ten_megabytes_is_refused(tmp_path: Path) -> None:
    with serving(echo, tmp_path) as url:
        answer = requests.post(f"{url}/a/b", data=b"x" * (10 * 1024 * 1024 + 1), timeout=10)
    assert (answer.status_code, answer.json()) == (413, {"message": "Request Entity Too Large"})


def test_a_function_slower_than_the_integration_limit_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "INTEGRATION_LIMIT_SECONDS", 0.05)
    released = threading.Event()

    def slow(_function: str, _event: Any) -> Any:
        released.wait(5)
        return {}

    with serving(slow, tmp_path) as url:
        answer = requests.get(f"{url}/a/b", timeout=10)
        released.set()
    assert (answer.status_code, answer.json()) == (503, {"message": "Service Unavailable"})


def test_requests_run_side_by_side(tmp_path: Path) -> None:
    together = threading.Barrier(5, timeout=5)

    def meet(_function: str, _event: Any) -> Any:
        together.wait()
        return {}

    with serving(meet, tmp_path) as url:
        threads = [
            threading.Thread(target=requests.get, args=(f"{url}/a/b",), kwargs={"timeout": 10}) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        together.wait()
        for thread in threads:
            thread.join()
