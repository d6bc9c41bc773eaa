"""Numbers as people of a language write them: 12,345 in English, 12.345 in German, 1,23,456 in Hindi.

The signs are those of the Unicode locale data. They stand here in full because a library that knows them all takes
longer to import than a cold start may.
"""

from __future__ import annotations

_NARROW_SPACE, _SPACE, _APOSTROPHE = "\u202f", "\u00a0", "\u2019"

# What stands between thousands, and before decimals. A culture counts before its language.
_POINT_AND_COMMA, _SPACE_AND_COMMA = (".", ","), (_SPACE, ",")
_SIGNS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("de", "es", "it", "pt", "nl", "id", "tr", "da", "el", "vi", "ro", "hr", "sl", "sr"), _POINT_AND_COMMA
    ),
    **dict.fromkeys(("ca", "is", "gl", "eu", "az", "mk", "lo"), _POINT_AND_COMMA),
    **dict.fromkeys(
        ("ru", "pl", "cs", "sk", "uk", "sv", "fi", "hu", "bg", "nb", "no", "lt", "lv", "et"), _SPACE_AND_COMMA
    ),
    **dict.fromkeys(("af", "hy", "ka", "kk", "sq", "uz"), _SPACE_AND_COMMA),
    "fr": (_NARROW_SPACE, ","),
    "pt-PT": _SPACE_AND_COMMA,
    "fr-CA": _SPACE_AND_COMMA,
    "de-CH": (_APOSTROPHE, "."),
    "de-LI": (_APOSTROPHE, "."),
    "it-CH": (_APOSTROPHE, "."),
    "en-CH": (_APOSTROPHE, "."),
    "en-ZA": _SPACE_AND_COMMA,
    **dict.fromkeys(("es-MX", "es-US", "es-PR", "es-PE", "es-GT", "es-419"), (",", ".")),
}
_SIGNS_ELSEWHERE = (",", ".")

_IN_PAIRS = frozenset({"hi", "bn", "ta", "te", "mr", "gu", "ne", "ml", "pa", "en-IN"})


def number_text(value: float, culture: str = "", decimals: int = 0) -> str:
    """A number with separators. `culture` is a language or culture as in ko or pt-BR; blank or unknown is English."""
    known = _known(culture)
    separator, point = _SIGNS.get(known, _SIGNS_ELSEWHERE)
    whole, _, fraction = f"{abs(value):.{decimals}f}".partition(".")
    whole = separator.join(_groups(whole, 2 if known in _IN_PAIRS else 3))
    sign = "-" if value < 0 and (whole.strip("0") or fraction.strip("0")) else ""
    return sign + whole + (point + fraction if fraction else "")


def change_text(value: float, culture: str = "", decimals: int = 0) -> str:
    """A difference with its sign, as in +1,200; nothing before a zero."""
    text = number_text(value, culture, decimals)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def _known(culture: str) -> str:
    """The culture where it has rules of its own, else its language."""
    language, _, region = culture.replace("_", "-").partition("-")
    full = f"{language.lower()}-{region.upper()}"
    return full if full in _SIGNS or full in _IN_PAIRS else language.lower()


def _groups(digits: str, size: int) -> list[str]:
    """The last three digits, and before them groups of `size`."""
    head, groups = digits[:-3], [digits[-3:]]
    while head:
        groups.insert(0, head[-size:])
        head = head[:-size]
    return groups
