"""What a demo prints."""

from __future__ import annotations

import pytest

from infra.local.telling import Telling, Wrong, render, shortened


def test_outputs_are_filled_in_and_what_is_missing_prints_as_nothing() -> None:
    wallet = {"points": 5, "offers": [{"name": "coffee"}], "note": None}
    template = "{{ w.points }}, {{w.offers[0].name}}, {{ w.offers[1].name }}, {{ w.note }}, {{ x.y }}."
    assert render(template, {"w": wallet}) == "5, coffee, , , ."


def test_long_values_are_cut_to_the_length() -> None:
    assert shortened({"é": 1}) == '{"é": 1}'
    assert len(shortened("x" * 500, 20)) == 20


def test_a_claim_that_does_not_hold_says_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    telling = Telling()
    telling.check(1, "it is so")
    with pytest.raises(Wrong, match="not so: it is so; found 7"):
        telling.check(0, "it is so", 7)
    assert capsys.readouterr().out == "  ok   it is so\n"
