"""Fields that several request bodies share, each with its rule and its advice."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

UserId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-]{1,128}\Z",
        description="Give the SessionM user id: 1 to 128 letters, digits, hyphens or underscores, usually a GUID.",
    ),
]

# Printable ASCII but for the characters that mean something in a URL, and never "." or ".." alone.
ExternalId = Annotated[
    str,
    Meta(
        pattern=r"^(?!\.{1,2}\Z)[A-Za-z0-9_.@:+=|~!$&'()*,;-]{1,255}\Z",
        description="Give the external id: 1 to 255 ASCII characters without spaces, slashes or percent signs.",
    ),
]

Culture = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z]{2,3}([-_][A-Za-z0-9]{2,4}){0,2})?\Z",
        description="Give a language or culture, as in ko, pt-BR or en-US, or leave it out.",
    ),
]
