"""Wallets fetched ahead: taken on, read, fetched, kept where a message looks for them, and told of."""

from __future__ import annotations

import csv
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from string import ascii_letters, digits
from typing import Any

import pytest
import requests

import wallet_prefetch.delivery
import wallet_prefetch.endpoint
import wallet_proxy.endpoint
import wiring
from bulk.jobs import UNDER_WAY, Job, Jobs, JobState, Prefetch
from bulk.parcels import Label, Packer
from bulk.verdicts import Settling
from clients.wallet import Wallet
from infra.local.simulators import BrazeSimulator, ErrorInside200, Reset, SessionmSimulator, Slow, Status, Throttle
from member_lists import worker
from shared.aws import dynamodb
from shared.breaker import Breaker
from shared.bulkhead import Bulkhead
from shared.cache import Cache
from shared.config import Settings
from shared.queues import body_of
from shared.upstream import Upstream
from shared.wallets import evict, key_of
from tag_import import status
from tests.faults.support.alarms import emitted
from tests.integration.support.aws import BRAZE_KEY, Aws
from tests.integration.support.events import Context, Invoked, failures, get, post, sqs_event, sqs_record
from tests.integration.support.faulty_aws import FaultyAws
from wallet_prefetch.fetching import Wallets

SUBMIT, STATUS = "POST /wallet-prefetches", "GET /wallet-prefetches/{prefetch_id}"
VENDOR = "POST /offers/api/2.0/offers/get_user_offers"


@dataclass
class Bundle:
    """The functions that have a part in a prefetch, handed each other's messages."""

    aws: Aws
    settings: Settings
    reads: Invoked = field(init=False)
    fetches: Invoked = field(init=False)
    told: Invoked = field(init=False)
    imports: Invoked = field(init=False)

    def __post_init__(self) -> None:
        self.reads = wallet_proxy.endpoint.build(self.settings)
        self.fetches = wallet_prefetch.delivery.build(self.settings)
        self.told = wallet_prefetch.endpoint.build(self.settings)
        self.imports = worker.build(self.settings)

    def submit(self, **body: Any) -> Any:
        answered = post(self.told, SUBMIT, body)
        assert answered.status == 202, answered.text
        return answered.body

    def run(self) -> int:
        """Hands on messages until there are none; returns how many parcels stayed in their queue."""
        stayed = 0
        while True:
            imports, parcels = self.aws.queued("imports"), self.aws.queued("prefetches")
            if not imports and not parcels:
                return stayed
            for number, body in enumerate(imports):
                record = sqs_record(json.dumps(body), f"import-{number}")
                assert not failures(self.imports(sqs_event([record]), Context(900_000)))
            stayed += len(self.fetch(parcels)) if parcels else 0

    def fetch(self, parcels: list[Any], remaining_ms: int = 120_000) -> list[str]:
        records = [sqs_record(json.dumps(body), f"parcel-{number}") for number, body in enumerate(parcels)]
        return failures(self.fetches(sqs_event(records), Context(remaining_ms)))

    def prefetch(self, *user_ids: str, **more: Any) -> Any:
        """The status at the end."""
        prefetch_id = self.submit(user_ids=list(user_ids), **more)["prefetch_id"]
        assert self.run() == 0
        return self.status(prefetch_id)

    def status(self, prefetch_id: str) -> Any:
        answered = get(self.told, STATUS, path={"prefetch_id": prefetch_id})
        assert answered.status == 200, answered.text
        return answered.body

    def wallet(self, user_id: str = "member-1", **query: str) -> Any:
        answered = get(self.reads, "GET /wallet/{user_id}", path={"user_id": user_id}, query=query)
        assert answered.status == 200, answered.text
        return answered.body


def settings_of(aws: Aws, sessionm: SessionmSimulator, braze: BrazeSimulator, **changed: str) -> Settings:
    # A wallet is fresh for a second by itself, so that what is fresh for longer was prefetched.
    urls = {"SESSIONM_CORE_URL": sessionm.url, "SESSIONM_CONNECT_URL": sessionm.url, "BRAZE_REST_URL": braze.url}
    return aws.settings(**urls, **{"WALLET_FRESH_SECONDS": "1", **changed})


