"""Which API a command talks to, as whom, and what it makes of the answers."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.commands.intake_api import IntakeApi, NoAnswer, Refused, authorization_of, intake_of
from infra.commands.stack import CannotRun
from tests.unit.tooling.scripted import Scripted, scripted

BASIC = "Basic " + b64encode(b"operator:key").decode()


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


@pytest.mark.parametrize(
    ("text", "authorization"),
    [
        ('user = "operator:key"\n', BASIC),
        ("user=operator:key\n", BASIC),
        ("-u operator:key\n", BASIC),
        ('--user "operator:key"\n', BASIC),
        ('# mine\nsilent\nuser: "operator:\\"k\\\\ey"\n', "Basic " + b64encode(b'operator:"k\\ey').decode()),
        ('header = "Accept: */*"\nheader = "Authorization: Bearer key"\n', "Bearer key"),
    ],
)
def test_the_caller_is_read_as_curl_reads_it(tmp_path: Path, text: str, authorization: str) -> None:
    path = tmp_path / "caller.conf"
    path.write_text(text, encoding="utf-8")

    assert authorization_of({"CALLER_FILE": str(path)}) == authorization


def test_the_caller_may_be_given_outright() -> None:
    assert authorization_of({"CALLER": "operator:key", "CALLER_FILE": "/nowhere"}) == BASIC


@pytest.mark.parametrize("text", ["", "silent\n", 'header = "Accept: */*"\n', "user = operator\n"])
def test_a_file_without_a_caller_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "caller.conf"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(CannotRun):
        authorization_of({"CALLER_FILE": str(path)})


def test_without_any_caller_it_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r'user = "operator:KEY"'):
        authorization_of({"CALLER_FILE": str(tmp_path / "nothing")})


def test_a_key_is_not_sent_in_the_clear() -> None:
    with pytest.raises(CannotRun, match="https"):
        intake_of({"INTAKE_API": "http://intake.example.com", "CALLER": "operator:key"})


def test_the_bundle_on_this_machine_is_meant_when_no_other_is_named(tmp_path: Path, server: Scripted) -> None:
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"intake_url": server.url, "callers": {"operator": "key"}}), encoding="utf-8")
    server.answers["GET /health"] = [(200, {"ok": True})]

    assert intake_of({}, path).get("/health") == {"ok": True}
    assert server.received[0].headers["Authorization"] == BASIC
    assert intake_of({"INTAKE_API": "https://intake.example.com/", "CALLER": "a:b"}, path).base_url.endswith(".com")


def test_with_nothing_to_talk_to_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="make run"):
        intake_of({}, tmp_path / "nothing.json")


@pytest.mark.parametrize("answer", [None, (503, {"message": "Service Unavailable"}), (429, {}), (500, b"<html>")])
def test_what_may_be_tried_again_is_told_apart(server: Scripted, answer: tuple[int, object] | None) -> None:
    server.answers["POST /tag-imports"] = [answer]

    with pytest.raises(NoAnswer):
        IntakeApi(server.url, BASIC).post("/tag-imports", {})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((400, {"field": "ttl", "message": "no", "hint": "Give 30d."}), "refused with 400: ttl. no. Give 30d."),
        ((403, {"message": "Forbidden"}), "Is the caller in the callers secret"),
        ((404, []), "refused with 404: no words"),
        ((302, b"<html>"), "refused with 302"),
        ((200, b"<html>"), "no Intake API"),
    ],
)
def test_a_no_is_told_in_the_words_of_the_answer(server: Scripted, answer: tuple[int, object], words: str) -> None:
    server.answers["GET /tag-imports/csv-1"] = [answer]

    with pytest.raises(Refused) as error:
        IntakeApi(server.url, BASIC).get("/tag-imports/csv-1")
    assert words in str(error.value)
