"""SQS for whoever puts messages in a queue while somebody waits for the acknowledgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.light_aws import LightService, Patience

if TYPE_CHECKING:
    from boto3 import Session

# Asks for the error codes of SQS's former protocol beside those of this one, as boto3 does: they are what it names.
_HEADERS = {"x-amzn-query-mode": "true"}


class LightSQS:
    """Stands in for boto3's client where messages are sent and nothing else done.

    `url` is another address than AWS's own; empty for AWS's.
    """

    def __init__(self, session: Session, url: str, patience: Patience) -> None:
        self._service = LightService(session, "sqs", "AmazonSQS", "1.0", url, patience, _HEADERS)

    @property
    def url(self) -> str:
        return self._service.url

    def send_message_batch(self, **request: Any) -> Any:
        return self._service.call("SendMessageBatch", request)
