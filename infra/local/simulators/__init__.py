"""Local stand-ins for SessionM and Braze: they keep the vendors' contracts, take their time, and fail on request."""

from infra.local.simulators.braze import BrazeSimulator
from infra.local.simulators.braze_workspace import Send
from infra.local.simulators.clock import SteppedClock
from infra.local.simulators.faults import (
    EndlessBody,
    ErrorInside200,
    Fault,
    FaultRule,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetAfterEffect,
    ResetMidBody,
    Slow,
    SlowBody,
    Status,
    Throttle,
    WrongShape,
)
from infra.local.simulators.messages import RecordedRequest
from infra.local.simulators.server import Simulator
from infra.local.simulators.sessionm import SessionmSimulator
from infra.local.simulators.sessionm_members import Member, Tag

__all__ = [
    "BrazeSimulator",
    "EndlessBody",
    "ErrorInside200",
    "Fault",
    "FaultRule",
    "Garbage",
    "HangAfterAccept",
    "Member",
    "RecordedRequest",
    "Reset",
    "ResetAfterEffect",
    "ResetMidBody",
    "Send",
    "SessionmSimulator",
    "Simulator",
    "Slow",
    "SlowBody",
    "Status",
    "SteppedClock",
    "Tag",
    "Throttle",
    "WrongShape",
]
