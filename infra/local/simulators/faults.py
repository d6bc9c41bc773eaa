"""Faults: what a simulator does instead of, or on top of, answering well.

A rule joins a route pattern to a fault. The pattern is shell-style (`fnmatch`) over `METHOD /path`, the path as it
stood on the wire without its query; `*` crosses slashes. The first rule that matches and fires decides; the others are
left alone.

Whether the request's effect still happens is part of each fault, because that is what a client must get right:

    effect happens, answer disturbed    Slow  SlowBody  EndlessBody  ResetAfterEffect  HangAfterAccept  ResetMidBody
    no effect, false answer or none     Status  Throttle  Reset  Garbage  ErrorInside200  WrongShape
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import ClassVar, Literal, get_args

from infra.local.simulators.messages import Json

ThrottleForm = Literal["retry-after", "x-ratelimit-retry-after", "reset-epoch", "reset-delta"]
ShapeForm = Literal["array", "types"]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_seconds(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"seconds must be a number, zero or more, not {value!r}")


def _check_share(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"share must be a number from 0 to 1, not {value!r}")


@dataclass(frozen=True)
class Fault:
    """The base of every fault.

    `applies_effect`: the request changes the vendor's state although the answer is disturbed.
    """

    applies_effect: ClassVar[bool] = True


@dataclass(frozen=True)
class _Timed(Fault):
    seconds: float

    def __post_init__(self) -> None:
        _check_seconds(self.seconds)


@dataclass(frozen=True)
class Slow(_Timed):
    """The right answer, `seconds` late; not a byte before."""


@dataclass(frozen=True)
class SlowBody(_Timed):
    """The right headers at once, the body dripped evenly over `seconds`."""


@dataclass(frozen=True)
class HangAfterAccept(_Timed):
    """The effect happens, then silence for `seconds`, then the connection is dropped."""


@dataclass(frozen=True)
class EndlessBody(Fault):
    """The right status, then a chunked body that never ends."""


@dataclass(frozen=True)
class ResetAfterEffect(Fault):
    """The effect happens, then the connection is reset before any answer."""


@dataclass(frozen=True)
class ResetMidBody(Fault):
    """The right headers and half of the body, then the connection is reset."""


@dataclass(frozen=True)
class Reset(Fault):
    """The connection is reset before any answer and before any effect."""

    applies_effect: ClassVar[bool] = False


@dataclass(frozen=True)
class Status(Fault):
    """This status. Without `body` the vendor's usual error body; a 3xx without a Location gets one."""

    code: int
    body: Json = None
    headers: Mapping[str, str] | None = None
    applies_effect: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not _is_whole(self.code) or not 200 <= self.code <= 599:
            raise ValueError(f"code must be an HTTP status from 200 to 599, not {self.code!r}")
        if self.headers is not None and not all(isinstance(v, str) for v in dict(self.headers).values()):
            raise ValueError("headers must map names to text")


@dataclass(frozen=True)
class Throttle(Fault):
    """429, with the wait told in one of the forms seen in the field.

    `retry-after`: Retry-After in seconds. `x-ratelimit-retry-after`: that header alone (Braze contracts billed by
    active user). `reset-epoch`: X-RateLimit-Limit/Remaining/Reset, the reset an epoch second (Braze). `reset-delta`:
    the same three, the reset in seconds to wait.
    """

    retry_after_seconds: float
    form: ThrottleForm = "retry-after"
    applies_effect: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_seconds(self.retry_after_seconds)
        if self.form not in get_args(ThrottleForm):
            raise ValueError(f"form must be one of {', '.join(get_args(ThrottleForm))}, not {self.form!r}")


@dataclass(frozen=True)
class Garbage(Fault):
    """200 with a body that is no JSON, as a proxy's error page would be."""

    content_type: str = "text/html"
    applies_effect: ClassVar[bool] = False


@dataclass(frozen=True)
class ErrorInside200(Fault):
    """200 whose body says it failed: SessionM's `"status":"error"` with this `code`; at Braze a `message` with it."""

    code: str = "internal_server_error"
    applies_effect: ClassVar[bool] = False


@dataclass(frozen=True)
class WrongShape(Fault):
    """200 and good JSON that is not what was promised: an `array` at the root, or the known keys with wrong `types`."""

    form: ShapeForm = "array"
    applies_effect: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.form not in get_args(ShapeForm):
            raise ValueError(f"form must be one of {', '.join(get_args(ShapeForm))}, not {self.form!r}")


