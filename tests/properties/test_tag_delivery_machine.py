"""Tags under everything at once: SessionM failing in every way, workers killed anywhere, messages that come twice.

Whatever happens in between, once all is quiet and the queue is empty: every row has one verdict; what SessionM did is
what the verdicts say; no counter counted twice.
"""

from __future__ import annotations

import itertools
import random
import threading
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from bulk.delivery import Storage, deliver
from bulk.dispatch import Dispatch
from bulk.jobs import Job, Jobs, JobState, Reading
from bulk.pace import Pace
from bulk.parcels import Label, Packer, Parcel
from bulk.verdicts import Settling, Verdicts
from clients.sessionm import Sessionm, SessionmCredentials
from clients.transport import Timeouts, Transport
from clients.vocabulary import Member
from infra.local.simulators import (
    Fault,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetAfterEffect,
    ResetMidBody,
    SessionmSimulator,
    Slow,
    Status,
    Throttle,
)
from shared.aws import dynamodb
from shared.deadline import Deadline
from shared.ledger import Ledger
from shared.outcomes import Outcome, State
from shared.queues import Message, Queue, Staying, body_of
from shared.rate import Rate
from tag_import.sender import Sender
from tests.integration.support.aws import SESSIONM_SECRET, Aws

FAULTS: list[Fault] = [
    *(Status(429), Throttle(0.02), Status(500), Status(503), Status(502), Status(401), Status(408)),
    *(Reset(), ResetAfterEffect(), ResetMidBody(), HangAfterAccept(0.02), Garbage(), Slow(0.05)),
]
MEMBERS = [f"member-{number}" for number in range(5)]
STRANGER = "stranger"

# Longer than a dead worker's lease on a counter.
A_LEASE_SECONDS = 200.0


class Killed(BaseException):
    """The worker is gone: nothing it has begun is gone on with."""


class Life:
    """A worker's life, which ends at a given step; after that every step fails."""

    def __init__(self, steps: int | None) -> None:
        self._left = itertools.count() if steps is None else itertools.chain(range(steps), itertools.repeat(-1))
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            if next(self._left) == -1:
                raise Killed


class MortalSessionm(Sessionm):
    """Dies before a call has gone out, or after SessionM has answered it."""

    life: Life

    def add_tags(self, member: Member, tags: Sequence[str], ttl_seconds: int | None, timeouts: Timeouts) -> None:
        self.life.step()
        try:
            super().add_tags(member, tags, ttl_seconds, timeouts)
        finally:
            self.life.step()


class MortalLedger(Ledger):
    life: Life

    def claim(self, *entry: Any, **more: Any) -> Outcome | None:
        self.life.step()
        return super().claim(*entry, **more)

    def settle(self, *entry: Any, **more: Any) -> Outcome:
        self.life.step()
        return super().settle(*entry, **more)

    def release(self, entry_id: str) -> None:
        self.life.step()
        super().release(entry_id)


class MortalVerdicts(Verdicts):
    life: Life

    def record(self, settlings: Sequence[Settling]) -> None:
        self.life.step()
        super().record(settlings)
        self.life.step()


