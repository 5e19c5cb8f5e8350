from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from netstack.wire import ipv4, udp
from tests.edge.pipes.test_packets import HERE, THERE, Packets
from tests.interrupts import interrupted
from tests.sockets.node import Idle, is_nothing_left, open_descriptors
from tsnet.edge.io.reactor import Reactor
from tsnet.edge.pipes import waiters
from tsnet.edge.pipes.packets import MAX_PAYLOAD
from tsnet.errors import MessageTooLong, NotUp
from tsnet.sockets import handover, inner_end, pairs
from tsnet.sockets.datagrams import DatagramSocket, datagram_socket, decode, encode
from tsnet.sockets.inner_end import FAREWELLS

module = sys.modules["tsnet.sockets.datagrams"]


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
    assert bridged.socket._bridge is not None
    assert bridged.socket._bridge.dropped == 3
    assert bridged.packets.b.take() == (b"x", HERE)
    bridged.close()


def flooded() -> Bridged:
    """The pair, the pipe and the endpoint are full of what b has sent."""
    bridged = Bridged()
    for _ in range(12):
        for _ in range(5):
            bridged.packets.b.give(bytes(50_000), HERE)
        bridged.run()
    assert bridged.packets.pair.a.dropped["udp: queue full"]
    return bridged


def test_a_flood_that_nobody_reads_keeps_no_other_peer_out() -> None:
    if not pairs.HAVE_UNIX:
        pytest.skip("the pair is loopback UDP here")
    bridged = flooded()
    stack, now = bridged.packets.pair.a, bridged.packets.pair.now
    source, destination = ip_address("100.64.0.99").packed, ip_address(HERE[0]).packed
    datagram = udp.build(source, 5, destination, HERE[1], b"innocent")
    packet = ipv4.header(source, destination, udp.PROTOCOL, len(datagram)) + datagram
    stack.receive([("another", [packet])], now)
    bridged.run()
    senders = []
    with contextlib.suppress(BlockingIOError):
        while True:
            senders.append(bridged.socket.recvfrom(MAX_PAYLOAD)[1])
            bridged.run()
    assert ("100.64.0.99", 5) in senders
    assert bridged.reactor.next_event() == math.inf
    assert bridged.socket._bridge.dropped == 0
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
    with pytest.raises(OSError, match="closed"):
        bridged.socket.recv(100)
    with pytest.raises(BlockingIOError):  # so that a loop that polls comes to rest
        bridged.socket.recv(100)
    bridged.socket.settimeout(10)
    for _ in range(100):
        with pytest.raises(OSError, match="closed"):
            bridged.socket.recv(100)
        with pytest.raises(OSError, match="closed"):
            bridged.socket.sendto(b"x", THERE)
    bridged.close()


@pytest.mark.parametrize("host", ["100.64.0.1", "fd7a::1"])
@pytest.mark.parametrize("data", [b"", b"x" * 1000])
def test_the_header_both_ways(host: str, data: bytes) -> None:
    message = encode(data, (host, 53))
    assert decode(message) == (data, (host, 53))
    assert message[0] == len(ip_address(host).packed)


# --- the port is free when close returns ------------------------------------------------------------------------


def serviced(bridged: Bridged) -> None:
    """What a node does before it listens: it services whoever has asked for something."""
    bridged.packets.service(bridged.packets.pair.now)


def test_close_says_so_before_it_returns(bridged: Bridged) -> None:
    for number in range(100):
        bridged.socket.sendto(b"parting %d" % number, THERE)
    bridged.packets.b.give(b"never read", HERE)
    bridged.run()
    bridged.socket.sendto(b"last", THERE)
    bridged.socket.close()
    serviced(bridged)
    bridged.packets.pair.a.open_udp(1000)
    bridged.run()
    received = []
    while (datagram := bridged.packets.b.take()) is not None:
        received.append(datagram[0])
    assert received == [*(b"parting %d" % number for number in range(100)), b"last"]


def test_a_collected_socket_says_so_too() -> None:
    bridged = Bridged()
    with pytest.warns(ResourceWarning, match="DatagramSocket"):
        del bridged.socket
    serviced(bridged)
    bridged.packets.pair.a.open_udp(1000)
    bridged.reactor.close()


def test_closed_with_datagrams_unread_what_it_sent_still_goes() -> None:
    if not pairs.HAVE_UNIX:
        pytest.skip("the pair is loopback UDP here")
    bridged = Bridged()
    bridged.packets.b.give(b"never read", HERE)
    bridged.run()
    bridged.socket.sendto(b"parting", THERE)
    os.close(bridged.socket.detach())
    bridged.run()
    assert bridged.packets.b.take() == (b"parting", HERE)
    bridged.packets.pair.a.open_udp(1000)
    bridged.reactor.close()


def test_close_wakes_who_is_blocked_in_recv_in_another_thread() -> None:
    if not pairs.HAVE_UNIX:
        pytest.skip("a loopback pair does not tell its other end")
    bridged = Bridged()
    bridged.socket.settimeout(10)
    failures: list[int | None] = []
    reader = threading.Thread(target=receive_until_it_fails, args=(bridged.socket, failures))
    reader.start()
    bridged.socket.close()
    bridged.run()
    reader.join(10)
    assert failures == [errno.EBADF]
    bridged.close()


def receive_until_it_fails(sock: socket.socket, failures: list[int | None]) -> None:
    try:
        while True:
            sock.recv(100)
    except OSError as error:
        failures.append(error.errno)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_closes_its_own_copy_alone(bridged: Bridged) -> None:
    child = os.fork()
    if child == 0:
        bridged.socket.close()
        os._exit(bridged.packets.a.closed)
    assert os.waitpid(child, 0)[1] == 0
    bridged.run()
    bridged.socket.sendto(b"still here", THERE)
    bridged.run()
    assert bridged.packets.b.take() == (b"still here", HERE)


