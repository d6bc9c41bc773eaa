"""The Lambda runtime interface emulator, AWS's own, out of the SAM CLI's package: one function behind one port."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from urllib3 import HTTPConnectionPool, connection_from_url

from tests.bench.artefact import architecture
from tests.bench.figures import NotMeasured

INVOCATIONS = "/2015-03-31/functions/function/invocations"
LISTEN_SECONDS = 10.0
ANSWER_SECONDS = 60.0
_STARTS = 3

# The emulator times the runtime process from its start until it asks for the first event: the interpreter, the runtime
# client, the handler's imports. Lambda's "Init Duration" covers the same. The figure of that name in the emulator's
# REPORT line does not: it is the emulator's own start, a fraction of a millisecond.
_INIT = re.compile(r"INIT RTDONE\(status: (?P<status>\w+)\).*?INIT REPORT\(durationMs: (?P<ms>[\d.]+)\)", re.DOTALL)


def emulator_path() -> Path:
    """Where the emulator is. Raises NotMeasured where it cannot run."""
    if sys.platform != "linux":
        raise NotMeasured("needs Linux: the Lambda emulator is a Linux program, and so is the artefact's native code")
    package = importlib.util.find_spec("samcli")
    if package is None or package.origin is None:
        raise NotMeasured("aws-sam-cli is not installed; make environment installs it")
    path = Path(package.origin).parent / "local" / "rapid" / f"aws-lambda-rie-{architecture()}"
    if not os.access(path, os.X_OK):
        raise NotMeasured(f"aws-sam-cli ships no emulator at local/rapid/{path.name} any more")
    return path


def direct(url: str) -> HTTPConnectionPool:
    """What a direct call is made with: the library the functions use, keeping its connection."""
    return connection_from_url(url, maxsize=1, retries=False)


class Emulator:
    """One execution environment of `handler`, its code in `folder`. The first invocation is the cold one.

    As in Lambda the working directory is the code's and comes first on the import path, then what the runtime provides,
    in `runtime`, and nothing else (`-S`). `variables` is the whole environment of the process. A `quiet` one logs no
    phases, which the cold start is read from and which every warm call would pay for. An invocation may take
    `answer_seconds`.
    """

    def __init__(
        self,
        folder: Path,
        runtime: Path,
        handler: str,
        variables: Mapping[str, str],
        log: Path,
        quiet: bool = False,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._folder, self._handler, self.log, self._quiet = folder, handler, log, quiet
        self._answer_seconds = answer_seconds
        self._variables = {**variables, "PYTHONPATH": str(runtime)}
        self._connection = HTTPConnection("127.0.0.1")

    def __enter__(self) -> Self:
        for _ in range(_STARTS):  # another program may take a port between our choosing and the emulator's binding it
            port, api_port = _free_ports()
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    [
                        emulator_path(),
                        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
                        *("--runtime-api-address", f"127.0.0.1:{api_port}"),
                        *("--log-level", "error" if self._quiet else "info"),
                        *(sys.executable, "-S", "-m", "awslambdaric", self._handler),
                    ],
                    cwd=self._folder,
                    env=self._variables,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._connection = HTTPConnection("127.0.0.1", port, timeout=self._answer_seconds)
            if self._listens(port):
                return self
            self.stop()
        raise RuntimeError(f"the emulator did not start:\n{self._last_words()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def invoke(self, event: bytes) -> bytes:
        """The function's answer, both as JSON text. Nothing else is done in here: it is what the benches time.

        The plainest client there is: what a caller's HTTP library costs is no part of any figure.
        """
        self._connection.request("POST", INVOCATIONS, event)
        return self._connection.getresponse().read()

    def init_ms(self) -> float:
        """Milliseconds the cold start took, after a first invocation. Raises RuntimeError when it failed."""
        found = _INIT.search(self.log.read_text(errors="replace"))
        if found is None or found["status"] != "success":
            raise RuntimeError(f"{self._handler} did not start:\n{self._last_words()}")
        return float(found["ms"])

    def cpu_seconds(self) -> float:
        """Processor time of the runtime process so far. Linux only, as all of this."""
        times = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in self._runtimes()]
        return sum(int(ticks) for each in times for ticks in each) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """What the runtime process has in memory; 0 before it runs."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._runtimes()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End the emulator; the runtime process leaves as soon as it has nobody to ask for work."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _runtimes(self) -> list[str]:
        of_emulator = Path(f"/proc/{self._process.pid}/task")
        return [pid for task in of_emulator.iterdir() for pid in (task / "children").read_text().split()]

    def _listens(self, port: int) -> bool:
        deadline = time.monotonic() + LISTEN_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            except OSError:
                time.sleep(0.005)
        return False

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def answer_of(invocation: Mapping[str, Any]) -> str:
    """The body of an HTTP answer. Raises RuntimeError unless its status is 200."""
    if invocation.get("statusCode") != 200:
        raise RuntimeError(f"the function answered {dict(invocation)}")
    return str(invocation["body"])