@pytest.fixture
def bundle(aws: Aws, sessionm: SessionmSimulator, braze: BrazeSimulator) -> Bundle:
    sessionm.add_offer("member-1", name="Tea", end_date="2099-12-31")
    return Bundle(aws, settings_of(aws, sessionm, braze))


def verdicts(status: Any) -> tuple[str, int, int, int]:
    return status["state"], status["fetched"], status["failed"], status["skipped"]


def size_of(braze: BrazeSimulator) -> int:
    """What Braze says today of `segment-1`."""
    reply = requests.get(
        f"{braze.url}/segments/data_series",
        params={"segment_id": "segment-1", "length": "1"},
        headers={"Authorization": f"Bearer {BRAZE_KEY}"},
        timeout=10,
    )
    return int(reply.json()["data"][-1]["size"])


def offers_asked(sessionm: SessionmSimulator) -> list[Any]:
    return [request.json() for request in sessionm.requests() if "get_user_offers" in request.path]


# --- what a message finds -------------------------------------------------------------------------------------------


def test_a_message_finds_a_prefetched_wallet_fresh_while_sessionm_is_down(
    bundle: Bundle, sessionm: SessionmSimulator
) -> None:
    status = bundle.prefetch("member-1", culture="ko")
    assert verdicts(status) == ("finished", 1, 0, 0)
    sessionm.faults.add("POST *", Status(503))
    calls = len(sessionm.requests())
    time.sleep(1.1)  # what a message had fetched itself would be stale by now

    found = bundle.wallet(culture="ko", limit="1", fields="name", safe="json")

    assert (found["ok"], found["stale"], found["reason"]) == (True, False, None)
    assert (found["available_points"], found["offers"]) == (120, [{"name": "Tea"}])
    assert len(sessionm.requests()) == calls
    assert bundle.wallet(culture="en")["ok"] is False, "another culture is another wallet"


