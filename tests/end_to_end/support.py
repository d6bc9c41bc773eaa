"""A caller of the bundle, as plain as curl."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests


@dataclass(frozen=True)
class Caller:
    """Sends requests with one credential; a body that is no bytes goes out as JSON."""

    base_url: str
    authorization: str

    def get(self, path: str) -> requests.Response:
        return self.send("GET", path)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> requests.Response:
        return self.send("POST", path, body, {"Content-Type": "application/json", **(headers or {})})

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        return requests.request(
            method,
            self.base_url + path,
            data=data,
            headers={"Authorization": self.authorization, **(headers or {})},
            timeout=35,
            allow_redirects=False,
        )


def tags_path(user_id: str, app_key: str = "local-core-key") -> str:
    return f"/priv/v1/apps/{app_key}/users/{user_id}/tags"
