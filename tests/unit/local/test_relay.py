"""What lets containers reach this machine's loopback."""

from __future__ import annotations

import socket
import threading

import pytest

from infra.local.relay import relayed


def test_a_connection_to_the_other_address_reaches_the_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"you said " + connection.recv(100))

        answering = threading.Thread(target=answer)
        answering.start()
        with relayed("127.0.0.2", [port]):
            with socket.create_connection(("127.0.0.2", port), timeout=5) as client:
                client.sendall(b"hello")
                client.settimeout(5)
                assert b"".join(iter(lambda: client.recv(100), b"")) == b"you said hello"
            answering.join()


# Of RFC 5737's, without the last of a network: a machine may bind the broadcast address of its own.
NOT_OURS = "203.0.113.77"


def test_nothing_is_relayed_where_the_address_is_not_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free from here on: a relay at any address of this machine would answer there
    with pytest.raises(OSError, match="assign"):
        socket.create_server((NOT_OURS, port)).close()
    with relayed(NOT_OURS, [port]):
        for ours in ("127.0.0.1", "127.0.0.2"):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((ours, port), timeout=5).close()


def test_a_connection_to_a_port_nobody_serves_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with relayed("127.0.0.2", [port]), socket.create_connection(("127.0.0.2", port), timeout=5) as client:
        assert client.recv(1) == b""
