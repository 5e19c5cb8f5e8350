from __future__ import annotations

import errno
import math
import os
import select
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tests.edge.pipes.test_packets import HERE, THERE, Packets
from tsnet.edge.io.reactor import Reactor
from tsnet.edge.pipes.packets import MAX_PAYLOAD
from tsnet.errors import MessageTooLong, NotUp
from tsnet.sockets import pairs
from tsnet.sockets.datagrams import DatagramSocket, datagram_socket, decode, encode


class Bridged:
    """A socket in place of the pipe of stack a, the pipe of stack b, and the reactor between."""

    def __init__(self, *, dialled: bool = False) -> None:
        self.packets = Packets(dialled=dialled)
        self.reactor = Reactor(time.monotonic)
        self.socket: DatagramSocket = datagram_socket(self.packets.a, self.reactor)
        self.socket.setblocking(False)
        self.run()

    def run(self) -> None:
        for _ in range(5):
            self.reactor.wait(-math.inf)
            self.packets.settle(0.2)

    def close(self) -> None:
        self.socket.close()
        self.run()
        self.reactor.close()


@pytest.fixture(params=[True, False] if pairs.HAVE_UNIX else [False], ids=lambda unix: "unix" if unix else "loopback")
def bridged(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bridged]:
    monkeypatch.setattr(pairs, "HAVE_UNIX", request.param)
    bridged = Bridged()
    yield bridged
    bridged.close()


def test_there_and_back(bridged: Bridged) -> None:
    assert bridged.socket.sendto(b"question", THERE) == 8
    bridged.run()
    assert bridged.packets.b.take() == (b"question", HERE)
    bridged.packets.b.give(b"answer", HERE)
    bridged.run()
    assert select.select([bridged.socket], [], [], 0)[0]
    assert bridged.socket.recvfrom(100) == (b"answer", THERE)


def test_every_way_to_send_and_to_receive(bridged: Bridged) -> None:
    sock = bridged.socket
    with pytest.raises(OSError, match="not connected"):
        sock.send(b"x")
    sock.sendmsg([b"a", b"b"], [], 0, THERE)
    sock.connect(THERE)
    sock.send(b"c")
    sock.sendall(bytearray(b"d"))
    sock.sendmsg([b"e"])
    bridged.run()
    received = []
    while (datagram := bridged.packets.b.take()) is not None:
        received.append(datagram[0])
    assert received == [b"ab", b"c", b"d", b"e"]
    for data in (b"1", b"2", b"3", b"4", b""):
        bridged.packets.b.give(data, HERE)
    bridged.run()
    buffer = bytearray(10)
    assert sock.recv(10) == b"1"
    assert sock.recv_into(buffer) == 1
    assert sock.recvfrom_into(buffer, 5) == (1, THERE)
    assert sock.recvmsg(10) == (b"4", [], 0, THERE)
    assert sock.recv(10) == b""
    with pytest.raises(BlockingIOError):
        sock.recv(10)


def test_what_it_says_of_itself(bridged: Bridged) -> None:
    assert (bridged.socket.family, bridged.socket.type) == (socket.AF_INET, socket.SOCK_DGRAM)
    assert bridged.socket.getsockname() == HERE
    with pytest.raises(OSError, match="not connected") as missing:
        bridged.socket.getpeername()
    assert missing.value.errno == errno.ENOTCONN
    bridged.socket.connect(THERE)
    assert bridged.socket.getpeername() == THERE


def test_connected_it_hears_that_one_alone(bridged: Bridged) -> None:
    bridged.socket.connect(("100.64.0.99", 53))
    bridged.packets.b.give(b"from another", HERE)
    bridged.run()
    with pytest.raises(BlockingIOError):
        bridged.socket.recv(100)


def test_the_largest_and_one_more(bridged: Bridged) -> None:
    if not pairs.HAVE_UNIX:
        pytest.skip("with its header the largest does not fit through loopback UDP")
    data = os.urandom(MAX_PAYLOAD)
    bridged.socket.sendto(data, THERE)
    bridged.run()
    assert bridged.packets.b.take() == (data, HERE)
    with pytest.raises(MessageTooLong):
        bridged.socket.sendto(data + b"x", THERE)


def test_names_are_for_the_node(bridged: Bridged) -> None:
    with pytest.raises(OSError, match="resolve"):
        bridged.socket.sendto(b"x", ("somebody", 53))


def test_close_sends_what_it_took_and_frees_the_port(bridged: Bridged) -> None:
    bridged.socket.sendto(b"parting", THERE)
    bridged.socket.close()
    bridged.run()
    assert bridged.packets.b.take() == (b"parting", HERE)
    if pairs.HAVE_UNIX:
        bridged.packets.pair.a.open_udp(1000)


def test_what_was_written_to_the_bare_descriptor_is_dropped() -> None:
    if not pairs.HAVE_UNIX:
        pytest.skip("the pair is loopback UDP here")
    bridged = Bridged()
    for garbage in (b"\x05abc", b"\x04", b"\xff" * 40, encode(b"x", THERE)):
        os.write(bridged.socket.fileno(), garbage)
    bridged.run()
    assert bridged.socket._bridge.dropped == 3
    assert bridged.packets.b.take() == (b"x", HERE)
    bridged.close()


def test_nobody_listens_there_is_an_error_once() -> None:
    bridged = Bridged(dialled=True)
    bridged.packets.b.close()
    bridged.packets.settle()
    bridged.socket.send(b"anyone?")
    bridged.run()
    with pytest.raises(ConnectionRefusedError):
        bridged.socket.recv(100)
    with pytest.raises(BlockingIOError):
        bridged.socket.recv(100)
    bridged.close()


def test_the_node_is_gone() -> None:
    bridged = Bridged()
    bridged.packets.a.fail(NotUp("the node was closed"))
    bridged.run()
    for _ in range(2):
        with pytest.raises(OSError, match="closed"):
            bridged.socket.recv(100)
    bridged.close()


@pytest.mark.parametrize("host", ["100.64.0.1", "fd7a::1"])
@pytest.mark.parametrize("data", [b"", b"x" * 1000])
def test_the_header_both_ways(host: str, data: bytes) -> None:
    message = encode(data, (host, 53))
    assert decode(message) == (data, (host, 53))
    assert message[0] == len(ip_address(host).packed)
