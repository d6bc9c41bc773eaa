"""What an answer of SessionM's counts as: it may say inside what others say by the status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clients.sessionm import meaning
from clients.transport import Reply


def error(code: Any) -> bytes:
    return json.dumps({"status": "error", "errors": {"code": code, "message": "no"}}).encode()


@pytest.mark.parametrize("code", ["invalid_auth_token", "INVALID_API_KEY", "access_denied"])
def test_a_200_that_refuses_our_credential_counts_as_401(code: str) -> None:
    assert meaning(Reply(200, {}, error(code))) == 401


@pytest.mark.parametrize(
    "content",
    [
        *(error("user_not_found"), error("not_available"), error(None), error(7), b"", b'"error', b'["error"]'),
        *(b'{"status":"ok"}', b'{"error":', b'{"errors":"access_denied"}', b'\xff\xfe"error'),
        b'{"status":"ok","payload":{"note":"errors: access_denied"}}',
        error("access_denied") + b" " * 100_000,
    ],
)
def test_any_other_200_counts_as_200(content: bytes) -> None:
    assert meaning(Reply(200, {}, content)) == 200


@pytest.mark.parametrize("status", [201, 400, 401, 403, 429, 500])
def test_any_other_status_is_what_it_says(status: int) -> None:
    assert meaning(Reply(status, {}, error("access_denied"))) == status
