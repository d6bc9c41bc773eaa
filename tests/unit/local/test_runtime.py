"""Lambda on one machine: environments, limits, failures."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.local.runtime import FunctionError, Runtime

MakeRuntime = Callable[..., Runtime]
ROOT = Path(__file__).resolve().parents[3]

WHO = """
    import os, time

    def handle(event, context):
        time.sleep(event.get("seconds", 0))
        return os.getpid()
"""


def test_a_handler_sees_its_event_its_context_and_only_its_own_variables(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(
        """
        import os

        def handle(event, context):
            names = ["function_name", "function_version", "memory_limit_in_mb", "log_group_name"]
            facts = {name: getattr(context, name) for name in names}
            facts["arn"] = context.invoked_function_arn
            facts["request_id_length"] = len(context.aws_request_id)
            facts["left_ms"] = context.get_remaining_time_in_millis()
            facts["variables"] = dict(os.environ)
            facts["folder"] = os.getcwd()
            return {"event": event, "facts": facts}
        """,
        timeout_seconds=7,
        variables={"TABLE": "t"},
    )
    answer = runtime.invoke("function", {"a": [1, "é", None]})
    facts = answer["facts"]
    assert answer["event"] == {"a": [1, "é", None]}
    assert facts["function_name"] == "function"
    assert facts["function_version"] == "$LATEST"
    assert facts["memory_limit_in_mb"] == "128"
    assert facts["log_group_name"] == "/aws/lambda/function"
    assert facts["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:function"
    assert facts["request_id_length"] == 36
    assert 5_000 < facts["left_ms"] <= 7_000
    assert facts["variables"]["TABLE"] == "t"
    assert facts["variables"]["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9"
    assert facts["variables"]["AWS_LAMBDA_FUNCTION_NAME"] == "function"
    assert "PYTEST_CURRENT_TEST" not in facts["variables"]
    assert facts["folder"] == facts["variables"]["LAMBDA_TASK_ROOT"]


def test_an_idle_environment_is_used_again_and_a_busy_one_makes_another(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(WHO)
    assert runtime.invoke("function", {}) == runtime.invoke("function", {})
    assert runtime.cold_starts("function") == 1
    with ThreadPoolExecutor(3) as callers:
        processes = set(callers.map(lambda _: runtime.invoke("function", {"seconds": 0.3}), range(3)))
    assert len(processes) == 3
    assert runtime.cold_starts("function") == 3


def test_invocations_beyond_the_pool_wait_for_their_turn(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(WHO, max_environments=2)
    with ThreadPoolExecutor(6) as callers:
        processes = list(callers.map(lambda _: runtime.invoke("function", {"seconds": 0.05}), range(6)))
    assert len(processes) == 6
    assert len(set(processes)) <= 2


def test_warming_leaves_an_environment_ready(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(WHO)
    runtime.warm()
    runtime.invoke("function", {})
    assert runtime.cold_starts("function") == 1


def test_an_exception_is_answered_in_lambdas_words_and_costs_no_environment(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime("def handle(event, context):\n    raise ValueError('no such member')")
    for _ in range(2):
        with pytest.raises(FunctionError) as caught:
            runtime.invoke("function", {})
    assert caught.value.payload()["errorType"] == "ValueError"
    assert caught.value.payload()["errorMessage"] == "no such member"
    assert "raise ValueError" in "".join(caught.value.payload()["stackTrace"])
    assert runtime.cold_starts("function") == 1


@pytest.mark.parametrize("result", ["object()", "float('nan')", "{1, 2}"])
def test_a_result_that_is_no_json_is_an_error(make_runtime: MakeRuntime, result: str) -> None:
    runtime = make_runtime(f"def handle(event, context):\n    return {result}")
    with pytest.raises(FunctionError, match=r"Runtime.MarshalError: Unable to marshal response"):
        runtime.invoke("function", {})


def test_a_result_above_six_megabytes_is_an_error(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime("def handle(event, context):\n    return 'x' * event['size']")
    assert len(runtime.invoke("function", {"size": 6_000_000})) == 6_000_000
    with pytest.raises(FunctionError, match=r"Function.ResponseSizeTooLarge"):
        runtime.invoke("function", {"size": 6_300_000})


def test_a_function_that_takes_too_long_is_killed_and_replaced(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(WHO, timeout_seconds=1)
    first = runtime.invoke("function", {})
    started = time.monotonic()
    with pytest.raises(FunctionError, match=r"Sandbox.Timedout: .* Task timed out after 1.00 seconds"):
        runtime.invoke("function", {"seconds": 30})
    assert time.monotonic() - started < 3
    assert runtime.invoke("function", {}) != first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_function_that_dies_is_an_error_and_is_replaced(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime("import os\ndef handle(event, context):\n    os._exit(3) if event else None")
    with pytest.raises(FunctionError, match=r"Runtime.ExitError: .* exited with error: exit status 3"):
        runtime.invoke("function", {"die": True})
    assert runtime.invoke("function", {}) is None


def test_killing_fails_what_runs_and_the_next_invocation_starts_afresh(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(WHO)
    first = runtime.invoke("function", {})
    failures: list[FunctionError] = []

    def invoke() -> None:
        try:
            runtime.invoke("function", {"seconds": 30})
        except FunctionError as error:
            failures.append(error)

    running = threading.Thread(target=invoke)
    running.start()
    time.sleep(0.2)
    assert runtime.kill("function") == 1
    running.join(5)
    assert [error.type for error in failures] == ["Runtime.ExitError"]
    assert runtime.invoke("function", {}) != first


@pytest.mark.parametrize(
    ("code", "handler", "expected"),
    [
        ("import nowhere_to_be_found", "code_under_test.handle", "Runtime.ImportModuleError: Unable to import module"),
        ("", "code_under_test.handle", "Runtime.HandlerNotFound: Handler 'handle' missing on module 'code_under_test'"),
        ("def", "code_under_test.handle", "Runtime.UserCodeSyntaxError"),
        ("raise KeyError('TABLE')", "code_under_test.handle", "KeyError: 'TABLE'"),
        ("import os; os._exit(4)", "code_under_test.handle", "Runtime.ExitError: .*exit status 4"),
    ],
)
def test_code_that_cannot_be_loaded_says_why_at_every_invocation(
    make_runtime: MakeRuntime, code: str, handler: str, expected: str
) -> None:
    runtime = make_runtime(code, handler=handler)
    runtime.warm()
    for _ in range(2):
        with pytest.raises(FunctionError, match=expected):
            runtime.invoke("function", {})


def test_what_a_function_prints_is_in_its_log(make_runtime: MakeRuntime, tmp_path: Path) -> None:
    runtime = make_runtime("def handle(event, context):\n    print('hello from inside')")
    runtime.invoke("function", {})
    assert "hello from inside\n" in (tmp_path / "logs" / "function.log").read_text(encoding="utf-8")


def test_stopping_ends_what_runs_and_what_waits(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(WHO, max_environments=1)
    with ThreadPoolExecutor(2) as callers:
        outcomes = [callers.submit(runtime.invoke, "function", {"seconds": 30}) for _ in range(2)]
        time.sleep(0.3)
        started = time.monotonic()
        runtime.stop()
        kinds = {type(outcome.exception(5)) for outcome in outcomes}
    assert kinds == {FunctionError}
    assert time.monotonic() - started < 2
    with pytest.raises(FunctionError, match="stopping"):
        runtime.invoke("function", {})


def test_no_environment_outlives_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(textwrap.dedent(WHO), encoding="utf-8")
    parent_code = """
        import sys
        from pathlib import Path
        from infra.local.runtime import Runtime, Settings
        from infra.local.views import Function

        here = Path(sys.argv[1])
        function = Function("f", "f", "work.handle", 60, 128, {})
        runtime = Runtime({"f": function}, {}, Settings(here, here / "logs", "http://127.0.0.1:9"))
        print(runtime.invoke("f", {}), flush=True)
        runtime.invoke("f", {"seconds": 60})
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent_code), str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(0.1)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{worker}").exists() or _answers(worker):
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.02)


def _answers(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True