_CLASSES: tuple[type[Fault], ...] = (
    *(Slow, SlowBody, EndlessBody, Status, Throttle, Reset),
    *(ResetAfterEffect, HangAfterAccept, ResetMidBody, Garbage, ErrorInside200, WrongShape),
)


def kind_of(fault: Fault | type[Fault]) -> str:
    """The name of a fault in JSON: its class name in snake case, e.g. `hang_after_accept`, `error_inside_200`."""
    name = fault.__name__ if isinstance(fault, type) else type(fault).__name__
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", "_", name).lower()


KINDS: dict[str, type[Fault]] = {kind_of(cls): cls for cls in _CLASSES}


@dataclass
class FaultRule:
    """A fault on a route.

    `times`: how many more requests it hits, None for all. `share`: the chance, 0 to 1, per request. `holding`: only
    requests whose body holds this text, so that one member of many can be the trouble.
    """

    route: str
    fault: Fault
    times: int | None = None
    share: float = 1.0
    holding: str = ""

    def __post_init__(self) -> None:
        if " " not in str(self.route):
            raise ValueError(f'route must look like "POST /offers/*", not {self.route!r}')
        if self.times is not None and (not _is_whole(self.times) or self.times < 1):
            raise ValueError(f"times must be a whole number, one or more, not {self.times!r}")
        _check_share(self.share)
        if not isinstance(self.holding, str):
            raise ValueError(f"holding must be text, not {self.holding!r}")

    def to_json(self) -> dict[str, Json]:
        """One flat object: `{"route", "kind", <the fault's own fields>, "times", "share", "holding"}`."""
        return {
            "route": self.route,
            "kind": kind_of(self.fault),
            **asdict(self.fault),
            "times": self.times,
            "share": self.share,
            "holding": self.holding,
        }

    @classmethod
    def from_json(cls, data: Json) -> FaultRule:
        """The opposite of `to_json`; only `route`, `kind` and the fault's required fields must be there.

        Raises ValueError.
        """
        if not isinstance(data, dict):
            raise ValueError("a fault must be a JSON object")
        rest = dict(data)
        route, kind = rest.pop("route", None), rest.pop("kind", None)
        times, share = rest.pop("times", None), rest.pop("share", 1.0)
        holding = rest.pop("holding", "")
        fault_class = KINDS.get(kind) if isinstance(kind, str) else None
        if fault_class is None:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        unknown = rest.keys() - {f.name for f in fields(fault_class)}
        if unknown:
            raise ValueError(f"{kind} has no {', '.join(sorted(unknown))}")
        try:
            fault = fault_class(**rest)
        except TypeError as error:
            raise ValueError(f"{kind}: {error}") from error
        return cls(route, fault, times, share, holding)


@dataclass
class FaultBook:
    """The rules in force, safe to read and change from any thread while requests are served."""

    seed: int = 0
    _rules: list[FaultRule] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._lock = threading.Lock()

    def add(self, route: str, fault: Fault, *, times: int | None = None, share: float = 1.0, holding: str = "") -> None:
        """Put a rule behind those in force, e.g. `add("POST /offers/*", Slow(3.0), times=2)`. Raises ValueError."""
        rule = FaultRule(route, fault, times, share, holding)
        with self._lock:
            self._rules.append(rule)

    def replace(self, rules: Iterable[FaultRule]) -> None:
        with self._lock:
            self._rules = list(rules)

    def clear(self) -> None:
        self.replace(())

    def rules(self) -> list[FaultRule]:
        """Copies of the rules in force; `times` is what is left of it."""
        with self._lock:
            return [FaultRule(r.route, r.fault, r.times, r.share, r.holding) for r in self._rules]

    def draw(self, route: str, body: bytes = b"") -> Fault | None:
        """The fault for this request, `METHOD /path`, or None. A rule used up disappears."""
        with self._lock:
            for rule in self._rules:
                if not fnmatchcase(route, rule.route) or rule.holding.encode() not in body:
                    continue
                if rule.share < 1 and self._rng.random() >= rule.share:
                    continue
                if rule.times is not None:
                    rule.times -= 1
                    if rule.times == 0:
                        self._rules.remove(rule)
                return rule.fault
        return None
