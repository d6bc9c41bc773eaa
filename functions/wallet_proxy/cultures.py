"""Braze knows a member's language (`ko`, `pt-BR`); SessionM wants a culture (`ko-KR`, `pt-BR`)."""

from __future__ import annotations

# The usual region of a language that comes without one. Any other language gets the default culture.
_REGIONS = {
    "ar": "SA", "cs": "CZ", "da": "DK", "de": "DE", "el": "GR", "en": "US", "es": "ES", "fi": "FI", "fr": "FR",
    "he": "IL", "hi": "IN", "hu": "HU", "id": "ID", "it": "IT", "ja": "JP", "ko": "KR", "ms": "MY", "nb": "NO",
    "nl": "NL", "no": "NO", "pl": "PL", "pt": "PT", "ro": "RO", "ru": "RU", "sk": "SK", "sv": "SE", "th": "TH",
    "tr": "TR", "uk": "UA", "vi": "VN", "zh": "CN",
}  # fmt: skip


def culture_of(code: str, default: str) -> str:
    """`ko` becomes `ko-KR`, `pt_br` becomes `pt-BR`; blank or unknown becomes `default`."""
    language, *rest = code.strip().replace("_", "-").split("-")
    language = language.lower()
    regions = [part.upper() for part in rest if len(part) == 2]
    if regions:
        return f"{language}-{regions[-1]}"
    region = _REGIONS.get(language)
    return f"{language}-{region}" if region else default