# --- the node is gone -------------------------------------------------------------------------------------------

GONE = NotUp("the node was closed")


def test_a_reader_blocked_in_the_kernel_is_told_though_nobody_turns_the_reactor(bridged: Bridged) -> None:
    bridged.socket.settimeout(10)
    failures: list[OSError] = []

    def read() -> None:
        try:
            bridged.socket.recv(100)
        except OSError as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    bridged.packets.a.fail(GONE)
    reader.join(10)
    assert [(error.errno, error.__cause__) for error in failures] == [(errno.ECONNABORTED, GONE)]


def test_a_node_that_is_gone_under_a_flood_is_told_when_what_has_come_was_read() -> None:
    if not pairs.HAVE_UNIX:
        pytest.skip("the pair is loopback UDP here")
    bridged = flooded()
    bridged.reactor.close()
    bridged.packets.a.fail(GONE)
    bridged.socket.settimeout(10)
    assert bridged.socket.recv(MAX_PAYLOAD) == bytes(50_000)
    failures: list[int | None] = []
    receive_until_it_fails(bridged.socket, failures)
    assert failures == [errno.ECONNABORTED]
    bridged.socket.close()


@pytest.mark.parametrize("when", ["before the bridge", "before the first turn"])
def test_a_node_that_is_gone_early_is_told_too(when: str) -> None:
    packets, reactor = Packets(), Reactor(time.monotonic)
    packets.b.give(b"arrived", HERE)
    packets.settle()
    if when == "before the bridge":
        packets.a.fail(GONE)
    sock = datagram_socket(packets.a, reactor)
    packets.a.fail(GONE)
    assert sock.recv(100) == b"arrived"
    with pytest.raises(OSError, match="closed"):
        sock.recv(100)
    sock.close()
    reactor.close()


def test_a_node_that_closes_sends_what_it_had_been_given(bridged: Bridged) -> None:
    for number in range(100):
        bridged.socket.sendto(b"%d" % number, THERE)
    bridged.packets.a.end(bridged.packets.pair.now)
    with pytest.raises(OSError, match="closed"):
        bridged.socket.sendto(b"too late", THERE)
    bridged.run()
    received = []
    while (datagram := bridged.packets.b.take()) is not None:
        received.append(datagram[0])
    assert received == [b"%d" % number for number in range(100)]


def test_the_last_datagrams_come_before_the_end(bridged: Bridged) -> None:
    bridged.socket.settimeout(10)
    bridged.packets.b.give(b"last", HERE)
    bridged.packets.settle()
    bridged.packets.a.fail(GONE)
    assert bridged.socket.recv(100) == b"last"
    with pytest.raises(OSError, match="closed"):
        bridged.socket.recv(100)


@pytest.mark.parametrize("blocks", [False, True])
def test_a_loop_that_polls_is_told_once_and_comes_to_rest(bridged: Bridged, blocks: bool) -> None:
    """blocks: as socketserver does, which polls and then receives from a socket that would block."""
    bridged.packets.a.fail(GONE)
    bridged.socket.setblocking(blocks)
    told = rounds = 0
    while select.select([bridged.socket], [], [], 0)[0]:
        rounds += 1
        assert rounds <= 2 * FAREWELLS
        try:
            bridged.socket.recvfrom(100)
        except BlockingIOError:
            pass
        except OSError:
            told += 1
    assert told == (rounds if blocks else 1)


def test_asyncio_is_told_once_and_comes_to_rest(bridged: Bridged) -> None:
    heard: list[object] = []

    class Hearing(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            heard.append(data)

        def error_received(self, exc: Exception) -> None:
            heard.append(exc.__cause__)

    async def receive() -> None:
        loop = asyncio.get_running_loop()
        bridged.packets.b.give(b"last", HERE)
        bridged.run()
        transport, _ = await loop.create_datagram_endpoint(Hearing, sock=bridged.socket)
        bridged.packets.a.fail(GONE)
        for _ in range(3 * FAREWELLS):
            await asyncio.sleep(0)
        assert not pairs.is_readable(bridged.socket)
        transport.close()
        await asyncio.sleep(0)

    asyncio.run(receive())
    assert heard == [b"last", GONE]


def test_its_descriptors_are_freed_by_the_application_s_close() -> None:
    before = open_descriptors()
    bridged = Bridged()
    bridged.packets.a.fail(GONE)
    bridged.close()
    assert is_nothing_left(before)


# --- interrupts -------------------------------------------------------------------------------------------------


class IdlePackets(Idle):
    """A pipe of a node that only the test turns."""

    def __init__(self) -> None:
        super().__init__()
        self.packets = Packets()

    def bridge(self) -> None:
        self.made.append(datagram_socket(self.packets.a, self.reactor))

    def settle(self) -> None:
        self.packets.settle(0.1)


def idle_packets() -> IdlePackets:
    idle = IdlePackets()
    idle.bridge()
    idle.turn()
    return idle


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_bridge_leaves_nothing() -> None:
    for idle in interrupted(IdlePackets, IdlePackets.bridge, module, handover, inner_end):
        idle.turn()
        if not idle.made:
            idle.packets.a.close()  # as whoever called does
        idle.close()
        idle.packets.pair.a.open_udp(1000)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("collected", [False, True])
def test_an_interrupted_close_may_be_said_again_or_left_to_the_collector(collected: bool) -> None:
    for idle in interrupted(idle_packets, lambda idle: idle.made[0].close(), module, inner_end, waiters):
        if collected:
            idle.made.clear()
        idle.close()
        idle.packets.pair.a.open_udp(1000)
