"""Fetching packages of npm: by the npm that comes with .venv, from a registry of one package on this machine."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra import npm


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as content:
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name.replace('_', '/')}.js")
            member.size = len(text)
            content.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


PUBLISHED = archive(index="module.exports = 'hello';", lib_deep="module.exports = 'deep';")


def pin(content: bytes, version: str = "1.0.0") -> str:
    return f"# a comment\n\ngreeting@{version} sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}\n"


class Registry:
    """Tells of greeting 1.0.0, hands out its archive and keeps the paths it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                if self.path.endswith(".tgz"):
                    return self.answer(PUBLISHED)
                dist = {"tarball": f"http://{self.headers['Host']}/greeting/-/greeting-1.0.0.tgz"}
                version = {"name": "greeting", "version": "1.0.0", "dist": dist}
                told = {"name": "greeting", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
                return self.answer(json.dumps(told).encode())

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: `asked` tells."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    registry = Registry()
    monkeypatch.setenv("npm_config_registry", registry.url)
    monkeypatch.setenv("npm_config_noproxy", "127.0.0.1")
    thread = threading.Thread(target=registry.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield registry
    registry.server.shutdown()
    thread.join()
    registry.server.server_close()


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "npm-requirements.txt"
    path.write_text(pin(PUBLISHED))
    return path


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    return tmp_path / "npm"


@pytest.mark.usefixtures("registry")
def test_a_package_is_unpacked_in_a_folder_of_its_name(requirements: Path, packages: Path) -> None:
    folder = npm.fetch(requirements, packages)

    files = {str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file()}
    assert files == {f"{folder.name}/greeting/index.js", f"{folder.name}/greeting/lib/deep.js"}
    assert (folder / "greeting" / "index.js").read_text() == "module.exports = 'hello';"


def test_what_is_there_is_not_asked_for_again(registry: Registry, requirements: Path, packages: Path) -> None:
    folder = npm.fetch(requirements, packages)
    registry.asked.clear()

    assert npm.fetch(requirements, packages) == folder
    assert registry.asked == []


@pytest.mark.usefixtures("registry")
def test_a_package_that_is_not_what_was_pinned_is_not_kept(requirements: Path, packages: Path) -> None:
    requirements.write_text(pin(b"something else"))

    with pytest.raises(npm.CannotFetch, match=r"greeting@1\.0\.0 is not what was pinned"):
        npm.fetch(requirements, packages)

    assert list(packages.iterdir()) == []


@pytest.mark.usefixtures("registry")
def test_a_version_that_does_not_exist_is_named(requirements: Path, packages: Path) -> None:
    requirements.write_text(pin(PUBLISHED, version="9.9.9"))

    with pytest.raises(npm.CannotFetch, match=r"npm cannot fetch greeting@9\.9\.9: No matching version"):
        npm.fetch(requirements, packages)


def test_without_a_registry_it_is_said_in_a_line_and_nothing_is_left(
    requirements: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_noproxy", "127.0.0.1")

    with pytest.raises(npm.CannotFetch, match=r"npm cannot fetch greeting@1\.0\.0: .*ECONNREFUSED") as raised:
        npm.fetch(requirements, packages, retries=0)

    assert "\n" not in str(raised.value)
    assert list(packages.iterdir()) == []
