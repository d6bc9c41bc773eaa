"""What a local bundle can be told, and the names and credentials everything on this machine agrees on."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.local.async_invoke import RETRY_WAITS_SECONDS
from infra.local.environment import Environment
from infra.local.runtime import MAX_ENVIRONMENTS, Start
from infra.template import TEMPLATE_PATH

ROOT: Final = TEMPLATE_PATH.parent
STATE_DIR: Final = ROOT / ".local"

CAMPAIGN_ID: Final = "6f1c2d0e-0b5a-4a0e-9a52-1d1a54d3c001"
CANVAS_ID: Final = "6f1c2d0e-0b5a-4a0e-9a52-1d1a54d3c002"
SEGMENT_ID: Final = "6f1c2d0e-0b5a-4a0e-9a52-1d1a54d3c003"
OTHER_SEGMENT_ID: Final = "6f1c2d0e-0b5a-4a0e-9a52-1d1a54d3c004"
TEMPLATE_ID: Final = "6f1c2d0e-0b5a-4a0e-9a52-1d1a54d3c005"
EVENT: Final = "joined_club"
PRODUCT: Final = "latte"

# Who may call the local bundle, and what. The keys open nothing but the simulators on this machine.
CALLERS: Final[Mapping[str, Sequence[str]]] = {
    "braze-connected-content": (
        "GET /wallet/*",
        "POST /wallet",
        "POST /offers/*",
        "POST /incentives/*",
        "GET /segments/*",
        "GET /events/{event}/count",
        "GET /products/{product}/sold",
    ),
    "braze-webhook": ("POST /priv/*", "POST /tags"),
    "sessionm": (
        "POST /triggers",
        "GET /triggers/*",
        "POST /events",
        "GET /events/{event_id}",
        "POST /campaigns/trigger/send",
        "POST /canvas/trigger/send",
    ),
    "decisioning": (
        "POST /campaigns/*",
        "POST /canvas/*",
        "POST /users/*",
        "POST /templates/*",
        "POST /messages/send",
        "GET /campaigns/*",
        "GET /canvas/*",
        "GET /segments/*",
        "GET /templates/*",
    ),
    "analyst": (
        "POST /tag-imports",
        "GET /tag-imports/*",
        "POST /segment-exports",
        "POST /wallet-prefetches",
        "GET /wallet-prefetches/*",
    ),
    "operator": ("*",),
}


def caller_key(name: str) -> str:
    """The local key of a caller, the same on every machine so that printed commands can be pasted."""
    return f"local-{name}-{'0' * 32}"


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@dataclass(frozen=True)
class Ports:
    """Ports to listen on; 0 is any free one."""

    content: int = 0
    intake: int = 0
    sessionm: int = 0
    braze: int = 0
    aws: int = 0


FIXED_PORTS: Final = Ports(content=8801, intake=8802, sessionm=8811, braze=8812, aws=8821)


@dataclass(frozen=True)
class BundleSettings:
    """Everything that can differ from one local bundle to another.

    `host`: address to bind, ``0.0.0.0`` for callers in containers. `parameters`: template parameters by name.
    `state_dir`: where logs and `bundle.json` go. `code_root`: the functions' code, source or built. `queue_overrides`:
    see `infra.local.aws.deploy`. `postpone_scale`: below 1, a message that a worker postpones comes back that
    much sooner. `authorizer_ttl_seconds`: None for the template's, 0 for no memory. `latency_scale`:
    1 for the vendors' usual answer times, 0 for none. `members`: how many loyalty members to make up. `warm`: wait at
    the start until every function has an environment, so that the first call is no cold one. `aws_between`: given the
    address of the emulated AWS, answers the one that functions are told, for who looks at their calls. `start`: makes
    an environment of a function.
    """

    ports: Ports = Ports()
    host: str = "127.0.0.1"
    parameters: Mapping[str, str] = field(default_factory=dict)
    state_dir: Path = STATE_DIR
    code_root: Path = ROOT / "functions"
    template_path: Path = TEMPLATE_PATH
    max_environments: int = MAX_ENVIRONMENTS
    queue_overrides: Mapping[str, Any] = field(default_factory=dict)
    postpone_scale: float = 1.0
    retry_waits_seconds: Sequence[float] = RETRY_WAITS_SECONDS
    authorizer_ttl_seconds: int | None = None
    latency_scale: float = 1.0
    members: int = 100
    warm: bool = True
    aws_between: Callable[[str], str] | None = None
    start: Start = Environment
