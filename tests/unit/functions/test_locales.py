"""Dates and numbers as Babel writes them, from a table that is much lighter."""

from __future__ import annotations

from datetime import date

import pytest
from babel import Locale
from babel.dates import format_date
from babel.numbers import format_decimal

from clients.cultures import culture_of
from infra.locales import TABLE, text
from shared.locales import date_text, form_of, number_text

DAYS = [date(2026, 1, 5), date(2026, 11, 22)]
NUMBERS = [0, 7, 999, 1_000, 12_345, 1_234_567, 1234.5, 0.125, -1_500]

# Languages of most loyalty programmes, with their regions' own ways.
CULTURES = [
    "ar-SA", "bg-BG", "ca-ES", "cs-CZ", "da-DK", "de-AT", "de-CH", "de-DE", "el-GR", "en-AU", "en-CA", "en-GB",
    "en-IN", "en-US", "es-AR", "es-ES", "es-MX", "et-EE", "eu-ES", "fa-IR", "fi-FI", "fr-CA", "fr-CH", "fr-FR",
    "he-IL", "hi-IN", "hr-HR", "hu-HU", "id-ID", "it-CH", "it-IT", "ja-JP", "ko-KR", "lt-LT", "lv-LV", "ms-MY",
    "nb-NO", "nl-BE", "nl-NL", "pl-PL", "pt-BR", "pt-PT", "ro-RO", "ru-RU", "sk-SK", "sl-SI", "sr-RS",
    "sv-SE", "th-TH", "tr-TR", "uk-UA", "vi-VN", "zh-CN", "zh-HK", "zh-TW",
]  # fmt: skip


@pytest.mark.parametrize("culture", CULTURES)
def test_a_culture_writes_as_babel_has_it(culture: str) -> None:
    locale, form = Locale.parse(culture, sep="-"), form_of(culture)

    for day in DAYS:
        assert date_text(day, form) == format_date(day, "long", locale)
    for number in NUMBERS:
        assert number_text(number, form) == format_decimal(number, locale=locale)


def test_the_table_is_what_babel_says_today() -> None:
    assert TABLE.read_text(encoding="utf-8") == text(), "run python -m infra.locales"


def test_a_culture_nobody_knows_writes_as_its_language_and_else_in_english() -> None:
    assert form_of("de-XX") == form_of("de-DE")
    assert form_of("xx-YY") == form_of("en-US")
    assert form_of("no-NO") == form_of("nb-NO")


def test_a_number_below_what_is_printed_is_no_minus_zero() -> None:
    assert number_text(-0.0001, form_of("en-US")) == "0"


@pytest.mark.parametrize(
    "code", [f"{a}{b}" for a in "abcdefghijklmnopqrstuvwxyz" for b in "abcdefghijklmnopqrstuvwxyz"]
)
def test_every_language_has_a_culture_and_a_form(code: str) -> None:
    culture = culture_of(code, "en-CA")

    assert culture == "en-CA" or len(culture) == 5
    assert date_text(DAYS[0], form_of(culture))
