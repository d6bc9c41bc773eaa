"""A webhook campaign as one text: its method and URL, its headers, an empty line, its body.

    POST https://INTAKE_HOST/tags
    Content-Type: application/json

    {"user_id":"{{${user_id}}}","tags":["gold"],"ttl":2592000}

In Braze each of these is a field of its own and rendered on its own; so it is here. A header named as a credential,
`Authorization: {{basic_auth}}`, is filled in by whoever sends it: Braze's stored credentials are not for webhooks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from infra.liquid.message import Message

_FIRST_LINE = re.compile(r"(?P<method>GET|POST|PUT|DELETE) (?P<url>https?://\S.*)")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook's fields, rendered or not."""

    method: str
    url: str
    headers: dict[str, str]
    body: str


def is_webhook(source: str) -> bool:
    return _FIRST_LINE.match(source) is not None


def webhook_of(source: str) -> Webhook:
    """Raises ValueError when the text has not that form."""
    head, _, body = source.partition("\n\n")
    first, *rest = head.split("\n")
    found = _FIRST_LINE.fullmatch(first)
    if found is None:
        raise ValueError("a webhook begins with its method and URL")
    headers = {}
    for line in rest:
        name, colon, value = line.partition(": ")
        if not colon:
            raise ValueError(f"not a header: {line}")
        headers[name] = value
    return Webhook(found["method"], found["url"], headers, body.rstrip("\n"))


def render_webhook(webhook: Webhook, rendered: Callable[[str], Message]) -> Webhook | Message:
    """Each field through `rendered`; the first that is aborted aborts the webhook."""
    fields = [webhook.url, *webhook.headers.values(), webhook.body]
    texts = []
    for field in fields:
        message = rendered(field)
        if message.abort:
            return message
        texts.append(message.text)
    url, *values, body = texts
    return Webhook(webhook.method, url, dict(zip(webhook.headers, values, strict=True)), body)
