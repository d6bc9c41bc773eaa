"""The least a function that calls a vendor and AWS can import: what the cold starts are compared with."""

from __future__ import annotations

from typing import Any

import boto3
import urllib3  # noqa: F401

client = boto3.client("secretsmanager")


def handle(_event: Any, context: Any) -> dict[str, Any]:
    return {}
