"""The whole bundle on one machine: vendors, AWS, functions, APIs, queues, notifications and schedules.

    from infra.local.bundle import BundleSettings, LocalBundle

    with LocalBundle(BundleSettings(state_dir=tmp_path, latency_scale=0.1)) as bundle:
        member = bundle.members[0]
        answer = requests.post(
            f"{bundle.content_url}/wallet",
            json={"user_id": member.user_id},
            headers={"Authorization": bundle.authorization("braze-connected-content")},
            timeout=5,
        )
        bundle.drop_csv(b"user_id,tags,ttl\\n...")
        bundle.wait_until(lambda: bundle.sessionm.tags_of(member.user_id), what="the tag at SessionM")

As a pytest fixture: ``scope="session"``, yield from the `with`, and call `bundle.reset()` before each test.
"""

from __future__ import annotations

import json
import logging
import os
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from infra.local import vendors, views
from infra.local.async_invoke import AsyncInvoker
from infra.local.aws import Clients, Deployment, MotoServer, deploy, make_rules, put_secrets
from infra.local.event_rules import RulePoller, Schedules
from infra.local.event_sources import QueuePoller
from infra.local.front import Front
from infra.local.reset import empty_tables, has_failed, settle, with_memory_of
from infra.local.runtime import Runtime, Settings
from infra.local.settings import CALLERS, BundleSettings, caller_key, free_port
from infra.local.simulators import BrazeSimulator, Member, SessionmSimulator
from infra.local.template import Template

__all__ = ["BundleSettings", "LocalBundle"]

STATE_FILE: Final = "bundle.json"
EXAMPLE_KEY: Final = "imports/example.csv"

logging.getLogger("botocore").setLevel(logging.WARNING)


