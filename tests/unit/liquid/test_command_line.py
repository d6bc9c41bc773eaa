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
    ("content", "words"),
    [
        (None, "no.json cannot be read: No such file"),
        (b"{", "no.json is not JSON"),
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
