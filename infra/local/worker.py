"""The process that plays one Lambda execution environment. Runs with one function's variables and nothing of ours.

Started by `infra.local.environment` as ``python -P worker.py READ_FD WRITE_FD CODE_ROOT``, handler and limits in the
variables Lambda sets. Imports the handler first (the cold start), reports that, then takes one invocation a line:

    in   {"event": ..., "request_id": "...", "arn": "...", "deadline_ms": 1700000000000, "trace": "..."}
    out  {"result": "JSON text"}  or  {"error": {"errorType", "errorMessage", "stackTrace"}}

Standard input is a lifeline: it closes when the parent is gone, and the process leaves at once. Error texts and shapes
are those of the public Python runtime interface client.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any


class Context:
    """What a handler's second argument offers; names and units are Lambda's."""

    def __init__(self, request_id: str, arn: str, deadline_ms: int) -> None:
        self.aws_request_id = request_id
        self.invoked_function_arn = arn
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]  # text, as in Lambda
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = None
        self.client_context = None
        self._deadline_ms = deadline_ms

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function's time-out."""
        return max(0, self._deadline_ms - int(time.time() * 1000))


def described(error: BaseException, error_type: str | None = None, message: str | None = None) -> dict[str, Any]:
    """An exception in the shape in which Lambda answers it."""
    return {
        "errorType": error_type or type(error).__name__,
        "errorMessage": str(error) if message is None else message,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }


def load(handler: str) -> Any:
    """The function named by `handler` (``package.module.function``); raises what its import raises."""
    module_name, _, function_name = handler.rpartition(".")
    return getattr(importlib.import_module(module_name.replace("/", ".")), function_name)


def init(handler: str) -> tuple[Any, dict[str, Any] | None]:
    """The handler and None, or None and the error in Lambda's words."""
    module_name, _, function_name = handler.rpartition(".")
    try:
        return load(handler), None
    except ImportError as error:
        return None, described(error, "Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}")
    except SyntaxError as error:
        return None, described(error, "Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}")
    except AttributeError as error:
        if getattr(error, "name", None) != function_name:
            return None, described(error)
        message = f"Handler '{function_name}' missing on module '{module_name}'"
        return None, described(error, "Runtime.HandlerNotFound", message)
    except Exception as error:
        return None, described(error)


def answer(handler: Any, invocation: dict[str, Any]) -> dict[str, Any]:
    """Call the handler for one invocation."""
    context = Context(invocation["request_id"], invocation["arn"], invocation["deadline_ms"])
    os.environ["_X_AMZN_TRACE_ID"] = invocation["trace"]
    try:
        result = handler(invocation["event"], context)
    except Exception as error:
        return {"error": described(error)}
    try:
        return {"result": json.dumps(result, ensure_ascii=False, allow_nan=False)}
    except (TypeError, ValueError) as error:
        return {"error": described(error, "Runtime.MarshalError", f"Unable to marshal response: {error}")}


def _leave_with_the_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def _leave(_signal: int, _frame: object) -> None:
    os._exit(0)  # a good deal faster than to leave in order


def main(read_fd: int, write_fd: int, code_root: str) -> None:
    """Serve invocations until `read_fd` closes."""
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    os.chdir(code_root)  # Lambda's working directory is the code's
    sys.path.insert(0, code_root)
    with os.fdopen(read_fd, "rb") as requests, os.fdopen(write_fd, "wb") as replies:

        def reply(message: dict[str, Any]) -> None:
            sys.stdout.flush()
            sys.stderr.flush()
            replies.write(json.dumps(message).encode() + b"\n")
            replies.flush()

        started = time.perf_counter()
        handler, error = init(os.environ["_HANDLER"])
        reply({"init_ms": (time.perf_counter() - started) * 1000, "error": error})
        while error is None and (line := requests.readline()):
            invocation = json.loads(line)
            print(f"START RequestId: {invocation['request_id']} Version: $LATEST", flush=True)
            started = time.perf_counter()
            message = answer(handler, invocation)
            if "error" in message:
                print(f"[ERROR] {json.dumps(message['error'])}", flush=True)
            elapsed_ms = (time.perf_counter() - started) * 1000
            print(f"END RequestId: {invocation['request_id']} Duration: {elapsed_ms:.2f} ms", flush=True)
            reply(message)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