class LocalBundle:
    """Everything started on entering, everything gone on leaving. Safe to use from many threads in between.

    `content_url`, `intake_url`, `aws_url`: base URLs. `sessionm`, `braze`: the simulators, to look at and make fail.
    `members`: the made-up loyalty members. `callers`: caller keys by name. `clients`: boto3 clients of the emulated
    AWS. `deployment`: physical names by logical id.
    """

    sessionm: SessionmSimulator
    braze: BrazeSimulator
    members: list[Member]
    clients: Clients
    deployment: Deployment
    runtime: Runtime
    content_url: str
    intake_url: str
    aws_url: str

    def __init__(self, settings: BundleSettings | None = None) -> None:
        self.settings = settings or BundleSettings()
        self.callers: dict[str, str] = {name: caller_key(name) for name in CALLERS}
        self._undo = ExitStack()

    # --- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with ExitStack() as undo:  # a failure halfway, Ctrl-C included, takes down what is up
            self._start(undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _start(self, undo: ExitStack) -> None:
        # Undone from last to first: nothing new is taken on, requests and invocations end, then AWS, then the threads
        # that were waiting for AWS.
        settings = self.settings
        logs = settings.state_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        threads = undo.enter_context(ExitStack())
        moto = MotoServer(logs / "moto.log", settings.host, settings.ports.aws, settings.postpone_scale)
        undo.callback(moto.stop)
        self._moto = moto
        self._start_vendors(undo)
        ports = {"content": settings.ports.content, "intake": settings.ports.intake or free_port()}
        own = vendors.parameters(self.sessionm_url, self.braze_url) | {
            "IntakeBaseUrl": f"http://127.0.0.1:{ports['intake']}"  # Braze calls back
        }
        template = Template.load(settings.template_path, own | dict(settings.parameters))
        self._functions = views.functions(template)
        self._ids = {function.name: logical_id for logical_id, function in self._functions.items()}
        self.aws_url = moto.url
        self.clients = Clients.at(self.aws_url)
        self.deployment = deploy(template, self.clients, settings.queue_overrides)
        put_secrets(self.clients, self.deployment, vendors.secrets(self.callers, self.sessionm))

        self.runtime = Runtime(
            self._functions,
            self.deployment.environments,
            Settings(settings.code_root, logs, settings.aws_between(moto.url) if settings.aws_between else moto.url),
            settings.max_environments,
            settings.start,
        )
        undo.callback(self.runtime.stop)
        if settings.warm:
            self.runtime.warm()
        self._front = Front(
            views.apis(template),
            self.runtime.invoke,
            logs,
            settings.host,
            ports,
            settings.authorizer_ttl_seconds,
        )
        self._front.start()
        undo.callback(self._front.stop)
        self.content_url, self.intake_url = self._front.urls["content"], self._front.urls["intake"]
        self._start_events(template, undo, threads)
        self._write_down(undo)

    def _start_vendors(self, undo: ExitStack) -> None:
        settings = self.settings
        self.sessionm, self.braze = vendors.simulators(settings)
        for simulator in (self.sessionm, self.braze):
            simulator.start()
            undo.callback(simulator.stop)
        self.members = self.sessionm.seed(settings.members)
        vendors.seed_braze(self.braze, self.members)

    def _start_events(self, template: Template, undo: ExitStack, threads: ExitStack) -> None:
        deployment, sqs, invoke = self.deployment, self.clients.sqs, self.runtime.invoke
        self._invoker = AsyncInvoker(invoke, self._send, self.settings.retry_waits_seconds)
        threads.callback(self._invoker.stop)
        undo.callback(self._invoker.ask_to_stop)
        rules = views.rules(template)
        # The example that infra/events/tag-import.json speaks of, before anybody watches the bucket.
        self.clients.s3.put_object(Bucket=self.bucket, Key=EXAMPLE_KEY, Body=vendors.example_csv(self.members))
        rule_queues = make_rules(template, self.clients, deployment)
        pollers: list[QueuePoller | RulePoller] = [
            RulePoller(rule.logical_id, sqs, rule_queues[rule.logical_id], self._target(rule))
            for rule in rules
            if rule.pattern is not None
        ]
        self._queue_pollers = [
            QueuePoller(
                mapping, sqs, deployment.queue_urls[mapping.queue], deployment.queue_arns[mapping.queue], invoke
            )
            for mapping in views.queue_mappings(template)
        ]
        pollers += self._queue_pollers
        for poller in pollers:
            poller.start()
            threads.callback(poller.stop)
            undo.callback(poller.ask_to_stop)
        self._schedules = Schedules(rules, self._functions, self._invoker)
        self._schedules.start()
        undo.callback(self._schedules.stop)

    def _write_down(self, undo: ExitStack) -> None:
        path = self.settings.state_dir / STATE_FILE
        path.write_text(json.dumps(self.description(), indent=2) + "\n", encoding="utf-8")
        undo.callback(path.unlink, missing_ok=True)

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def sessionm_url(self) -> str:
        """SessionM as the functions reach it, Core and Connect alike."""
        return vendors.local_url(self.sessionm)

    @property
    def braze_url(self) -> str:
        """Braze as the functions reach it."""
        return vendors.local_url(self.braze)

    @property
    def function_names(self) -> list[str]:
        """The functions, as in `invoke`."""
        return sorted(self._ids)

    def authorization(self, caller: str) -> str:
        """The Authorization header of a caller, Basic as Braze and SessionM store credentials."""
        return "Basic " + b64encode(f"{caller}:{self.callers[caller]}".encode()).decode()

    def environment(self, function: str) -> dict[str, str]:
        """A function's own environment variables; `function` as in `invoke`."""
        return dict(self.deployment.environments[self._id(function)])

    def description(self) -> dict[str, Any]:
        """Addresses, credentials and the functions' environments: what `bundle.json` tells other commands."""
        return {
            "process_id": os.getpid(),
            "content_url": self.content_url,
            "intake_url": self.intake_url,
            "sessionm_url": self.sessionm_url,
            "braze_url": self.braze_url,
            "aws_url": self.aws_url,
            "callers": self.callers,
            "bucket": self.bucket,
            "queues": dict(self.deployment.queue_urls),
            "environments": {name: self.environment(name) for name in self.function_names},
        }

    @property
    def bucket(self) -> str:
        """The import bucket."""
        (bucket,) = self.deployment.buckets.values()
        return bucket

    # --- what it can be made to do ----------------------------------------------------------------------------------

    def invoke(self, function: str, event: Any) -> Any:
        """Invoke a function (``tag-webhook`` or ``TagWebhookFunction``) and wait for its result.

        Raises FunctionError when it fails, KeyError when there is none of that name.
        """
        return self.runtime.invoke(self._id(function), event)

    def kill(self, function: str) -> int:
        """Kill every environment of a function, as a lost host would. Returns how many there were."""
        return self.runtime.kill(self._id(function))

    def fire_schedule(self, name: str) -> None:
        """Send a schedule's event now; its function runs in the background, with Lambda's retries."""
        self._schedules.fire(name)

    def drop_csv(self, content: Path | bytes, name: str | None = None) -> str:
        """Upload a file under ``imports/``, as a person with any S3 client would. Returns its key."""
        body = content.read_bytes() if isinstance(content, Path) else content
        default_name = content.name if isinstance(content, Path) else f"{time.time_ns()}.csv"
        key = f"imports/{name or default_name}"
        self.clients.s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType="text/csv")
        return key

    def queue_depth(self, queue: str) -> int:
        """Messages in a queue (``TagQueue``), those in flight and those delayed included."""
        names: list[Any] = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        answer = self.clients.sqs.get_queue_attributes(QueueUrl=self.deployment.queue_urls[queue], AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def put_secret(self, secret: str, value: Mapping[str, Any]) -> None:
        """Give a secret (``CallersSecret``) a new value; the former one becomes AWSPREVIOUS, as in a rotation."""
        put_secrets(self.clients, self.deployment, {secret: value})

    def forget_callers(self) -> None:
        """Drop the decisions the APIs remember of their authorizer."""
        self._front.forget_callers()

    def reset(self) -> None:
        """Forget what callers did, between tests: vendor effects, faults, queued messages, what is cached, callers."""
        simulators = (self.sessionm, self.braze)
        failed = [vendors.local_url(simulator) for simulator in simulators if has_failed(simulator)]
        for simulator in simulators:
            simulator.faults.clear()
        settle(self._queue_pollers, self._moto.empty_queues, self.runtime.kill)
        anew = [name for name in with_memory_of(failed, self.deployment.environments) if self.runtime.invoked(name)]
        for function in anew:
            self.runtime.kill(function)
        self.runtime.warm(anew)
        empty_tables(self.clients.dynamodb, self.deployment.environments)
        for simulator in simulators:
            simulator.forget()
        self.forget_callers()

    def wait_until(self, predicate: Callable[[], object], timeout_seconds: float = 10.0, what: str = "it") -> None:
        """Return once `predicate` is true. Raises TimeoutError, naming `what` was waited for."""
        deadline = time.monotonic() + timeout_seconds
        while not predicate():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout_seconds:g} s for {what}")
            time.sleep(0.02)

    # --- details ----------------------------------------------------------------------------------------------------

    def _id(self, function: str) -> str:
        if function in self._functions:
            return function
        return self._ids[function]

    def _target(self, rule: views.Rule) -> Callable[[Any], None]:
        function, queue = rule.function, rule.queue
        if function is not None:
            return lambda event: self._invoker.submit(self._functions[function], event)
        assert queue is not None  # a rule has one target
        return lambda event: self._send(queue, json.dumps(event))

    def _send(self, queue: str, body: str) -> None:
        self.clients.sqs.send_message(QueueUrl=self.deployment.queue_urls[queue], MessageBody=body)
