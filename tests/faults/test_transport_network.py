"""What a network does to a request, and whether the vendor may have acted on it."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from urllib3 import HTTPConnectionPool

from clients.pool import pooled
from clients.transport import IDLE_SECONDS, Reply, Timeouts, Transport
from infra.local.simulators import Garbage, HangAfterAccept, Reset, ResetMidBody, SessionmSimulator, SlowBody, Status
from shared.errors import UpstreamError, UpstreamGarbled, UpstreamUnknown, UpstreamUnreachable
from tests.integration.support.sockets import (
    answer,
    closed_port,
    not_accepting,
    read_request,
    reset,
    self_signed,
    serving,
)

QUICK = Timeouts(0.3, 0.3)
SECRET = "Bearer marked-as-a-secret"


def send(url: str, timeouts: Timeouts = QUICK, path: str = "/tags") -> Reply:
    return Transport("Braze", url, connections=4).send(
        "POST", path, authorization=SECRET, timeouts=timeouts, body={"member": "marked-member"}
    )


def failure(url: str) -> UpstreamError:
    with pytest.raises(UpstreamError) as error:
        send(url)
    assert "marked" not in str(error.value)
    return error.value


def test_a_refused_connection_sent_nothing() -> None:
    assert isinstance(failure(f"http://127.0.0.1:{closed_port()}"), UpstreamUnreachable)


def test_a_name_that_does_not_resolve_sent_nothing() -> None:
    assert isinstance(failure("http://vendor.invalid"), UpstreamUnreachable)


def test_a_connection_that_is_never_accepted_sent_nothing() -> None:
    with not_accepting() as url:
        assert isinstance(failure(url), UpstreamUnreachable)


def test_a_certificate_nobody_trusts_gets_no_request(tmp_path: Path) -> None:
    received: list[bytes] = []

    with serving(lambda connection: received.append(read_request(connection)), self_signed(tmp_path)) as url:
        assert isinstance(failure(url), UpstreamUnreachable)
    assert received == []


def test_a_certificate_that_is_trusted_gets_one_in_the_name_of_the_host(tmp_path: Path) -> None:
    received: list[bytes] = []

    def script(connection: socket.socket) -> None:
        received.append(connection.recv(65_536))
        connection.sendall(answer(b"{}"))

    with serving(script, self_signed(tmp_path)) as url:
        for address in (url, url.replace("127.0.0.1", "localhost")):
            transport = Transport(
                "Braze",
                address,
                connections=1,
                open_pool=lambda base_url, size: pooled(base_url, size, str(tmp_path / "server.pem")),
            )
            if address == url:
                transport.send("POST", "/tags", authorization=SECRET, timeouts=QUICK, body={"a": 1})
            else:
                with pytest.raises(UpstreamUnreachable):
                    transport.send("POST", "/tags", authorization=SECRET, timeouts=QUICK, body={"a": 1})

    [request] = received
    assert request.endswith(b'\r\n\r\n{"a":1}'), "head and body in one piece"


@pytest.mark.parametrize("address", ["http://[::1", "http://", "", "http://vendor.example:port"])
def test_an_address_that_is_none_sent_nothing(address: str) -> None:
    assert isinstance(failure(address), UpstreamUnreachable)


def test_a_server_that_speaks_no_tls_is_an_error_of_the_vendor() -> None:
    with serving(lambda connection: connection.sendall(b"220 mail\r\n")) as url:
        assert isinstance(failure(url.replace("http:", "https:")), UpstreamError)


def test_an_answer_that_does_not_come_in_time_leaves_open_what_happened() -> None:
    done = threading.Event()

    def hang(connection: socket.socket) -> None:
        read_request(connection)
        done.wait(5)

    with serving(hang) as url:
        started = time.perf_counter()
        assert isinstance(failure(url), UpstreamUnknown)
        assert time.perf_counter() - started < 2
        done.set()


@pytest.mark.parametrize(
    "cut_short",
    [
        b"",
        answer(b'{"status":"o', length=100),
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a"',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a number\r\n",
        answer(b"no gzip", headers="Content-Encoding: gzip\r\n"),
        b"\x00\x01\x02 no HTTP at all\r\n\r\n",
        b"220 mail.example.com ESMTP\r\n",
    ],
)
@pytest.mark.parametrize("by_reset", [False, True])
def test_an_answer_cut_short_or_garbled_on_the_wire_leaves_open_what_happened(cut_short: bytes, by_reset: bool) -> None:
    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(cut_short)
        if by_reset:
            time.sleep(0.02)
            reset(connection)

    with serving(script) as url:
        assert isinstance(failure(url), UpstreamUnknown)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_a_head_cut_short_is_no_answer(head: bytes) -> None:
    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(head)

    with serving(script) as url:
        assert isinstance(failure(url), UpstreamUnknown)


@pytest.mark.parametrize("fault", [Reset(), ResetMidBody(), HangAfterAccept(0.05), SlowBody(30)])
def test_a_vendor_that_breaks_off_leaves_open_what_happened(sessionm: SessionmSimulator, fault: Reset) -> None:
    sessionm.faults.add("POST /*", fault)

    assert isinstance(failure(sessionm.url), UpstreamUnknown)


def test_a_body_that_is_no_json_is_an_answer_all_the_same(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /*", Garbage())

    reply = send(sessionm.url)

    assert reply.status == 200
    with pytest.raises(UpstreamGarbled):
        reply.json("Braze")


def test_a_redirect_is_not_followed(sessionm: SessionmSimulator) -> None:
    sessionm.faults.add("POST /tags", Status(302))

    reply = send(sessionm.url)

    assert (reply.status, reply.headers["location"]) == (302, "/elsewhere")
    assert len(sessionm.requests()) == 1


def test_an_answer_too_large_is_not_read_to_its_end() -> None:
    def endless(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(b"", length=10**9))
        while True:
            connection.sendall(b" " * 65_536)

    with serving(endless) as url:
        transport = Transport("Braze", url, connections=4, max_answer_bytes=100_000)
        with pytest.raises(UpstreamGarbled, match="exceeds 100000 bytes"):
            transport.send("GET", "/", authorization=SECRET, timeouts=QUICK)


def test_a_request_carries_what_it_must_and_no_more() -> None:
    received: list[bytes] = []

    def script(connection: socket.socket) -> None:
        received.append(read_request(connection))
        connection.sendall(answer(b"{}"))

    with serving(script) as url:
        Transport("Braze", url + "/", connections=4).send(
            "POST", "/a%2Fb", authorization=SECRET, timeouts=QUICK, body=b'{"as": "it is"}', query={"q": "a b&c"}
        )

    head, _, body = received[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /a%2Fb?q=a+b%26c HTTP/1.1"
    assert b"Authorization: Bearer marked-as-a-secret" in head
    assert b"Content-Type: application/json" in head
    assert body == b'{"as": "it is"}'


def test_a_proxy_in_the_environment_is_not_used(sessionm: SessionmSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")

    assert send(sessionm.url).status == 404


class Connections:
    """A server that keeps connections open and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, connection: socket.socket) -> None:
        self.count += 1
        while read_request(connection):
            connection.sendall(answer(b"{}"))


