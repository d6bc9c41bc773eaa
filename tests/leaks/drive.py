"""Everything a bundle can be asked, once, with marks where secrets and members' data go; and all that came of it.

The routes and their examples are those of the OpenAPI files, so a new route is driven as soon as it is described. What
comes by queue, file, schedule or command is listed here.
"""

from __future__ import annotations

import io
import json
import os
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from rich.console import Console

from infra.commands import (
    callers,
    failures,
    member_hash,
    redrive,
    schedules,
    status,
    tag_import,
    triggers,
    wallet_prefetch,
)
from infra.local import vendors, views
from infra.local.bundle import STATE_FILE, LocalBundle
from infra.local.environment import FunctionError
from infra.local.settings import CAMPAIGN_ID, SEGMENT_ID
from infra.local.simulators import (
    Fault,
    Garbage,
    Reset,
    ResetAfterEffect,
    Status,
    Throttle,
)
from infra.local.simulators.messages import RecordedRequest
from infra.local.template import Template
from tests.leaks.marks import Marks
from tests.leaks.watched_aws import WatchedAws
from tests.unit.docs.material import Operation, operations

# What workers call at vendors.
_WORKERS = ("/tags", "/campaigns/trigger/send", "/users/track")

# An operation that changes something, to be opened by the parameter ConnectOperations.
WRITE = "/offers/api/2.0/offers/acquisition/issue"


@dataclass(frozen=True)
class Answer:
    """`sent` says what was asked, in words; `route` as in "POST /tags"."""

    sent: str
    route: str
    status: int
    headers: str
    text: str


@dataclass
class Evidence:
    """All that came out of a bundle."""

    marks: Marks
    answers: list[Answer] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)
    dead_letters: list[Any] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    asked: dict[str, list[RecordedRequest]] = field(default_factory=dict)  # of the vendors


