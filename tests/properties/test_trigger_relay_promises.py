"""Every accepted trigger ends in one outcome, and no member gets a message twice, whatever goes wrong in between.

A state machine over the relay's own code: the intake and the delivery handler, the emulated AWS, and Braze simulated on
a socket. Time passes when the machine says so. A queue of the machine's own forms batches, repeats messages, and loses
workers: in the middle of a call, and between Braze's answer and the ledger.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from infra.local.simulators import (
    BrazeSimulator,
    Fault,
    Garbage,
    HangAfterAccept,
    Reset,
    ResetAfterEffect,
    ResetMidBody,
    Status,
    Throttle,
)
from shared.ledger import Ledger
from tests.integration.support.aws import Aws
from tests.integration.support.events import Context, Invoked, post, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws
from trigger_relay.delivery import build
from trigger_relay.intake import build as build_intake

TARGETS = ("campaign-1", "campaign-2", "canvas-1", "unheard-of")
LEASE_SECONDS = 181

# What Braze, or the way to it, does instead of answering well.
FAULTS: list[Fault] = [
    *(Throttle(600, "retry-after"), Throttle(600, "x-ratelimit-retry-after")),
    *(Throttle(600, "reset-epoch"), Throttle(600, "reset-delta")),
    *(Status(500), Status(503), Status(401), Status(502), Status(408)),
    *(Reset(), ResetAfterEffect(), ResetMidBody(), HangAfterAccept(0.02), Garbage()),
    Status(400, {"message": "A recipient is not right"}),
]


class Relay(RuleBasedStateMachine):
    """`accepted`: trigger ids by the words in their message, which no two triggers share."""

    aws_url: str
    braze: BrazeSimulator

    @initialize()
    def start(self) -> None:
        os.environ["AWS_ENDPOINT_URL"] = self.aws_url
        self.aws = Aws.fresh(self.aws_url)
        self.now = 1_795_334_400.0
        self.braze.faults.clear()
        self.braze.forget()
        self.accepted: dict[str, str] = {}
        self.queue: dict[str, tuple[str, int]] = {}
        self.taken_in = 0
        self.intake = build_intake(self._settings(), self._clock)
        self.worker = self._new_worker()

    def _clock(self) -> float:
        return self.now

    def _settings(self) -> Any:
        return self.aws.settings(BRAZE_REST_URL=self.braze.url, TRIGGER_BATCH_SIZE="40")

    def _new_worker(self) -> Invoked:
        return build(self._settings(), self._clock)

    def _fetch(self) -> None:
        for body in self.aws.queued("triggers"):
            self.taken_in += 1
            self.queue[f"message-{self.taken_in}"] = (json.dumps(body), 0)

    def _records(self, ids: list[str]) -> list[dict[str, Any]]:
        records = []
        for message_id in ids:
            body, receives = self.queue[message_id]
            self.queue[message_id] = (body, receives + 1)
            records.append(sqs_record(body, message_id, receives + 1))
        return records

    @rule(to=st.sampled_from(TARGETS), members=st.lists(st.integers(1, 6), min_size=1, max_size=30))
    def accept(self, to: str, members: list[int]) -> None:
        """A request for one member or several, one of them perhaps twice."""
        words = f"words-{len(self.accepted)}"
        name = "braze_canvas_id" if to.startswith("canvas") else "braze_campaign_id"
        recipients = [{"external_id": f"m-{number}", "nth": nth} for nth, number in enumerate(members)]
        payload = {name: to, "recipients": recipients, "words": words}
        for _ in range(2):  # SessionM may well send it again
            answered = post(self.intake, "POST /triggers", payload)
            assert answered.status == 202
        self.accepted[words] = answered.body["trigger_id"]
        self._fetch()

    @rule(seconds=st.sampled_from([1, 60, LEASE_SECONDS, 700]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    # What is drawn never depends on what is queued, which a busy machine may change from run to run.
    @rule(
        seed=st.integers(0, 10_000),
        size=st.integers(1, 40),
        fault=st.sampled_from([None, *FAULTS]),
        times=st.integers(1, 2),
        another=st.booleans(),
    )
    def deliver(self, seed: int, size: int, fault: Fault | None, times: int, another: bool) -> None:
        """A batch in any order, of which what is not reported is gone, while Braze answers some calls badly."""
        ids = random.Random(seed).sample(sorted(self.queue), min(size, len(self.queue)))
        self.braze.faults.clear()
        if fault is not None:
            self.braze.faults.add("POST *", fault, times=times)
        if another:
            self.worker = self._new_worker()
        result = self.worker(sqs_event(self._records(ids)), Context())
        staying = {failure["itemIdentifier"] for failure in result["batchItemFailures"]}
        for message_id in set(ids) - staying:
            del self.queue[message_id]

    @rule(seed=st.integers(0, 10_000))
    def a_message_comes_twice(self, seed: int) -> None:
        if not self.queue:
            return
        body, _ = self.queue[random.Random(seed).choice(sorted(self.queue))]
        self.taken_in += 1
        self.queue[f"message-{self.taken_in}"] = (body, 0)

    @rule(written=st.integers(0, 3))
    def a_worker_dies(self, written: int) -> None:
        """Cut off from the ledger after so many transactions, and never heard of again: nothing is deleted."""
        self.braze.faults.clear()
        with FaultyAws(self.aws_url) as between:
            os.environ["AWS_ENDPOINT_URL"] = between.url
            between.refuse_after("TransactWriteItems", written)
            between.refuse("ChangeMessageVisibilityBatch")
            dying = self._new_worker()
            os.environ["AWS_ENDPOINT_URL"] = self.aws_url
            dying(sqs_event(self._records(sorted(self.queue)[:20])), Context())

    def _sent(self) -> Counter[tuple[str, int]]:
        """How often each message of each trigger reached Braze."""
        return Counter((str(sent.properties["words"]), int(str(sent.properties["nth"]))) for sent in self.braze.sends)

    @invariant()
    def no_member_gets_a_message_twice(self) -> None:
        if hasattr(self, "accepted"):
            assert not {message: times for message, times in self._sent().items() if times > 1}

    def teardown(self) -> None:
        if not hasattr(self, "accepted"):
            return
        self.braze.faults.clear()
        for _ in range(4):
            self.now += 3_900  # every gate is open, every lease over
            self.worker = self._new_worker()
            result = self.worker(sqs_event(self._records(sorted(self.queue))), Context())
            staying = {failure["itemIdentifier"] for failure in result["batchItemFailures"]}
            self.queue = {name: message for name, message in self.queue.items() if name in staying}
        assert not self.queue, "something is never done with"
        self._every_message_has_one_outcome()

    def _every_message_has_one_outcome(self) -> None:
        ledger = Ledger(self.aws.dynamodb, self.aws.table("ledger"), self._clock)
        sent = self._sent()
        for words, trigger_id in self.accepted.items():
            entry = ledger.find(trigger_id)
            assert entry is not None
            ids = [trigger_id]
            if entry.parts > 1:
                ids = [f"{trigger_id}.{entry.entered_at}.{number}" for number in range(1, entry.parts + 1)]
            outcomes = ledger.find_all(ids)
            for nth, entry_id in enumerate(ids):
                state = outcomes[entry_id].state.value
                assert state in ("sent", "failed", "unknown")
                if state != "unknown":
                    assert sent[words, nth] == (state == "sent"), f"{state}, and yet sent {sent[words, nth]} times"


def test_every_trigger_ends_in_one_outcome_and_no_member_gets_a_message_twice(
    moto_url: str, braze_server: BrazeSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    Relay.aws_url, Relay.braze = moto_url, braze_server
    braze_server.add_campaign("campaign-2")
    machine = Relay.TestCase
    machine.settings = settings(
        max_examples=10,
        phases=[Phase.generate],  # a failure of twenty steps is short enough as it is
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    machine("runTest").runTest()
