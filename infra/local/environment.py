"""One Lambda execution environment, seen from outside: a worker process that is started, asked, timed and killed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from infra.emulated import ACCOUNT_ID, REGION
from infra.local.aws import CREDENTIALS
from infra.local.views import Function

RESPONSE_LIMIT_BYTES: Final = 6 * 1024 * 1024 + 100  # Lambda's synchronous quota, 6 MB and an envelope
INIT_LIMIT_SECONDS: Final = 60.0  # Lambda allows 10 s; this machine may start many environments at once

_WORKER: Final = Path(__file__).with_name("worker.py")
_INHERITED: Final = ("PATH", "HOME", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


class FunctionError(Exception):
    """A function did not answer: it raised, timed out, died or answered too much. `type` and `message` are Lambda's."""

    def __init__(self, error_type: str, message: str, stack_trace: list[str] | None = None) -> None:
        super().__init__(f"{error_type}: {message}")
        self.type = error_type
        self.message = message
        self.stack_trace = stack_trace or []

    def payload(self) -> dict[str, Any]:
        """The error as Lambda returns it to whoever invoked the function."""
        described: dict[str, Any] = {"errorMessage": self.message, "errorType": self.type}
        return described | ({"stackTrace": self.stack_trace} if self.stack_trace else {})


@dataclass(frozen=True)
class Settings:
    """What every environment on this machine shares."""

    code_root: Path
    log_dir: Path
    endpoint_url: str


class Environment:
    """A worker process for `function`. One invocation at a time; the pool sees to that."""

    def __init__(self, function: Function, variables: Mapping[str, str], settings: Settings) -> None:
        self.function = function
        self.init_ms: float | None = None
        self.arn = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{function.name}"
        self._log: IO[bytes] = (settings.log_dir / f"{function.name}.log").open("ab")
        child_reads, requests = os.pipe()
        replies, child_writes = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER), str(child_reads), str(child_writes), str(settings.code_root)],
                env=worker_variables(function, variables, settings),
                stdin=subprocess.PIPE,  # held open as long as this process lives, so that no orphan outlives it
                stdout=self._log,
                stderr=self._log,
                pass_fds=(child_reads, child_writes),
                start_new_session=True,  # Ctrl-C is for the parent, which stops things in order
            )
        finally:
            os.close(child_reads)
            os.close(child_writes)
        self._requests: IO[bytes] = os.fdopen(requests, "wb")
        self._replies: IO[bytes] = os.fdopen(replies, "rb")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def invoke(self, event: Any) -> Any:
        """The function's answer to `event`, both JSON values. Raises FunctionError, and may then not be `alive`."""
        self.wait_until_ready()
        request_id = str(uuid.uuid4())
        deadline = time.time() + self.function.timeout_seconds
        invocation = {
            "event": event,
            "request_id": request_id,
            "arn": self.arn,
            "deadline_ms": int(deadline * 1000),
            "trace": f"Root=1-{int(deadline):08x}-{uuid.uuid4().hex[:24]};Parent={uuid.uuid4().hex[:16]};Sampled=0",
        }
        try:
            self._requests.write(json.dumps(invocation).encode() + b"\n")
            self._requests.flush()
        except BrokenPipeError:
            raise self._died(request_id) from None
        reply = self._reply(self.function.timeout_seconds)
        if reply is None and self.alive:
            self.kill()
            seconds = f"{self.function.timeout_seconds:.2f}"
            raise FunctionError(
                "Sandbox.Timedout", f"RequestId: {request_id} Error: Task timed out after {seconds} seconds"
            )
        if reply is None:
            raise self._died(request_id)
        return _result(reply)

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()
        self._process.wait()

    def ask_to_stop(self) -> None:
        """Let the process finish by itself, running its exit handlers."""
        self._process.terminate()

    def end(self, seconds: float) -> None:
        """Wait up to `seconds` for the process to leave, then kill it."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        """Kill the process and free what was opened for it. Not while it is being asked."""
        self.kill()
        for stream in (self._process.stdin, self._requests, self._replies, self._log):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # a request was still on its way to a dead process

    def wait_until_ready(self) -> None:
        """Return once the worker has imported the handler. Raises FunctionError, and is not `alive`, if it cannot."""
        if self.init_ms is not None:
            return
        reply = self._reply(INIT_LIMIT_SECONDS)
        if reply is None:
            if self.alive:
                self.kill()
            raise self._died(str(uuid.uuid4()))
        if reply["error"]:
            self._process.wait()
            raise FunctionError(*(reply["error"][key] for key in ("errorType", "errorMessage", "stackTrace")))
        self.init_ms = reply["init_ms"]

    def _reply(self, seconds: float) -> dict[str, Any] | None:
        poller = select.poll()
        poller.register(self._replies, select.POLLIN | select.POLLHUP)
        if not poller.poll(seconds * 1000):
            return None
        line = self._replies.readline()
        if not line.endswith(b"\n"):  # the process ended, perhaps halfway through an answer
            self._process.wait()
            return None
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _died(self, request_id: str) -> FunctionError:
        code = self._process.wait()
        how = "signal: killed" if code < 0 else f"exit status {code}"
        return FunctionError("Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited with error: {how}")


def worker_variables(function: Function, variables: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The variables Lambda sets, the function's own, and what the emulated AWS needs."""
    own = {key: os.environ[key] for key in os.environ if key in _INHERITED}
    return own | {
        "AWS_ENDPOINT_URL": settings.endpoint_url,
        **CREDENTIALS,
        "AWS_ACCESS_KEY_ID": function.name,  # so that a call says whose it is, as a role would
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[$LATEST]{uuid.uuid4().hex}",
        "LAMBDA_TASK_ROOT": str(settings.code_root),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONUTF8": "1",
        "_HANDLER": function.handler,
        **variables,
    }


def _result(reply: dict[str, Any]) -> Any:
    if "error" in reply:
        raise FunctionError(*(reply["error"][key] for key in ("errorType", "errorMessage", "stackTrace")))
    text = reply["result"]
    if len(text.encode()) > RESPONSE_LIMIT_BYTES:
        raise FunctionError(
            "Function.ResponseSizeTooLarge",
            f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT_BYTES} bytes).",
        )
    return json.loads(text)