@pytest.mark.parametrize(("pause", "connections"), [(IDLE_SECONDS - 1, 1), (IDLE_SECONDS + 1, 2)])
def test_a_connection_is_used_again_unless_it_idled_too_long(pause: float, connections: int) -> None:
    now = 1_000.0
    counted = Connections()

    with serving(counted) as url:
        transport = Transport("Braze", url, connections=4, clock=lambda: now)
        transport.send("GET", "/", authorization=SECRET, timeouts=QUICK)
        now += pause
        transport.send("GET", "/", authorization=SECRET, timeouts=QUICK)

    assert counted.count == connections


class Pools:
    """Opens pools, and closes them slowly."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0

    def __call__(self, base_url: str, connections: int) -> HTTPConnectionPool:
        counts = self
        host, _, port = base_url.removeprefix("http://").partition(":")

        class SlowToClose(HTTPConnectionPool):
            def close(self) -> None:
                counts.closed += 1
                time.sleep(0.05)
                super().close()

        counts.opened += 1
        return SlowToClose(host, int(port), maxsize=connections)


def test_an_idle_pool_is_dropped_once_however_many_threads_come_back_to_it() -> None:
    pools, now = Pools(), 1_000.0
    gate = threading.Barrier(4)

    with serving(Connections()) as url:
        transport = Transport("Braze", url, connections=4, clock=lambda: now, open_pool=pools)
        transport.send("GET", "/", authorization=SECRET, timeouts=Timeouts(2, 2))
        now += IDLE_SECONDS + 1

        def work() -> None:
            gate.wait(5)
            transport.send("GET", "/", authorization=SECRET, timeouts=Timeouts(2, 2))

        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(work) for _ in range(4)]:
                done.result()

    assert (pools.opened, pools.closed) == (2, 1)


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def numbered(*first: bytes) -> Callable[[socket.socket], None]:
    """A server that answers each request of a connection with its number; before the first answer it sends `first`."""
    asked = itertools.count(1)

    def script(connection: socket.socket) -> None:
        while read_request(connection):
            number = next(asked)
            for piece in first if number == 1 else ():
                connection.sendall(piece)
                time.sleep(0.02)
            connection.sendall(answer(b'{"number":%d}' % number))

    return script


@pytest.mark.parametrize("interim", [(EARLY,), (PROCESSING, EARLY), (CONTINUE, EARLY, CONTINUE)], ids=["1", "2", "3"])
def test_interim_answers_are_passed_over_and_each_request_has_its_own_answer(interim: Sequence[bytes]) -> None:
    with serving(numbered(*interim)) as url:
        transport = Transport("Braze", url, connections=1)
        replies = [transport.send("GET", "/", authorization=SECRET, timeouts=Timeouts(1, 1)) for _ in range(3)]

    assert [(reply.status, reply.content) for reply in replies] == [(200, b'{"number":%d}' % n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "first",
    [EARLY * 11, CONTINUE * 11, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"],
    ids=["one after the other", "nothing but 100", "another protocol"],
)
def test_a_server_that_never_comes_to_the_point_may_have_acted(first: bytes) -> None:
    with serving(numbered(first)) as url:
        transport = Transport("Braze", url, connections=1)
        with pytest.raises(UpstreamUnknown):
            transport.send("GET", "/", authorization=SECRET, timeouts=Timeouts(1, 1))
        after = transport.send("GET", "/", authorization=SECRET, timeouts=Timeouts(1, 1))

    assert after.content == b'{"number":2}'


@pytest.mark.parametrize("status", ["204 No Content", "408 Request Timeout", "504 Gateway Timeout"])
def test_an_answer_that_comes_after_the_answer_is_nobodys(status: str) -> None:
    empty = b"" if status.startswith("204") else b"Content-Length: 0\r\n"
    with serving(numbered(f"HTTP/1.1 {status}\r\n".encode() + empty + b"\r\n")) as url:
        transport = Transport("Braze", url, connections=1)
        first = transport.send("GET", "/", authorization=SECRET, timeouts=Timeouts(1, 1))
        second = transport.send("GET", "/", authorization=SECRET, timeouts=Timeouts(1, 1))

    assert (first.status, first.content) == (int(status[:3]), b"")
    assert (second.status, second.content) == (200, b'{"number":2}')


@pytest.mark.parametrize("before", [b"", EARLY], ids=["at once", "after an interim answer"])
def test_a_head_that_comes_in_drop_by_drop_has_the_time_of_an_answer(before: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        read_request(connection)
        with contextlib.suppress(OSError):
            connection.sendall(before)
            for letter in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000:
                connection.sendall(bytes([letter]))
                time.sleep(0.05)

    with serving(drip) as url:
        started = time.monotonic()
        assert isinstance(failure(url), UpstreamUnknown)
    assert time.monotonic() - started < 2


def test_a_head_in_two_pieces_is_a_head() -> None:
    def halves(connection: socket.socket) -> None:
        read_request(connection)
        whole = answer(b'{"number":1}')
        connection.sendall(whole[:20])
        time.sleep(0.05)
        connection.sendall(whole[20:])

    with serving(halves) as url:
        assert send(url).content == b'{"number":1}'
