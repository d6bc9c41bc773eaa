"""The faults of the table, and how each is made: at the socket for vendors; for AWS in its own words, or by a reset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.simulators import Fault, Garbage, HangAfterAccept, Reset, Slow, Status, Throttle
from infra.local.simulators.server import Simulator
from tests.integration.support.faulty_aws import (
    DROPPED,
    DYNAMODB,
    EVENTBRIDGE,
    LOST,
    S3,
    SECRETS_MANAGER,
    SQS,
    Answer,
    FaultyAws,
    refusal,
)
from tests.integration.support.sockets import closed_port, read_request, self_signed, serving

# --- vendors ----------------------------------------------------------------------------------------------------------

SLOW = "the vendor is slow"
BY_SIMULATOR: dict[str, Fault] = {
    "the vendor takes the request and says nothing": HangAfterAccept(0.05),
    "the vendor throttles": Throttle(9),
    "the vendor resets the connection": Reset(),
    "the vendor answers 200 with rubbish": Garbage(),
    "the vendor's key has expired": Status(401),
}
BY_ADDRESS = ("the vendor is down", "the vendor's certificate is wrong", "the vendor's name does not resolve")
VENDOR_FAULTS = (SLOW, *BY_SIMULATOR, *BY_ADDRESS)


@contextmanager
def failing_vendor(fault: str, simulator: Simulator, slow_seconds: float, folder: Path) -> Iterator[str]:
    """Gives the address at which the vendor is met in this state."""
    if fault == SLOW or fault in BY_SIMULATOR:
        simulator.faults.add("* *", Slow(slow_seconds) if fault == SLOW else BY_SIMULATOR[fault])
        try:
            yield simulator.url
        finally:
            simulator.faults.clear()
    elif fault == "the vendor is down":
        yield f"http://127.0.0.1:{closed_port()}"
    elif fault == "the vendor's name does not resolve":
        yield "http://vendor.invalid"
    else:
        received: list[bytes] = []
        with serving(lambda connection: received.append(read_request(connection)), self_signed(folder)) as url:
            yield url
        assert received == [], "a request, and with it our key, to whoever answered there"


# --- AWS --------------------------------------------------------------------------------------------------------------

TARGETS = {
    "SQS": SQS,
    "DynamoDB": DYNAMODB,
    "S3": S3,
    "Secrets Manager": SECRETS_MANAGER,
    "EventBridge": EVENTBRIDGE,
}
_THROTTLED = {
    "SQS": "RequestThrottled",
    "DynamoDB": "ProvisionedThroughputExceededException",
    "S3": "SlowDown",
    "Secrets Manager": "ThrottlingException",
    "EventBridge": "ThrottlingException",
}
STORE_FAULTS = (" throttles", " denies", " is down", "'s answers are lost")
OF_ALL_STORES = ("the function's own credentials have expired", "the function's clock is wrong")


def store_faults(stores: tuple[str, ...]) -> Iterator[str]:
    for store in stores:
        yield from (f"{store}{fault}" for fault in STORE_FAULTS)
    if stores:
        yield from OF_ALL_STORES


def fail_stores(fault: str, between: FaultyAws) -> None:
    """Makes the services of a fault fail until they are healed."""
    store = next((store for store in TARGETS if fault.startswith(store)), None)
    if store is None:
        code = "ExpiredTokenException" if "credentials" in fault else "InvalidSignatureException"
        for name, target in TARGETS.items():
            between.fail(target, _saying(_S3_WORDS.get(code, code) if name == "S3" else code, 403, is_s3=name == "S3"))
        return
    kind = fault.removeprefix(store).strip()
    if kind == "is down":
        between.fail(TARGETS[store], lambda _: DROPPED)
    elif kind == "'s answers are lost":
        between.fail(TARGETS[store], lambda _: LOST)
    elif kind == "denies":
        code = "AccessDenied" if store == "S3" else "AccessDeniedException"
        between.fail(TARGETS[store], _saying(code, 403, is_s3=store == "S3"))
    else:
        between.fail(TARGETS[store], _saying(_THROTTLED[store], 503, is_s3=store == "S3"))


_S3_WORDS = {"ExpiredTokenException": "ExpiredToken", "InvalidSignatureException": "RequestTimeTooSkewed"}


def _saying(code: str, status: int, *, is_s3: bool) -> Callable[[str], Answer]:
    """AWS's own words: XML with S3's status, which says no more to a HEAD, and JSON with 400 elsewhere."""
    xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    def answer(operation: str) -> Answer:
        if not is_s3:
            return refusal(code)
        return status, {"Content-Type": "application/xml"}, b"" if operation.startswith("HEAD") else xml

    return answer
