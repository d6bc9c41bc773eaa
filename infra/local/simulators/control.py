"""The routes for the person at the terminal: see and set faults, see and clear what the simulator knows.

    GET | PUT | DELETE  /_control/faults    a JSON list: [{"route":"POST
    /offers/*","kind":"slow","seconds":3,"times":2}] GET | DELETE        /_control/state     what the vendor knows;
    DELETE forgets what callers did, keeps what was set up GET                 /_control/requests  the last requests,
    newest last, Authorization withheld; ?limit=N (100)

They need no vendor credential, take no simulated time and no fault ever hits them.
"""

from __future__ import annotations

from typing import Protocol

from infra.local.simulators.faults import FaultBook, FaultRule
from infra.local.simulators.messages import Call, Json, RecordedRequest, Reply

PREFIX = "/_control/"
DEFAULT_REQUESTS = 100


class Controlled(Protocol):
    """What a simulator must offer to be controlled."""

    faults: FaultBook

    def state(self) -> dict[str, Json]: ...

    def forget(self) -> None: ...

    def requests(self) -> list[RecordedRequest]: ...


def answer_control(simulator: Controlled, call: Call) -> Reply:
    """Answer a call under `/_control/`."""
    match call.method, call.path.removeprefix(PREFIX):
        case "GET", "faults":
            return _faults(simulator)
        case "PUT", "faults":
            try:
                listed = call.json()
                if not isinstance(listed, list):
                    raise ValueError("a JSON list of faults is needed")
                rules = [FaultRule.from_json(item) for item in listed]
            except ValueError as error:
                return Reply(400, {"error": str(error)})
            simulator.faults.replace(rules)
            return _faults(simulator)
        case "DELETE", "faults":
            simulator.faults.clear()
            return Reply(204)
        case "GET", "state":
            return Reply(200, simulator.state())
        case "DELETE", "state":
            simulator.forget()
            return Reply(204)
        case "GET", "requests":
            return _requests(simulator, call.query.get("limit", str(DEFAULT_REQUESTS)))
    return Reply(404, {"error": "no such control route"})


def _faults(simulator: Controlled) -> Reply:
    return Reply(200, [rule.to_json() for rule in simulator.faults.rules()])


def _requests(simulator: Controlled, limit: str) -> Reply:
    if not limit.isascii() or not limit.isdigit() or int(limit) < 1:
        return Reply(400, {"error": "limit must be a whole number, one or more"})
    return Reply(200, [_shown(record) for record in simulator.requests()[-int(limit) :]])


def _shown(record: RecordedRequest) -> dict[str, Json]:
    headers = {name: "withheld" if name.lower() == "authorization" else value for name, value in record.headers.items()}
    return {
        "method": record.method,
        "path": record.path,
        "query": record.query,
        "headers": headers,
        "body": record.body.decode(errors="replace"),
        "received_at": record.received_at,
        "status": record.status,
    }
