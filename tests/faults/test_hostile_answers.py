"""Answers made to harm: none may pass for "nothing was sent", crash a function or be served late."""

from __future__ import annotations

import json
import socket
import time

import pytest

from clients.transport import MAX_ANSWER_BYTES, Timeouts, Transport, retry_after_seconds
from shared.errors import UpstreamGarbled, UpstreamUnknown
from tests.integration.support.aws import Aws
from tests.integration.support.events import call, http_event
from tests.integration.support.sockets import Script, read_request, serving
from trigger_relay.fields import parse
from trigger_relay.passthrough import MAX_ANSWER_BYTES as MOST_RELAYED_BYTES
from trigger_relay.passthrough import build as build_passthrough
from wallet_proxy.endpoint import build as build_wallet

JSON = {"content-type": "application/json"}
SEND = json.dumps({"campaign_id": "campaign-1", "recipients": [{"external_user_id": "member-1"}]})


def saying(raw: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(raw)

    return script


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 201 Created", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def dripping(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.05)


MALFORMED = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\x00\x01\x02\x03\r\n\r\n",
]


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_answer_never_passes_for_nothing_was_sent(raw: bytes) -> None:
    with serving(saying(raw)) as url:
        transport = Transport("Braze", url, connections=1)
        with pytest.raises(UpstreamUnknown):
            transport.send("POST", "/", authorization="Bearer k", timeouts=Timeouts(1, 1), body={})


@pytest.mark.parametrize("location", [b"http://[bad", b"\xff\xfe", b"file:///etc/passwd", b"http://169.254.169.254/"])
def test_a_redirect_is_handed_on_and_its_target_not_even_looked_at(location: bytes) -> None:
    raw = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
    with serving(saying(raw)) as url:
        reply = Transport("Braze", url, connections=1).send(
            "POST", "/", authorization="Bearer k", timeouts=Timeouts(1, 1)
        )
    assert reply.status == 302


@pytest.mark.parametrize("status", [b"200 OK", b"302 Found\r\nLocation: /elsewhere"])
def test_an_endless_answer_is_cut_off_whatever_its_status(status: bytes) -> None:
    def endless(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")

    with (
        serving(endless) as url,
        pytest.raises(UpstreamGarbled, match=str(MAX_ANSWER_BYTES)),
    ):
        Transport("Braze", url, connections=1).send("GET", "/", authorization="Bearer k", timeouts=Timeouts(1, 1))


def test_an_answer_that_drips_is_given_up() -> None:
    started = time.perf_counter()
    with serving(dripping) as url, pytest.raises(UpstreamUnknown, match="drop by drop"):
        Transport("Braze", url, connections=1).send("GET", "/", authorization="Bearer k", timeouts=Timeouts(0.2, 0.3))
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize(
    "wait",
    ["Mon, 01 Jan 99999999999999 00:00:00 GMT", "\x00", "nan", "-inf", "9" * 400],
)
def test_a_wait_that_makes_no_sense_is_no_wait(wait: str) -> None:
    assert retry_after_seconds({"retry-after": wait}, time.time()) is None


@pytest.mark.parametrize("size", [60_000, 500_000])
def test_a_body_of_quotes_and_backslashes_is_refused_at_once(size: int) -> None:
    started = time.perf_counter()
    with pytest.raises(Exception, match="not valid JSON"):
        parse(b'"' + b'\\"' * (size // 2) + b"\\")
    assert time.perf_counter() - started < 2


A_MILLION_OFFERS = b'{"status":"ok","payload":{"user_offers":[' + b"{}," * 600_000 + b"{}]}}"


def test_a_million_offers_are_answered_in_time(aws: Aws) -> None:
    budget = {"READ_BUDGET_MILLISECONDS": "1500", "READ_COLD_BUDGET_MILLISECONDS": "1500"}
    with serving(saying(ok(A_MILLION_OFFERS))) as url:
        handle = build_wallet(aws.settings(SESSIONM_CORE_URL=url, SESSIONM_CONNECT_URL=url, **budget))
        started = time.perf_counter()
        answered = call(handle, http_event("GET /wallet/{user_id}", path={"user_id": "member-1"}))
    assert time.perf_counter() - started < 1.9
    assert (answered.status, answered.body["ok"], answered.body["offers"]) == (200, False, [])


def test_a_million_offers_are_more_than_a_wallet_holds(aws: Aws) -> None:
    with serving(saying(ok(A_MILLION_OFFERS))) as url:
        handle = build_wallet(aws.settings(SESSIONM_CORE_URL=url, SESSIONM_CONNECT_URL=url))
        answered = call(handle, http_event("GET /wallet/{user_id}", path={"user_id": "member-1"}))
    assert (answered.status, answered.body["reason"]) == (200, "upstream_garbled")
    assert answered.body["offers"] == []


@pytest.mark.parametrize(
    "raw",
    [
        ok(b"<html>"),
        ok(b'{"message":"' + b"x" * (MOST_RELAYED_BYTES + 1) + b'"}'),
        b'HTTP/1.1 999 Odd\r\nContent-Length: 15\r\n\r\n{"message":"x"}',
    ],
    ids=["no JSON", "too much", "no status"],
)
def test_a_send_with_a_useless_answer_is_a_409_that_nobody_repeats(aws: Aws, raw: bytes) -> None:
    with serving(saying(raw)) as url:
        handle = build_passthrough(aws.settings(BRAZE_REST_URL=url))
        answered = call(handle, http_event("POST /campaigns/trigger/send", headers=JSON, body=SEND))
    assert (answered.status, answered.body["code"]) == (409, "upstream_no_answer")


@pytest.mark.parametrize("value", [b"1\r\n Set-Cookie: evil=1", b"1\x00", b"x" * 65])
def test_only_plain_headers_of_brazes_are_handed_on(aws: Aws, value: bytes) -> None:
    raw = ok(b'{"message":"success","dispatch_id":"d"}', b"X-RateLimit-Reset: " + value, b"X-RateLimit-Limit: 250000")
    with serving(saying(raw)) as url:
        handle = build_passthrough(aws.settings(BRAZE_REST_URL=url))
        answered = call(handle, http_event("POST /campaigns/trigger/send", headers=JSON, body=SEND))
    assert answered.headers["x-ratelimit-limit"] == "250000"
    assert all(len(held) <= 64 and held.isprintable() for held in answered.headers.values())
