"""The one policy for repeating a call at once."""

from __future__ import annotations

import pytest

from shared.deadline import Deadline
from shared.errors import (
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    UpstreamUnknown,
    UpstreamUnreachable,
)
from shared.retries import ONLY_IF_NOT_DONE, REPEATABLE, repeated

UNREACHABLE, UNKNOWN, UNAVAILABLE, GARBLED, THROTTLED, UNAUTHORIZED, REFUSED = (
    UpstreamUnreachable("Braze"),
    UpstreamUnknown("Braze"),
    UpstreamUnavailable("Braze"),
    UpstreamGarbled("Braze"),
    UpstreamThrottled("Braze"),
    UpstreamUnauthorized("Braze"),
    UpstreamRefused("Braze", "not_found"),
)


class Vendor:
    """Fails with these errors in turn, then answers."""

    def __init__(self, *errors: UpstreamError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.mark.parametrize(
    ("error", "on"),
    [
        (UNREACHABLE, REPEATABLE),
        (UNKNOWN, REPEATABLE),
        (UNAVAILABLE, REPEATABLE),
        (GARBLED, REPEATABLE),
        (UNREACHABLE, ONLY_IF_NOT_DONE),
        (UNAVAILABLE, ONLY_IF_NOT_DONE),
    ],
)
def test_a_blip_is_asked_once_more_after_a_pause(error: UpstreamError, on: tuple[type[UpstreamError], ...]) -> None:
    vendor, pauses = Vendor(error), list[float]()

    assert repeated(vendor, on, Deadline(10), pauses.append) == "answer"
    assert (vendor.calls, len(pauses)) == (2, 1)
    assert 0 < pauses[0] < 1


@pytest.mark.parametrize(
    ("error", "on"),
    [
        (THROTTLED, REPEATABLE),
        (UNAUTHORIZED, REPEATABLE),
        (REFUSED, REPEATABLE),
        (UNKNOWN, ONLY_IF_NOT_DONE),
        (GARBLED, ONLY_IF_NOT_DONE),
        (THROTTLED, ONLY_IF_NOT_DONE),
        (UNAUTHORIZED, ONLY_IF_NOT_DONE),
        (REFUSED, ONLY_IF_NOT_DONE),
    ],
)
def test_what_may_have_happened_or_will_not_change_is_never_repeated(
    error: UpstreamError, on: tuple[type[UpstreamError], ...]
) -> None:
    vendor = Vendor(error)

    with pytest.raises(type(error)):
        repeated(vendor, on, Deadline(10), lambda _: None)
    assert vendor.calls == 1


def test_a_vendor_that_fails_twice_is_not_asked_a_third_time() -> None:
    vendor = Vendor(UNAVAILABLE, UNREACHABLE)

    with pytest.raises(UpstreamUnreachable):
        repeated(vendor, REPEATABLE, Deadline(10), lambda _: None)
    assert vendor.calls == 2


def test_nothing_is_repeated_once_there_is_no_time_for_it() -> None:
    vendor = Vendor(UNAVAILABLE)

    with pytest.raises(UpstreamUnavailable):
        repeated(vendor, REPEATABLE, Deadline(0.01), lambda _: None)
    assert vendor.calls == 1
