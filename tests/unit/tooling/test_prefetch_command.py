"""`make prefetch`: what is asked for, shown and told at the end."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from infra.commands import wallet_prefetch
from shared.http import MAX_BODY_BYTES
from tests.unit.tooling.scripted import Scripted, scripted

TOLD: dict[str, Any] = {
    "ok": True,
    "prefetch_id": "prefetch-1",
    "state": "requested",
    "members_expected": 98_214,
    "most_per_second": 50,
    "seconds_expected": 1965,
    "notice": None,
}
STATUS: dict[str, Any] = {
    "prefetch_id": "prefetch-1",
    "state": "finished",
    "reason": None,
    "message": None,
    "culture": "ko-KR",
    "members_expected": 3,
    "members_read": 3,
    "fetched": 2,
    "failed": 0,
    "skipped": 1,
    "waiting": 0,
    "rate_per_second": 49.7,
    "fresh_until": "2026-11-22T11:41:10Z",
    "failure_file_url": None,
}
SUBMIT, LOOK = "POST /wallet-prefetches", "GET /wallet-prefetches/prefetch-1"
LISTED = b"\xef\xbb\xbfuser_id,verdict,code\nm-1,failed,user_not_found\nm-2,skipped,still_fresh\n"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        script.answers = {SUBMIT: [(202, TOLD)], LOOK: [(200, STATUS)], "GET /failures": [(200, LISTED)]}
        yield script


class Ran:
    """One run of the command, with what it printed and how it ended."""

    def __init__(self, server: Scripted, sleep: Callable[[float], None] | None = None, **environment: str) -> None:
        text = io.StringIO()
        self.code = wallet_prefetch.run(
            {"INTAKE_API": server.url, "CALLER": "operator:key", **environment},
            Console(file=text, width=200),
            sleep or (lambda _: None),
        )
        self.text = text.getvalue()


def sent(server: Scripted) -> Any:
    return json.loads(next(each.body for each in server.received if each.route == SUBMIT))


def test_a_segment_is_asked_for_watched_and_told_of(server: Scripted) -> None:
    server.answers[LOOK] = [(200, STATUS | {"state": "fetching", "fetched": 1, "waiting": 1}), (200, STATUS)]

    ran = Ran(server, SEGMENT="segment-1", CULTURE="ko", FRESH="14400", REFRESH="yes")

    assert ran.code == 0
    assert sent(server) == {"segment_id": "segment-1", "culture": "ko", "fresh_for": 14_400, "refresh": True}
    assert "about 98,214 members, at most 50 a second: 33 minutes or more" in ran.text
    assert "prefetch prefetch-1: finished" in ran.text
    assert "fresh until 2026-11-22T11:41:10Z" in ran.text
    assert server.routes().count(LOOK) == 2


def test_a_file_of_ids_is_sent_as_a_list(server: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "members.txt"
    path.write_bytes(b"\xef\xbb\xbfm-1\r\nm-2\n\n")

    assert Ran(server, FILE=str(path), DIALECT="vendor", TAKE="7").code == 0
    assert sent(server) == {"user_ids": ["m-1", "m-2"], "dialect": "vendor", "take": 7}


@pytest.mark.parametrize(
    "data",
    [
        "m-1\n m-2\t\r\n \n".encode("utf-16"),
        b"\xfe\xff" + "m-1\rm-2".encode("utf-16-be"),
        *(f"\n {header} \nm-1\nm-2\n".encode() for header in ("user_id", "USER_ID", "external_id")),
    ],
    ids=["utf-16", "utf-16-be", "user_id", "USER_ID", "external_id"],
)
def test_a_list_that_a_spreadsheet_has_saved_is_read(server: Scripted, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "members.txt"
    path.write_bytes(data)

    assert Ran(server, FILE=str(path)).code == 0
    assert sent(server) == {"user_ids": ["m-1", "m-2"]}


@pytest.mark.parametrize("line", ["95a7 Ada", "95a7\tAda", "95a7,Ada", '"95a7"', "'95a7'", "95a7\u00a0Ada"])
def test_a_line_that_is_more_than_an_id_is_refused_by_its_number_and_never_shown(
    server: Scripted, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "members.txt"
    path.write_text(f"user_id\n\nm-1\n{line}\n", encoding="utf-8")

    ran = Ran(server, FILE=str(path))

    assert (ran.code, server.received) == (2, [])
    assert "members.txt, line 4: a blank, comma or quote" in ran.text.replace("\n", "")
    assert "95a7" not in ran.text


@pytest.mark.parametrize("data", ["Zoë".encode("latin-1"), "m-1\n".encode("utf-16-le"), b"\xff\xfem"])
def test_a_file_that_is_no_text_is_to_be_saved_as_utf_8(server: Scripted, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "members.txt"
    path.write_bytes(data)

    ran = Ran(server, FILE=str(path))

    assert (ran.code, server.received) == (2, [])
    assert "save it as UTF-8, one user id a line" in ran.text


def test_a_list_as_long_as_one_prefetch_takes_is_sent_and_of_one_longer_it_is_said_how_much_fits(
    server: Scripted, tmp_path: Path
) -> None:
    assert (wallet_prefetch.MOST_USER_IDS, wallet_prefetch.MOST_BYTES) == (50_000, MAX_BODY_BYTES)
    path = tmp_path / "members.txt"
    path.write_text("\n".join(f"{number:036}" for number in range(30_000)), encoding="utf-8")

    refused = Ran(server, FILE=str(path), CULTURE="ko")

    assert refused.code == 2
    told = re.search(r"has 30,000 user ids, and one prefetch takes the first ([\d,]+) of them", refused.text)
    assert told, refused.text
    fitting = int(told[1].replace(",", ""))
    assert f"split -l {fitting} {path}" in refused.text
    assert server.received == [], "nothing is sent for it"

    path.write_text("\n".join(f"{number:036}" for number in range(fitting)), encoding="utf-8")
    assert Ran(server, FILE=str(path), CULTURE="ko").code == 0
    (body,) = [each.body for each in server.received if each.route == SUBMIT]
    assert MAX_BODY_BYTES - len(", ") - 38 < len(body) <= MAX_BODY_BYTES


def test_short_ids_are_bounded_by_their_number(server: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "members.txt"
    path.write_text("\n".join(str(number) for number in range(50_001)), encoding="utf-8")

    assert "one prefetch takes the first 50,000 of them" in Ran(server, FILE=str(path)).text
    assert server.received == []


def test_what_braze_does_not_count_and_what_is_to_be_minded_is_said(server: Scripted) -> None:
    server.answers[SUBMIT] = [(202, TOLD | {"members_expected": None, "seconds_expected": None})]
    assert "Braze does not say how many members; 50 a second at most" in Ran(server, SEGMENT="s").text

    server.answers[SUBMIT] = [(202, TOLD | {"seconds_expected": 60, "notice": "give a longer fresh_for"})]
    text = Ran(server, SEGMENT="s").text
    assert "1 minute or more" in text
    assert "mind: give a longer fresh_for" in text


def test_members_that_were_not_fetched_are_listed_in_a_file(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server.answers[LOOK] = [(200, STATUS | {"failed": 1, "failure_file_url": f"{server.url}/failures?secret"})]

    ran = Ran(server, SEGMENT="segment-1")

    assert ran.code == 1
    assert "1 failed: user_not_found" in ran.text
    assert "secret" not in ran.text
    assert (tmp_path / "prefetch-1.failures.csv").read_bytes() == LISTED


def test_an_export_that_failed_is_told_with_its_reason(server: Scripted) -> None:
    failed = {"state": "failed", "reason": "segment_not_found", "message": "no such segment"}
    server.answers[LOOK] = [(200, STATUS | failed | {"fetched": 0, "skipped": 0})]

    ran = Ran(server, SEGMENT="segment-1")

    assert ran.code == 1
    assert "segment_not_found: no such segment" in ran.text
    assert "fresh until" not in ran.text


def test_a_prefetch_can_be_watched_again(server: Scripted) -> None:
    assert Ran(server, PREFETCH="prefetch-1").code == 0
    assert SUBMIT not in server.routes()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "whose wallets?"),
        ({"SEGMENT": "s", "FRESH": "4h"}, "FRESH is a whole number"),
        ({"FILE": "no-such-file"}, "cannot be read"),
        ({"FILE": "/dev/null"}, "has no user ids"),
        ({"FILE": "."}, "cannot be read"),
    ],
)
def test_what_cannot_be_asked_for_is_said_before_anything_is(
    server: Scripted, environment: dict[str, str], told: str
) -> None:
    ran = Ran(server, None, **environment)

    assert (ran.code, server.received) == (2, [])
    assert told in ran.text


def test_a_refusal_and_no_answer_are_told(server: Scripted) -> None:
    server.answers[SUBMIT] = [(400, {"ok": False, "code": "invalid_field", "message": "no", "hint": "Give less."})]
    refused = Ran(server, SEGMENT="s")
    server.answers[SUBMIT] = [None]
    silent = Ran(server, SEGMENT="s")

    assert (refused.code, silent.code) == (2, 2)
    assert "Give less." in refused.text
    assert "asking again does no harm" in silent.text


def test_stopped_while_it_watches_it_says_how_to_go_on(server: Scripted) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    server.answers[LOOK] = [(200, STATUS | {"state": "exporting"})]

    ran = Ran(server, stop, SEGMENT="segment-1")

    assert ran.code == 130
    assert "make prefetch PREFETCH=prefetch-1" in ran.text