def test_sessionms_own_request_finds_its_own_answer(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    status = bundle.prefetch("member-1", dialect="vendor", take=7, culture="pt-BR")
    assert (status["dialect"], *verdicts(status)) == ("vendor", "finished", 1, 0, 0)
    assert verdicts(bundle.prefetch("member-1", dialect="vendor", take=7, culture="pt-BR")) == ("finished", 0, 0, 1)
    sessionm.faults.add("POST *", Status(503))
    time.sleep(1.1)

    asked = {"user_id": "member-1", "retailer_id": "any", "take": 7, "culture": "pt_BR"}
    found = post(bundle.reads, VENDOR, asked).body

    assert (found["status"], found["payload"]["user_offers"][0]["name"]) == ("ok", "Tea")
    assert post(bundle.reads, VENDOR, {**asked, "take": 8}).body["status"] == "error"


def test_an_offer_that_expired_since_is_not_shown(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    sessionm.add_offer("member-1", name="Going", end_date=soon)
    bundle.prefetch("member-1")

    names = {offer["name"] for offer in bundle.wallet()["offers"]}
    deadline = time.monotonic() + 20
    while "Going" in names and time.monotonic() < deadline:
        time.sleep(0.2)
        names = {offer["name"] for offer in bundle.wallet()["offers"]}

    assert names == {"Tea"}
    assert len(offers_asked(sessionm)) == 1


def test_a_wallet_that_changed_is_fetched_anew_for_the_next_message(
    bundle: Bundle, sessionm: SessionmSimulator, aws: Aws
) -> None:
    bundle.prefetch("member-1")
    sessionm.add_offer("member-1", name="Coffee")

    assert [offer["name"] for offer in bundle.wallet()["offers"]] == ["Tea"]
    evict(aws.dynamodb, aws.table("cache"), "member-1")

    assert [offer["name"] for offer in bundle.wallet()["offers"]] == ["Tea", "Coffee"]


def test_a_wallet_that_a_message_is_asking_for_is_fetched_later(
    bundle: Bundle, sessionm: SessionmSimulator, aws: Aws
) -> None:
    key, lease = key_of("member-1"), {"holder#en-US": {"S": "a message"}, "held_until#en-US": {"N": "9999999999"}}
    aws.dynamodb.put_item(TableName=aws.table("cache"), Item={"id": {"S": key}, **lease})
    prefetch_id = bundle.submit(user_ids=["member-1"])["prefetch_id"]

    assert bundle.run() == 1, "a message has it in hand"
    assert bundle.status(prefetch_id)["waiting"] == 1
    assert offers_asked(sessionm) == []


def test_a_wallet_that_is_forgotten_while_it_is_fetched_is_not_kept(
    bundle: Bundle, sessionm: SessionmSimulator, aws: Aws
) -> None:
    prefetch_id = bundle.submit(user_ids=["member-1"])["prefetch_id"]
    sessionm.faults.add("POST *", Slow(1), times=1)
    with ThreadPoolExecutor(1) as thread:
        stayed = thread.submit(bundle.run)
        deadline = time.monotonic() + 60
        while not any("holder#en-US" in item for item in aws.items("cache")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        evict(aws.dynamodb, aws.table("cache"), "member-1")

        assert stayed.result(60) == 1
    assert [item for item in aws.items("cache") if item["id"] == key_of("member-1")] == []
    assert bundle.status(prefetch_id)["waiting"] == 1


def test_a_stranger_is_not_asked_for_again(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    status = bundle.prefetch("nobody", "member-1")
    assert verdicts(status) == ("finished", 1, 1, 0)
    calls = len(sessionm.requests())
    time.sleep(1.1)

    found = bundle.wallet("nobody")

    assert (found["ok"], found["reason"], len(sessionm.requests())) == (False, "user_not_found", calls)


def test_a_refusal_that_is_not_the_members_is_not_remembered(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST *", ErrorInside200(code="validation"), times=1)

    status = bundle.prefetch("member-1")

    assert verdicts(status) == ("finished", 0, 1, 0)
    assert bundle.wallet()["ok"] is True


@pytest.mark.parametrize(
    "fault",
    [ErrorInside200(), ErrorInside200("invalid_api_key"), Status(200, {"hello": 1})],
    ids=["failing", "key refused", "garbled"],
)
def test_a_failure_inside_a_200_is_no_answer_to_be_kept_in_sessionms_dialect(
    bundle: Bundle, sessionm: SessionmSimulator, fault: Any
) -> None:
    sessionm.faults.add("POST *", fault, times=1)

    assert verdicts(bundle.prefetch("member-1", dialect="vendor")) == ("finished", 1, 0, 0)

    assert len(offers_asked(sessionm)) == 2
    assert post(bundle.reads, VENDOR, {"user_id": "member-1"}).body["status"] == "ok"
    assert len(offers_asked(sessionm)) == 2


def test_a_wallet_whose_points_are_no_number_is_asked_for_again(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    payload = {"user_offers": [{"offer_id": "1"}], "total_records": 2, "available_points": "lots"}
    sessionm.faults.add("POST *", Status(200, {"status": "ok", "payload": payload}), times=1)

    assert verdicts(bundle.prefetch("member-1")) == ("finished", 1, 0, 0)

    assert bundle.wallet()["available_points"] == 120
    assert len(offers_asked(sessionm)) == 2


def test_a_stranger_is_not_asked_for_again_in_sessionms_dialect(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    assert verdicts(bundle.prefetch("nobody", dialect="vendor")) == ("finished", 0, 1, 0)
    time.sleep(1.1)

    answered = post(bundle.reads, VENDOR, {"user_id": "nobody"}).body

    assert (answered["status"], answered["errors"]) == ("error", {"code": "user_not_found"})
    assert len(offers_asked(sessionm)) == 1


def test_a_wallet_of_many_pages_is_whole_and_each_page_a_call(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    for number in range(450):
        sessionm.add_offer("member-1", name=f"Offer {number}")

    assert verdicts(bundle.prefetch("member-1")) == ("finished", 1, 0, 0)

    assert [(asked["skip"], asked["take"]) for asked in offers_asked(sessionm)] == [(0, 200), (200, 251)]
    assert bundle.wallet(limit="1")["offer_count"] == 451
    assert len(offers_asked(sessionm)) == 2


def test_an_answer_no_template_may_see_is_told_and_not_tried_again(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    for number in range(900):
        sessionm.add_offer("member-1", name=f"Offer {number}", description="x" * 1000)

    status = bundle.prefetch("member-1", dialect="vendor")

    assert verdicts(status) == ("finished", 0, 1, 0)
    assert [row["code"] for row in failure_file(bundle, status)] == ["answer_too_large"]


def test_a_wallet_no_table_takes_is_told_and_not_tried_again(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    chance = Random(1)
    for _ in range(999):
        sessionm.add_offer("member-1", name="".join(chance.choices(ascii_letters + digits, k=700)))

    status = bundle.prefetch("member-1")

    assert verdicts(status) == ("finished", 0, 1, 0)
    assert [row["code"] for row in failure_file(bundle, status)] == ["wallet_too_large"]
    assert bundle.wallet(limit="1")["offer_count"] == 1000, "a message asks SessionM, and nobody else holds it up"


def failure_file(bundle: Bundle, status: Any) -> list[dict[str, str]]:
    key = f"failures/{status['prefetch_id']}/failures.csv"
    text = bundle.aws.s3.get_object(Bucket=bundle.aws.bucket(), Key=key)["Body"].read().decode("utf-8-sig")
    assert key in status["failure_file_url"]
    return list(csv.DictReader(io.StringIO(text)))


# --- again, and beside others ---------------------------------------------------------------------------------------


def test_a_prefetch_made_again_fetches_what_is_missing_and_all_of_it_when_told_to(
    bundle: Bundle, sessionm: SessionmSimulator
) -> None:
    sessionm.add_member("member-2")
    bundle.prefetch("member-1", "nobody", fresh_for=3600)
    calls = len(sessionm.requests())

    again = bundle.prefetch("member-1", "member-2", "nobody", fresh_for=3600)
    assert verdicts(again) == ("finished", 1, 1, 1)
    assert [asked["user_id"] for asked in offers_asked(sessionm)[calls:]] == ["member-2"]
    assert sorted(row["code"] for row in failure_file(bundle, again)) == ["still_fresh", "user_not_found"]

    longer = bundle.prefetch("member-1", fresh_for=7300)
    assert verdicts(longer) == ("finished", 1, 0, 0), "what is fresh for less than half as long is fetched"

    calls = len(sessionm.requests())
    shorter = bundle.prefetch("member-1", "nobody", fresh_for=60)
    assert verdicts(shorter) == ("finished", 0, 1, 1), "what stays fresh for longer than is wished is left alone"
    assert offers_asked(sessionm)[calls:] == []

    anew = bundle.prefetch("member-1", "nobody", fresh_for=60, refresh=True)
    assert verdicts(anew) == ("finished", 1, 1, 0)
    assert sorted(asked["user_id"] for asked in offers_asked(sessionm)[calls:]) == ["member-1", "nobody"]


def test_a_segment_is_exported_and_its_members_wallets_are_fetched(
    bundle: Bundle, braze: BrazeSimulator, sessionm: SessionmSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    sessionm.add_member("member-2")
    braze.set_segment_users("segment-1", ["member-1", "member-2", "nobody", None])
    exports, braze.exports.seconds = braze.exports, 0.0
    try:
        told = bundle.submit(segment_id="segment-1", fresh_for=600)
        assert (told["state"], told["members_expected"], told["notice"]) == ("requested", size_of(braze), None)
        assert told["seconds_expected"] == 2, "at half of 10,000 a second"
        first = bundle.status(told["prefetch_id"])
        assert (first["state"], first["seconds_left"], first["fresh_until"]) == ("requested", 2, None)
        assert first["correlation_id"] == "request-1"
        [message] = bundle.aws.queued("imports")
        deadline = time.monotonic() + 30
        while failures(bundle.imports(sqs_event([sqs_record(json.dumps(message))]), Context(900_000))):
            assert time.monotonic() < deadline, "the export is not found"
            time.sleep(0.1)
        assert bundle.run() == 0
    finally:
        exports.seconds = 1.0

    status = bundle.status(told["prefetch_id"])
    assert verdicts(status) == ("finished", 2, 1, 1)
    assert (status["segment_id"], status["members_expected"], status["members_read"]) == ("segment-1", 4, 4)
    assert status["seconds_left"] == 0
    assert {(row["code"], row["counter"]) for row in failure_file(bundle, status)} == {
        ("user_not_found", ""),
        ("no_external_id", ""),
    }
    counted = {name for name, _ in emitted(capsys.readouterr().out, "tag-import")}
    assert counted & {"WalletsAccepted", "WalletRowsSkipped", "TagsAccepted", "TagRowsSkipped"} == {
        "WalletsAccepted",
        "WalletRowsSkipped",
    }


def test_a_segment_nobody_counts_is_taken_on_without_an_estimate(bundle: Bundle, braze: BrazeSimulator) -> None:
    braze.faults.add("GET /segments/data_series", Status(429))

    told = bundle.submit(segment_id="segment-1")

    assert (told["members_expected"], told["seconds_expected"], told["notice"]) == (None, None, None)
    assert bundle.status(told["prefetch_id"])["seconds_left"] is None


def test_who_asks_for_more_than_can_be_fresh_at_once_is_told(
    aws: Aws, sessionm: SessionmSimulator, braze: BrazeSimulator
) -> None:
    bundle = Bundle(aws, settings_of(aws, sessionm, braze, TAG_RATE_PER_SECOND="100"))

    told = bundle.submit(segment_id="segment-1", fresh_for=60)

    assert (told["most_per_second"], told["seconds_expected"]) == (50, -(-size_of(braze) // 50))
    assert "fresh_for" in told["notice"]


def test_a_prefetch_takes_no_more_than_its_share_of_the_rate(
    aws: Aws, sessionm: SessionmSimulator, braze: BrazeSimulator
) -> None:
    changed = {"TAG_RATE_PER_SECOND": "40", "PREFETCH_SHARE_PERCENT": "25"}
    bundle = Bundle(aws, settings_of(aws, sessionm, braze, **changed))
    members = [f"rated-{number}" for number in range(60)]
    for member in members:
        sessionm.add_member(member)
    bundle.submit(user_ids=members)
    [wake] = aws.queued("imports")
    assert not failures(bundle.imports(sqs_event([sqs_record(json.dumps(wake))]), Context(900_000)))

    begun = time.monotonic()
    assert bundle.fetch(aws.queued("prefetches"), remaining_ms=32_000) == []

    calls = len(offers_asked(sessionm))
    assert 1 <= calls <= 10 * (time.monotonic() - begun) + 2
    [rest] = aws.queued("prefetches")
    assert len(rest["rows"]) == 60, "put back, and gone on with where it was left"


def test_readers_who_need_all_places_come_first(aws: Aws, sessionm: SessionmSimulator, braze: BrazeSimulator) -> None:
    bundle = Bundle(aws, settings_of(aws, sessionm, braze, SESSIONM_MAX_CONCURRENT_CALLS="2"))
    later = lambda: time.time() + 600  # noqa: E731  # places held for longer than a busy machine takes
    readers = Bulkhead(aws.dynamodb, aws.table("cache"), "SessionM Connect", 2, clock=later, store_seconds=10)

    with readers.place(), readers.place():
        prefetch_id = bundle.submit(user_ids=["member-1"])["prefetch_id"]
        assert bundle.run() == 1
    assert offers_asked(sessionm) == []
    assert bundle.status(prefetch_id)["waiting"] == 1


@pytest.mark.parametrize(
    "fault", [Throttle(1), Reset(), Status(500), Status(401)], ids=["throttled", "broken off", "failing", "key changed"]
)
def test_a_moment_of_weakness_costs_no_wallet(bundle: Bundle, sessionm: SessionmSimulator, fault: Any) -> None:
    sessionm.faults.add("POST *", fault, times=1)

    assert verdicts(bundle.prefetch("member-1")) == ("finished", 1, 0, 0)
    assert len(offers_asked(sessionm)) == 2, "each with a permit of its own"


def test_an_outage_leaves_all_members_in_the_queue(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    prefetch_id = bundle.submit(user_ids=["member-1"])["prefetch_id"]
    sessionm.faults.add("POST *", Status(500))
    [wake] = bundle.aws.queued("imports")
    bundle.imports(sqs_event([sqs_record(json.dumps(wake))]), Context(900_000))
    parcels = bundle.aws.queued("prefetches")

    assert len(bundle.fetch(parcels)) == 1
    sessionm.faults.clear()
    assert bundle.fetch(parcels) == []

    assert bundle.run() == 0
    assert verdicts(bundle.status(prefetch_id)) == ("finished", 1, 0, 0)


def test_a_parcel_whose_prefetch_is_gone_ends(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    packer = Packer("prefetch-00")
    packer.add(1, "member-1", Label("user_id", ()))

    assert bundle.fetch([json.loads(body_of(packer.rest()))]) == []
    assert offers_asked(sessionm) == []


def test_a_table_that_cannot_be_asked_keeps_the_parcels(
    aws: Aws, sessionm: SessionmSimulator, braze: BrazeSimulator, faulty_aws: FaultyAws
) -> None:
    bundle = Bundle(aws, settings_of(aws, sessionm, braze))
    bundle.submit(user_ids=["member-1"])
    [wake] = aws.queued("imports")
    assert not failures(bundle.imports(sqs_event([sqs_record(json.dumps(wake))]), Context(900_000)))
    parcels = aws.queued("prefetches")

    faulty_aws.refuse("GetItem")
    assert len(bundle.fetch(parcels)) == 1
    assert offers_asked(sessionm) == []


def test_a_prefetch_nobody_can_be_told_of_is_neither_acknowledged_nor_under_way(
    aws: Aws, sessionm: SessionmSimulator, braze: BrazeSimulator, faulty_aws: FaultyAws
) -> None:
    faulty_aws.refuse("SendMessageBatch")
    told = wallet_prefetch.endpoint.build(settings_of(aws, sessionm, braze))

    assert post(told, SUBMIT, {"user_ids": ["member-1"]}).status == 503

    [item] = aws.items("imports")
    assert item["state"] == "failed"
    assert UNDER_WAY not in item


def test_what_is_fresh_is_found_out_or_all_is_fetched(aws: Aws, sessionm: SessionmSimulator) -> None:
    jobs = Jobs(dynamodb(), aws.table("imports"), 30)
    wish = Prefetch(culture="en-US", fresh_seconds=600)
    jobs.save(Job(import_id="prefetch-00", state=JobState.DELIVERING, created_at=0.0, prefetch=wish))
    settings = aws.settings(SESSIONM_CORE_URL=sessionm.url, SESSIONM_CONNECT_URL=sessionm.url)
    upstream = Upstream(
        Breaker(aws.dynamodb, aws.table("cache"), "SessionM Connect"),
        Bulkhead(aws.dynamodb, aws.table("cache"), "SessionM Connect", 1),
    )
    lost = Cache(aws.dynamodb, "no-such-table", Wallet, 60)
    wallets = Wallets(
        wiring.sessionm(settings, connections=1), upstream, jobs, lost, Cache(aws.dynamodb, "no-such-table", str, 60)
    )
    packer = Packer("prefetch-00")
    packer.add(1, "member-1", Label("user_id", ()))
    parcel = packer.rest()
    assert parcel is not None

    for _ in range(2):
        calls = wallets.calls_of(Settling(parcel, "."))
        assert [(call.user_id, call.wish) for call in calls] == [("member-1", wish)]


@pytest.mark.parametrize("refresh", [False, True])
def test_what_a_worker_fetched_before_it_died_is_fetched_and_not_fetched_again(
    bundle: Bundle, sessionm: SessionmSimulator, refresh: bool
) -> None:
    prefetch_id = bundle.submit(user_ids=["member-1", "nobody"], refresh=refresh)["prefetch_id"]
    [wake] = bundle.aws.queued("imports")
    assert not failures(bundle.imports(sqs_event([sqs_record(json.dumps(wake))]), Context(900_000)))
    parcels = bundle.aws.queued("prefetches")
    assert bundle.fetch(parcels) == []
    for item in bundle.aws.items("imports"):
        if item["item"] != "job":  # its verdicts were not written
            key = {name: {"S": item[name]} for name in ("import_id", "item")}
            bundle.aws.dynamodb.delete_item(TableName=bundle.aws.table("imports"), Key=key)

    assert bundle.fetch(parcels) == []

    assert bundle.run() == 0
    assert verdicts(bundle.status(prefetch_id)) == ("finished", 1, 1, 0)
    assert len(offers_asked(sessionm)) == 2


# --- what is asked for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "segment_id", "missing_field"),
        ({"segment_id": "s", "user_ids": ["m"]}, "segment_id", "invalid_field"),
        ({"user_ids": []}, "user_ids", "invalid_field"),
        ({"user_ids": ["not an id"]}, "user_ids[0]", "invalid_field"),
        ({"segment_id": "s", "fresh_for": 59}, "fresh_for", "invalid_field"),
        ({"segment_id": "s", "fresh_for": 86_401}, "fresh_for", "invalid_field"),
        ({"segment_id": "s", "take": 5}, "take", "invalid_field"),
        ({"segment_id": "s", "include_pending_extended_data": True}, "include_pending_extended_data", "invalid_field"),
        ({"segment_id": "s", "limit": 5}, "limit", "unknown_field"),
    ],
)
def test_what_cannot_be_prefetched_is_refused_with_advice(bundle: Bundle, body: Any, field: str, code: str) -> None:
    answered = post(bundle.told, SUBMIT, body)

    assert (answered.status, answered.body["field"], answered.body["code"]) == (400, field, code)
    assert answered.body["hint"]
    assert bundle.aws.queued("imports") == []


def test_a_list_too_large_is_told_of_what_makes_wallets_and_not_of_files_that_make_tags(bundle: Bundle) -> None:
    answered = post(bundle.told, SUBMIT, {"user_ids": [f"{number:036}" for number in range(30_000)]})

    assert (answered.status, answered.body["code"], answered.body["field"]) == (413, "too_large", "body")
    assert answered.body["hint"] == "Give the user_ids in several prefetches, or a segment_id."
    assert bundle.aws.queued("imports") == []


def test_a_member_listed_twice_is_fetched_once(bundle: Bundle, sessionm: SessionmSimulator) -> None:
    assert verdicts(bundle.prefetch("member-1", "member-1")) == ("finished", 1, 0, 0)
    assert len(offers_asked(sessionm)) == 1


def test_a_prefetch_is_no_import_of_tags_and_the_other_way_round(bundle: Bundle) -> None:
    tags = status.build(bundle.settings)
    prefetch_id = bundle.submit(user_ids=["member-1"])["prefetch_id"]

    as_import = get(tags, "GET /tag-imports/{import_id}", path={"import_id": prefetch_id})
    unknown = get(bundle.told, STATUS, path={"prefetch_id": "csv-00"})
    nonsense = get(bundle.told, STATUS, path={"prefetch_id": "../x"})

    assert [each.status for each in (as_import, unknown, nonsense)] == [404, 404, 404]


def test_while_it_is_read_the_rest_is_estimated(bundle: Bundle) -> None:
    told = bundle.submit(user_ids=["member-1", "nobody"])

    shown = bundle.status(told["prefetch_id"])

    assert (shown["state"], shown["members_expected"], shown["members_read"]) == ("reading", 2, 0)
    assert (shown["most_per_second"], shown["rate_per_second"]) == (5000, None)
    assert told["status_path"] == f"/wallet-prefetches/{told['prefetch_id']}"
