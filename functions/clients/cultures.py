"""Braze knows a member's language (`ko`, `pt-BR`); SessionM wants a culture (`ko-KR`, `pt-BR`)."""

from __future__ import annotations

# The region of a language that comes without one: where most of its speakers live, by Unicode's likely subtags. Of
# languages spoken in several countries it is the one whose loyalty programmes use it (Portuguese: Portugal, as Brazil's
# users are `pt-BR` in Braze). All of ISO 639-1 is here, as that is what Braze takes, but for languages of no country.
_REGIONS = {
    "aa": "ET", "ab": "GE", "ae": "IR", "af": "ZA", "ak": "GH", "am": "ET", "an": "ES", "ar": "SA", "as": "IN",
    "av": "RU", "ay": "BO", "az": "AZ", "ba": "RU", "be": "BY", "bg": "BG", "bh": "IN", "bi": "VU", "bm": "ML",
    "bn": "BD", "bo": "CN", "br": "FR", "bs": "BA", "ca": "ES", "ce": "RU", "ch": "GU", "co": "FR", "cr": "CA",
    "cs": "CZ", "cu": "RU", "cv": "RU", "cy": "GB", "da": "DK", "de": "DE", "dv": "MV", "dz": "BT", "ee": "GH",
    "el": "GR", "en": "US", "es": "ES", "et": "EE", "eu": "ES", "fa": "IR", "ff": "SN", "fi": "FI", "fj": "FJ",
    "fo": "FO", "fr": "FR", "fy": "NL", "ga": "IE", "gd": "GB", "gl": "ES", "gn": "PY", "gu": "IN", "gv": "IM",
    "ha": "NG", "he": "IL", "hi": "IN", "ho": "PG", "hr": "HR", "ht": "HT", "hu": "HU", "hy": "AM", "hz": "NA",
    "id": "ID", "ie": "EE", "ig": "NG", "ii": "CN", "ik": "US", "is": "IS", "it": "IT", "iu": "CA", "ja": "JP",
    "jv": "ID", "ka": "GE", "kg": "CD", "ki": "KE", "kj": "NA", "kk": "KZ", "kl": "GL", "km": "KH", "kn": "IN",
    "ko": "KR", "kr": "NG", "ks": "IN", "ku": "TR", "kv": "RU", "kw": "GB", "ky": "KG", "la": "VA", "lb": "LU",
    "lg": "UG", "li": "NL", "ln": "CD", "lo": "LA", "lt": "LT", "lu": "CD", "lv": "LV", "mg": "MG", "mh": "MH",
    "mi": "NZ", "mk": "MK", "ml": "IN", "mn": "MN", "mr": "IN", "ms": "MY", "mt": "MT", "my": "MM", "na": "NR",
    "nb": "NO", "nd": "ZW", "ne": "NP", "ng": "NA", "nl": "NL", "nn": "NO", "no": "NO", "nr": "ZA", "nv": "US",
    "ny": "MW", "oc": "FR", "oj": "CA", "om": "ET", "or": "IN", "os": "GE", "pa": "IN", "pi": "IN", "pl": "PL",
    "ps": "AF", "pt": "PT", "qu": "PE", "rm": "CH", "rn": "BI", "ro": "RO", "ru": "RU", "rw": "RW", "sa": "IN",
    "sc": "IT", "sd": "PK", "se": "NO", "sg": "CF", "si": "LK", "sk": "SK", "sl": "SI", "sm": "WS", "sn": "ZW",
    "so": "SO", "sq": "AL", "sr": "RS", "ss": "ZA", "st": "ZA", "su": "ID", "sv": "SE", "sw": "TZ", "ta": "IN",
    "te": "IN", "tg": "TJ", "th": "TH", "ti": "ET", "tk": "TM", "tl": "PH", "tn": "ZA", "to": "TO", "tr": "TR",
    "ts": "ZA", "tt": "RU", "tw": "GH", "ty": "PF", "ug": "CN", "uk": "UA", "ur": "PK", "uz": "UZ", "ve": "ZA",
    "vi": "VN", "wa": "BE", "wo": "SN", "xh": "ZA", "yi": "UA", "yo": "NG", "za": "CN", "zh": "CN", "zu": "ZA",
}  # fmt: skip
_FORMER_CODES = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro", "sh": "sr"}

# A script that is written in another region than the language's usual one.
_SCRIPT_REGIONS = {("zh", "hant"): "TW"}


def culture_of(code: str, default: str) -> str:
    """`ko` becomes `ko-KR`, `pt_br` becomes `pt-BR`; blank or unknown becomes `default`."""
    language, *rest = code.strip().replace("_", "-").split("-")
    language = language.lower()
    language = _FORMER_CODES.get(language, language)
    regions = [part.upper() for part in rest if len(part) == 2]
    if regions:
        return f"{language}-{regions[-1]}"
    scripted = (_SCRIPT_REGIONS.get((language, part.lower())) for part in rest)
    region = next(filter(None, scripted), None) or _REGIONS.get(language)
    return f"{language}-{region}" if region else default
