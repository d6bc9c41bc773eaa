"""Braze's segment exports: one at a time, ready after a while, told of once."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import requests

from infra.local.simulators import BrazeSimulator, ResetMidBody, SteppedClock
from infra.local.simulators.braze_exports import Exports

BODY = {"segment_id": "seg", "fields_to_export": ["external_id"]}


@pytest.fixture
def exports(braze: BrazeSimulator) -> Exports:
    """With a segment of 12,001 users, the last one anonymous."""
    braze.add_segment("seg")
    braze.set_segment_users("seg", lambda: [*(f"member-{number}" for number in range(12_000)), None])
    return braze.exports


class Listener:
    """`told` is what was posted to `url`."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                listener.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/called/token"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    thread = Thread(target=listener.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield listener
    listener.server.shutdown()
    listener.server.server_close()
    thread.join()


def begin(braze: BrazeSimulator, **changed: Any) -> requests.Response:
    headers = {"Authorization": braze.authorization}
    return requests.post(f"{braze.url}/users/export/segment", json={**BODY, **changed}, headers=headers, timeout=5)


def ended(braze: BrazeSimulator, callbacks: int = 0) -> None:
    """Returns when the last export has ended and called back so often."""
    [*_, export] = braze.exports.all
    until = time.monotonic() + 10
    while export.state == "running" or len(export.callback_statuses) < callbacks:
        assert time.monotonic() < until
        time.sleep(0.002)


def test_an_export_is_a_zip_of_files_of_five_thousand_users(braze: BrazeSimulator, exports: Exports) -> None:
    answer = begin(braze).json()
    ended(braze)
    assert answer["message"] == "success"
    assert answer["url"] == f"{braze.url}/exports/{answer['object_prefix']}.zip"

    reply = requests.get(answer["url"], timeout=5)  # without a key

    assert reply.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        files = [archive.read(name).splitlines() for name in archive.namelist()]
    assert [len(lines) for lines in files] == [5_000, 5_000, 2_001]
    assert json.loads(files[0][0]) == {"external_id": "member-0"}
    assert json.loads(files[-1][-1]) == {}
    assert exports.all[0].state == "ready"


@pytest.mark.usefixtures("exports")
def test_only_the_fields_asked_for_are_exported(braze: BrazeSimulator) -> None:
    answer = begin(braze, fields_to_export=["braze_id"]).json()
    ended(braze)
    with zipfile.ZipFile(io.BytesIO(requests.get(answer["url"], timeout=5).content)) as archive:
        user = json.loads(archive.read(archive.namelist()[0]).splitlines()[0])
    assert user.keys() == {"braze_id"}


def test_before_it_is_there_and_hours_after_an_export_is_forbidden() -> None:
    clock = SteppedClock(1_795_350_600.0)
    with BrazeSimulator(latency_scale=0.01, clock=clock) as braze:
        braze.add_segment("seg")
        braze.exports.seconds = 6_000
        url = begin(braze).json()["url"]
        assert requests.get(url, timeout=5).status_code == 403
        assert requests.get(f"{braze.url}/exports/another.zip", timeout=5).status_code == 403
        clock.advance(61)
        ended(braze)
        assert requests.get(url, timeout=5).status_code == 200
        clock.advance(braze.exports.valid_seconds)
        assert requests.get(url, timeout=5).status_code == 403


def test_one_export_of_a_segment_runs_at_a_time() -> None:
    clock = SteppedClock(1_795_350_600.0)
    with BrazeSimulator(latency_scale=0.01, clock=clock) as braze:
        for segment_id in ("seg", "other"):
            braze.add_segment(segment_id)
        assert begin(braze).status_code == 200
        assert begin(braze).status_code == 429
        assert begin(braze, segment_id="other").status_code == 200
        braze.forget()
        assert begin(braze).status_code == 200


@pytest.mark.usefixtures("exports")
@pytest.mark.parametrize(("callbacks", "times"), [("once", 1), ("twice", 2), ("never", 0)])
def test_braze_calls_back_as_often_as_it_is_told_to(
    braze: BrazeSimulator, listener: Listener, callbacks: Any, times: int
) -> None:
    braze.exports.callbacks = callbacks
    url = begin(braze, callback_endpoint=listener.url).json()["url"]
    ended(braze, times)
    assert listener.told == [{"success": True, "url": url}] * times
    assert braze.exports.all[0].callback_statuses == [204] * times


@pytest.mark.usefixtures("exports")
def test_a_failure_is_told_and_nothing_is_there(braze: BrazeSimulator, listener: Listener) -> None:
    braze.exports.fails = True
    url = begin(braze, callback_endpoint=listener.url).json()["url"]
    ended(braze, 1)
    assert listener.told == [{"success": False}]
    assert requests.get(url, timeout=5).status_code == 403


@pytest.mark.usefixtures("exports")
def test_a_callback_can_be_late_and_nobody_need_be_there_for_it(braze: BrazeSimulator, clock: SteppedClock) -> None:
    braze.exports.callback_delay_seconds = 60
    begin(braze, callback_endpoint="http://127.0.0.1:9/called")
    ended(braze)
    assert braze.exports.all[0].callback_statuses == []
    clock.advance(60)
    ended(braze, 1)
    assert braze.exports.all[0].callback_statuses == [None]


def test_an_export_that_is_forgotten_calls_nobody(listener: Listener) -> None:
    clock = SteppedClock(1_795_350_600.0)
    with BrazeSimulator(latency_scale=1, clock=clock) as braze:
        braze.add_segment("seg")
        begin(braze, callback_endpoint=listener.url)
        braze.forget()
        clock.advance(1_000)
        time.sleep(0.05)
    assert listener.told == []


def test_with_storage_of_ones_own_each_file_is_an_object_and_there_is_no_address(
    braze: BrazeSimulator, exports: Exports, listener: Listener
) -> None:
    objects: dict[str, bytes] = {}

    class Storage:
        def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> None:
            assert Bucket == "bucket"
            objects[Key] = Body

    exports.to_bucket = (Storage(), "bucket")  # type: ignore[assignment]  # the one call it makes
    answer = begin(braze, callback_endpoint=listener.url, output_format="zip").json()
    ended(braze, 1)

    assert answer["url"] is None
    assert listener.told == [{"success": True}]
    folder = f"segment-export/seg/2026-11-22/{answer['object_prefix']}/"
    assert len(objects) == 3
    assert all(key.startswith(folder) and key.endswith(".zip") for key in objects)


@pytest.mark.usefixtures("exports")
def test_a_download_can_be_made_to_break_off(braze: BrazeSimulator) -> None:
    url = begin(braze).json()["url"]
    ended(braze)
    braze.faults.add("GET /exports/*", ResetMidBody())
    with pytest.raises(requests.RequestException):
        requests.get(url, timeout=5)


@pytest.mark.usefixtures("exports")
@pytest.mark.parametrize(
    "body",
    [
        {"segment_id": ""},
        {"segment_id": 7},
        {"segment_id": "unknown"},
        {"fields_to_export": []},
        {"fields_to_export": "external_id"},
        {"fields_to_export": ["external_id", "shoe_size"]},
        {"callback_endpoint": 7},
        {"output_format": "csv"},
        {"output_format": "gzip"},
        {"fields_to_export": ["custom_attributes"], "custom_attributes_to_export": ["a"]},
        {"more": 1},
    ],
)
def test_a_body_that_breaks_the_contract_is_refused(braze: BrazeSimulator, body: dict[str, Any]) -> None:
    assert begin(braze, **body).status_code == 400
    assert braze.exports.all == []


@pytest.mark.parametrize("text", ["no JSON", "[]"])
def test_a_body_that_is_no_object_is_refused(braze: BrazeSimulator, text: str) -> None:
    headers = {"Authorization": braze.authorization, "Content-Type": "application/json"}
    answer = requests.post(f"{braze.url}/users/export/segment", data=text, headers=headers, timeout=5)
    assert answer.status_code == 400


def test_the_key_needs_its_permission(braze: BrazeSimulator) -> None:
    braze.set_permissions({"segments.list"})
    assert begin(braze).status_code == 403
