"""Answers of a vendor: typed by status, read with care, and the waits they ask for."""

from __future__ import annotations

import pytest

from clients.credentials import with_fresh_credentials
from clients.transport import Reply, path_of, raise_for_status, retry_after_seconds
from shared.errors import (
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    UpstreamUnknown,
)

NOW = 1_795_000_000.0


def refusal(upstream: str, reply: Reply) -> UpstreamRefused:
    return UpstreamRefused(upstream, f"status_{reply.status}")


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_2xx_is_no_error(status: int) -> None:
    raise_for_status("Braze", Reply(status, {}, b""), refusal)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, UpstreamUnavailable),
        (302, UpstreamUnavailable),
        (304, UpstreamUnavailable),
        (400, UpstreamRefused),
        (401, UpstreamUnauthorized),
        (403, UpstreamUnauthorized),
        (404, UpstreamRefused),
        (408, UpstreamUnknown),
        (413, UpstreamRefused),
        (422, UpstreamRefused),
        (429, UpstreamThrottled),
        (500, UpstreamUnavailable),
        (502, UpstreamUnknown),
        (503, UpstreamUnavailable),
        (504, UpstreamUnknown),
        (529, UpstreamUnknown),
    ],
)
def test_each_status_is_one_kind_of_error(status: int, error: type[UpstreamError]) -> None:
    with pytest.raises(error) as raised:
        raise_for_status("Braze", Reply(status, {}, b"secret words"), refusal)
    assert raised.value.upstream == "Braze"
    assert "secret words" not in str(raised.value)


def test_a_throttled_answer_carries_the_wait_it_asked_for() -> None:
    reply = Reply(429, {"x-ratelimit-reset": str(int(NOW) + 90)}, b"")

    with pytest.raises(UpstreamThrottled) as raised:
        raise_for_status("Braze", reply, refusal, clock=lambda: NOW)
    assert raised.value.retry_after_seconds == 90


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-retry-after": "12"}, 12),
        ({"x-ratelimit-reset": "30"}, 30),
        ({"x-ratelimit-reset": str(int(NOW) + 120)}, 120),
        ({"x-ratelimit-reset": str(int(NOW) - 5)}, 0),
        ({"retry-after": "2", "x-ratelimit-reset": str(int(NOW) + 120)}, 2),
        ({"retry-after": "soon", "x-ratelimit-retry-after": "4"}, 4),
    ],
)
def test_the_wait_is_read_from_every_form_in_use(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, NOW) == seconds


def test_the_wait_is_read_from_a_date() -> None:
    assert retry_after_seconds({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, NOW) == 0
    headers = {"retry-after": "Wed, 18 Nov 2026 11:28:20 GMT"}

    assert retry_after_seconds(headers, NOW) == 1_300


@pytest.mark.parametrize("value", ["inf", "infinity", "1e999"])
def test_a_wait_without_end_is_no_wait(value: str) -> None:
    assert retry_after_seconds({"retry-after": value}, NOW) is None


@pytest.mark.parametrize(
    ("segments", "path"),
    [
        (("priv", "v1"), "/priv/v1"),
        (("users", "a/b", "tags"), "/users/a%2Fb/tags"),
        (("users", "../../admin", "tags"), "/users/..%2F..%2Fadmin/tags"),
        (("50%", "a b", "a+b", "?#&"), "/50%25/a%20b/a%2Bb/%3F%23%26"),
        (("é", "☕"), "/%C3%A9/%E2%98%95"),
        (("",), "/"),
    ],
)
def test_no_value_can_leave_its_path_segment(segments: tuple[str, ...], path: str) -> None:
    assert path_of(*segments) == path


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"[1]", b'"text"', b"null", b"7", b'{"a":', b"\xff\xfe", b"[" * 100_000, b'{"a":"\xff"}'],
)
def test_an_answer_that_is_no_json_object_is_garbled(content: bytes) -> None:
    with pytest.raises(UpstreamGarbled, match="status 200, and no JSON"):
        Reply(200, {}, content).json("Braze")


class Held:
    """A credential that becomes `renewed` when it is read anew."""

    def __init__(self, held: str, renewed: str) -> None:
        self.held = held
        self.renewed = renewed
        self.refreshes = 0

    def current(self) -> str:
        return self.held

    def refreshed(self) -> str:
        self.refreshes += 1
        return self.renewed


class Vendor:
    """Answers these statuses in turn."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.presented: list[str] = []

    def __call__(self, credential: str) -> Reply:
        self.presented.append(credential)
        return Reply(self.statuses.pop(0), {}, b"")


@pytest.mark.parametrize(
    ("held", "statuses", "presented", "refreshes", "ends_as"),
    [
        (Held("old", "new"), (200,), ["old"], 0, 200),
        (Held("old", "new"), (401, 200), ["old", "new"], 1, 200),
        (Held("old", "new"), (401, 401), ["old", "new"], 1, 401),
        (Held("old", "old"), (401,), ["old"], 1, 401),
        (Held("old", "new"), (403,), ["old"], 0, 403),
        (Held("old", "new"), (500,), ["old"], 0, 500),
    ],
)
def test_a_401_is_met_once_with_a_credential_read_anew_if_that_is_another(
    held: Held, statuses: tuple[int, ...], presented: list[str], refreshes: int, ends_as: int
) -> None:
    vendor = Vendor(*statuses)

    assert with_fresh_credentials(held, vendor).status == ends_as
    assert (vendor.presented, held.refreshes) == (presented, refreshes)
