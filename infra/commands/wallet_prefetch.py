"""`make prefetch SEGMENT=... CULTURE=ko`: wallets are fetched before a send, and what becomes of them is shown.

SEGMENT is the Braze segment, or FILE a text file of user ids, one a line, in UTF-8 or UTF-16. CULTURE, FRESH
(seconds), DIALECT, TAKE, SKIP and REFRESH are as in POST /wallet-prefetches. PREFETCH, in place of both, is the id of a
prefetch to go on watching.
Which API, and who calls: see `infra.commands.intake_api`.

Exit codes: 0 when every wallet was fetched or was fresh enough, 1 when one was not or the members could not be read, 2
when no prefetch could be made or watched, 130 after Ctrl-C.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from infra.commands.intake_api import NoAnswer, Refused, intake_of
from infra.commands.stack import CannotRun
from infra.commands.watching import Sleep, Watching, report_verdicts
from infra.commands.wishes import said_yes

_VERDICTS: Final = ("fetched", "failed", "skipped")
_DOING: Final = {
    "requested": "waiting for Braze to begin the export",
    "exporting": "Braze is exporting",
    "reading": "reading and fetching",
    "fetching": "fetching",
}
# What POST /wallet-prefetches takes at once.
MOST_USER_IDS: Final = 50_000
MOST_BYTES: Final = 1_048_576

# What the first line of a list may be called, and what no user id has in it.
_HEADERS: Final = frozenset({"user_id", "user_ids", "external_id", "external_user_id"})
_NO_USER_ID: Final = re.compile(r"[\s,'\"]")

_NUMBERS: Final = {"FRESH": "fresh_for", "TAKE": "take", "SKIP": "skip"}


def fields_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """The body of POST /wallet-prefetches; the API says what is wrong with it. Raises `CannotRun`."""
    fields: dict[str, Any] = {}
    if segment_id := environment.get("SEGMENT", "").strip():
        fields["segment_id"] = segment_id
    if name := environment.get("FILE", ""):
        fields["user_ids"] = _user_ids(Path(name))
    for name in ("CULTURE", "DIALECT"):
        if value := environment.get(name, "").strip():
            fields[name.lower()] = value
    for name, field in _NUMBERS.items():
        if value := environment.get(name, "").strip():
            if not value.isdecimal():
                raise CannotRun(f"{name} is a whole number, as in {name}=3600")
            fields[field] = int(value)
    if said_yes(environment, "REFRESH"):
        fields["refresh"] = True
    return fields


def report(console: Console, status: Mapping[str, Any]) -> None:
    """The verdicts as a table, and until when the wallets are fresh."""
    report_verdicts(console, f"prefetch {status['prefetch_id']}", status, _VERDICTS, "members")
    if status["fetched"] or status["skipped"]:
        console.print(
            f"culture {status['culture']}; all of these wallets are fresh until {status['fresh_until']}",
            markup=False,
            highlight=False,
        )


def exit_code(status: Mapping[str, Any]) -> int:
    return 1 if status["state"] == "failed" or status["failed"] else 0


def run(environment: Mapping[str, str], console: Console, sleep: Sleep = time.sleep) -> int:
    """Does what the environment asks for and returns the exit code."""
    prefetch_id = environment.get("PREFETCH", "")
    try:
        if not (prefetch_id or environment.get("SEGMENT") or environment.get("FILE")):
            raise CannotRun("whose wallets? As in: make prefetch SEGMENT=... CULTURE=ko FRESH=14400")
        api = intake_of(environment)
        console.print(f"to {api.base_url}", markup=False)
        if not prefetch_id:
            fields = fields_of(environment)
            _check_size(fields, environment.get("FILE", ""))
            told = api.post("/wallet-prefetches", fields)
            prefetch_id = told["prefetch_id"]
            console.print(f"prefetch {prefetch_id}: {_estimate(told)}", markup=False, highlight=False, soft_wrap=True)
            if told["notice"]:
                console.print(f"mind: {told['notice']}", markup=False, soft_wrap=True)
        watching = Watching(api, console, sleep)
        status = watching.watch(f"/wallet-prefetches/{prefetch_id}", f"the prefetch {prefetch_id}", _DOING, _VERDICTS)
        report(console, status)
        watching.list_failures(status, Path(f"{prefetch_id}.failures.csv"), "members that were not fetched")
        return exit_code(status)
    except NoAnswer as error:
        # It is not made again by itself: it may have been taken on, and a second one would take part of the rate.
        console.print(f"{error}. Whether a prefetch was begun is not known; asking again does no harm.", markup=False)
        return 2
    except (CannotRun, Refused) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        told_last = "Nothing was begun, unless the request had just arrived."
        if prefetch_id:
            told_last = f"The prefetch goes on. To see it again: make prefetch PREFETCH={prefetch_id}"
        console.print(f"\n{told_last}", markup=False, soft_wrap=True)
        return 130


def _estimate(told: Mapping[str, Any]) -> str:
    if told["members_expected"] is None:
        return f"Braze does not say how many members; {told['most_per_second']:,} a second at most"
    minutes = -(-told["seconds_expected"] // 60)
    return (
        f"about {told['members_expected']:,} members, at most {told['most_per_second']:,} a second: "
        f"{minutes:,} minute{'s' if minutes != 1 else ''} or more"
    )


def _check_size(fields: Mapping[str, Any], name: str) -> None:
    """Raises `CannotRun` for a list that one prefetch cannot take, and says how long one may be."""
    user_ids = fields.get("user_ids", [])
    between = len(", ")
    room_bytes = MOST_BYTES - len(json.dumps({**fields, "user_ids": []})) + between
    fitting = 0
    for user_id in user_ids[:MOST_USER_IDS]:
        room_bytes -= len(json.dumps(user_id)) + between
        if room_bytes < 0:
            break
        fitting += 1
    if fitting < len(user_ids):
        raise CannotRun(
            f"{name} has {len(user_ids):,} user ids, and one prefetch takes the first {fitting:,} of them. Split it, "
            f"as with: split -l {fitting} {name}; or make them a segment in Braze, and give SEGMENT. Nothing was begun"
        )


def _user_ids(path: Path) -> list[str]:
    """One id a line; a first line that names the column and lines with nothing on them are passed over."""
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", _text(path))]
    first = next((at for at, line in enumerate(lines) if line), 0)
    if lines[first].lower() in _HEADERS:
        lines[first] = ""
    for number, line in enumerate(lines, start=1):
        if _NO_USER_ID.search(line):
            raise CannotRun(
                f"{path}, line {number}: a blank, comma or quote, which no user id has. Keep the ids alone, without "
                "names or other columns, one a line. Nothing was begun"
            )
    user_ids = [line for line in lines if line]
    if not user_ids:
        raise CannotRun(f"{path} has no user ids; it is one a line")
    return user_ids


def _text(path: Path) -> str:
    """What the file says, in UTF-8 or in UTF-16 with its mark. Raises `CannotRun`."""
    try:
        data = path.read_bytes()
        utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if utf_16 else "utf-8-sig")
    except OSError as error:
        raise CannotRun(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeError:
        text = "\0"
    if "\0" in text:  # as in UTF-16 without its mark
        raise CannotRun(f"{path} cannot be read as text; save it as UTF-8, one user id a line. Nothing was begun")
    return text


if __name__ == "__main__":
    sys.exit(run(os.environ, Console()))
