"""Braze's languages as SessionM's cultures."""

from __future__ import annotations

import pytest

from clients.cultures import culture_of


@pytest.mark.parametrize(
    ("code", "culture"),
    [
        ("", "en-CA"),
        ("  ", "en-CA"),
        ("ko", "ko-KR"),
        ("KO", "ko-KR"),
        ("en", "en-US"),
        ("pt", "pt-PT"),
        ("pt-BR", "pt-BR"),
        ("pt_br", "pt-BR"),
        ("PT-br", "pt-BR"),
        ("zh-Hant-TW", "zh-TW"),
        ("zh-Hant", "zh-TW"),
        ("zh-Hans", "zh-CN"),
        ("iw", "he-IL"),
        ("eo", "en-CA"),
        ("fil", "en-CA"),
        ("xx", "en-CA"),
        ("xx-YY", "xx-YY"),
        ("es-419", "es-ES"),
    ],
)
def test_a_language_gets_its_region_and_an_unknown_one_the_default(code: str, culture: str) -> None:
    assert culture_of(code, "en-CA") == culture
