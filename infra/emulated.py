"""What things are called in the AWS that is emulated on this machine, for who makes them and who asks for them."""

from __future__ import annotations

import re
from typing import Final

STACK_NAME: Final = "local"
REGION: Final = "us-east-1"
ACCOUNT_ID: Final = "123456789012"  # moto's


def kebab(logical_id: str) -> str:
    """``TagWebhookFunction`` -> ``tag-webhook``, ``ContentApi`` -> ``content``, ``TagQueue`` -> ``tag-queue``."""
    stem = re.sub(r"(Function|Api)$", "", logical_id)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", stem).lower()


def physical_name(logical_id: str) -> str:
    """What a queue, table, bucket or secret is called there: ``TagQueue`` is ``local-tag-queue``."""
    return f"{STACK_NAME}-{kebab(logical_id)}"
