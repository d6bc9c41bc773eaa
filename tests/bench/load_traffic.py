"""What calls the bundle under load: a send's recipients, each with the calls its message makes, at their own pace.

Runs in a process of its own, as callers do. Recipients come at even distances, whether earlier ones have their answers
or not, so a bundle that falls behind is asked no less.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

# Every message asks for its member's wallet so often, at the same time, as Braze does.
WALLETS_A_RECIPIENT = 3

# One recipient in so many is tagged by a webhook, and another has an event that triggers a message.
TAGGED_EVERY = TRIGGERED_EVERY = 4

_ANSWER_SECONDS = 40


@dataclass(frozen=True)
class Plan:
    """`authorizations` are headers by caller; `members` are (user id, available points), of whom each comes in turn."""

    content_url: str
    intake_url: str
    authorizations: Mapping[str, str]
    members: Sequence[tuple[str, float]]
    campaign_id: str
    segment_id: str
    recipients_per_second: float
    seconds: float

    @property
    def recipients(self) -> int:
        return round(self.recipients_per_second * self.seconds)


@dataclass
class Tally:
    """What came of it.

    `milliseconds` by kind of call, `errors` by kind and words, `failed_seconds` when each came. `tags` are those
    acknowledged, by name, with their member; `triggers` the trigger ids by event id; `import_ids` where the tags are
    counted. `late_ms`: how late the latest recipient came. `took_seconds`: until all had come.
    """

    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    failed_seconds: list[float] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    triggers: dict[str, str] = field(default_factory=dict)
    import_ids: set[str] = field(default_factory=set)
    late_ms: float = 0.0
    took_seconds: float = 0.0

    def fail(self, kind: str, what: str, after_seconds: float) -> None:
        self.errors[f"{kind}: {what[:300]}"] += 1
        self.failed_seconds.append(after_seconds)


class _Traffic:
    def __init__(self, plan: Plan, session: ClientSession) -> None:
        self._plan, self._session = plan, session
        self._begun_at = time.monotonic()
        self.tally = Tally()

    async def run(self) -> Tally:
        plan, begun_at = self._plan, self._begun_at
        under_way: set[asyncio.Task[None]] = set()
        for number in range(plan.recipients):
            due_at = begun_at + number / plan.recipients_per_second
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
            self.tally.late_ms = max(self.tally.late_ms, (time.monotonic() - due_at) * 1000)
            task = asyncio.create_task(self._recipient(number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.sleep(max(0.0, begun_at + plan.seconds - time.monotonic()))
        self.tally.took_seconds = time.monotonic() - begun_at
        while under_way:
            await asyncio.wait(under_way)
        return self.tally

    async def _recipient(self, number: int) -> None:
        member, points = self._plan.members[number % len(self._plan.members)]
        calls = [self._wallet(member, points) for _ in range(WALLETS_A_RECIPIENT)]
        calls.append(self._size())
        if number % TAGGED_EVERY == 0:
            calls.append(self._tag(f"load-{number}", member))
        if number % TRIGGERED_EVERY == TRIGGERED_EVERY // 2:
            # Somebody else's event: a member's own drops the wallet that is kept.
            another, _ = self._plan.members[(number + len(self._plan.members) // 2) % len(self._plan.members)]
            calls.append(self._trigger(f"load-{number}", another))
        await asyncio.gather(*calls)

    async def _wallet(self, member: str, points: float) -> None:
        body = {"user_id": member, "culture": "ko", "limit": 3}
        found = await self._call("wallet", "POST", f"{self._plan.content_url}/wallet", "braze-connected-content", body)
        if found and not (found["ok"] and (found["user_id"], found["available_points"]) == (member, points)):
            self._fail("wallet", str(found["reason"] or "another member's"))

    async def _size(self) -> None:
        url = f"{self._plan.content_url}/segments/{self._plan.segment_id}/size"
        found = await self._call("segment size", "GET", url, "braze-connected-content")
        if found and not (found["ok"] and found["size"]):
            self._fail("segment size", str(found["reason"]))

    async def _tag(self, tag: str, member: str) -> None:
        url = f"{self._plan.intake_url}/priv/v1/apps/any/users/{member}/tags"
        found = await self._call("webhook", "POST", url, "braze-webhook", {"tags": [tag], "ttl": 86_400})
        if found:
            self.tally.tags[tag] = member
            self.tally.import_ids.add(found["import_id"])

    async def _trigger(self, event_id: str, member: str) -> None:
        body = {
            "braze_campaign_id": self._plan.campaign_id,
            "customer identifier": member,
            "event id": event_id,
            "offer title": "Free coffee",
        }
        found = await self._call("trigger", "POST", f"{self._plan.intake_url}/triggers", "sessionm", body)
        if found:
            self.tally.triggers[event_id] = found["trigger_id"]

    async def _call(self, kind: str, method: str, url: str, caller: str, body: Any = None) -> Any:
        begun_at = time.perf_counter()
        try:
            headers = {"Authorization": self._plan.authorizations[caller]}
            async with self._session.request(method, url, json=body, headers=headers) as answer:
                content = await answer.text()
        except (ClientError, TimeoutError, OSError) as error:
            self._fail(kind, f"no answer: {type(error).__name__}")
            return None
        self.tally.milliseconds.setdefault(kind, []).append((time.perf_counter() - begun_at) * 1000)
        if answer.status >= 300:
            self._fail(kind, f"{answer.status} {content}")
            return None
        return await answer.json()

    def _fail(self, kind: str, what: str) -> None:
        self.tally.fail(kind, what, time.monotonic() - self._begun_at)


async def _run(plan: Plan) -> Tally:
    timeout = ClientTimeout(total=_ANSWER_SECONDS)
    async with ClientSession(timeout=timeout, connector=TCPConnector(limit=0)) as session:
        return await _Traffic(plan, session).run()


def _serve(parent: Connection) -> None:
    try:
        parent.send(asyncio.run(_run(parent.recv())))
    except EOFError:
        return


@contextmanager
def traffic(plan: Plan) -> Iterator[Connection]:
    """The callers at work. The connection yields their Tally (`recv`) when they are done; `poll` says whether."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    try:
        here.send(plan)
        yield here
    finally:
        here.close()
        process.terminate()
        process.join()
