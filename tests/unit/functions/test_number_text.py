"""Numbers as people of a language write them."""

from __future__ import annotations

import pytest
from babel import Locale
from babel.numbers import format_decimal

from segment_size.words import change_text, number_text

CULTURES = [
    *("en", "en-GB", "en-AU", "en-IN", "en-ZA", "ko", "ja", "zh", "zh-TW", "th", "he", "ms", "fil"),
    *("hi", "bn", "ta", "te", "mr", "gu", "ne", "kn", "pa"),
    *("de", "de-AT", "de-CH", "es", "es-MX", "es-AR", "it", "it-CH", "pt", "pt-BR", "nl", "id", "tr", "da", "el"),
    *("vi", "ro", "hr", "sl", "sr", "ca", "is", "gl", "eu", "az", "mk", "lo"),
    *("pt-PT", "ru", "pl", "cs", "sk", "uk", "sv", "fi", "hu", "bg", "nb", "lt", "lv", "et", "fr-CA"),
    *("fr", "fr-CH", "af", "hy", "ka", "kk", "sq", "uz"),
]


@pytest.mark.parametrize("culture", CULTURES)
def test_separators_are_those_of_the_unicode_locale_data(culture: str) -> None:
    locale = Locale.parse(culture, sep="-")

    for value in (7, 999, 1_234, 12_345, 1_234_567, 12_345_678):
        assert number_text(value, culture) == format_decimal(value, locale=locale)
    assert number_text(1_234.5, culture, decimals=1) == format_decimal(1_234.5, locale=locale)


@pytest.mark.parametrize("culture", ["", "xx", "EN-us", "en_US"])
def test_an_unknown_culture_is_written_as_english(culture: str) -> None:
    assert number_text(1_234_567, culture) == "1,234,567"


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (1_200, 0, "+1,200"),
        (-1_200, 0, "-1,200"),
        (0, 0, "0"),
        (0.0, 2, "0.00"),
        (-0.001, 2, "0.00"),
        (0.001, 2, "0.00"),
    ],
)
def test_a_change_has_a_sign_unless_it_is_none(value: float, decimals: int, text: str) -> None:
    assert change_text(value, "en", decimals) == text
