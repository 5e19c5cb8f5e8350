"""The stack against Linux's own, over a TUN device in a namespace."""

from __future__ import annotations

import hashlib
import random
import select
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest

from netstack import TcpConnection
from tests.netstack import tun
from tests.netstack.tun import LINUX_V4, LINUX_V6, OURS_V4, OURS_V6, TunHost

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(tun.why_not() is not None, reason=str(tun.why_not())),
]

Address = IPv4Address | IPv6Address
FAMILIES = pytest.mark.parametrize(
    ("family", "linux", "ours"),
    [(socket.AF_INET, LINUX_V4, OURS_V4), (socket.AF_INET6, LINUX_V6, OURS_V6)],
    ids=["v4", "v6"],
)
SIZE = 8 * 1024 * 1024
PAYLOAD = random.Random(3).randbytes(SIZE)
DIGEST = hashlib.sha256(PAYLOAD).hexdigest()


@pytest.fixture
def host() -> Iterator[TunHost]:
    host = TunHost()
    yield host
    host.close()


def connect_from_linux(
    host: TunHost, family: int, ours: Address, port: int = 80
) -> tuple[socket.socket, TcpConnection]:
    listener = host.stack.listen(port)
    sock = host.socket(family, socket.SOCK_STREAM)
    sock.connect_ex((str(ours), port))
    found: list[TcpConnection] = []

    def accepted(now: float) -> bool:
        connection = listener.accept()
        if connection is not None:
            found.append(connection)
        return bool(found)

    host.run_until(accepted)
    return sock, found[0]


def connect_to_linux(host: TunHost, family: int, linux: Address) -> tuple[socket.socket, TcpConnection]:
    listener = host.socket(family, socket.SOCK_STREAM)
    listener.bind((str(linux), 80))
    listener.listen()
    connection = host.stack.connect(linux, 80, host.now())
    accepted: list[socket.socket] = []

    def is_accepted(now: float) -> bool:
        sock = host.accept(listener)
        if sock is not None:
            accepted.append(sock)
        return bool(accepted)

    host.run_until(is_accepted)
    return accepted[0], connection


class Exchange:
    """Both ends send all of PAYLOAD, then end their stream, and read to the end of the other's."""

    def __init__(self, sock: socket.socket, connection: TcpConnection) -> None:
        self.sock, self.connection = sock, connection
        self.linux_sent = self.we_sent = 0
        self.linux_got, self.we_got = hashlib.sha256(), hashlib.sha256()
        self.linux_eof = self.we_ended = False

    def step(self, now: float) -> bool:
        self._step_linux()
        self.we_got.update(self.connection.read())
        if self.we_sent < SIZE:
            self.we_sent += self.connection.write(PAYLOAD[self.we_sent : self.we_sent + 262_144], now)
        elif not self.we_ended:
            self.we_ended = True
            self.connection.shutdown_write(now)
        return self.linux_eof and self.connection.eof

    def _step_linux(self) -> None:
        readable, writable, _ = select.select([self.sock], [self.sock], [], 0)
        if readable:
            data = self.sock.recv(262_144)
            self.linux_got.update(data)
            self.linux_eof |= not data
        if writable and self.linux_sent < SIZE:
            self.linux_sent += self.sock.send(PAYLOAD[self.linux_sent : self.linux_sent + 262_144])
            if self.linux_sent == SIZE:
                self.sock.shutdown(socket.SHUT_WR)