class Drive:
    """`run` does everything; the bundle is of no use afterwards."""

    def __init__(self, bundle: LocalBundle, aws: WatchedAws, folder: Path) -> None:
        self.bundle, self.aws, self.folder = bundle, aws, folder
        self.template = Template.load()
        self.evidence = Evidence(Marks(_secrets(bundle)))
        new = self.evidence.marks.new
        self.user, self.external = new("member: user id"), new("member: external id")
        self.email = f"{new('member: email')}@example.com"
        self.text = new("data: text of an offer, a message or an attribute")
        # What the examples of the OpenAPI files have in these places.
        self.planted = {
            "95a7c8a3-e174-456c-92b5-064eacdbd998": self.user,
            "LC-100001": self.external,
            "ada@example.com": self.email,
            "Free coffee": self.text,
            "coffee": self.text,
            "It is on us": self.text,
        }

    def run(self) -> Evidence:
        self._set_up()
        self._good_requests("", examples=None)
        self._rarer_requests()
        self._bad_requests()
        self._who_is_turned_away()
        self._imports()
        self._vendors_fail()
        self._poison()
        self._run_commands()
        self._aws_fails()
        for request in self.bundle.braze.requests():
            for token in re.findall(rb"/callback/([\w.~-]+)", request.body):
                self.evidence.marks.add_secret("token of a callback", token.decode())
        self.evidence.asked = {"sessionm": self.bundle.sessionm.requests(), "braze": self.bundle.braze.requests()}
        self.evidence.logs = {
            path.name: path.read_text(encoding="utf-8", errors="replace")
            for path in (self.bundle.settings.state_dir / "logs").glob("*.log")
        }
        return self.evidence

    def _set_up(self) -> None:
        bundle = self.bundle
        bundle.sessionm.add_member(self.user, self.external)
        bundle.sessionm.add_offer(self.user, name=self.text, description=self.text)
        bundle.braze.add_user(self.external, self.email)
        bundle.braze.set_segment_users(SEGMENT_ID, [self.user, self.external])
        bundle.braze.exports.seconds = 0.0

    # --- requests ---------------------------------------------------------------------------------------------------

    def _good_requests(
        self, why: str, only: Callable[[Operation], bool] = lambda _: True, examples: int | None = 1
    ) -> None:
        for operation in operations():
            if not only(operation):
                continue
            for body in [self._marked(each) for each in operation.body_examples.values()][:examples] or [None]:
                self._send(operation, f"an example{why}", body=body)

    def _rarer_requests(self) -> None:
        """What no example shows and another permission is for."""
        new = self.evidence.marks.new
        route = {operation.route: operation for operation in operations()}
        prefetched = {"user_ids": [self.user, new("member: nobody's user id")]}
        self.prefetch = self._send(route["POST /wallet-prefetches"], "a prefetch", body=prefetched).json()[
            "prefetch_id"
        ]
        to = {"braze_campaign_id": CAMPAIGN_ID, "offer title": self.text}
        member = {"customer identifier": self.user}
        several = {"recipients": [member, {"email address": self.email}]}
        for body in (
            {**to, **member, "urgent": True},
            {**to, **member, "event name": "offer_issued"},
            {**to, **several},
        ):
            trigger = self._send(route["POST /triggers"], "a rarer trigger", body=body).json()
            self._send(route["GET /triggers/{trigger_id}"], "its state", path=f"/triggers/{trigger['trigger_id']}")
        event = {"event name": "offer_issued", "offer title": self.text, **several}
        accepted = self._send(route["POST /events"], "an event of several", body=event).json()
        self._send(route["GET /events/{event_id}"], "its state", path=f"/events/{accepted['event_id']}")
        broadcast = {"campaign_id": CAMPAIGN_ID, "broadcast": True}
        self._send(route["POST /campaigns/trigger/send"], "a broadcast", body=broadcast)
        repeated = {"Idempotency-Key": self.evidence.marks.new("request: Idempotency-Key")}
        for _ in range(2):
            self._send(route["POST /triggers"], "a repeat", body={**to, **several}, headers=repeated)
        series = f"/segments/data_series?segment_id={SEGMENT_ID}&length=300"
        self._send(route["GET /segments/data_series"], "sizes of long ago", path=series, api="ContentApi")
        self.bundle.invoke("segment-refresh", {})
        write = {"user_id": self.user, "offer_id": "offer-1"}
        self._send(route["POST /offers/{operation+}"], "a write", body=write, path=WRITE)

    def _bad_requests(self) -> None:
        new = self.evidence.marks.new
        wrong: list[tuple[Operation, str, dict[str, Any]]] = []
        for operation in operations():
            path = _path_of(operation)
            for name, parameter in operation.parameters.items():
                where = f"{operation.route}, {name}"
                for mark in (new(f"request: {where}"), new(f"request: {where}") + " %!"):
                    changed = (
                        _path_of(operation, {name: mark})
                        if parameter["in"] == "path"
                        else _with_query(path, name, mark)
                    )
                    wrong.append((operation, f"a mark for {name}", {"path": changed}))
            mark = new(f"request: {operation.route}, unknown query")
            wrong.append((operation, "an unknown parameter", {"path": _with_query(path, mark, mark)}))
            mark = new(f"request: {operation.route}, header")
            wrong.append((operation, "a header", {"headers": {f"X-{mark}": mark, "User-Agent": mark, "Cookie": mark}}))
            for example in operation.body_examples.values():
                mark = new(f"request: {operation.route}, body")
                body = self._marked(example)
                wrong.append((operation, "no JSON", {"data": f'{{"{mark}": {mark}'.encode()}))
                wrong.append((operation, "text", {"data": f'"{mark}"'.encode()}))
                wrong.append((operation, "a wrong type", {"body": body, "headers": {"Content-Type": f"text/{mark}"}}))
                wrong.append((operation, "an unknown field", {"body": {**body, mark: mark}}))
                wrong.append((operation, "no UTF-8", {"data": f'{{"{mark}": "'.encode() + b'\xff"}'}))
                for place, changed_body in self._each_leaf(operation.route, body):
                    wrong.append((operation, f"a mark for {place}", {"body": changed_body}))
        with ThreadPoolExecutor(4) as threads:
            for each in [threads.submit(self._send, operation, sent, **how) for operation, sent, how in wrong]:
                each.result()

    def _who_is_turned_away(self) -> None:
        """Credentials in the wrong place, which are the caller's own all the same."""
        mark = self.evidence.marks.new("request: credential")
        key = self.bundle.callers["operator"]
        wrong = [f"Bearer {mark}", f"Basic {mark}", mark, f"Bearer {key}x", key, f"Basic {key}"]
        pairs = (f"{key}:operator", f"{key}:{key}", f"operator:{mark}", f"{mark}:{key}x", f"operator:{key}x", key)
        wrong += ["Basic " + b64encode(pair.encode()).decode() for pair in pairs]
        for operation in operations():
            for credential in wrong if operation.route in ("POST /tags", "POST /wallet") else wrong[:1]:
                self._send(operation, "a wrong credential", headers={"Authorization": credential})

    def _each_leaf(self, route: str, body: Any) -> Iterator[tuple[str, Any]]:
        """`body` with one value at a time replaced: a text by a mark, and each by what no field takes, with marks."""
        for place in _places(body):
            named = ".".join(str(step) for step in place)
            mark = self.evidence.marks.new(f"request: {route}, {named}")
            for value in (mark, {mark: [f"{mark}\n!"]}):
                changed = json.loads(json.dumps(body))
                inside = changed
                for step in place[:-1]:
                    inside = inside[step]
                if isinstance(value, dict) or isinstance(inside[place[-1]], str):
                    inside[place[-1]] = value
                    yield named, changed

    def _send(
        self,
        operation: Operation,
        sent: str,
        *,
        body: Any = None,
        data: bytes | None = None,
        path: str | None = None,
        headers: Mapping[str, str] | None = None,
        api: str | None = None,
    ) -> requests.Response:
        base = self.bundle.content_url if (api or operation.api) == "ContentApi" else self.bundle.intake_url
        given = {
            "Content-Type": "application/json",
            "Authorization": self.bundle.authorization("operator"),
            "Idempotency-Key": self.evidence.marks.new("request: Idempotency-Key"),
            **(headers or {}),
        }
        answer = requests.request(
            operation.route.split(" ")[0],
            base + (path or _path_of(operation, self.planted_in_path())),
            data=data if body is None else json.dumps(body).encode(),
            headers=given,
            timeout=60,
            allow_redirects=False,
        )
        self.evidence.answers.append(
            Answer(sent, operation.route, answer.status_code, str(answer.headers), answer.text)
        )
        return answer

    def planted_in_path(self) -> Mapping[str, str]:
        return {"user_id": self.user, "external_id": self.external}

    def _marked(self, example: Any) -> Any:
        """The example with marks in it, about an event that was not there before."""
        text = json.dumps(example)
        event_ids = re.findall(r"evt-[\w-]+", text)
        for old, new in {
            **self.planted,
            **{each: self.evidence.marks.new("data: id of an event") for each in event_ids},
        }.items():
            text = text.replace(old, new)
        return json.loads(text)

    # --- vendors and AWS that fail ----------------------------------------------------------------------------------

    def _faults(self) -> list[Fault]:
        """In turns refused and down: a circuit breaker that opens would keep the others away."""
        said = f"{self.user} {self.external} {self.email} {self.text}"
        words = {"message": said, "status": "error", "errors": {"code": "validation", "message": said}}
        return [
            Status(400, words),
            Reset(),
            Status(500, said),
            Status(401, words),
            Garbage(),
            ResetAfterEffect(),
            Throttle(1),
        ]

    def _vendors_fail(self) -> None:
        """Every route that a vendor stands behind meets every fault, and so does every worker."""
        asks = {
            function
            for function, variables in self.bundle.deployment.environments.items()
            if {"SESSIONM_CORE_URL", "BRAZE_REST_URL"} & set(variables)
        }
        routes = {
            (api.logical_id, route.key): route.function
            for api in views.apis(self.template).values()
            for route in api.routes
        }
        with self._failing(Throttle(1)):
            self.bundle.invoke("segment-refresh", {})
        for fault in self._faults():
            with self._failing(fault):
                self._good_requests(f" while {fault}", lambda operation: routes[operation.api, operation.route] in asks)
        # The queues take these at any time; what fails is what comes after.
        feeders = {"POST /tags", "POST /triggers", "POST /events"}
        for fault in (*self._faults()[:5], Throttle(1)):
            with self._failing(fault):
                before = {worker: self._calls_of(worker) for worker in _WORKERS}
                self._good_requests(" for a worker", lambda operation: operation.route in feeders)
                for worker, count in before.items():
                    self._wait_for_a_call(worker, count, fault)

    def _wait_for_a_call(self, worker: str, count: int, fault: Fault) -> None:
        self.bundle.wait_until(lambda: self._calls_of(worker) > count, 60, f"a call to {worker} that meets {fault}")

    def _calls_of(self, worker: str) -> int:
        asked = (*self.bundle.sessionm.requests(), *self.bundle.braze.requests())
        return sum(request.path.endswith(worker) for request in asked)

    @contextmanager
    def _failing(self, fault: Fault) -> Iterator[None]:
        simulators = (self.bundle.sessionm, self.bundle.braze)
        for simulator in simulators:
            simulator.faults.add("* *", fault)
        yield
        for simulator in simulators:
            simulator.faults.clear()

    def _aws_fails(self) -> None:
        """Every store refuses, in words that hold what it was asked for."""
        self.aws.refuse_all(f" {self.user} {self.text}".encode())
        for why in ("AWS refuses the authorizer", "AWS does not"):
            self.bundle.kill("authorizer")
            self.bundle.forget_callers()
            tags = next(operation for operation in operations() if operation.route == "POST /tags")
            self._send(tags, why, body={})
            self.aws.heal()
        self.aws.refuse_all(f" {self.user} {self.text}".encode())
        self._good_requests(" while AWS refuses")

    # --- what comes by other ways -----------------------------------------------------------------------------------

    def _imports(self) -> None:
        new = self.evidence.marks.new
        cell = new("data: cell of a file")
        rows = (
            f"user_id,tags,ttl,note\n{self.user},gold,60,{cell}\n{cell} x,gold,60,\n{cell},gold,sixty,\nnobody,g,60,\n"
        )
        self.bundle.drop_csv(rows.encode(), "members.csv")
        self.bundle.drop_csv(f'"{cell},{cell}\n\n;;{cell}'.encode(), f"{new('data: name of a file')}.csv")
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "members.csv"
        file.write_text(f"{self.user}\n{cell} x\n{cell}\n", encoding="utf-8")
        told = io.StringIO()
        given = {
            "INTAKE_API": self.bundle.intake_url,
            "CALLER": f"operator:{self.bundle.callers['operator']}",
            "FILE": str(file),
            "TAG": "gold",
            "TTL": "30d",
        }
        tag_import.run(given, Console(file=told, width=200), self._sleep_until(120))
        self.evidence.commands["infra.commands.tag_import"] = told.getvalue()
        told = io.StringIO()
        given = {name: given[name] for name in ("INTAKE_API", "CALLER")} | {"SEGMENT": SEGMENT_ID}
        wallet_prefetch.run(given, Console(file=told, width=200), self._sleep_until(120))
        self.evidence.commands["infra.commands.wallet_prefetch"] = told.getvalue()
        self._wait_for("/wallet-prefetches", self.prefetch)
        imports = next(each for each in operations() if each.route == "POST /segment-exports")
        lasting = {"tags": [new("request: a tag")], "ttl": 60}
        for fields, users in ((lasting, 2), ({**lasting, "leavers": True}, 2), ({**lasting, "leavers": True}, 1)):
            self.bundle.braze.set_segment_users(SEGMENT_ID, [self.external, self.user][:users])
            begun = self._send(imports, "an export", body={"segment_id": SEGMENT_ID, **fields}).json()
            self._wait_for("/tag-imports", begun["import_id"])
        gone = {"bucket": {"name": self.bundle.bucket}, "object": {"key": "imports/gone.csv"}}
        import_queue = self.bundle.deployment.queue_urls["ImportQueue"]
        self.bundle.clients.sqs.send_message(QueueUrl=import_queue, MessageBody=json.dumps({"detail": gone}))

    @staticmethod
    def _sleep_until(seconds: float) -> Callable[[float], None]:
        """A sleep for a command that waits: short, and not for longer than so many seconds in all."""
        deadline = time.monotonic() + seconds

        def sleep(_: float) -> None:
            assert time.monotonic() < deadline
            time.sleep(0.1)

        return sleep

    def _wait_for(self, collection: str, its_id: str) -> None:
        """The end of an import or a prefetch; the files it links to are fetched."""
        operation = next(each for each in operations() if each.route.startswith(f"GET {collection}/{{"))
        path = f"{collection}/{its_id}"
        shown: dict[str, Any] = {}

        def ended() -> bool:
            shown.update(self._send(operation, "its end", path=path).json())
            return shown.get("state") in ("finished", "failed")

        self.bundle.wait_until(ended, 120, f"the end of {its_id}")
        for name, url in shown.items():
            if name.endswith("_url") and url:
                assert requests.get(url, timeout=30).ok

    def _poison(self) -> None:
        """Messages that no worker can read, through to the dead letters."""
        mark = self.evidence.marks.new("data: body of an unreadable message")
        for queue in self._work_queues():
            for body in (f"{mark} {self.user}", json.dumps({"user_id": self.user, mark: mark}), f'["{mark}"]'):
                self.bundle.clients.sqs.send_message(
                    QueueUrl=self.bundle.deployment.queue_urls[queue], MessageBody=body
                )
        for function in self.bundle.function_names:
            for event in ({"Records": [{"body": mark}]}, {mark: [mark]}):
                with suppress(FunctionError):  # its log is what counts
                    self.bundle.invoke(function, event)
        self.evidence.dead_letters = [
            message
            for queue in sorted({queue.dead_letter_queue or "" for queue in self._work_queues().values()})
            for message in self._dead_letters(queue)
        ]

    def _work_queues(self) -> Mapping[str, views.Queue]:
        return {name: queue for name, queue in views.queues(self.template).items() if queue.dead_letter_queue}

    def _dead_letters(self, queue: str) -> list[Any]:
        """What is received from it, attributes of every kind included; waits for the first."""
        self.bundle.wait_until(lambda: self.bundle.queue_depth(queue), 120, f"a message in {queue}")
        found = self.bundle.clients.sqs.receive_message(
            QueueUrl=self.bundle.deployment.queue_urls[queue],
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return [{"queue": queue, **message} for message in found.get("Messages", [])]

    # --- commands ---------------------------------------------------------------------------------------------------

    def _run_commands(self) -> None:
        """What people at a terminal are shown. COMMANDS says how each is run."""
        self.folder.mkdir(exist_ok=True)
        with chdir(self.folder), _aws_at(self.bundle.aws_url):
            for name, run in COMMANDS.items():
                told = io.StringIO()
                run(self.bundle, Console(file=told, width=200))
                self.evidence.commands[name] = told.getvalue()


def _failures(_bundle: LocalBundle, console: Console) -> None:
    failures.run({"STACK": "local", "IMPORT": time.strftime("webhook-%Y-%m-%d", time.gmtime())}, console)


def _triggers(_bundle: LocalBundle, console: Console) -> None:
    triggers.run("list", {"STACK": "local"}, console)
    triggers.run("resend", {"STACK": "local", "TRIGGER": "trg-nobody"}, console)


def _redrive(_bundle: LocalBundle, console: Console) -> None:
    for queue in (*redrive.QUEUES, redrive.FAILED_EVENTS):
        redrive.run({"STACK": "local", "QUEUE": queue, "DRY": "yes"}, console, wait_seconds=0)


def _schedules(bundle: LocalBundle, console: Console) -> None:
    path = bundle.settings.state_dir / STATE_FILE
    asked = {"NAME": "gold-daily", "SEGMENT": SEGMENT_ID, "TAG": "gold", "CRON": "rate(1 day)"}
    schedules.run("put", asked, console, path)
    schedules.run("list", {}, console, path)
    schedules.run("delete", asked, console, path)


def _callers(bundle: LocalBundle, console: Console) -> None:
    path = bundle.settings.state_dir / STATE_FILE
    callers.run("put", {"NAME": "new-caller", "ALLOWS": "POST /tags"}, console, path, lambda _: "x" * 43)
    callers.run("put", {"NAME": "operator", "SOURCES": "anywhere", "KEEP": "yes"}, console, path)
    callers.run("put", {"NAME": "new-caller", "REMOVE": "yes"}, console, path)
    callers.run("list", {}, console, path)


def _member_hash(bundle: LocalBundle, console: Console) -> None:
    member_hash.run({"MEMBER": "LC-100001"}, console, bundle.settings.state_dir / STATE_FILE)


def _status(bundle: LocalBundle, console: Console) -> None:
    status.run({}, console, bundle.settings.state_dir / STATE_FILE)


# By the module that a target of the Makefile runs.
COMMANDS: Mapping[str, Callable[[LocalBundle, Console], None]] = {
    "infra.commands.failures": _failures,
    "infra.commands.triggers": _triggers,
    "infra.commands.redrive": _redrive,
    "infra.commands.schedules": _schedules,
    "infra.commands.callers": _callers,
    "infra.commands.status": _status,
    "infra.commands.member_hash": _member_hash,
}


@contextmanager
def _aws_at(url: str) -> Iterator[None]:
    """What a command is told of AWS by its environment."""
    former = os.environ["AWS_ENDPOINT_URL"]
    os.environ["AWS_ENDPOINT_URL"] = url
    yield
    os.environ["AWS_ENDPOINT_URL"] = former


def _secrets(bundle: LocalBundle) -> dict[str, str]:
    """Every credential by what it is, in the forms in which it travels."""
    held = vendors.secrets(bundle.callers, bundle.sessionm)
    found = {f"key of {name}": key for name, key in bundle.callers.items()}
    found["key of hashes"] = held["LogKeySecret"]["key"]
    found["Braze key"] = held["BrazeSecret"]["rest_api_key"]
    sessionm = held["SessionmSecret"]
    found |= {name: sessionm[name] for name in ("core_api_key", "core_api_secret", "connect_authorization")}
    return found


def _path_of(operation: Operation, changed: Mapping[str, str] | None = None) -> str:
    """The operation's path and query, filled in with its own examples, path values as `changed` has them."""
    path = operation.route.split(" ")[1]
    query = []
    for name, parameter in operation.parameters.items():
        if parameter["in"] == "path":
            value = (changed or {}).get(name, parameter["example"])
            path = path.replace(f"{{{name}}}", value if name.endswith("+") else quote(value, safe=""))
        elif "example" in parameter:
            query.append(f"{quote(name)}={quote(str(parameter['example']))}")
    return f"{path}?{'&'.join(query)}" if query else path


def _with_query(path: str, name: str, value: str) -> str:
    base, _, query = path.partition("?")
    kept = [each for each in query.split("&") if each and not each.startswith(f"{quote(name)}=")]
    return f"{base}?{'&'.join([*kept, f'{quote(name)}={quote(value)}'])}"


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _places(item, (*at, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _places(item, (*at, number))