class MemoryQueue(Queue):
    """A queue that keeps what it is given, and never forgets a message before it is told to."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send(self, bodies: Iterable[str]) -> None:
        self.bodies.extend(bodies)

    def postpone(self, staying: Iterable[Staying]) -> None:
        """It is the machine that says when a message comes again."""


class Fixed:
    def current(self) -> SessionmCredentials:
        return SessionmCredentials(**SESSIONM_SECRET)

    refreshed = current


class Delivery(RuleBasedStateMachine):
    """Rules have no preconditions: what is queued differs from run to run, and what is drawn must not."""

    def __init__(self, aws: Aws, simulator: SessionmSimulator) -> None:
        super().__init__()
        self.simulator = simulator
        simulator.faults.clear()
        simulator.forget()
        for user_id in MEMBERS:
            simulator.add_member(user_id)
        self.now = 1_800_000_000.0
        self.client = dynamodb()
        self.tables = (aws.table("imports"), aws.table("ledger"), aws.table("cache"))
        self.import_id = f"csv-{uuid.uuid4().hex}"
        self.jobs = Jobs(self.client, self.tables[0], 30)
        self.queue, self.imports = MemoryQueue(), MemoryQueue()
        self.rows: dict[int, tuple[str, Label]] = {}

    # --- what happens -----------------------------------------------------------------------------------------------

    @rule(
        rows=st.lists(
            st.tuples(st.sampled_from([*MEMBERS, STRANGER]), st.sampled_from(["expires", "expires soon", "counts"])),
            min_size=1,
            max_size=12,
        )
    )
    def rows_are_queued(self, rows: list[tuple[str, str]]) -> None:
        packer = Packer(self.import_id)
        for user_id, kind in rows:
            line = len(self.rows) + 2
            ttl_seconds = {"expires": 6000, "expires soon": 600, "counts": None}[kind]
            label = Label("user_id", (f"tag-{line}",), ttl_seconds)
            self.rows[line] = (user_id, label)
            packer.add(line, user_id, label)
        parcel = packer.rest()
        assert isinstance(parcel, Parcel)
        self.queue.send([body_of(parcel)])

    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 4))
    def sessionm_fails(self, fault: Fault, times: int) -> None:
        self.simulator.faults.add("POST /priv/*", fault, times=times)

    @rule(seed=st.integers(0, 1000))
    def a_message_comes_twice(self, seed: int) -> None:
        if self.queue.bodies:
            self.queue.send([random.Random(seed).choice(self.queue.bodies)])

    @rule(most=st.integers(1, 4), dies_after=st.none() | st.integers(0, 40), in_time=st.booleans())
    def a_worker_takes_a_batch(self, most: int, dies_after: int | None, in_time: bool) -> None:
        self.work(most, Life(dies_after), 5.0 if in_time else 0.01)

    @rule(dies_after=st.none() | st.integers(0, 20))
    def two_workers_take_the_same_batch(self, dies_after: int | None) -> None:
        batch = list(self.queue.bodies)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(self.work, 9, Life(dies_after), 5.0, list(batch))
            self.work(9, Life(None), 5.0, batch)
        other.result()

    @rule()
    def time_passes(self) -> None:
        self.now += A_LEASE_SECONDS

    def work(self, most: int, life: Life, seconds: float, batch: list[str] | None = None) -> None:
        """One invocation of the delivery function; what it does not give back is deleted, unless it died."""
        batch = self.queue.bodies[:most] if batch is None else batch
        messages = [Message(f"message-{number}", "", body, 1) for number, body in enumerate(batch)]
        core = Transport("SessionM Core", self.simulator.url, connections=16)
        sessionm = MortalSessionm(core, core, Fixed())
        ledger = MortalLedger(self.client, self.tables[1], lambda: self.now)
        verdicts = MortalVerdicts(self.client, self.tables[0], 30)
        sessionm.life = ledger.life = verdicts.life = life
        storage = Storage(verdicts, self.jobs, self.imports, self.queue)
        rate = Rate(self.client, self.tables[2], "tags", 10_000)
        dispatch = Dispatch(Sender(sessionm, ledger), verdicts, Pace(16), rate, Deadline(seconds))
        try:
            staying = {each.message.id for each in deliver(messages, storage, dispatch)}
        except Killed:
            return
        for message in messages:
            if message.id not in staying:
                with suppress(ValueError):  # the other worker of the same batch was quicker
                    self.queue.bodies.remove(message.body)

    # --- once all is quiet ------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        self.simulator.faults.clear()
        reading = Reading(rows_read=len(self.rows), rows_queued=len(self.rows))
        self.jobs.save(Job(import_id=self.import_id, state=JobState.DELIVERING, created_at=self.now, reading=reading))
        for _ in range(20):
            self.now += A_LEASE_SECONDS
            if self.queue.bodies:
                self.work(100, Life(None), 5.0)
        assert self.queue.bodies == [], "nothing waits for ever"
        self.check()

    def check(self) -> None:
        verdicts = Verdicts(self.client, self.tables[0], 30)
        unsent = list(verdicts.unsent(self.import_id))
        verdict_of: dict[int, Any] = dict.fromkeys(self.rows, State.SENT) | {row.line: row.state for row in unsent}

        assert len(unsent) == len({row.line for row in unsent}), "no row is listed twice"
        tally = verdicts.tally(self.import_id)
        assert tally.total == len(self.rows), "the counts add up to the rows"
        counted = {State.SENT: tally.sent, State.FAILED: tally.failed, State.UNKNOWN: tally.unknown}
        for state, number in counted.items():
            assert sum(verdict is state for verdict in verdict_of.values()) == number

        for line, (user_id, label) in self.rows.items():
            tags = self.simulator.tags_of(user_id) if user_id != STRANGER else {}
            tag, verdict = tags.get(f"tag-{line}"), verdict_of[line]
            if verdict is State.SENT:
                assert tag is not None, "what was sent is there"
                assert tag.count == (None if label.ttl_seconds else 1), "and counted once"
            elif verdict is State.UNKNOWN:
                assert label.ttl_seconds is None, "a tag that may be sent again never ends as unknown"
                assert tag is None or tag.count == 1
            else:
                assert user_id == STRANGER
                assert tag is None


def test_every_row_ends_in_one_verdict_that_is_true(aws: Aws, sessionm: SessionmSimulator) -> None:
    class Here(Delivery):
        def __init__(self) -> None:
            super().__init__(aws, sessionm)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
