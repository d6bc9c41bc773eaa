"""Writes functions/shared/locales.json, how each culture writes dates and numbers: `python -m infra.locales`.

The source is Unicode's CLDR as Babel holds it. Babel itself is not shipped: it weighs 31 MB, takes a tenth of a second
to import and a fortieth to read one culture, and all that a wallet needs of it is this table. To be run after an update
of Babel; a test says when.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.localedata import locale_identifiers
from babel.numbers import parse_pattern

TABLE = Path(__file__).resolve().parent.parent / "functions" / "shared" / "locales.json"

# A part of a CLDR date pattern: a run of one letter, or quoted words. What it becomes in ours; `{{month}}` is a name.
_PART = re.compile(r"'(?P<words>[^']*)'|(?P<letters>([A-Za-z])\3*)")
_LETTERS = {
    "d": "{day}",
    "dd": "{day:02}",
    "M": "{number}",
    "MM": "{number:02}",
    "MMM": "{month}",
    "MMMM": "{month}",
    "LLLL": "{month}",
    "y": "{year}",
    "G": "{era}",
}


def formats_of(locale: Locale) -> dict[str, Any] | None:
    """How a culture writes the long date and a number; None for the few with a form of their own."""
    pattern = locale.date_formats["long"].pattern
    letters = {found["letters"] for found in _PART.finditer(pattern) if found["letters"]}
    if not letters <= _LETTERS.keys():
        return None

    def ours(found: re.Match[str]) -> str:
        return _LETTERS[found["letters"]] if found["letters"] else (found["words"] or "'")

    width = "abbreviated" if "MMM" in letters else "wide"
    context = "stand-alone" if "LLLL" in letters else "format"
    months = locale.months[context][width]
    symbols = locale.number_symbols["latn"]
    first, second = parse_pattern(locale.decimal_formats[None].pattern).grouping
    return {
        "date": _PART.sub(ours, pattern),
        "months": [months[number] for number in range(1, 13)],
        "era": locale.eras["abbreviated"][1],
        "group": symbols["group"],
        "decimal": symbols["decimal"],
        "sizes": [min(first, 100), min(second, 100)],
    }


def table() -> dict[str, Any]:
    """Distinct forms, and the number of each culture's form; a culture that writes like its language is left out."""
    forms: list[dict[str, Any]] = []
    cultures: dict[str, int] = {}
    for identifier in sorted(locale_identifiers(), key=lambda name: (name.count("_"), name)):
        language, *rest = identifier.split("_")
        regions = [part for part in rest if len(part) == 2 and part.isalpha()]
        if len(language) > 3 or (rest and not regions):
            continue
        try:
            locale = Locale.parse(f"{language}_{regions[0]}" if regions else language)
            form = formats_of(locale)
        except (UnknownLocaleError, KeyError):
            continue
        if form is None:
            continue
        if form not in forms:
            forms.append(form)
        number = forms.index(form)
        if cultures.get(language) != number:
            cultures["-".join([language, *regions])] = number
    # Codes that are in use beside the ones Unicode prefers.
    cultures |= {"no": cultures["nb"], "tl": cultures["fil"]}
    return {"cultures": cultures, "forms": forms}


def text() -> str:
    """The table as the file holds it."""
    written = json.dumps(table(), ensure_ascii=False, separators=(",", ":"))
    return written.replace('},{"date"', '},\n{"date"') + "\n"


def main() -> int:
    """Writes the table."""
    TABLE.write_text(text(), encoding="utf-8")
    print(f"{TABLE}: {TABLE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