@FAMILIES
def test_tcp_both_ways_from_linux(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    exchange = Exchange(*connect_from_linux(host, family, ours))
    host.run_until(exchange.step)
    assert exchange.linux_got.hexdigest() == exchange.we_got.hexdigest() == DIGEST
    assert exchange.connection.remote[0] == linux
    exchange.connection.close(host.now())
    assert exchange.connection.error is None


@FAMILIES
def test_tcp_both_ways_to_linux(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    exchange = Exchange(*connect_to_linux(host, family, linux))
    host.run_until(exchange.step)
    assert exchange.linux_got.hexdigest() == exchange.we_got.hexdigest() == DIGEST
    assert exchange.connection.local[0] == ours
    info = exchange.connection.info()
    assert info.bytes_received == SIZE
    assert info.retransmitted < SIZE // 50


@FAMILIES
def test_linux_half_closes_and_still_reads(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    sock, connection = connect_from_linux(host, family, ours)
    sock.send(b"question")
    sock.shutdown(socket.SHUT_WR)
    host.run_until(lambda now: connection.state == "CLOSE_WAIT")
    assert connection.read() == b"question"
    assert connection.eof
    connection.write(b"answer", host.now())
    host.run_until(lambda now: bool(select.select([sock], [], [], 0)[0]))
    assert sock.recv(100) == b"answer"
    connection.close(host.now())
    host.run_until(lambda now: not host.stack.connections)
    assert sock.recv(100) == b""


@FAMILIES
def test_we_half_close_and_still_read(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    sock, connection = connect_to_linux(host, family, linux)
    connection.write(b"question", host.now())
    connection.shutdown_write(host.now())
    host.run_until(lambda now: connection.state == "FIN_WAIT_2")
    assert sock.recv(100) == b"question"
    assert sock.recv(100) == b""
    sock.send(b"answer")
    host.run_until(lambda now: connection.readable)
    assert connection.read() == b"answer"
    sock.close()
    host.run_until(lambda now: connection.eof)
    assert connection.state == "TIME_WAIT"


@FAMILIES
def test_linux_resets(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    sock, connection = connect_from_linux(host, family, ours)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    host.run_until(lambda now: connection.finished)
    assert connection.error == "reset"
    assert not host.stack.connections


@FAMILIES
def test_we_reset(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    sock, connection = connect_to_linux(host, family, linux)
    connection.abort(host.now())
    host.run_until(lambda now: bool(select.select([sock], [], [], 0)[0]))
    with pytest.raises(ConnectionResetError):
        sock.recv(100)


@FAMILIES
def test_both_refuse_at_once(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    sock = host.socket(family, socket.SOCK_STREAM)
    sock.connect_ex((str(ours), 9))
    connection = host.stack.connect(linux, 9, host.now())
    host.run_until(lambda now: connection.finished, timeout=2)
    assert connection.error == "refused"
    host.run_until(lambda now: bool(select.select([], [sock], [], 0)[1]), timeout=2)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 111


@FAMILIES
def test_a_closed_window_opens_again(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    """Linux does not read for a second: our probes keep the connection, then everything arrives."""
    sock, connection = connect_to_linux(host, family, linux)
    state = {"sent": 0, "since": 0.0}

    def fill(now: float) -> bool:
        state["sent"] += connection.write(PAYLOAD[int(state["sent"]) : int(state["sent"]) + 65_536], now)
        info = connection.info()
        if info.send_window > info.mss or info.in_flight:
            state["since"] = now
        return now - state["since"] > 1.0

    host.run_until(fill)
    got = bytearray()

    def drain(now: float) -> bool:
        while select.select([sock], [], [], 0)[0]:
            got.extend(sock.recv(262_144))
        return len(got) == state["sent"]

    host.run_until(drain)
    assert got == PAYLOAD[: len(got)]


@FAMILIES
def test_udp_both_ways_and_fragmented(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    endpoint = host.stack.open_udp(53)
    sock = host.socket(family, socket.SOCK_DGRAM)
    sock.bind((str(linux), 5353))
    for size in (0, 1, 1200, 5000, 60_000):
        sock.sendto(PAYLOAD[:size], (str(ours), 53))
        host.run_until(lambda now: endpoint.readable)
        datagram = endpoint.receive()
        assert datagram is not None
        assert (datagram.payload, datagram.address, datagram.port) == (PAYLOAD[:size], linux, 5353)
        endpoint.send(PAYLOAD[:size], host.now(), linux, 5353)
        host.run_until(lambda now: bool(select.select([sock], [], [], 0)[0]))
        assert sock.recv(65_535) == PAYLOAD[:size]


@FAMILIES
def test_udp_nobody_there(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    sock = host.socket(family, socket.SOCK_DGRAM)
    sock.connect((str(ours), 9))
    sock.send(b"x")
    endpoint = host.stack.open_udp()
    endpoint.connect(linux, 9)
    endpoint.send(b"x", host.now())
    host.run_until(lambda now: endpoint.readable)
    assert endpoint.take_error() == "refused"
    host.run_until(lambda now: bool(select.select([sock], [], [], 0)[0]))
    with pytest.raises(ConnectionRefusedError):
        sock.recv(10)


@FAMILIES
def test_we_ping_linux(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    endpoint = host.stack.ping(linux)
    for sequence, size in enumerate((0, 56, 4000)):
        payload = PAYLOAD[:size]
        endpoint.send(host.now(), sequence, payload)
        host.run_until(lambda now: endpoint.readable)
        reply = endpoint.receive()
        assert reply is not None
        assert (reply.sequence, reply.payload, reply.error) == (sequence, payload, None)
        assert 0 <= reply.rtt < 1


@FAMILIES
def test_linux_pings_us(host: TunHost, family: int, linux: Address, ours: Address) -> None:
    v4 = family == socket.AF_INET
    sock = host.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMP if v4 else socket.IPPROTO_ICMPV6)
    request = bytes((8 if v4 else 128, 0)) + bytes(2) + b"\x12\x34\x00\x01" + b"hello tun"
    if v4:
        total = sum(int.from_bytes((request + b"\0")[at : at + 2], "big") for at in range(0, len(request), 2))
        request = request[:2] + (-total % 65535).to_bytes(2, "big") + request[4:]
    answers: list[bytes] = []
    again_at = 0.0

    def answered(now: float) -> bool:
        nonlocal again_at
        if now >= again_at:  # once a second, as `ping` does: one may be lost
            sock.sendto(request, (str(ours), 0))
            again_at = now + 1.0
        while select.select([sock], [], [], 0)[0]:
            data = sock.recv(2000)
            message = data[20:] if v4 else data
            if message[0] == (0 if v4 else 129):
                answers.append(message)
        return bool(answers)

    host.run_until(answered)
    assert answers[0][4:] == request[4:]
