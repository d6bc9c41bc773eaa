"""`make render` and `make lint-liquid` say which file is wrong, and of a call that brought nothing, why."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.liquid import __main__ as command
from infra.liquid.call import Call
from infra.liquid.fetching import Fetched
from infra.liquid.message import Message

CALL = Call("https://CONTENT_HOST/wallet", "POST")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("a folder/one.liquid", ["one"]),
        ("a folder/*.liquid", ["it's", "one"]),
        ("a folder/it's.liquid", ["it's"]),
        ("two.liquid  three.liquid", ["two", "three"]),
        (" t*.liquid ", ["three", "two"]),
    ],
)
def test_a_file_to_lint_may_have_a_space_in_its_path(
    given: str,
    found: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a folder").mkdir()
    for name in ("a folder/one", "a folder/it's", "two", "three"):
        (tmp_path / f"{name}.liquid").write_text("Hello")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILE", given)

    assert command.main(["lint"]) == 0
    assert [Path(line.rpartition(":")[0]).stem for line in capsys.readouterr().out.splitlines()] == found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no.json cannot be read: No such file"),
        (b"{", "no.json is not JSON"),
        (b"[" * 100_000, "no.json is nested too deep to be read"),
        (b"[]", 'as in {"custom_attribute"'),
        (b'{"tier": "Gold"}', 'as in {"custom_attribute"'),
        (b"\xff", "no.json cannot be read: save it as UTF-8"),
    ],
)
def test_a_profile_that_cannot_be_used_is_named(
    content: bytes | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    template, profile = tmp_path / "message.liquid", tmp_path / "no.json"
    template.write_text("Hello")
    if content is not None:
        profile.write_bytes(content)
    monkeypatch.setenv("TEMPLATE", str(template))
    monkeypatch.setenv("PROFILE", str(profile))

    assert command.main(["render"]) == 2
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(("wanted", "variable"), [("render", "TEMPLATE"), ("lint", "FILE")])
@pytest.mark.parametrize(
    ("name", "words"), [("", "Which "), ("none.liquid", "none.liquid cannot be read"), (".", "cannot be read: Is a")]
)
def test_a_template_that_cannot_be_read_is_named(
    wanted: str,
    variable: str,
    name: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, name)

    assert command.main([wanted]) == 2
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    "description",
    [
        *("", "{", '{"process_id": 1', "[]", "{}", '{"process_id": 1}', '{"content_url": "http://127.0.0.1:1"}'),
        '{"process_id": "1", "content_url": "http://127.0.0.1:1"}',
        '{"process_id": 0, "content_url": "http://127.0.0.1:1"}',
        '{"process_id": 1e99, "content_url": "http://127.0.0.1:1"}',
        '{"process_id": 1000000000000000000000, "content_url": "http://127.0.0.1:1"}',
        '{"process_id": 1, "content_url": 7}',
        '{"process_id": 1, "content_url": "http://["}',
        '{"process_id": 1, "content_url": ""}',
        "[" * 100_000,
    ],
    ids=lambda description: description[:60],
)
def test_a_description_of_the_bundle_that_is_half_written_is_named(
    description: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    template, bundle = tmp_path / "message.liquid", tmp_path / "bundle.json"
    template.write_text("Hello")
    bundle.write_text(description)
    monkeypatch.setenv("TEMPLATE", str(template))
    monkeypatch.setenv("BUNDLE", str(bundle))

    assert command.main(["render"]) == 2
    assert f"{bundle} does not describe a running bundle: start `make run` anew" in capsys.readouterr().out


def test_half_a_character_is_printed_as_a_question_mark(capsys: pytest.CaptureFixture[str]) -> None:
    assert command._told(Message("a\ud83d", calls=[Fetched(CALL, 400, None, "status 400", "\ud83d")])) == 0

    printed = capsys.readouterr()
    assert printed.out == "a?\n"
    assert "status 400 ?" in printed.err


def test_a_webhook_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    template = tmp_path / "message.liquid"
    template.write_text("POST https://INTAKE_HOST/tags\nContent-Type\n\n{}")
    monkeypatch.setenv("TEMPLATE", str(template))

    assert command.main(["render"]) == 2
    assert f"{template} cannot be read as a webhook: not a header: Content-Type" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fetched", "words"),
    [
        (Fetched(CALL, 200, {"ok": True}), "status 200, 0 ms"),
        (Fetched(CALL, 200, {"ok": False, "reason": "user_not_found"}), "status 200 without data (user_not_found)"),
        (Fetched(CALL, 400, None, "status 400", '{"hint":"Give 1"}'), 'status 400 {"hint":"Give 1"}'),
        (Fetched(CALL, None, None, "a.example is not on this machine"), "(put CONTENT_HOST in its place)"),
    ],
)
def test_a_call_that_brought_nothing_says_why(fetched: Fetched, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = Message("", calls=[fetched])

    assert command._told(message) == 0
    assert words in capsys.readouterr().err
