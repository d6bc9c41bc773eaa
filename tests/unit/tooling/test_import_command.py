"""`make import`: a file goes up, its rows are counted, and whatever goes wrong is retried or told."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from infra.commands import tag_import
from infra.commands.tag_import import fields_of
from tests.unit.tooling.scripted import Scripted, scripted

STATUS: dict[str, Any] = {
    "import_id": "csv-1",
    "state": "finished",
    "reason": None,
    "message": None,
    "rows_read": 3,
    "sent": 3,
    "failed": 0,
    "skipped": 0,
    "unknown": 0,
    "waiting": 0,
    "rate_per_second": 120.4,
    "seconds_left": 0,
    "failure_file_url": None,
    "read_back": None,
}
LISTED = b"\xef\xbb\xbfline,verdict,code\n2,skipped,no_external_id\n3,failed,user_not_found\n4,failed,user_not_found\n"
EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        upload = {"method": "PUT", "url": f"{script.url}/bucket/key?secret", "headers": {}}
        script.answers = {
            "POST /tag-imports": [(201, {"ok": True, "import_id": "csv-1", "upload": upload})],
            "PUT /bucket/key": [(200, b"")],
            "GET /tag-imports/csv-1": [(200, STATUS)],
        }
        yield script


class Ran:
    """One run of the command, with what it printed and how it ended."""

    def __init__(self, server: Scripted, sleep: Callable[[float], None] | None = None, **environment: str) -> None:
        self.slept: list[float] = []
        text = io.StringIO()
        self.code = tag_import.run(
            {"INTAKE_API": server.url, "CALLER": "operator:key", **environment},
            Console(file=text, width=200),
            sleep or self.slept.append,
        )
        self.text = text.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "members.csv"
    path.write_bytes(b"user_id\n1\n2\n3\n")
    return path


def test_a_file_goes_up_whole_and_its_verdicts_are_printed(server: Scripted, file: Path) -> None:
    ran = Ran(server, FILE=str(file), TAG="gold|spring", TTL="30d")

    posted, put, _ = server.received
    assert ran.code == 0
    assert msgspec.json.decode(posted.body) == {"file_name": "members.csv", "tags": ["gold", "spring"], "ttl": "30d"}
    assert put.body == file.read_bytes()
    assert put.headers["Content-Length"] == "14"
    assert "Authorization" not in put.headers
    assert "csv-1: finished" in ran.text
    assert "secret" not in ran.text


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"TAG": "gold, spring;x"}, {"tags": ["gold", "spring", "x"]}),
        ({"COUNTER": "yes"}, {"counter": True}),
        ({"COUNTER": "no"}, {}),
        ({"ID": "external_id", "ENCODING": "latin-1"}, {"id": "external_id", "encoding": "latin-1"}),
        ({"DELIMITER": "tab"}, {"delimiter": "\t"}),
        ({"DELIMITER": ";"}, {"delimiter": ";"}),
        ({"TAG": " ", "TTL": ""}, {}),
    ],
)
def test_only_what_is_given_is_sent(given: dict[str, str], fields: dict[str, Any]) -> None:
    assert fields_of({"FILE": "some/where/members.csv", **given}) == {"file_name": "members.csv", **fields}


def test_a_file_without_rows_is_no_success(server: Scripted, file: Path) -> None:
    server.answers["GET /tag-imports/csv-1"] = [(200, STATUS | {"rows_read": 0, "sent": 0})]

    ran = Ran(server, FILE=str(file))

    assert ran.code == 1
    assert "no rows below its first line: nothing was imported" in ran.text


def test_a_segment_without_members_is_one(server: Scripted) -> None:
    server.answers["GET /tag-imports/segment-1"] = [
        (200, STATUS | {"import_id": "segment-1", "rows_read": 0, "sent": 0})
    ]

    ran = Ran(server, IMPORT="segment-1")

    assert ran.code == 0
    assert "nothing was imported" not in ran.text


def test_it_waits_for_the_end_and_fetches_the_failure_file(server: Scripted, file: Path) -> None:
    reading = STATUS | {"state": "reading", "rows_read": 1, "sent": 0, "waiting": 1, "rate_per_second": None}
    ended = STATUS | {
        "sent": 1,
        "failed": 2,
        "failure_file_url": f"{server.url}/failures?secret",
        "read_back": {"asked": 3, "found": 2, "missing": 1, "unreadable": 0},
    }
    server.answers["GET /tag-imports/csv-1"] = [(200, reading), (200, ended)]
    server.answers["GET /failures"] = [(500, b""), (200, LISTED)]

    ran = Ran(server, FILE=str(file))

    saved = file.with_name("members.csv-1.failures.csv")
    assert saved.read_bytes() == LISTED
    assert str(saved) in ran.text
    assert ran.text.index("2 failed: user_not_found") < ran.text.index("1 skipped: no_external_id")
    assert "2 of 3 sampled members" in ran.text
    assert ran.code == 1


def test_a_file_nobody_can_read_says_why(server: Scripted, file: Path) -> None:
    failed = {"state": "failed", "reason": "unreadable_file", "message": "the file [has] no header", "waiting": 2}
    server.answers["GET /tag-imports/csv-1"] = [(200, STATUS | failed)]

    ran = Ran(server, FILE=str(file))

    assert "unreadable_file: the file [has] no header" in ran.text
    assert "waiting" in ran.text
    assert ran.code == 1


# --- what goes wrong on the way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [None, (500, b""), (503, b"<Error><Code>SlowDown</Code></Error>")])
def test_an_upload_that_breaks_is_made_again_from_the_start(server: Scripted, file: Path, trouble: Any) -> None:
    server.answers["PUT /bucket/key"] = [trouble, (200, b"")]

    ran = Ran(server, FILE=str(file))

    assert ran.code == 0
    assert [each.body for each in server.received if each.route.startswith("PUT")] == [file.read_bytes()] * 2
    assert server.routes().count("POST /tag-imports") == 1


def test_an_address_that_is_over_is_asked_for_anew(server: Scripted, file: Path) -> None:
    server.answers["PUT /bucket/key"] = [(403, EXPIRED), (200, b"")]

    ran = Ran(server, FILE=str(file))

    assert ran.code == 0
    assert server.routes().count("POST /tag-imports") == 2


def test_an_upload_that_is_not_allowed_is_not_repeated(server: Scripted, file: Path) -> None:
    server.answers["PUT /bucket/key"] = [(403, b"<Error><Code>AccessDenied</Code></Error>")]

    ran = Ran(server, FILE=str(file))

    assert "S3 answers 403 AccessDenied" in ran.text
    assert "Nothing was imported" in ran.text
    assert (ran.code, server.routes().count("PUT /bucket/key")) == (2, 1)


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ("POST /tag-imports", "Nothing was imported"),
        ("PUT /bucket/key", "Nothing was imported"),
        ("GET /tag-imports/csv-1", "The import csv-1 goes on"),
    ],
)
def test_whoever_never_answers_is_given_up_after_minutes(server: Scripted, file: Path, route: str, told: str) -> None:
    server.answers[route] = [(503, b"")]

    ran = Ran(server, FILE=str(file))

    assert told in ran.text
    assert ran.code == 2
    assert 200 < sum(ran.slept) < 600


def test_a_look_that_fails_now_and_then_does_not_end_the_watch(server: Scripted, file: Path) -> None:
    reading = (200, STATUS | {"state": "reading"})
    server.answers["GET /tag-imports/csv-1"] = [*[None, reading] * 12, (200, STATUS)]

    assert Ran(server, FILE=str(file)).code == 0


def test_a_refusal_is_told_with_its_advice(server: Scripted, file: Path) -> None:
    refusal = {"code": "invalid_field", "field": "ttl", "message": "this is no time to live", "hint": "Give 30d."}
    server.answers["POST /tag-imports"] = [(400, refusal)]

    ran = Ran(server, FILE=str(file), TTL="soon")

    assert "ttl. this is no time to live. Give 30d." in ran.text
    assert ran.code == 2


def test_a_failure_file_that_does_not_come_is_told_without_its_address(server: Scripted, file: Path) -> None:
    server.answers["GET /tag-imports/csv-1"] = [(200, STATUS | {"failure_file_url": f"{server.url}/failures?secret"})]
    server.answers["GET /failures"] = [(403, EXPIRED)]

    ran = Ran(server, FILE=str(file))

    assert "failure file did not come (HTTPError)" in ran.text
    assert "secret" not in ran.text
    assert ran.code == 2


def test_a_failure_file_that_cannot_be_written_is_told(server: Scripted, file: Path) -> None:
    file.with_name("members.csv-1.failures.csv.part").mkdir()
    server.answers["GET /tag-imports/csv-1"] = [(200, STATUS | {"failure_file_url": f"{server.url}/failures"})]
    server.answers["GET /failures"] = [(200, b"")]

    assert "cannot be written" in Ran(server, FILE=str(file)).text


# --- what is not begun ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, b""])
def test_a_file_that_is_none_is_not_submitted(server: Scripted, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "members.csv"
    if content is not None:
        path.write_bytes(content)

    ran = Ran(server, FILE=str(path))

    assert (ran.code, server.received) == (2, [])
    assert str(path) in ran.text.replace("\n", "")


def test_a_file_too_large_for_one_upload_is_told_what_to_do(server: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "members.csv"
    with path.open("wb") as sparse:
        sparse.truncate(tag_import.MOST_BYTES + 1)

    ran = Ran(server, FILE=str(path))

    assert (ran.code, server.received) == (2, [])
    assert "gzip" in ran.text


def test_without_a_file_it_says_how_to_name_one(server: Scripted) -> None:
    ran = Ran(server)

    assert ran.code == 2
    assert "make import FILE=members.csv TAG=gold TTL=30d" in ran.text


# --- stopped and gone on ----------------------------------------------------------------------------------------------


def interrupt(_: float) -> None:
    raise KeyboardInterrupt


def test_stopped_while_it_watches_it_says_that_the_import_goes_on(server: Scripted, file: Path) -> None:
    server.answers["GET /tag-imports/csv-1"] = [(200, STATUS | {"state": "delivering"})]

    ran = Ran(server, interrupt, FILE=str(file))

    assert "The import goes on. To see it again: make import IMPORT=csv-1" in ran.text
    assert ran.code == 130


def test_stopped_while_it_uploads_it_says_that_nothing_was_imported(server: Scripted, file: Path) -> None:
    server.answers["PUT /bucket/key"] = [(500, b"")]

    ran = Ran(server, interrupt, FILE=str(file))

    assert "Nothing was imported" in ran.text
    assert ran.code == 130


def test_an_import_can_be_watched_again(server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    server.answers["GET /tag-imports/csv-1"] = [(200, STATUS | {"failure_file_url": f"{server.url}/failures"})]
    server.answers["GET /failures"] = [(200, LISTED)]

    ran = Ran(server, IMPORT="csv-1")

    assert (tmp_path / "csv-1.failures.csv").read_bytes() == LISTED
    assert "POST /tag-imports" not in server.routes()
    assert ran.code == 0


def test_a_day_of_webhooks_is_shown_as_it_stands(server: Scripted) -> None:
    server.answers["GET /tag-imports/webhook-2026-11-22"] = [(200, STATUS | {"state": "open"})]

    assert Ran(server, IMPORT="webhook-2026-11-22").code == 0


def test_a_day_of_webhooks_with_failures_says_how_to_have_its_rows(server: Scripted) -> None:
    server.answers["GET /tag-imports/webhook-2026-11-22"] = [(200, STATUS | {"state": "open", "failed": 1})]

    ran = Ran(server, IMPORT="webhook-2026-11-22")

    assert "make failures IMPORT=webhook-2026-11-22" in ran.text
    assert ran.code == 1


def test_a_failure_file_has_the_name_of_its_file_and_of_its_import_and_no_other(server: Scripted, file: Path) -> None:
    server.answers["GET /tag-imports/csv-1"] = [(200, STATUS | {"failure_file_url": f"{server.url}/failures"})]
    server.answers["GET /failures"] = [(200, LISTED)]
    again = file.with_name("members.csv-0a.failures.csv")
    file.rename(again)

    Ran(server, FILE=str(again))

    assert file.with_name("members.csv-1.failures.csv").exists()
    assert again.exists()
