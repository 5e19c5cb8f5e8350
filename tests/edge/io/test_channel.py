"""One channel over a socketpair: what comes before it is open, what waits in it, how it ends."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.authority import Issued, issue
from tsnet.base.links import Link, Tls
from tsnet.edge.io.channel import READ_SIZE, Channel, Ended
from tsnet.edge.io.tls import TlsFailed, TlsSession, connect

INSECURE = Tls("derp.test", insecure=True)


@pytest.fixture(scope="module")
def leaf() -> Issued:
    return issue(["derp.test"])


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.settimeout(5)
    yield near, far
    near.close()
    far.close()


@pytest.fixture
def near(ends: tuple[socket.socket, socket.socket]) -> socket.socket:
    return ends[0]


@pytest.fixture
def other(ends: tuple[socket.socket, socket.socket]) -> socket.socket:
    return ends[1]


def channel(near: socket.socket, **steps: Any) -> Channel:
    return Channel(Link("test", "", 1), near, memoryview(bytearray(READ_SIZE)), **steps)


def client() -> TlsSession:
    return connect(INSECURE, None, time.time)


def server(leaf: Issued) -> Callable[[], TlsSession]:
    return lambda: TlsSession(leaf.server_context(), server_side=True)


# --- plain ------------------------------------------------------------------------------------------------------


def test_plain_is_open_at_once(near: socket.socket, other: socket.socket) -> None:
    opened = channel(near)
    assert opened.is_open
    assert opened.receive() == b""
    opened.write(b"one ")
    opened.write(b"two")
    assert opened.pending == 7
    opened.flush()
    assert opened.pending == 0
    assert other.recv(100) == b"one two"
    other.sendall(b"back")
    assert opened.receive() == b"back"


def test_what_the_socket_refuses_waits_and_leaves_in_order(near: socket.socket, other: socket.socket) -> None:
    opened = channel(near)
    data = bytes(range(256)) * 8192
    opened.write(data)
    opened.flush()
    assert opened.wants_to_write
    opened.write(b"the end")
    got = bytearray()
    while len(got) < len(data) + 7:
        got += other.recv(1 << 16)
        opened.flush()
    assert bytes(got) == data + b"the end"
    assert not opened.wants_to_write
    assert opened.pending == 0


def test_eof_and_end(near: socket.socket, other: socket.socket) -> None:
    opened = channel(near)
    opened.end()
    assert other.recv(1) == b""
    other.close()
    with pytest.raises(Ended, match=r"^eof$"):
        opened.receive()
    assert opened.has_ended


def test_a_broken_write_is_told_by_receive_after_what_had_arrived(near: socket.socket, other: socket.socket) -> None:
    opened = channel(near)
    other.sendall(b"last words")
    other.close()
    opened.write(b"x")
    opened.flush()
    assert opened.pending == 0
    assert opened.receive() == b"last words"
    with pytest.raises(Ended, match=r"^reset$"):
        opened.receive()


# --- the first byte ---------------------------------------------------------------------------------------------


def test_sniffing_takes_plain_bytes_as_they_are(near: socket.socket, other: socket.socket, leaf: Issued) -> None:
    opened = channel(near, start_tls=server(leaf), sniff_tls=True)
    assert not opened.is_open
    other.sendall(b"GET /")
    assert opened.receive() == b"GET /"
    assert opened.is_open
    assert opened.session is None


def test_sniffing_hands_the_first_byte_to_tls(near: socket.socket, other: socket.socket, leaf: Issued) -> None:
    opened = channel(near, start_tls=server(leaf), sniff_tls=True)
    session = client()
    while not session.is_up or not opened.is_open:
        for byte in session.take():
            other.sendall(bytes([byte]))
            opened.receive()
            opened.flush()
        if not session.is_up:
            session.receive(other.recv(65536))
    session.send(b"sealed")
    other.sendall(session.take())
    assert opened.receive() == b"sealed"


def test_what_is_written_early_waits_for_the_handshake(near: socket.socket, other: socket.socket, leaf: Issued) -> None:
    opened = channel(near, start_tls=client)
    opened.write(b"early")
    opened.flush()
    session = server(leaf)()
    got = b""
    while not got:
        got = session.receive(other.recv(65536))
        if answer := session.take():
            other.sendall(answer)
            opened.receive()
            opened.flush()
    assert got == b"early"


# --- the proxy --------------------------------------------------------------------------------------------------


def test_the_proxys_answer_comes_first(near: socket.socket, other: socket.socket) -> None:
    opened = channel(near, proxy_request=b"CONNECT x:1 HTTP/1.1\r\n\r\n")
    opened.flush()
    assert other.recv(100) == b"CONNECT x:1 HTTP/1.1\r\n\r\n"
    opened.write(b"not yet")
    opened.flush()
    assert opened.pending == 7
    for byte in b"HTTP/1.1 200 OK\r\n\r":
        other.sendall(bytes([byte]))
        assert opened.receive() == b""
        assert not opened.is_open
    other.sendall(b"\nfirst")
    assert opened.receive() == b"first"
    assert opened.is_open
    opened.flush()
    assert other.recv(100) == b"not yet"


def test_a_proxy_that_refuses_ends_the_channel(near: socket.socket, other: socket.socket) -> None:
    opened = channel(near, proxy_request=b"CONNECT")
    other.sendall(b"HTTP/1.1 403 No\r\n\r\n")
    with pytest.raises(Ended, match=r"^403 No$"):
        opened.receive()


def test_tls_begins_behind_the_proxys_answer(near: socket.socket, other: socket.socket, leaf: Issued) -> None:
    opened = channel(near, proxy_request=b"CONNECT", start_tls=client)
    opened.flush()
    assert other.recv(100) == b"CONNECT"
    other.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    assert opened.receive() == b""
    assert not opened.is_open
    opened.flush()
    assert other.recv(1) == b"\x16"


# --- TLS that fails ---------------------------------------------------------------------------------------------


def test_a_failed_handshake_sends_its_alert(near: socket.socket, other: socket.socket, leaf: Issued) -> None:
    opened = channel(near, start_tls=server(leaf))
    other.sendall(b"\x16\x03\x01\x00\x04abcd")
    with pytest.raises(Ended, match=r"^tls: "):
        opened.receive()
    assert other.recv(100)[:1] == b"\x15"


def test_a_session_that_cannot_begin_ends_the_channel(near: socket.socket) -> None:
    def fail() -> TlsSession:
        raise TlsFailed("tls: no name")

    with pytest.raises(Ended, match=r"^tls: no name$"):
        channel(near, start_tls=fail)


def test_close_notify_is_an_end(near: socket.socket, other: socket.socket, leaf: Issued) -> None:
    opened = channel(near, start_tls=client)
    session = server(leaf)()
    opened.flush()
    while not (opened.is_open and session.is_up):
        session.receive(other.recv(65536))
        if answer := session.take():
            other.sendall(answer)
            opened.receive()
            opened.flush()
    session.send(b"last")
    session.end()
    other.sendall(session.take())
    assert opened.receive() == b"last"
    assert opened.has_ended
