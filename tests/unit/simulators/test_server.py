"""The server every simulator stands on."""

from __future__ import annotations

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from infra.local.simulators import HangAfterAccept, SessionmSimulator


def tag(simulator: SessionmSimulator, timeout: float = 5.0) -> requests.Response:
    return requests.post(
        f"{simulator.url}/priv/v1/apps/{simulator.core_api_key}/users/u1/tags",
        json={"tags": ["vip"]},
        headers={"Authorization": simulator.core_authorization},
        timeout=timeout,
    )


def test_one_connection_carries_many_requests(sessionm: SessionmSimulator) -> None:
    host, _, port = sessionm.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    sockets = set()
    for _ in range(3):
        connection.request("GET", "/nowhere")
        connection.getresponse().read()
        sockets.add(connection.sock)
    connection.close()
    assert len(sockets) == 1
    assert len(sessionm.requests()) == 3


def test_a_request_is_remembered_with_what_was_sent_and_what_was_answered(sessionm: SessionmSimulator) -> None:
    requests.post(f"{sessionm.url}/priv/a%2Fb?x=1&y=%20", data=b'{"k":1}', headers={"X-Trace": "t"}, timeout=5)
    (seen,) = sessionm.requests()
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/priv/a%2Fb", "x=1&y=%20", b'{"k":1}')
    assert (seen.headers["x-trace"], seen.json(), seen.status) == ("t", {"k": 1}, 404)
    assert seen.received_at == sessionm.clock()


def test_only_the_latest_requests_are_remembered() -> None:
    with SessionmSimulator(latency_scale=0, keep_requests=2) as simulator:
        for path in ("a", "b", "c"):
            requests.get(f"{simulator.url}/{path}", timeout=5)
        assert [seen.path for seen in simulator.requests()] == ["/b", "/c"]


def test_what_each_route_was_asked_is_counted_however_few_requests_are_remembered() -> None:
    with SessionmSimulator(latency_scale=0, keep_requests=1) as simulator:
        for _ in range(3):
            tag(simulator)
        requests.get(f"{simulator.url}/nowhere", timeout=5)
        assert simulator.asked() == {"POST /priv/v1/apps/{app_key}/users/{user_id}/tags": 3}


def test_requests_can_be_read_while_others_arrive(sessionm: SessionmSimulator) -> None:
    done = threading.Event()

    def read() -> int:
        reads = 0
        while not done.is_set():
            sessionm.requests()
            reads += 1
            time.sleep(0.001)
        return reads

    with ThreadPoolExecutor(9) as pool:
        reader = pool.submit(read)
        answers = list(pool.map(lambda _: tag(sessionm).status_code, range(80)))
        done.set()
        assert reader.result() > 0
    assert answers == [200] * 80
    assert sessionm.tags_of("u1")["vip"].count == 80


def test_a_write_takes_its_usual_time() -> None:
    simulator = SessionmSimulator(latency_scale=0.5)
    simulator.add_member("u1")
    with simulator:
        began = time.monotonic()
        assert tag(simulator).status_code == 200
        assert 0.13 < time.monotonic() - began < 0.5


def test_the_usual_time_of_a_route_can_be_changed() -> None:
    simulator = SessionmSimulator(latency_scale=1)
    simulator.add_member("u1")
    simulator.set_latency("POST */tags", 0.02)
    with simulator:
        began = time.monotonic()
        tag(simulator)
        assert time.monotonic() - began < 0.25


def test_a_client_that_stops_waiting_finds_the_work_done() -> None:
    simulator = SessionmSimulator(latency_scale=1)
    simulator.add_member("u1")
    with simulator:
        with pytest.raises(requests.ReadTimeout):
            tag(simulator, timeout=0.1)
        assert simulator.tags_of("u1")["vip"].count == 1


def test_stopping_does_not_wait_for_a_hanging_request(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST *", HangAfterAccept(60))
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(tag, sessionm)
        while not sessionm.requests():
            time.sleep(0.005)
        began = time.monotonic()
        sessionm.stop()
        assert time.monotonic() - began < 2
        with pytest.raises(requests.ConnectionError):
            hanging.result()
    sessionm.stop()


def test_a_simulator_keeps_its_state_over_a_restart(sessionm: SessionmSimulator) -> None:
    tag(sessionm)
    sessionm.stop()
    with pytest.raises(RuntimeError, match="not started"):
        _ = sessionm.url
    sessionm.start()
    tag(sessionm)
    assert sessionm.tags_of("u1")["vip"].count == 2


def test_a_taken_port_is_an_error_and_not_a_silent_wait(sessionm: SessionmSimulator) -> None:
    port = int(sessionm.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        SessionmSimulator(port=port).start()


def test_starting_twice_is_an_error(sessionm: SessionmSimulator) -> None:
    with pytest.raises(RuntimeError, match="already started"):
        sessionm.start()
