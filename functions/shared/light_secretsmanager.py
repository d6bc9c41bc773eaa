"""Secrets Manager for functions that somebody waits for: every one reads a secret when it starts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.light_aws import LightService, Patience

if TYPE_CHECKING:
    from boto3 import Session


class LightSecretsManager:
    """Stands in for boto3's client where a secret is read and nothing else done.

    `url` is another address than AWS's own; empty for AWS's. A call is tried twice.
    """

    def __init__(self, session: Session, url: str, *, connect_seconds: float, read_seconds: float) -> None:
        patience = Patience(connect_seconds, read_seconds, tries=2)
        self._service = LightService(session, "secretsmanager", "secretsmanager", "1.1", url, patience)

    @property
    def url(self) -> str:
        return self._service.url

    def get_secret_value(self, **request: Any) -> Any:
        answer = self._service.call("GetSecretValue", request)
        answer["CreatedDate"] = datetime.fromtimestamp(answer["CreatedDate"], UTC)
        return answer
