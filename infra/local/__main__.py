"""The bundle on one machine, from the command line: ``python -m infra.local run | demo | invoke NAME | sam-demo``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from infra.local.settings import FIXED_PORTS, BundleSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="start everything and stay up until Ctrl-C")
    run.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for callers in containers")
    run.add_argument("--free-ports", action="store_true", help="take any free ports instead of the usual ones")
    commands.add_parser("demo", help="every job once, checked")
    invoke = commands.add_parser("invoke", help="one function with its example event, against the running bundle")
    invoke.add_argument("name", help="such as tag-webhook")
    invoke.add_argument("--event", type=Path, help="a JSON file instead of infra/events/NAME.json")
    invoke.add_argument("--in-process", action="store_true", help="on this machine's Python, without Docker")
    commands.add_parser("sam-demo", help="the demo's HTTP calls through sam local in Docker, compared with ours")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    try:
        if given.command == "run":
            return _run(given.host, given.free_ports)
        if given.command == "demo":
            from infra.local.demo import demo

            return demo()
        if given.command == "invoke":
            from infra.local.invoke import invoke as invoke_once

            return invoke_once(given.name, given.event, given.in_process)
        from infra.local.sam_demo import sam_demo

        return sam_demo()
    except KeyboardInterrupt:
        return 130


def _run(host: str, free_ports: bool) -> int:
    from infra.local.bundle import LocalBundle
    from infra.local.guide import guide

    settings = BundleSettings(host=host) if free_ports else BundleSettings(host=host, ports=FIXED_PORTS)
    try:
        with LocalBundle(settings) as bundle:
            print(guide(bundle), flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("Stopped.")
    except OSError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        if not free_ports:
            hint = "Is another make run up? On other ports: .venv/bin/python -m infra.local run --free-ports"
            print(hint, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
